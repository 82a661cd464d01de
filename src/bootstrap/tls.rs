//! TLS as the door speaks it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio_rustls::TlsAcceptor;

use crate::pki::DoorIdentity;
use crate::pki::verify::SelfSignedClientVerifier;

/// The cryptography of both ends. The post-quantum hybrid comes first: what a bundle holds may
/// be worth recording today and reading in twenty years. Clients without it get the others.
pub fn tls_provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// TLS 1.3 alone, any client that holds the key of the certificate it shows, or shows none. No
/// session tickets: each connection proves anew who is there.
pub(super) fn acceptor(identity: &DoorIdentity) -> Result<TlsAcceptor, rustls::Error> {
    let provider = tls_provider();
    let verifier = Arc::new(SelfSignedClientVerifier::new(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key()?)));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
