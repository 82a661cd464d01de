//! Errors of the libraries for TLS and HTTP, in words that say what to look at.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription as Alert, Error as TlsError};

use crate::net::io_words;
use crate::pki::verify::door_refusal;

use super::connection::unreachable;
use super::{DoorAddress, JoinError};

/// Why a handshake did not come off, and whether it is of any use to try again.
pub(super) fn handshake_error(door: &DoorAddress, error: &io::Error) -> JoinError {
    let door = door.clone();
    match (door_refusal(error), tls_in(error)) {
        (Some(refusal), _) if refusal.is_dates_only() => JoinError::Dates {
            door,
            refusal: refusal.clone(),
        },
        (Some(refusal), _) => JoinError::Untrusted {
            door,
            refusal: refusal.clone(),
        },
        (None, Some(tls)) => match never(tls) {
            Some(what) => JoinError::NotADoor { door, what },
            None => unreachable(&door, tls_words(tls)),
        },
        (None, None) if error.kind() == io::ErrorKind::UnexpectedEof => unreachable(
            &door,
            "the other side closed the connection during the handshake",
        ),
        (None, None) => unreachable(&door, io_words(error)),
    }
}

/// What HTTP broke off for.
pub(super) fn http_words(error: &hyper::Error) -> String {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return match tls_in(io) {
                Some(tls) => tls_words(tls),
                None => io_words(io),
            };
        }
        source = inner.source();
    }
    let words = if error.is_parse() || error.is_parse_status() {
        "it does not answer in HTTP/1.1"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "the other side closed the connection before it answered"
    };
    words.to_owned()
}

/// What the body of an answer broke off for.
pub(super) fn body_words(error: &(dyn StdError + 'static)) -> String {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) => http_words(error),
        None => "its answer is longer than any of a door".to_owned(),
    }
}

fn tls_in(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// What a door never does: asking again does not help.
fn never(error: &TlsError) -> Option<&'static str> {
    Some(match error {
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
        ) => "what answers there does not speak TLS 1.3 as a door does",
        TlsError::AlertReceived(Alert::UnrecognisedName) => {
            "what answers there routes by host name, and does not know this one"
        }
        TlsError::NoCertificatesPresented | TlsError::InvalidCertificate(_) => {
            "what answers there shows no certificate that can be verified"
        }
        TlsError::PeerMisbehaved(_) => "what answers there breaks the rules of TLS",
        _ => return None,
    })
}

/// Texts of rustls have names of its types in them where it speaks of what the peer did.
fn tls_words(error: &TlsError) -> String {
    match (never(error), error) {
        (Some(words), _) => words.to_owned(),
        (None, TlsError::AlertReceived(_)) => {
            "the other side broke TLS off; if it goes on, something in between ends TLS, which has to reach the door unbroken".to_owned()
        }
        (None, error) => format!("TLS failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{InvalidMessage, PeerIncompatible, PeerMisbehaved};

    use super::*;
    use crate::joiner::JoinFailure;

    #[test]
    fn no_error_of_tls_shows_a_type() {
        let door: DoorAddress = "https://door".parse().unwrap();
        for (error, kind) in [
            (
                TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
                JoinFailure::DoorNotTrusted,
            ),
            (
                TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
                JoinFailure::DoorNotTrusted,
            ),
            (
                TlsError::PeerMisbehaved(PeerMisbehaved::DuplicateClientHelloExtensions),
                JoinFailure::DoorNotTrusted,
            ),
            (
                TlsError::AlertReceived(Alert::HandshakeFailure),
                JoinFailure::DoorNotTrusted,
            ),
            (
                TlsError::AlertReceived(Alert::InternalError),
                JoinFailure::TryAgain,
            ),
            (TlsError::DecryptError, JoinFailure::TryAgain),
        ] {
            let io = io::Error::new(io::ErrorKind::InvalidData, error);
            let said = handshake_error(&door, &io);
            assert_eq!(said.kind(), kind, "{said}");
            let text = said.to_string();
            for mark in [
                "Invalid",
                "HandshakeFailure",
                "InternalError",
                "Tls12",
                "Duplicate",
            ] {
                assert!(!text.contains(mark), "{text}");
            }
        }
    }
}
