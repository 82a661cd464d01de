//! What is said to one door: the clock first, then the token, then thanks.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bootstrap::wire::{
    ACK_PATH, AckRequest, AckResponse, CA_PATH, Code, JOIN_PATH, JoinRequest, JoinResponse,
    SecretText,
};
use crate::clock::Clock;
use crate::pki::{TrustDomain, certificate_pem, is_signed_by, spki_sha256_of_cert};
use crate::token::{JoinerId, is_node_name};

use super::connection::{Answer, Connection, unreachable};
use super::{DoorAddress, JoinError};

/// Clocks that are further apart would have certificates that are not valid yet, or no more.
const MAX_APART_MS: u64 = 5 * 60 * 1000;
/// More certificates than this are in no chain, and of no CA's rotation.
const MAX_CERTIFICATES: usize = 16;

/// Connects and compares the clocks, by the `Date` of an answer to a question that holds nothing
/// secret. Only after this may the token be sent, on this very connection.
pub(super) async fn meet(
    door: &DoorAddress,
    tls: Arc<ClientConfig>,
    clock: &dyn Clock,
) -> Result<Connection, JoinError> {
    let mut connection = Connection::open(door, tls).await?;
    let answer = connection.request(Method::GET, CA_PATH, Vec::new()).await?;
    let Some(theirs_ms) = date_ms(&answer.headers) else {
        return Err(JoinError::BadAnswer {
            door: door.clone(),
            what: "it does not tell the time, so the token was not sent",
        });
    };
    let here_ms = clock.now_ms();
    if theirs_ms.abs_diff(here_ms) > MAX_APART_MS {
        return Err(JoinError::Clock {
            door: door.clone(),
            here_ms,
            theirs_ms,
        });
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
    checked(answer, ask.token_id, &ask.joiner).map_err(|what| JoinError::BadAnswer {
        door: connection.door().clone(),
        what,
    })
}

/// The answer, if it is one that a machine can use. What is kept and shown of it has been parsed:
/// names are names, and of PEM there are certificates alone.
fn checked(
    mut answer: JoinResponse,
    token_id: &str,
    joiner: &JoinerId,
) -> Result<JoinResponse, &'static str> {
    if answer.token_id != token_id {
        return Err("it speaks of another token");
    }
    let chain = certificates(&answer.certificate).ok_or("no certificate")?;
    if chain
        .first()
        .and_then(|leaf| spki_sha256_of_cert(leaf).ok())
        != Some(joiner.0)
    {
        return Err("the certificate is of another key");
    }
    let cas = certificates(&answer.ca).ok_or("no CA")?;
    if !is_signed_by(&chain, &cas) {
        return Err("the certificate is not of the CA that came with it");
    }
    if !is_node_name(&answer.node_name) {
        return Err("its node name is none");
    }
    if TrustDomain::parse(&answer.trust_domain).is_err() {
        return Err("its trust domain is none");
    }
    let not_after: Timestamp = answer.not_after.parse().map_err(|_| "its end is no time")?;
    answer.not_after = not_after.to_string();
    answer.certificate = pem_of(&chain);
    answer.ca = pem_of(&cas);
    Ok(answer)
}

/// All certificates in PEM, if there are any and not too many.
fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CERTIFICATES + 1)
        .collect();
    let all = found.ok()?;
    let readable = all.iter().all(|der| spki_sha256_of_cert(der).is_ok());
    (readable && (1..=MAX_CERTIFICATES).contains(&all.len())).then_some(all)
}

fn pem_of(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|der| certificate_pem(der))
        .collect()
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
    /// Whatever it is: a strange number here must not make a refusal of another kind.
    #[serde(default)]
    retry_after_seconds: Option<Value>,
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
            retry_after_seconds: said
                .retry_after_seconds
                .and_then(|seconds| seconds.as_u64())
                .or(header)
                .or(fallback),
        },
        None => JoinError::Refused {
            door: door.clone(),
            code: None,
            message: format!("HTTP status {}", answer.status),
            retry_after_seconds: header.or(fallback),
        },
    }
}

/// What a server says goes to a terminal: one line of bounded length, without characters that move
/// the cursor or turn the direction of what follows.
fn one_line(message: &str) -> String {
    let shown = message.chars().take(500);
    shown
        .map(|c| {
            if c.is_control() || is_format(c) {
                ' '
            } else {
                c
            }
        })
        .collect()
}

