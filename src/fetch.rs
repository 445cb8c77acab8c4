//! Names and hashes become verified files: from the cache, from the address that a lock names, or from an index.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use url::Url;

use crate::cache::{Cache, CacheError};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::index::{Freshness, IndexClient, IndexError, Indexes, is_file_name};
use crate::net::address::names_nothing;
use crate::net::error::grouped;
use crate::net::{Net, NetError, Request};
use crate::plan::{FileId, Origin, Package, RemoteFile};
use crate::report::{Event, Reporter, Stage};

/// A file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Name, size where it is known, and hash.
    pub file: FileId,
    /// The project whose page lists it.
    pub project: String,
    /// The address that the lock names.
    pub url: Option<String>,
    /// The index that the lock names.
    pub index: Option<String>,
}

impl Want {
    /// The file of a planned package, with what the lock says of its address. `None` for what is no file of an
    /// index or address.
    pub fn of(package: &Package) -> Option<Self> {
        let (Origin::Wheel(remote) | Origin::Sdist(remote)) = &package.origin else { return None };
        let RemoteFile { file, url, index, .. } = remote.clone();
        Some(Self { file, project: package.name.clone(), url, index })
    }
}

/// What could not be fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Without network: these are not in the cache.
    #[error("the network is switched off, and {} not in the cache:\n{}", count(.0.len()), names(.0))]
    Offline(Vec<FileId>),
    /// One or more files, sorted by name, each with its reason.
    #[error("cannot fetch {}:\n{}", count(.0.len()), grouped(.0.iter().map(|(file, error)| (file.name.as_str(), error.to_string()))))]
    Failed(Vec<(FileId, IndexError)>),
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

fn names(files: &[FileId]) -> String {
    files.iter().map(|file| format!("{} ({})", file.name, file.sha256)).collect::<Vec<_>>().join("\n")
}

impl FetchError {
    /// The gravest of the reasons: wrong bytes before all else.
    fn worst(&self) -> Option<&IndexError> {
        let Self::Failed(failed) = self else { return None };
        let mut errors = failed.iter().map(|(_, error)| error);
        errors.clone().find(|error| error.exit_code() == ExitCode::Integrity).or_else(|| errors.next())
    }
}

impl Explain for FetchError {
    fn hint(&self) -> Option<String> {
        match self.worst() {
            Some(error) => error.hint(),
            None => Some("run the same without --offline once".to_owned()),
        }
    }

    fn exit_code(&self) -> ExitCode {
        self.worst().map_or(ExitCode::Network, Explain::exit_code)
    }
}

/// Gives the path of every wanted file, in the cache, by its hash. All are tried, unless this machine fails
/// (a full disk); all that fail are named.
///
/// Pages of indexes and files are asked for at the same time, a file as soon as its address is known.
pub fn fetch(
    wants: &[Want],
    net: &Net,
    indexes: &Indexes,
    cache: &Cache,
    offline: bool,
    reporter: &dyn Reporter,
) -> Result<BTreeMap<Sha256, PathBuf>, FetchError> {
    let wants: BTreeMap<Sha256, &Want> = wants.iter().map(|want| (want.file.sha256, want)).collect();
    let mut paths = BTreeMap::new();
    let mut missing = Vec::new();
    for (sha256, want) in wants {
        match cache.file(&sha256) {
            Some(path) => {
                let (stage, item) = (Stage::Fetch, want.file.name.as_str());
                reporter.event(&Event::ItemStarted { stage, item, size: want.file.size });
                reporter.event(&Event::ItemFinished { stage, item, cached: true });
                paths.insert(sha256, path);
            }
            None => missing.push(want),
        }
    }
    // Large files first: the last to finish should be a small one.
    missing.sort_by(|a, b| b.file.size.cmp(&a.file.size).then_with(|| a.file.cmp(&b.file)));
    if missing.is_empty() {
        return Ok(paths);
    }
    if offline {
        let mut files: Vec<_> = missing.iter().map(|want| want.file.clone()).collect();
        files.sort();
        return Err(FetchError::Offline(files));
    }
    let fetcher = Fetcher { net, cache, reporter, index: IndexClient::new(net, indexes, cache, false) };
    let mut failed = BTreeMap::new();
    net.block_on(async {
        let mut running: FuturesUnordered<_> =
            missing.iter().map(|want| async { (&want.file, fetcher.one(want).await) }).collect();
        while let Some((file, result)) = running.next().await {
            match result {
                Ok(path) => drop(paths.insert(file.sha256, path)),
                Err(error) => {
                    // A full disk or bad certificates would fail all others too.
                    let local = matches!(&error, IndexError::Net(error) if error.is_local());
                    failed.insert(file.clone(), error);
                    if local {
                        break;
                    }
                }
            }
        }
    });
    if failed.is_empty() { Ok(paths) } else { Err(FetchError::Failed(failed.into_iter().collect())) }
}

