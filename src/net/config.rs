//! What the client is told. The library reads no environment: a caller passes it in.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything about the network that may differ between machines. None of it changes a byte of a build.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Files with root certificates that the user named, in the order in which they are looked for:
    /// (what named it, path). Those that do not exist are passed over with a note.
    pub certificates: Vec<(String, PathBuf)>,
    /// Proxies.
    pub proxies: Proxies,
    /// Logins per host.
    pub netrc: Option<PathBuf>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes.
    pub read_timeout: Duration,
    /// How often a request is tried again.
    pub retries: u32,
    /// The first pause before another try; it doubles each time.
    pub retry_pause: Duration,
    /// The longest pause that a server may ask for (`Retry-After`).
    pub longest_pause: Duration,
    /// How many redirects are followed.
    pub redirects: usize,
    /// Requests to one HTTP/2 server at once. HTTP/1.1 servers get at most eight connections.
    pub parallel: usize,
    /// Size limit in bytes of downloads whose size nobody knows.
    pub largest_file: u64,
}

/// Proxy addresses by the scheme of the request, and the hosts that are reached without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` addresses.
    pub http: Option<String>,
    /// For `https` addresses.
    pub https: Option<String>,
    /// For both, where the above are not set.
    pub all: Option<String>,
    /// Comma-separated host names, suffixes, addresses and networks.
    pub none: Option<String>,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            proxies: Proxies::default(),
            netrc: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_mins(1),
            retries: 4,
            retry_pause: Duration::from_millis(300),
            longest_pause: Duration::from_mins(1),
            redirects: 10,
            parallel: 32,
            largest_file: 4 << 30,
        }
    }
}

impl NetConfig {
    /// Maps the usual environment variables: `NIX_SSL_CERT_FILE`, `SSL_CERT_FILE`; `HTTP_PROXY`, `HTTPS_PROXY`,
    /// `ALL_PROXY`, `NO_PROXY` (either case; the lower one first, as curl does); `NETRC` (else `~/.netrc`);
    /// `UV_HTTP_TIMEOUT`, `PIP_DEFAULT_TIMEOUT` (seconds).
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| set(&name.to_lowercase()).or_else(|| set(name));
        let certificates = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), PathBuf::from(set(name)?))))
            .collect();
        let netrc = set("NETRC").map(PathBuf::from).or_else(|| {
            let usual = home?.join(".netrc");
            usual.is_file().then_some(usual)
        });
        let defaults = Self::default();
        let seconds = |name: &str| set(name)?.trim().parse::<f64>().ok().filter(|seconds| *seconds >= 1.0);
        let read_timeout = seconds("UV_HTTP_TIMEOUT")
            .or_else(|| seconds("PIP_DEFAULT_TIMEOUT"))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(defaults.read_timeout);
        Self {
            certificates,
            proxies: Proxies {
                http: either("HTTP_PROXY"),
                https: either("HTTPS_PROXY"),
                all: either("ALL_PROXY"),
                none: either("NO_PROXY"),
            },
            netrc,
            read_timeout,
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> NetConfig {
        let env = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        NetConfig::from_env(&env, None)
    }

    #[test]
    fn takes_certificates_in_order() {
        let config = from(&[("SSL_CERT_FILE", "/b"), ("NIX_SSL_CERT_FILE", "/a")]);
        let paths: Vec<_> = config.certificates.iter().map(|(_, path)| path.as_path()).collect();
        assert_eq!(paths, [Path::new("/a"), Path::new("/b")]);
        assert!(from(&[("SSL_CERT_FILE", "")]).certificates.is_empty());
    }

    #[test]
    fn takes_proxies_in_both_cases() {
        let config = from(&[("HTTP_PROXY", "http://upper"), ("http_proxy", "http://lower"), ("NO_PROXY", "a,b")]);
        assert_eq!(config.proxies.http.as_deref(), Some("http://lower"));
        assert_eq!(config.proxies.none.as_deref(), Some("a,b"));
        assert_eq!(config.proxies.https, None);
    }

    #[test]
    fn takes_sane_timeouts_only() {
        assert_eq!(from(&[("PIP_DEFAULT_TIMEOUT", "180")]).read_timeout, Duration::from_mins(3));
        for odd in ["-1", "0", "nan", "inf", "soon"] {
            assert_eq!(from(&[("UV_HTTP_TIMEOUT", odd)]).read_timeout, Duration::from_mins(1), "{odd}");
        }
    }
}