/// Unicode's characters that are not seen and change how others are.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
    use crate::pki::{
        Authority, CaRole, JoinerCsr, JoinerKey, MemberIdentity, NodeName, issue_member,
    };

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
    fn a_strange_wish_does_not_change_the_refusal() {
        for wish in ["-1", "1.5", "\"soon\"", "null", "{}"] {
            let body =
                format!(r#"{{"code":"token_used","message":"used","retry_after_seconds":{wish}}}"#);
            let said = refusal_of(410, Some("-7"), Box::leak(body.into_boxed_str()));
            assert_eq!(said.kind(), JoinFailure::Used, "{wish}");
            assert!(!said.is_temporary(), "{wish}");
        }
        let for_ever = format!(
            r#"{{"code":"no_leader","message":"x","retry_after_seconds":{}}}"#,
            u64::MAX
        );
        let said = refusal_of(503, None, Box::leak(for_ever.into_boxed_str()));
        assert_eq!(said.retry_after_seconds(), Some(u64::MAX));
    }

    /// An answer that the door would give, and the key that it is for.
    fn answer() -> (JoinResponse, JoinerId) {
        const NOW: u64 = 1_790_000_000_000;
        let domain = TrustDomain::parse("prod.example.com").unwrap();
        let ca = Authority::generate(CaRole::Members, &domain, NOW).unwrap();
        let key = JoinerKey::generate().unwrap();
        let token_id = "00".repeat(16);
        let node = NodeName::parse("db-1").unwrap();
        let identity = MemberIdentity::resource(&domain, "db", &node, &token_id, false).unwrap();
        let csr = JoinerCsr::parse(key.csr_pem().unwrap().as_bytes()).unwrap();
        let leaf = issue_member(&ca, &identity, &csr, NOW, 3_600_000).unwrap();
        let answer = JoinResponse {
            token_id,
            node_name: "db-1".to_owned(),
            certificate: certificate_pem(&leaf),
            ca: ca.cert_pem(),
            trust_domain: domain.to_string(),
            not_after: "2026-09-30T12:00:00Z".to_owned(),
            files: Default::default(),
        };
        (answer, JoinerId(key.public_key_sha256()))
    }

    #[test]
    fn a_good_answer_is_kept_as_it_is_and_what_is_no_certificate_left_out() {
        let (good, joiner) = answer();
        assert_eq!(
            checked(good.clone(), &good.token_id, &joiner),
            Ok(good.clone())
        );
        let key = JoinerKey::generate().unwrap().to_pem();
        let loud = JoinResponse {
            certificate: format!("Certificate:\n \u{1b}[2J\n{}{}", good.certificate, *key),
            ca: format!("{}{}", *key, good.ca),
            ..good.clone()
        };
        assert_eq!(checked(loud, &good.token_id, &joiner), Ok(good));
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_refused() {
        let (good, joiner) = answer();
        let other = answer().0;
        let of = |change: &dyn Fn(&mut JoinResponse)| {
            let mut bad = good.clone();
            change(&mut bad);
            checked(bad, &good.token_id, &joiner).unwrap_err()
        };
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(of(&|a| a.token_id.push('0')), "it speaks of another token");
        assert_eq!(of(&|a| a.certificate.clear()), "no certificate");
        assert_eq!(of(&|a| a.certificate.push_str(junk)), "no certificate");
        assert_eq!(
            of(&|a| a.certificate = good.certificate.repeat(MAX_CERTIFICATES + 1)),
            "no certificate"
        );
        assert_eq!(
            of(&|a| a.certificate.clone_from(&other.certificate)),
            "the certificate is of another key"
        );
        assert_eq!(of(&|a| a.ca = junk.to_owned()), "no CA");
        assert_eq!(
            of(&|a| a.ca.clone_from(&other.ca)),
            "the certificate is not of the CA that came with it"
        );
        for name in ["", "a\u{1b}[31m", "A", "a.b", "\u{202e}db"] {
            assert_eq!(
                of(&|a| a.node_name = name.to_owned()),
                "its node name is none"
            );
        }
        assert_eq!(
            of(&|a| a.trust_domain = "x\u{7}".to_owned()),
            "its trust domain is none"
        );
        assert_eq!(
            of(&|a| a.not_after = "\r later".to_owned()),
            "its end is no time"
        );
    }

    #[test]
    fn what_the_door_says_stays_in_its_line() {
        let said = refusal_of(
            410,
            None,
            r#"{"code":"token_used","message":"a\n\u001b[2Jb\u202ec\u2028d\u009b"}"#,
        );
        assert_eq!(said.to_string(), "https://door refused: a  [2Jb c d ");
    }
}
