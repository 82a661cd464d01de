//! Lengths of time as people write them: `90s`, `15m`, `1h`, `7d`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A whole number of seconds, minutes, hours or days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct HumanDuration {
    seconds: u64,
}

/// Text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a length of time: write a whole number and s, m, h or d, e.g. 90s, 15m, 1h, 7d"
)]
pub struct DurationError(String);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl HumanDuration {
    /// So many days.
    pub const fn from_days(days: u64) -> Self {
        Self {
            seconds: days * 86_400,
        }
    }

    /// So many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// In milliseconds, at most `u64::MAX`.
    pub const fn as_ms(self) -> u64 {
        self.seconds.saturating_mul(1000)
    }

    /// In seconds.
    pub const fn as_seconds(self) -> u64 {
        self.seconds
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let parse = || {
            let unit = text.chars().next_back()?;
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let digits = &text[..text.len() - unit.len_utf8()];
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let number: u64 = plain.then(|| digits.parse().ok()).flatten()?;
            number.checked_mul(*factor)
        };
        match parse() {
            Some(seconds) => Ok(Self { seconds }),
            None => Err(DurationError(text.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl fmt::Display for HumanDuration {
    /// In the largest unit that is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |factor: &u64| self.seconds >= *factor && self.seconds.is_multiple_of(*factor);
        match UNITS.iter().find(|(_, factor)| exact(factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.seconds / factor),
            None => write!(f, "{}s", self.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        for (text, seconds, shown) in [
            ("90s", 90, "90s"),
            ("15m", 900, "15m"),
            ("60m", 3600, "1h"),
            ("7d", 604_800, "7d"),
            ("0s", 0, "0s"),
        ] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(duration.as_seconds(), seconds);
            assert_eq!(duration.to_string(), shown);
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "5",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "1w",
            "1 h",
            "1hé",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }
}
