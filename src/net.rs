//! One HTTP client behind a blocking interface: HTTP/2 over few connections, roots and proxies by
//! configuration, retries on what is worth retrying, downloads that resume and are hashed as they stream.
//!
//! ```text
//! config    what the client is told: roots, proxies, netrc, limits
//! exchange  one request and its redirects, with the credentials of each host
//! page      a whole answer in memory, with retries
//! download  a file of known hash into the cache, with retries and resumption
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use url::Url;

use crate::cache::Cache;
use crate::digest::Sha256;
use crate::plan::FileId;
use crate::report::Reporter;

pub mod address;
pub mod config;
mod download;
pub mod error;
mod exchange;
pub mod netrc;
mod page;
mod resolve;
mod retry;
mod roots;

pub use config::NetConfig;
pub use error::NetError;
pub use page::{Get, Page};

use address::Login;
use exchange::Lane;
use netrc::Netrc;
use roots::Roots;

/// The client. Its connections, and what it learnt of hosts, live as long as it does.
pub struct Net {
    config: NetConfig,
    roots: Roots,
    netrc: Netrc,
    runtime: tokio::runtime::Runtime,
    client: OnceLock<Result<reqwest::Client, NetError>>,
    lanes: Mutex<BTreeMap<String, Arc<Lane>>>,
    logins: Mutex<BTreeMap<String, Login>>,
}

/// A file to download: by its hash, from whichever address has it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Addresses in the order in which they are tried.
    pub urls: Vec<Url>,
    /// Name (for messages), size where it is known, and hash.
    pub expected: FileId,
}

/// What failed of a batch, sorted by file name.
#[derive(Debug, thiserror::Error)]
#[error("{}", error::grouped(.0.iter().map(|(file, error)| (file.name.as_str(), error.to_string()))))]
pub struct Failures(pub Vec<(FileId, NetError)>);

impl Net {
    /// Prepares a client. Nothing is connected, and no certificate is read, before the first request.
    pub fn new(config: NetConfig, reporter: &dyn Reporter) -> Result<Self, NetError> {
        let roots = Roots::choose(&config.certificates, reporter);
        let netrc = config.netrc.as_ref().map(|path| Netrc::read(path, reporter)).unwrap_or_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(4)
            .thread_name("akb-net")
            .enable_all()
            .build()
            .map_err(|error| NetError::Client { reason: format!("cannot start threads: {error}") })?;
        Ok(Self {
            config,
            roots,
            netrc,
            runtime,
            client: OnceLock::new(),
            lanes: Mutex::default(),
            logins: Mutex::default(),
        })
    }

    /// Uses the user name and password inside `url` for all requests to that scheme, host and port, and
    /// gives the address without them. To be called with addresses that the user configured only.
    pub fn trust(&self, url: &Url) -> Url {
        if let Some(login) = Login::of(url) {
            let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
            logins.insert(address::origin(url), login);
        }
        address::without_login(url)
    }

    /// Gets a whole answer into memory. `None`: not modified since the given `ETag` or date.
    pub fn get(&self, get: &Get<'_>) -> Result<Option<Page>, NetError> {
        self.block_on(self.page(get))
    }

    /// Gets a text (UTF-8) of at most `limit` bytes.
    pub fn get_text(&self, url: &Url, accept: Option<&str>, limit: u64) -> Result<String, NetError> {
        let get = Get { accept, ..Get::new(url, limit) };
        let page = self.get(&get)?.ok_or_else(|| NetError::status(url, 304))?;
        page.text()
    }

    /// Downloads one file into the cache, unless it is there already.
    pub fn download(&self, request: &Request, cache: &Cache, reporter: &dyn Reporter) -> Result<PathBuf, NetError> {
        self.block_on(self.fetch(request, cache, reporter))
    }

    /// Downloads many files at once. All are tried, unless this machine fails; all that fail are named.
    pub fn download_all(
        &self,
        requests: &[Request],
        cache: &Cache,
        reporter: &dyn Reporter,
    ) -> Result<BTreeMap<Sha256, PathBuf>, Failures> {
        let mut paths = BTreeMap::new();
        let mut failures = BTreeMap::new();
        self.block_on(async {
            let mut running: FuturesUnordered<_> = requests
                .iter()
                .map(|request| async move { (&request.expected, self.fetch(request, cache, reporter).await) })
                .collect();
            while let Some((file, result)) = running.next().await {
                match result {
                    Ok(path) => drop(paths.insert(file.sha256, path)),
                    Err(error) => {
                        let local = error.is_local();
                        failures.insert(file.clone(), error);
                        if local {
                            break;
                        }
                    }
                }
            }
        });
        if failures.is_empty() { Ok(paths) } else { Err(Failures(failures.into_iter().collect())) }
    }

    /// Runs the client's futures on the calling thread, with connections on the client's own threads.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
