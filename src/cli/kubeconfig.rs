//! Which kubeconfig counts, and what is wrong with it. Nothing of its contents but names is shown: there are credentials in it.

use std::path::Path;

use hyper::Uri;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError, NamedCluster};

use super::exit::Failure;
use crate::founding::whole;
use crate::net::file_words;

/// A kubeconfig, and what messages call it.
pub struct Found {
    pub file: Kubeconfig,
    pub name: String,
}

impl Found {
    /// That of the flag, of KUBECONFIG, or of the home folder. `None`: there is none.
    ///
    /// # Errors
    /// One line: there is one, and it cannot be used.
    pub fn read(given: Option<&Path>) -> Result<Option<Self>, Failure> {
        let home = std::env::home_dir().map(|home| home.join(".kube/config"));
        let variable = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
        let (name, file) = match (given, variable, home.filter(|path| path.exists())) {
            (Some(path), _, _) => (named(path), Kubeconfig::read_from(path)),
            (None, Some(value), _) => {
                let name = format!("{} (KUBECONFIG)", named(Path::new(&value)));
                (name, Kubeconfig::read())
            }
            (None, None, Some(path)) => (named(&path), Kubeconfig::read_from(path)),
            (None, None, None) => return Ok(None),
        };
        match file {
            Ok(file) => Ok(Some(Self { file, name })),
            Err(error) => Err(Failure::usage(unusable(&name, &error))),
        }
    }

    /// How its current context reaches the API server.
    ///
    /// # Errors
    /// One line: it does not say.
    pub async fn config(&self) -> Result<Config, Failure> {
        self.check_server()?;
        let current = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(self.file.clone(), &current).await;
        config.map_err(|error| Failure::usage(unusable(&self.name, &error)))
    }

    /// Whether its current cluster's server is a URL: kube takes anything, and panics when it is asked for the first time.
    fn check_server(&self) -> Result<(), Failure> {
        let server = self.cluster().and_then(|named| {
            let cluster = named.cluster.as_ref()?;
            Some((&named.name, cluster.server.as_deref()?))
        });
        let Some((cluster, server)) = server else {
            return Ok(());
        };
        let url = server.parse::<Uri>().ok().filter(|url| {
            let host = url.host().unwrap_or_default();
            matches!(url.scheme_str(), Some("http" | "https")) && !host.is_empty()
        });
        if url.is_some() {
            return Ok(());
        }
        // There may be a password before it.
        let shown = server.rsplit('@').next().unwrap_or_default();
        Err(Failure::usage(format_args!(
            "{} does not say where the API server of its current context is: `server` of its cluster {cluster:?} is {shown:?}, and has to be a URL such as https://HOST:6443",
            self.name
        )))
    }

    /// The proxy that the current context names.
    pub fn proxy_url(&self) -> Option<&str> {
        self.cluster()?.cluster.as_ref()?.proxy_url.as_deref()
    }

    /// The program that gives the credentials of the current context.
    pub fn plugin(&self) -> Option<&str> {
        let user = self.context()?.user.as_ref()?;
        let mut users = self.file.auth_infos.iter();
        let named = users.find(|named| named.name == *user)?;
        named.auth_info.as_ref()?.exec.as_ref()?.command.as_deref()
    }

    fn cluster(&self) -> Option<&NamedCluster> {
        let context = self.context()?;
        let mut clusters = self.file.clusters.iter();
        clusters.find(|named| named.name == context.cluster)
    }

    fn context(&self) -> Option<&kube::config::Context> {
        let current = self.file.current_context.as_ref()?;
        let mut contexts = self.file.contexts.iter();
        let named = contexts.find(|context| context.name == *current)?;
        named.context.as_ref()
    }
}

fn named(path: &Path) -> String {
    format!("the kubeconfig {}", path.display())
}

/// Why it cannot be used, and what to do.
fn unusable(name: &str, error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(..) | KubeconfigError::Parse(_) => unreadable(name, error),
        KubeconfigError::CurrentContextNotSet => format!(
            "{name} does not say which context is the current one: choose one with `kubectl config use-context NAME`"
        ),
        KubeconfigError::LoadContext(context) => format!(
            "{name} has no context {context:?}, which it says is the current one: `kubectl config get-contexts` lists those that it has, choose one with `kubectl config use-context NAME`"
        ),
        KubeconfigError::LoadClusterOfContext(cluster) => format!(
            "{name} has no cluster {cluster:?}, which its current context names: add it with `kubectl config set-cluster {cluster} --server=URL`, or choose another context with `kubectl config use-context NAME`"
        ),
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => format!(
            "{name} does not say where the API server of its current context is: set `server` of that cluster to a URL such as https://HOST:6443"
        ),
        KubeconfigError::ParseProxyUrl(_) => format!(
            "{name} cannot be used: its proxy-url, or else HTTPS_PROXY, is not the URL of a proxy: write http://, https:// or socks5://, a host and a port"
        ),
        KubeconfigError::ParseNoProxy(error) => {
            format!("{name} cannot be used: NO_PROXY is not a list of hosts and networks: {error}")
        }
        KubeconfigError::LoadCertificateAuthority(error) => {
            unusable_part(name, "certificate-authority", error)
        }
        KubeconfigError::LoadClientCertificate(error) => {
            unusable_part(name, "client-certificate", error)
        }
        KubeconfigError::LoadClientKey(error) => unusable_part(name, "client-key", error),
        KubeconfigError::ParseCertificates(_) => format!(
            "{name} cannot be used: the certificate-authority of its cluster is not in PEM: get the kubeconfig anew, or mend that entry"
        ),
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => format!(
            "{name} cannot be used: its files are of different kinds or versions: name one kubeconfig alone, with --kubeconfig"
        ),
        error => format!(
            "{name} cannot be used: get it anew, or give another with --kubeconfig ({})",
            whole(error)
        ),
    }
}

