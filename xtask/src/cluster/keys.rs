//! The cluster's own CA and keys. They are worth nothing beyond the cluster's life: the CA's key goes with its folder.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Names that clients use for the API server: loopback, the Service, the Service's address.
const SERVER_NAMES: [&str; 7] = [
    "127.0.0.1",
    "localhost",
    "198.19.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Where the keys and certificates lie.
pub struct Keys {
    pub folder: PathBuf,
    pub ca_certificate: PathBuf,
    pub ca_key: PathBuf,
    pub server_certificate: PathBuf,
    pub server_key: PathBuf,
    /// Signs the tokens of ServiceAccounts.
    pub accounts_key: PathBuf,
    pub accounts_public_key: PathBuf,
}

impl Keys {
    /// Makes all keys and writes them into `folder`: the CA, the API server's, the clients' `admin` and
    /// `kube-controller-manager`, and the one for ServiceAccount tokens.
    pub fn write(folder: &Path) -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = named("jointoken test cluster", None)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        write(&folder.join("ca.crt"), &ca.self_signed(&ca_key)?.pem())?;
        write(&folder.join("ca.key"), &ca_key.serialize_pem())?;
        let issuer = Issuer::new(ca, ca_key);

        let mut server = CertificateParams::new(SERVER_NAMES.map(String::from).to_vec())?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        issue(folder, "kube-apiserver", server, &issuer)?;
        for user in ["admin", "kube-controller-manager"] {
            // system:masters: may do everything, as a cluster's first administrator
            let mut client = named(user, Some("system:masters"))?;
            client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            issue(folder, user, client, &issuer)?;
        }

        let accounts = KeyPair::generate()?;
        write(&folder.join("accounts.key"), &accounts.serialize_pem())?;
        write(&folder.join("accounts.pub"), &accounts.public_key_pem())?;
        Ok(Keys {
            folder: folder.to_path_buf(),
            ca_certificate: folder.join("ca.crt"),
            ca_key: folder.join("ca.key"),
            server_certificate: folder.join("kube-apiserver.crt"),
            server_key: folder.join("kube-apiserver.key"),
            accounts_key: folder.join("accounts.key"),
            accounts_public_key: folder.join("accounts.pub"),
        })
    }
}

/// Kubernetes takes a client's name from CN and its groups from O.
fn named(name: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    Ok(params)
}

fn issue(
    folder: &Path,
    name: &str,
    mut params: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<()> {
    let key = KeyPair::generate()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    write(
        &folder.join(format!("{name}.crt")),
        &params.signed_by(&key, issuer)?.pem(),
    )?;
    write(&folder.join(format!("{name}.key")), &key.serialize_pem())
}

/// The folder is private already; the mode keeps keys private wherever they are copied to.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
