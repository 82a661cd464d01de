//! The system's errors in words that say what to look at.

use std::io::{self, ErrorKind};

/// An error of a connection, without the numbers and names that programs use.
pub fn io_words(error: &io::Error) -> String {
    let words = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused: nothing listens at this port",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            "the connection was cut by the other side"
        }
        ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "the other side closed the connection before it answered"
        }
        ErrorKind::TimedOut => "no answer in time",
        ErrorKind::HostUnreachable => "there is no way to this host",
        ErrorKind::NetworkUnreachable => "there is no way to its network",
        ErrorKind::NetworkDown => "this machine's network is down",
        ErrorKind::PermissionDenied => "this machine does not allow the connection (a firewall?)",
        ErrorKind::AddrNotAvailable => "this machine has no address to connect from",
        _ => return without_number(&error.to_string()).to_owned(),
    };
    words.to_owned()
}

/// An error of a file, without the number that programs use.
pub fn file_words(error: &io::Error) -> String {
    without_number(&error.to_string()).to_owned()
}

/// Cuts off ` (os error 111)`.
fn without_number(text: &str) -> &str {
    text.split_once(" (os error ")
        .map_or(text, |(words, _)| words)
}

/// Why a name has no address.
pub(super) fn lookup_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = without_number(&text);
    text.strip_prefix("failed to lookup address information: ")
        .unwrap_or(text)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_of_the_system_shows_its_number() {
        for number in 1..134 {
            let words = io_words(&io::Error::from_raw_os_error(number));
            assert!(
                !words.contains("os error") && !words.is_empty(),
                "{number}: {words}"
            );
        }
        let lookup =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(lookup_words(&lookup), "Name or service not known");
    }
}