/// Why a file of it cannot be read.
fn unreadable(name: &str, error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path)
            if error.kind() == std::io::ErrorKind::NotFound =>
        {
            let path = path.display();
            format!(
                "{name} cannot be read: there is no file {path}. Give the path of one that exists, with --kubeconfig or in KUBECONFIG"
            )
        }
        KubeconfigError::ReadConfig(error, path) => format!(
            "{name} cannot be read: {} ({}). Make it a file that the user who runs this may read",
            file_words(error),
            path.display()
        ),
        KubeconfigError::Parse(error) => {
            // The library quotes the file.
            let place = match error.location() {
                Some(at) => format!(" at line {}, column {}", at.line(), at.column()),
                None => String::new(),
            };
            format!(
                "{name} is not valid{place}: it is not YAML or not a kubeconfig. `kubectl config view` with it shows what kubectl makes of it"
            )
        }
        error => whole(error),
    }
}

/// A certificate or a key that is named or contained in it.
fn unusable_part(name: &str, part: &str, error: &LoadDataError) -> String {
    let why = match error {
        LoadDataError::ReadFile(error, path) => {
            format!(
                "the file {} cannot be read: {}",
                path.display(),
                file_words(error)
            )
        }
        LoadDataError::DecodeBase64(_) => format!("{part}-data is not base64"),
        LoadDataError::NoBase64DataOrFile => "it is empty".to_owned(),
    };
    format!(
        "{name} cannot be used, because of the {part} of its current context: {why}. Get the kubeconfig anew, or mend that entry"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "the kubeconfig /k";

    async fn said(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        std::fs::write(&path, text).unwrap();
        let config = match Found::read(Some(&path)) {
            Ok(found) => found.unwrap().config().await,
            Err(failure) => Err(failure),
        };
        let said = config.unwrap_err().message;
        said.replace(&path.display().to_string(), "/k")
    }

    const WHOLE: &str = r#"{"current-context": "it", "users": [{"name": "it", "user": {}}],
        "clusters": [{"name": "it", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}"#;

    #[tokio::test]
    async fn what_is_wrong_with_it_is_said_with_what_to_do() {
        for (from, to, says) in [
            (
                r#""current-context": "it""#,
                r#""x": "y""#,
                ["does not say which context", "use-context"],
            ),
            (
                r#"text": "it""#,
                r#"text": "gone""#,
                ["no context \"gone\"", "get-contexts"],
            ),
            (
                r#""cluster": "it""#,
                r#""cluster": "gone""#,
                ["no cluster \"gone\"", "set-cluster"],
            ),
            (
                "https://127.0.0.1:1",
                "",
                [
                    "where the API server",
                    "`server` of its cluster \"it\" is \"\",",
                ],
            ),
            (
                "https://127.0.0.1:1",
                "127.0.0.1:6443",
                [
                    "cluster \"it\" is \"127.0.0.1:6443\"",
                    "such as https://HOST:6443",
                ],
            ),
            (
                "https://127.0.0.1:1",
                "us:pw@notaurl",
                ["is \"notaurl\"", "https://HOST:6443"],
            ),
            (
                "https://127.0.0.1:1",
                "ftp://there",
                ["is \"ftp://there\"", "https://HOST:6443"],
            ),
            (
                r#""server":"#,
                r#""certificate-authority": "/nowhere/ca", "server":"#,
                [
                    "certificate-authority",
                    "/nowhere/ca cannot be read: No such file or directory",
                ],
            ),
            (
                r#""server":"#,
                r#""certificate-authority-data": "-", "server":"#,
                [
                    "certificate-authority-data is not base64",
                    "mend that entry",
                ],
            ),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let said = said(&WHOLE.replace(from, to)).await;
            assert!(said.starts_with(NAME), "{said}");
            for part in says {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_does_not_parse_is_not_quoted() {
        for spoiled in [
            "users:\n- name: it\n  user:\n    token: s3cret-token\n   x: y\n",
            "users:\n- name: it\n  user: s3cret-token\n",
        ] {
            let said = said(spoiled).await;
            assert!(said.contains("/k is not valid at line"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let Err(failure) = Found::read(Some(Path::new("/nowhere/config"))) else {
            panic!("it was read");
        };
        for says in [
            "the kubeconfig /nowhere/config cannot be read",
            "there is no file",
            "--kubeconfig",
        ] {
            assert!(failure.message.contains(says), "{}", failure.message);
        }
    }
}
