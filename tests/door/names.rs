//! What names `/join` can give: never the door's, never another namespace's.

use jointoken::pki::verify::DoorVerifier;
use jointoken::pki::{JoinerKey, door_uri};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::caller::{Caller, ask, new_key};
use crate::world::{Resource, World, domain};

/// Every name in a certificate: common names, DNS names, URIs, anything else.
pub fn names(pem: &str) -> Vec<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<String> = common
        .map(|name| format!("cn {}", name.as_str().unwrap()))
        .collect();
    let alternative = certificate.subject_alternative_name().unwrap().unwrap();
    names.extend(
        alternative
            .value
            .general_names
            .iter()
            .map(|name| match name {
                GeneralName::DNSName(name) => format!("dns {name}"),
                GeneralName::URI(uri) => format!("uri {uri}"),
                other => format!("{other:?}"),
            }),
    );
    names
}

#[tokio::test]
async fn of_a_csr_that_asks_for_everything_nothing_but_the_key_counts() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let pair = KeyPair::generate().unwrap();
    let key = JoinerKey::from_pem(&pair.serialize_pem()).unwrap();
    let mut greedy = CertificateParams::new(vec![
        "db-1.kube-system.prod.example.com".to_owned(),
        "jointoken-0".to_owned(),
        "*".to_owned(),
    ])
    .unwrap();
    greedy
        .distinguished_name
        .push(DnType::CommonName, "jointoken door");
    for uri in [
        door_uri(&domain()),
        "jointoken://prod.example.com/ns/kube-system/node/db-1".to_owned(),
        "jointoken://prod.example.com/ca/door".to_owned(),
    ] {
        greedy
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
    }
    let csr = greedy.serialize_request(&pair).unwrap().pem().unwrap();
    let mut caller = Caller::connect(&world, Some(&key)).await;
    let body = json!({ "token": token.text.expose(), "csr": csr });
    let answer = caller.post("/v1/join", &body).await.admission();
    assert_eq!(
        names(&answer.certificate),
        [
            "cn db-1.default.prod.example.com".to_owned(),
            "dns db-1.default.prod.example.com".to_owned(),
            "uri jointoken://prod.example.com/ns/default/node/db-1".to_owned(),
            format!("uri jointoken://prod.example.com/admission/{}", token.id),
        ]
    );
    let der = CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert!(!certificate.is_ca());
}

#[tokio::test]
async fn a_machine_called_door_in_a_namespace_called_door_is_not_the_door() {
    let world = World::open().await;
    let token = world
        .token(Resource {
            namespace: "door",
            name: "door",
            ..Resource::default()
        })
        .await;
    let answer = ask(&world, &token, &new_key()).await.admission();
    let uri = format!("uri {}", door_uri(&domain()));
    assert!(!names(&answer.certificate).contains(&uri));
    let leaf = CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap();
    let ca = CertificateDer::from_pem_slice(answer.ca.as_bytes()).unwrap();
    let provider = jointoken::bootstrap::tls_provider();
    for pin in [world.door_ca.spki_pin(), world.members.spki_pin()] {
        let verifier = DoorVerifier::new(pin, None, &provider);
        let door_ca = world.door_ca.cert_der().to_vec().into();
        let chain = [ca.clone(), door_ca];
        assert!(verifier.check(&leaf, &chain, crate::world::START).is_err());
    }
}

#[tokio::test]
async fn bare_names_are_for_listed_namespaces_and_their_pattern() {
    let world = World::open().await;
    let make = |namespace, name| {
        world.token(Resource {
            namespace,
            name,
            ..Resource::default()
        })
    };
    let bare = "dns db-9".to_owned();
    let listed = make("infra", "db-9").await;
    let answer = ask(&world, &listed, &new_key()).await.admission();
    assert!(names(&answer.certificate).contains(&bare));

    let unlisted = make("default", "db-9").await;
    let answer = ask(&world, &unlisted, &new_key()).await.admission();
    assert!(!names(&answer.certificate).contains(&bare));

    let outside = make("infra", "etcd").await;
    let said = ask(&world, &outside, &new_key()).await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (403, "node_name_not_allowed")
    );
    assert_eq!(world.record(&outside).attempts, 0);
}
