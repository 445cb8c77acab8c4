//! An archive as this module sees it: small files by their path, packages by path and hash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};

use url::Url;

use super::Pin;
use super::error::DebianError;
use crate::cache::Cache;
use crate::net::{Net, NetError, Request};
use crate::plan::FileId;
use crate::report::{Reporter, Stage, Within};

/// Downloads that are asked for at once; the client keeps its own limit for each server below that.
const DOWNLOADS: usize = 12;

/// A Debian archive, and where its files are kept.
pub struct Archive<'a> {
    /// Roots of the archive (`…/debian/`), mirrors in the order in which they are tried.
    pub addresses: Vec<Url>,
    /// The client; `None` offline.
    pub net: Option<&'a Net>,
    /// Where files and trees are kept.
    pub cache: &'a Cache,
    /// Told about downloads and warnings.
    pub reporter: &'a dyn Reporter,
}

impl Archive<'_> {
    /// The text at `path`, from the first mirror that gives it; at most `limit` bytes.
    pub(super) fn text(&self, path: &str, limit: u64) -> Result<String, DebianError> {
        let offline = || DebianError::Offline { missing: vec![path.to_owned()] };
        let net = self.net.ok_or_else(offline)?;
        let mut result = Err(offline());
        for url in self.urls(path) {
            result = net.get_text(&url, None, limit).map_err(DebianError::from);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// The file of known hash at `path`, from the cache if it is there.
    pub(super) fn file(&self, path: &str, expected: &FileId) -> Result<PathBuf, DebianError> {
        if let Some(path) = self.cache.file(&expected.sha256) {
            return Ok(path);
        }
        let net = self.net.ok_or_else(|| DebianError::Offline { missing: vec![expected.name.clone()] })?;
        let request = Request { urls: self.urls(path), expected: expected.clone() };
        Ok(net.download(&request, self.cache, &Within { stage: Stage::Inputs, reporter: self.reporter })?)
    }

    /// Gets the files of all `pins` and hands each to `use_it` as soon as it is there, on up to `jobs` threads, so
    /// that unpacking overlaps with downloads. The largest come first: they take longest in both.
    ///
    /// All are tried before it fails, so that [`DebianError::Gone`] names every pin that the archive dropped.
    pub(super) fn each_file(
        &self,
        pins: &[Pin],
        jobs: usize,
        use_it: impl Fn(&Pin, PathBuf) -> Result<(), DebianError> + Sync,
    ) -> Result<(), DebianError> {
        let mut order: Vec<&Pin> = pins.iter().collect();
        order.sort_by_key(|pin| (std::cmp::Reverse(pin.size), &pin.package));
        let queue = Mutex::new(order.into_iter());
        let failures = Mutex::new(BTreeMap::new());
        let fail = |pin: &Pin, error| {
            failures.lock().unwrap_or_else(PoisonError::into_inner).insert(pin.clone(), error);
        };
        let (sender, receiver) = mpsc::channel::<(&Pin, PathBuf)>();
        let receiver = Mutex::new(receiver);
        std::thread::scope(|scope| {
            for _ in 0..DOWNLOADS.min(pins.len()) {
                let sender = sender.clone();
                let (queue, fail) = (&queue, &fail);
                scope.spawn(move || {
                    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    while let Some(pin) = next() {
                        match self.file(&pin.file, &pin.file_id()) {
                            Ok(path) => drop(sender.send((pin, path))),
                            Err(error) => fail(pin, error),
                        }
                    }
                });
            }
            drop(sender);
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
                    while let Some((pin, path)) = next() {
                        if let Err(error) = use_it(pin, path) {
                            fail(pin, error);
                        }
                    }
                });
            }
        });
        gravest(failures.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn urls(&self, path: &str) -> Vec<Url> {
        self.addresses.iter().filter_map(|root| root.join(path).ok()).collect()
    }
}

/// Of several failures the one to tell: wrong bytes or a full disk first, then the network, then what is gone or
/// missing, all of it together.
fn gravest(failures: BTreeMap<Pin, DebianError>) -> Result<(), DebianError> {
    let (mut gone, mut missing, mut network) = (Vec::new(), Vec::new(), None);
    for (pin, error) in failures {
        match error {
            DebianError::Net(error) if is_gone(&error) => gone.push(pin),
            DebianError::Offline { missing: names } => missing.extend(names),
            DebianError::Net(error) if !error.is_integrity() => network = network.or(Some(error)),
            error => return Err(error),
        }
    }
    match network {
        Some(error) => Err(error.into()),
        None if !gone.is_empty() => Err(DebianError::Gone { pins: gone }),
        None if !missing.is_empty() => Err(DebianError::Offline { missing }),
        None => Ok(()),
    }
}

/// Whether the archive says that it has no such file.
pub(super) fn is_gone(error: &NetError) -> bool {
    matches!(error, NetError::Status { status: 404 | 410, .. })
}
