//! Times as people read them.

use jiff::Timestamp;

/// A time in milliseconds since the epoch as RFC 3339 in UTC; none beyond the year 9999, which
/// RFC 3339 cannot write. Only NodeDB's tokens say such times.
pub fn rfc3339(at_ms: u64) -> Option<String> {
    let at_ms = i64::try_from(at_ms).ok()?;
    Timestamp::from_millisecond(at_ms)
        .ok()
        .map(|at| at.to_string())
}

/// How far `at_ms` lies from `now_ms`, in its two largest units: `in 1h 5m`, `3d ago`.
pub fn distance(at_ms: u64, now_ms: u64) -> String {
    let seconds = at_ms.abs_diff(now_ms) / 1000;
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    match shown.join(" ") {
        span if span.is_empty() => "now".to_owned(),
        span if at_ms > now_ms => format!("in {span}"),
        span => format!("{span} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_two_units() {
        for (at_s, now_s, shown) in [
            (0, 0, "now"),
            (3_900, 0, "in 1h 5m"),
            (0, 3 * 86_400, "3d ago"),
            (0, 3 * 86_400 + 5, "3d ago"),
            (59, 0, "in 59s"),
            (61, 0, "in 1m 1s"),
        ] {
            assert_eq!(distance(at_s * 1000, now_s * 1000), shown);
        }
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(
            rfc3339(1_767_225_600_000).as_deref(),
            Some("2026-01-01T00:00:00Z")
        );
        assert_eq!(
            rfc3339(crate::token::MAX_TIME_MS - 999).as_deref(),
            Some("9998-12-31T23:59:59Z")
        );
        assert_eq!(rfc3339(u64::MAX), None);
    }
}
