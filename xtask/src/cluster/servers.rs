//! The servers' command lines; each flag with its reason.

use std::path::{Path, PathBuf};

use super::keys::Keys;

/// The Services' addresses. Nothing routes them (there are no nodes); the API server wants a range and gives itself the first.
const SERVICE_RANGE: &str = "198.19.0.0/16";

/// Where etcd listens: a socket in the private folder. So it needs no port and no password, and no other user of the
/// machine can write into the cluster behind the API server's back.
pub fn etcd_socket(folder: &Path) -> PathBuf {
    folder.join("etcd.sock")
}

pub fn etcd(folder: &Path) -> Vec<String> {
    let client = format!("unix://{}", etcd_socket(folder).display());
    vec![
        flag("data-dir", folder.join("etcd").display()),
        flag("listen-client-urls", client),
        // for peers a socket's name is host and port, taken below the working directory
        flag("listen-peer-urls", "unix://etcd-peer.sock:0"),
        // What it tells others in the member list. A unix address is not accepted here, and nobody reads it: there
        // is one member, and its only client is told the socket.
        flag("advertise-client-urls", "http://localhost:1"),
        flag("initial-advertise-peer-urls", "http://localhost:2"),
        flag("initial-cluster", "default=http://localhost:2"),
        // nothing is to survive a power cut, and waiting for the disk is most of the time of a write
        "--unsafe-no-fsync".into(),
        flag("log-level", "warn"),
    ]
}

pub fn api_server(folder: &Path, keys: &Keys, port: u16) -> Vec<String> {
    vec![
        flag(
            "etcd-servers",
            format!("unix://{}", etcd_socket(folder).display()),
        ),
        flag("bind-address", "127.0.0.1"),
        // without it the server looks for an address of a network card, which a machine without network lacks
        flag("advertise-address", "127.0.0.1"),
        // endpoints on loopback are not valid, and without nodes nothing would use those of the `kubernetes` Service
        flag("endpoint-reconciler-type", "none"),
        flag("secure-port", port),
        // the port is held for it by us, see `ReservedPort`
        "--permit-port-sharing".into(),
        // else it makes a self-signed certificate, in /var/run/kubernetes
        flag("tls-cert-file", keys.server_certificate.display()),
        flag("tls-private-key-file", keys.server_key.display()),
        // people and components show client certificates; their organisation is their group
        flag("client-ca-file", keys.ca_certificate.display()),
        // the default is AlwaysAllow: rights that the product lacks would go unseen
        flag("authorization-mode", "RBAC"),
        flag("service-cluster-ip-range", SERVICE_RANGE),
        // tokens of ServiceAccounts (`kubectl create token`): the server signs and checks them
        flag(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        ),
        flag(
            "service-account-signing-key-file",
            keys.accounts_key.display(),
        ),
        flag(
            "service-account-key-file",
            keys.accounts_public_key.display(),
        ),
        // manifests with privileged containers are judged by Pod Security, not refused by the server
        flag("allow-privileged", true),
    ]
}

pub fn controller_manager(keys: &Keys, kubeconfig: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        // one instance: an election would only cost time
        flag("leader-elect", false),
        // no port: nobody asks for its metrics, and by default it listens on every address
        flag("secure-port", 0),
        // the CA that it publishes in each namespace (kube-root-ca.crt)
        flag("root-ca-file", keys.ca_certificate.display()),
        flag(
            "service-account-private-key-file",
            keys.accounts_key.display(),
        ),
        // CertificateSigningRequests that are approved get signed
        flag("cluster-signing-cert-file", keys.ca_certificate.display()),
        flag("cluster-signing-key-file", keys.ca_key.display()),
        // With the default of 20 a second the controllers need some 4 s to start. `--use-service-account-credentials`
        // is left out for the same reason; the certificate is of the group system:masters instead.
        flag("kube-api-qps", 200),
        flag("kube-api-burst", 400),
        // the default is made by it below /usr/libexec, where it may not even write
        flag(
            "flex-volume-plugin-dir",
            keys.folder.join("volume-plugins").display(),
        ),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