/// Copies files under their names into the new folder `out`, which appears whole or not at all.
pub fn copy(files: &BTreeMap<String, PathBuf>, out: &Path) -> Result<(), CacheError> {
    let failed = |action, path: &Path, source| CacheError { action, path: path.to_owned(), source };
    let parent = out.parent().unwrap_or(Path::new("/"));
    let taken = || failed("make", out, std::io::ErrorKind::AlreadyExists.into());
    if out.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let temp = tempfile::tempdir_in(parent).map_err(|error| failed("make a folder in", parent, error))?;
    for (name, from) in files {
        let odd = || failed("write a file named", Path::new(name), std::io::ErrorKind::InvalidInput.into());
        let to = is_file_name(name).then(|| temp.path().join(name)).ok_or_else(odd)?;
        let copied = fs::copy(from, &to).and_then(|_| fs::set_permissions(&to, Permissions::from_mode(0o644)));
        copied.map_err(|error| failed("write", &to, error))?;
    }
    let open = fs::set_permissions(temp.path(), Permissions::from_mode(0o755));
    open.and_then(|()| fs::rename(temp.path(), out)).map_err(|error| failed("make", out, error))?;
    // It has its new name: nothing is left to remove.
    let _ = temp.keep();
    Ok(())
}

struct Fetcher<'a> {
    net: &'a Net,
    cache: &'a Cache,
    reporter: &'a dyn Reporter,
    index: IndexClient<'a>,
}

impl Fetcher<'_> {
    /// The lock's address, then what the cached page says, then what the index says now. Wrong bytes end
    /// the search: somebody should look at them.
    async fn one(&self, want: &Want) -> Result<PathBuf, IndexError> {
        let mut failed: Option<IndexError> = None;
        let mut tried = Vec::new();
        if let Some(url) = want.url.as_deref().and_then(usable) {
            match self.download(want, &url).await {
                Err(error) if !error.is_final() => failed = Some(error.into()),
                result => return Ok(result?),
            }
            tried.push(url);
        }
        let also = want.index.as_deref().and_then(usable);
        for freshness in [Freshness::Kept, Freshness::Fresh] {
            match self.index.find(&want.file, &want.project, also.as_ref(), freshness).await {
                Ok(url) if tried.contains(&url) => {}
                Ok(url) => {
                    match self.download(want, &url).await {
                        Err(error) if !error.is_final() => failed = Some(error.into()),
                        result => return Ok(result?),
                    }
                    tried.push(url);
                }
                Err(error) if freshness == Freshness::Fresh => failed = failed.or(Some(error)),
                Err(_) => {}
            }
        }
        let unknown = || NetError::NoAddress { file: want.file.name.clone(), sha256: want.file.sha256 };
        Err(failed.unwrap_or_else(|| unknown().into()))
    }

    async fn download(&self, want: &Want, url: &Url) -> Result<PathBuf, NetError> {
        let request = Request { urls: vec![url.clone()], expected: want.file.clone() };
        self.net.fetch(&request, self.cache, self.reporter).await
    }
}

fn usable(address: &str) -> Option<Url> {
    Url::parse(address).ok().filter(|url| !names_nothing(url))
}

#[cfg(test)]
mod tests;
