//! An archive as this module sees it: small files by their path, packages by path and hash.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;

use url::Url;

use super::Pin;
use crate::cache::Cache;
use crate::digest::Sha256;
use crate::net::{Get, Net, NetError, Request};
use crate::plan::FileId;
use crate::report::Reporter;

/// A Debian archive and its mirrors.
pub struct Archive<'a> {
    /// Roots of the archive (`…/debian/`), mirrors in the order in which they are tried.
    pub addresses: Vec<Url>,
    /// The client; `None` offline.
    pub net: Option<&'a Net>,
    /// Where files are kept.
    pub cache: &'a Cache,
    /// Told about downloads.
    pub reporter: &'a dyn Reporter,
}

/// Connections' worth of downloads that are asked for at once; the client has its own limit below that.
const DOWNLOADS: usize = 12;

/// What happened to one package's file.
pub(super) enum Arrival {
    Here(PathBuf),
    /// Every address answered that it does not exist.
    Gone,
    Failed(NetError),
    /// Offline, and the cache does not have it.
    Offline,
}

impl Archive<'_> {
    /// The text at `path`, from the first mirror that gives it.
    pub(super) fn text(&self, path: &str, limit: u64) -> Result<String, NetError> {
        self.first(path, |net, url| net.get_text(url, None, limit))
    }

    /// Whether every mirror says that `path` does not exist, once `text` or `file` failed so.
    pub(super) fn is_gone(error: &NetError) -> bool {
        matches!(error, NetError::Status { status: 404 | 410, .. })
    }

    /// Bytes of a file of known hash, from the cache if it is there.
    pub(super) fn file(&self, path: &str, expected: &FileId) -> Result<PathBuf, NetError> {
        if let Some(path) = self.cache.file(&expected.sha256) {
            return Ok(path);
        }
        let net = self.net.ok_or_else(|| self.offline(&expected.name, expected.sha256))?;
        let request = Request { urls: self.urls(path), expected: expected.clone() };
        net.download(&request, self.cache, self.reporter)
    }

    fn urls(&self, path: &str) -> Vec<Url> {
        self.addresses.iter().filter_map(|root| root.join(path).ok()).collect()
    }

    fn offline(&self, name: &str, sha256: Sha256) -> NetError {
        NetError::NoAddress { file: name.to_owned(), sha256 }
    }

    fn first<T>(&self, path: &str, get: impl Fn(&Net, &Url) -> Result<T, NetError>) -> Result<T, NetError> {
        let net = self.net.ok_or_else(|| self.offline(path, Sha256::of(b"")))?;
        let mut result = Err(self.offline(path, Sha256::of(b"")));
        for url in self.urls(path) {
            result = get(net, &url);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}
