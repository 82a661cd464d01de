//! Errors of connections, of the system's and of TLS, in words that say what to look at: without the numbers and names that
//! programs use.

use std::io::{self, ErrorKind};

use rustls::{AlertDescription as Alert, CertificateError, Error as TlsError};

/// An error of a connection, whatever was spoken on it.
pub fn io_words(error: &io::Error) -> String {
    if let Some(tls) = tls_in(error) {
        return tls_words(tls);
    }
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

/// The error of TLS that libraries hand on as one of the system's, however often it was wrapped.
pub fn tls_in(error: &io::Error) -> Option<&TlsError> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<io::Error>() {
        Some(error) => tls_in(error),
        None => inner.downcast_ref(),
    }
}

/// Texts of rustls have names of its types in them where it speaks of what the peer did.
pub fn tls_words(error: &TlsError) -> String {
    let words = match error {
        TlsError::InvalidMessage(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. }
        | TlsError::PeerSentOversizedRecord => {
            "what answers there does not speak TLS (is it the port of plain HTTP, such as that of the metrics?)"
        }
        TlsError::PeerIncompatible(_)
        | TlsError::NoApplicationProtocol
        | TlsError::AlertReceived(
            Alert::ProtocolVersion
            | Alert::HandshakeFailure
            | Alert::InsufficientSecurity
            | Alert::MissingExtension
            | Alert::NoApplicationProtocol,
        ) => "what answers there does not speak TLS 1.3 as it has to be spoken here",
        TlsError::AlertReceived(Alert::UnrecognisedName) => {
            "what answers there routes by host name, and does not know this one"
        }
        TlsError::AlertReceived(_) => {
            "the other side broke TLS off; if it goes on, something in between ends TLS, which has to be one from end to end"
        }
        TlsError::NoCertificatesPresented => "what answers there shows no certificate",
        TlsError::InvalidCertificate(error) => return certificate_words(error),
        TlsError::PeerMisbehaved(_) => "what answers there breaks the rules of TLS",
        error => return format!("TLS failed: {error}"),
    };
    words.to_owned()
}

fn certificate_words(error: &CertificateError) -> String {
    let why = match error {
        CertificateError::UnknownIssuer => "it is of no CA that is trusted here",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or a clock is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or a clock is wrong"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for this host name"
        }
        CertificateError::Other(refusal) => &refusal.0.to_string(),
        _ => "it cannot be verified",
    };
    format!("its certificate is not accepted: {why}")
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
    use std::sync::Arc;

    use rustls::{InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[test]
    fn no_error_of_tls_shows_a_type_however_it_is_wrapped() {
        for error in [
            TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
            TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
            TlsError::PeerMisbehaved(PeerMisbehaved::DuplicateClientHelloExtensions),
            TlsError::AlertReceived(Alert::HandshakeFailure),
            TlsError::AlertReceived(Alert::InternalError),
            TlsError::AlertReceived(Alert::UnrecognisedName),
            TlsError::InvalidCertificate(CertificateError::UnknownIssuer),
            TlsError::InvalidCertificate(CertificateError::BadEncoding),
            TlsError::NoCertificatesPresented,
        ] {
            let said = tls_words(&error);
            let wrapped = io::Error::other(io::Error::new(ErrorKind::InvalidData, error));
            assert_eq!(io_words(&wrapped), said);
            for mark in [
                "Invalid",
                "HandshakeFailure",
                "InternalError",
                "Unrecognised",
                "Tls12",
                "Duplicate",
                "UnknownIssuer",
                "BadEncoding",
            ] {
                assert!(!said.contains(mark), "{said}");
            }
        }
    }

    /// What our own check of a certificate says.
    #[test]
    fn a_refusal_of_our_own_is_told_in_its_words() {
        let refusal = OtherError(Arc::new(io::Error::other("it names no peer")));
        let error = TlsError::InvalidCertificate(CertificateError::Other(refusal));
        let said = io_words(&io::Error::other(error));
        assert_eq!(said, "its certificate is not accepted: it names no peer");
    }

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
