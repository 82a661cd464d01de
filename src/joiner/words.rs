//! What errors of TLS and HTTP mean for whoever asks a door.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription as Alert, Error as TlsError};

use crate::net::{io_words, tls_in, tls_words};
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
        (None, Some(tls)) if is_for_good(tls) => JoinError::NotADoor {
            door,
            what: tls_words(tls),
        },
        (None, _) if error.kind() == io::ErrorKind::UnexpectedEof => unreachable(
            &door,
            "the other side closed the connection during the handshake",
        ),
        (None, _) => unreachable(&door, io_words(error)),
    }
}

/// What HTTP broke off for.
pub(super) fn http_words(error: &hyper::Error) -> String {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io_words(io);
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

/// What a door never does: asking again does not help.
const fn is_for_good(error: &TlsError) -> bool {
    match error {
        TlsError::InvalidMessage(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. }
        | TlsError::PeerSentOversizedRecord
        | TlsError::PeerIncompatible(_)
        | TlsError::NoApplicationProtocol
        | TlsError::NoCertificatesPresented
        | TlsError::InvalidCertificate(_)
        | TlsError::PeerMisbehaved(_) => true,
        TlsError::AlertReceived(alert) => matches!(
            alert,
            Alert::ProtocolVersion
                | Alert::HandshakeFailure
                | Alert::InsufficientSecurity
                | Alert::MissingExtension
                | Alert::NoApplicationProtocol
                | Alert::UnrecognisedName
        ),
        _ => false,
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
