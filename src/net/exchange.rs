//! One request and its redirects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, NoProxy, Proxy, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::address::{Login, origin, shown, without_login};
use super::resolve::Names;
use super::retry::Tries;
use super::{Net, NetError};

/// Connections that an HTTP/1.1 server gets.
const HTTP1_CONNECTIONS: usize = 8;

/// The way to one server. The first request goes alone: whether the server speaks HTTP/2, over the one
/// connection that this request opens, is known only by its answer.
pub(super) struct Lane {
    permits: Arc<Semaphore>,
    known: AtomicBool,
    /// Why nobody gets through: told to all that come later, who need not find out for themselves.
    dead: OnceLock<NetError>,
}

impl Lane {
    fn learn(&self, version: Version, parallel: usize) {
        if !self.known.swap(true, Ordering::SeqCst) {
            let total = if version == Version::HTTP_2 { parallel } else { HTTP1_CONNECTIONS.min(parallel) };
            self.permits.add_permits(total.saturating_sub(1));
        }
    }
}

/// A request as it is before redirects.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
}

/// An answer, whatever its status; its body is still to come.
pub(super) struct Answer {
    pub(super) response: reqwest::Response,
    /// Where it came from in the end.
    pub(super) url: Url,
    _permit: OwnedSemaphorePermit,
}

impl Net {
    /// Sends a request once, following redirects of GET.
    pub(super) async fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, NetError> {
        let own = Login::of(ask.url).map(|login| (origin(ask.url), login));
        let mut url = without_login(ask.url);
        for hop in 0..=self.config.redirects {
            check_scheme(&url)?;
            let lane = self.lane(&url);
            let permit = lane.permits.clone().acquire_owned().await;
            let permit = permit.map_err(|error| NetError::Client { reason: error.to_string() })?;
            let login = self.login(&url, own.as_ref(), hop == 0);
            let response = self.send(ask, &url, login.as_ref(), &lane).await?;
            let follow = response.status().is_redirection() && ask.method == Method::GET;
            match response.headers().get(LOCATION) {
                Some(location) if follow => url = next(&url, location.as_bytes())?,
                _ => return Ok(Answer { response, url, _permit: permit }),
            }
        }
        Err(NetError::Redirects { address: shown(ask.url), limit: self.config.redirects })
    }

    /// Sends one request. Until somebody got through to the server, the tries to connect are made here, by
    /// the one request that is on its way, instead of by all that wait behind it.
    async fn send(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        login: Option<&Login>,
        lane: &Lane,
    ) -> Result<reqwest::Response, NetError> {
        let mut tries = Tries::new(&self.config);
        loop {
            if let Some(error) = lane.dead.get() {
                return Err(error.clone());
            }
            let mut request = self.client()?.request(ask.method.clone(), url.clone()).headers(ask.headers.clone());
            if let Some(login) = login {
                request = request.basic_auth(&login.name, login.password.as_ref());
            }
            if let Some(body) = &ask.body {
                request = request.body(body.clone());
            }
            let error = match request.send().await {
                Ok(response) => {
                    lane.learn(response.version(), self.config.parallel);
                    return Ok(response);
                }
                Err(error) => NetError::of(&error, url),
            };
            let no_way = matches!(error, NetError::Connect { .. } | NetError::Timeout { .. });
            if !no_way || lane.known.load(Ordering::SeqCst) {
                return Err(error);
            }
            if let Err(error) = tries.pause(error).await {
                return Err(lane.dead.get_or_init(|| error.for_good()).clone());
            }
        }
    }

    /// A login goes to the origin that it was given for, and to no other.
    fn login(&self, url: &Url, own: Option<&(String, Login)>, first: bool) -> Option<Login> {
        let here = origin(url);
        if let Some((_, login)) = own.filter(|(origin, _)| *origin == here) {
            return Some(login.clone());
        }
        let trusted = self.logins.lock().unwrap_or_else(PoisonError::into_inner).get(&here).cloned();
        trusted.or_else(|| self.netrc.login(url.host_str()?, first).cloned())
    }

    fn lane(&self, url: &Url) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Lane { permits: Arc::new(Semaphore::new(1)), known: AtomicBool::new(false), dead: OnceLock::new() };
        lanes.entry(origin(url)).or_insert_with(|| Arc::new(new())).clone()
    }

    fn client(&self) -> Result<&reqwest::Client, NetError> {
        self.client.get_or_init(|| self.build_client()).as_ref().map_err(Clone::clone)
    }

    fn build_client(&self) -> Result<reqwest::Client, NetError> {
        let wrong = |reason: String| NetError::Client { reason };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(self.roots.load()?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Redirects are followed by `exchange`, which knows whose login may go where; bodies are taken as
        // they are sent, since hashes are of those.
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Names::default())
            .user_agent(concat!("akb/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.config.connect_timeout)
            .read_timeout(self.config.read_timeout)
            .http2_initial_stream_window_size(4 << 20)
            .http2_initial_connection_window_size(16 << 20)
            .tcp_nodelay(true);
        for proxy in self.proxies()? {
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|error| wrong(error.without_url().to_string()))
    }

    fn proxies(&self) -> Result<Vec<Proxy>, NetError> {
        let proxies = &self.config.proxies;
        let make = |address: &Option<String>, kind: fn(&str) -> reqwest::Result<Proxy>| {
            let Some(address) = address else { return Ok::<_, NetError>(None) };
            let bare = if address.contains("://") { address.clone() } else { format!("http://{address}") };
            let fine = Url::parse(&bare).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            let proxy = kind(&bare).ok().filter(|_| fine).ok_or_else(|| NetError::Client {
                reason: "a proxy's address (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) is not http://HOST:PORT".to_owned(),
            })?;
            Ok(Some(proxy.no_proxy(proxies.none.as_deref().and_then(NoProxy::from_string))))
        };
        // The first that fits a request is used.
        let all = [
            make(&proxies.http, |address| Proxy::http(address))?,
            make(&proxies.https, |address| Proxy::https(address))?,
            make(&proxies.all, |address| Proxy::all(address))?,
        ];
        Ok(all.into_iter().flatten().collect())
    }
}

fn check_scheme(url: &Url) -> Result<(), NetError> {
    if matches!(url.scheme(), "http" | "https") {
        return Ok(());
    }
    let reason = format!("`{}` is neither http nor https", url.scheme());
    Err(NetError::Address { address: shown(url), reason })
}

/// Where a redirect leads. A login inside it is the server's wish, not the user's: it is dropped.
fn next(from: &Url, location: &[u8]) -> Result<Url, NetError> {
    let text = String::from_utf8_lossy(location);
    let refuse = |to: String, reason| NetError::Redirect { address: shown(from), to, reason };
    let to = from.join(&text).map_err(|_| refuse("…".to_owned(), "it is no address"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(without_login(&to)),
        ("https", "http") => Err(refuse(shown(&to), "it gives up encryption")),
        _ => Err(refuse(shown(&to), "it is neither http nor https")),
    }
}
