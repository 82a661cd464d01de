//! Whether the API server of a kubeconfig is asked through a proxy.
//!
//! kube holds `NO_PROXY` against the proxy's own name instead of the API server's, so it is decided here.

use hyper::Uri;

use crate::net::NoProxy;

/// Where an API server is when its URL does not say the port.
const HTTPS_PORT: u16 = 443;

/// What the environment says of proxies.
#[derive(Debug, Default)]
pub struct ProxyEnvironment {
    https_proxy: Option<String>,
    no_proxy: Option<String>,
}

impl ProxyEnvironment {
    /// As kubectl reads it, which looks for the names in capitals first.
    pub fn read() -> Self {
        let first = |names: [&str; 2]| {
            let mut values = names
                .into_iter()
                .filter_map(|name| std::env::var(name).ok());
            values.find(|value| !value.is_empty())
        };
        Self {
            https_proxy: first(["HTTPS_PROXY", "https_proxy"]),
            no_proxy: first(["NO_PROXY", "no_proxy"]),
        }
    }

    /// The proxy for this API server. What the kubeconfig names counts whatever the environment says.
    ///
    /// # Errors
    /// One line: the proxy's URL is none.
    pub fn proxy_for(&self, api: &Uri, of_kubeconfig: Option<&str>) -> Result<Option<Uri>, String> {
        if let Some(url) = of_kubeconfig.filter(|url| !url.is_empty()) {
            return parse(url, "proxy-url in the kubeconfig").map(Some);
        }
        let Some(url) = &self.https_proxy else {
            return Ok(None);
        };
        let proxy = parse(url, "HTTPS_PROXY")?;
        let without = NoProxy::of(self.no_proxy.as_deref().unwrap_or_default());
        let host = api.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = api.port_u16().unwrap_or(HTTPS_PORT);
        Ok((!without.covers(host, port)).then_some(proxy))
    }
}

/// The URL is not repeated: it may hold a password.
fn parse(url: &str, place: &str) -> Result<Uri, String> {
    let with_scheme = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    let parsed: Option<Uri> = with_scheme.parse().ok();
    let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https" | "socks5"));
    parsed.filter(known).ok_or_else(|| {
        format!("{place} is not the URL of a proxy: write http://, https:// or socks5://, a host and a port")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(https_proxy: &str, no_proxy: &str, api: &str, of_kubeconfig: Option<&str>) -> String {
        let environment = ProxyEnvironment {
            https_proxy: Some(https_proxy.to_owned()).filter(|url| !url.is_empty()),
            no_proxy: Some(no_proxy.to_owned()).filter(|list| !list.is_empty()),
        };
        match environment.proxy_for(&api.parse().unwrap(), of_kubeconfig) {
            Ok(proxy) => proxy.map_or_else(|| "none".to_owned(), |uri| uri.to_string()),
            Err(error) => error,
        }
    }

    #[test]
    fn no_proxy_is_about_the_api_server_and_not_about_the_proxy() {
        let url = "http://proxy.corp.example:3128";
        for (no_proxy, api, goes_through) in [
            ("", "https://k8s.example:6443", true),
            ("proxy.corp.example", "https://k8s.example:6443", true),
            (".corp.example", "https://k8s.example:6443", true),
            ("k8s.example", "https://k8s.example:6443", false),
            (".example", "https://k8s.example:6443", false),
            ("127.0.0.1", "https://127.0.0.1:6443", false),
            ("10.0.0.0/8", "https://10.1.2.3:6443", false),
            ("fd00::/8", "https://[fd00::1]:6443", false),
            ("10.0.0.0/8 k8s.example", "https://k8s.example", false),
            ("k8s.example:443", "https://k8s.example", false),
            ("k8s.example:443", "https://k8s.example:6443", true),
            ("", "https://127.0.0.1:6443", true),
            ("*", "https://k8s.example:6443", false),
            ("*", "https://10.1.2.3:6443", false),
        ] {
            let found = proxy(url, no_proxy, api, None);
            let expected = if goes_through {
                "http://proxy.corp.example:3128/"
            } else {
                "none"
            };
            assert_eq!(found, expected, "{no_proxy} {api}");
        }
    }

    #[test]
    fn the_kubeconfigs_own_proxy_counts_first() {
        let api = "https://k8s.example:6443";
        let found = proxy("http://other:1", "*", api, Some("socks5://there:1080"));
        assert_eq!(found, "socks5://there:1080/");
        assert_eq!(proxy("", "", api, None), "none");
        assert_eq!(proxy("proxy:3128", "", api, None), "http://proxy:3128/");
        for odd in ["ftp://proxy:1", "http://", "a b"] {
            let said = proxy(odd, "", api, None);
            assert!(said.starts_with("HTTPS_PROXY is not"), "{odd}: {said}");
        }
    }
}
