//! What is said to one door: the clock first, then the token, then thanks.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::fmt::rfc2822::DateTimeParser;
use rustls::ClientConfig;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use crate::bootstrap::wire::{
    ACK_PATH, AckRequest, AckResponse, CA_PATH, Code, JOIN_PATH, JoinRequest, JoinResponse,
    SecretText,
};
use crate::clock::Clock;
use crate::pki::spki_sha256_of_cert;
use crate::token::JoinerId;

use super::connection::{Answer, Connection, unreachable};
use super::folder::leaf;
use super::{DoorAddress, JoinError};

/// Clocks that are further apart would have certificates that are not valid yet, or no more.
const MAX_APART_MS: u64 = 5 * 60 * 1000;

/// Connects and compares the clocks, by the `Date` of an answer to a question that holds nothing
/// secret. Only after this may the token be sent, on this very connection.
pub(super) async fn meet(
    door: &DoorAddress,
    tls: Arc<ClientConfig>,
    clock: &dyn Clock,
) -> Result<Connection, JoinError> {
    let mut connection = Connection::open(door, tls).await?;
    let answer = connection.request(Method::GET, CA_PATH, Vec::new()).await?;
    if let Some(theirs_ms) = date_ms(&answer.headers) {
        let apart_ms = theirs_ms.abs_diff(clock.now_ms());
        if apart_ms > MAX_APART_MS {
            return Err(JoinError::Clock {
                door: door.clone(),
                apart_ms,
            });
        }
    }
    if !connection.is_open() {
        return Err(unreachable(door, "it closed the connection"));
    }
    Ok(connection)
}

/// What is asked, and what the answer must fit.
pub(super) struct Ask<'a> {
    pub(super) token: SecretText,
    pub(super) token_id: &'a str,
    pub(super) csr: String,
    pub(super) joiner: JoinerId,
}

/// Asks to be admitted.
pub(super) async fn ask(
    connection: &mut Connection,
    ask: Ask<'_>,
) -> Result<JoinResponse, JoinError> {
    let request = JoinRequest {
        token: ask.token,
        csr: ask.csr,
    };
    let answer: JoinResponse = post(connection, JOIN_PATH, &request).await?;
    let bad = |what| JoinError::BadAnswer {
        door: connection.door().clone(),
        what,
    };
    if answer.token_id != ask.token_id {
        return Err(bad("it speaks of another token"));
    }
    let certificate = leaf(&answer.certificate).ok_or_else(|| bad("no certificate"))?;
    if spki_sha256_of_cert(&certificate) != Ok(ask.joiner.0) {
        return Err(bad("the certificate is of another key"));
    }
    if leaf(&answer.ca).is_none() {
        return Err(bad("no CA"));
    }
    Ok(answer)
}

/// Says that the answer is safe.
pub(super) async fn acknowledge(
    connection: &mut Connection,
    token_id: &str,
) -> Result<(), JoinError> {
    let request = AckRequest {
        token_id: token_id.to_owned(),
    };
    let _: AckResponse = post(connection, ACK_PATH, &request).await?;
    Ok(())
}

async fn post<T: DeserializeOwned>(
    connection: &mut Connection,
    path: &str,
    request: &impl Serialize,
) -> Result<T, JoinError> {
    let bad = |door: &DoorAddress, what| JoinError::BadAnswer {
        door: door.clone(),
        what,
    };
    let body = serde_json::to_vec(request)
        .map_err(|_| bad(connection.door(), "the request cannot be written"))?;
    let answer = connection.request(Method::POST, path, body).await?;
    if answer.status.is_success() {
        serde_json::from_slice(&answer.body)
            .map_err(|_| bad(connection.door(), "not the JSON expected"))
    } else {
        Err(refusal(connection.door(), &answer))
    }
}

/// A refusal as any version of the door may word it: codes that are not known here are no error.
#[derive(Deserialize)]
struct AnyRefusal {
    code: String,
    message: String,
    #[serde(default)]
    retry_after_seconds: Option<u64>,
}

fn refusal(door: &DoorAddress, answer: &Answer) -> JoinError {
    let said: Option<AnyRefusal> = serde_json::from_slice(&answer.body).ok();
    let header = answer.headers.get(RETRY_AFTER);
    let header = header.and_then(|value| value.to_str().ok()?.parse().ok());
    // A server in trouble may be well again; who else is to say so without a body.
    let fallback = answer.status.is_server_error().then_some(1);
    match said {
        Some(said) => JoinError::Refused {
            door: door.clone(),
            code: known(&said.code),
            message: one_line(&said.message),
            retry_after_seconds: said.retry_after_seconds.or(header).or(fallback),
        },
        None => JoinError::Refused {
            door: door.clone(),
            code: None,
            message: format!("HTTP status {}", answer.status),
            retry_after_seconds: header.or(fallback),
        },
    }
}

/// What a server says goes to a terminal: one line of bounded length, without control characters.
fn one_line(message: &str) -> String {
    let shown = message.chars().take(500);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn known(code: &str) -> Option<Code> {
    let text: StrDeserializer<'_, ValueError> = code.into_deserializer();
    Code::deserialize(text).ok()
}

fn date_ms(headers: &HeaderMap) -> Option<u64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let time = DateTimeParser::new().parse_timestamp(date).ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::body::Bytes;

    use super::*;
    use crate::joiner::JoinFailure;

    fn refusal_of(status: u16, retry_after: Option<&str>, body: &'static str) -> JoinError {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.parse().unwrap());
        }
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from(body),
        };
        refusal(&"https://door".parse().unwrap(), &answer)
    }

    #[test]
    fn refusals_of_other_versions_and_of_strangers_are_understood() {
        let known = refusal_of(410, None, r#"{"code":"token_used","message":"used"}"#);
        assert_eq!(known.kind(), JoinFailure::Used);
        assert!(!known.is_temporary());
        assert_eq!(known.to_string(), "https://door refused: used");

        let later = r#"{"code":"moon_phase","message":"no","retry_after_seconds":9}"#;
        let later = refusal_of(418, None, later);
        assert_eq!(later.kind(), JoinFailure::TryAgain);
        assert_eq!(later.retry_after_seconds(), Some(9));

        let never = refusal_of(418, None, r#"{"code":"moon_phase","message":"no"}"#);
        assert_eq!(never.kind(), JoinFailure::Refused);
        assert!(!never.is_temporary());

        let gateway = refusal_of(502, None, "<html>");
        assert_eq!(gateway.retry_after_seconds(), Some(1));
        let busy = refusal_of(429, Some("7"), "");
        assert_eq!(busy.retry_after_seconds(), Some(7));
    }

    #[test]
    fn what_the_door_says_stays_in_its_line() {
        let said = refusal_of(
            410,
            None,
            r#"{"code":"token_used","message":"a\n\u001b[2Jb"}"#,
        );
        assert_eq!(said.to_string(), "https://door refused: a  [2Jb");
    }
}
