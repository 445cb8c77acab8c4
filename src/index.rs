//! Which files a project has, where they are, and what their metadata say (PEP 503, 691, 592, 658, 714).
//!
//! ```text
//! config    which indexes are asked, in which order
//! html json the two forms of a project's page → Listing
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pep508_rs::PackageName;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use url::Url;

use crate::cache::{Cache, CacheError};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::net::address::shown;
use crate::net::{Get, Net, NetError, Page, Request};
use crate::plan::FileId;
use crate::report::Reporter;

pub mod config;
mod html;
mod json;
mod listing;

pub use config::{Index, Indexes};
pub(crate) use listing::is_file_name;
pub use listing::{ListedFile, Listing, MetadataFile};

/// Size limit in bytes of a project's page. The largest of the public index has about 30 MB.
const LARGEST_PAGE: u64 = 128 << 20;
/// Size limit in bytes of a `METADATA` file.
const LARGEST_METADATA: u64 = 8 << 20;
/// JSON where there is a choice; the weights say that HTML will do.
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// What an index could not give.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum IndexError {
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The project's name is none.
    #[error("`{name}` is not the name of a project")]
    Name { name: String },
    /// No index has the project.
    #[error("no index has the project {project} (asked: {})", .asked.join(", "))]
    NoProject { project: String, asked: Vec<String> },
    /// No index has the file.
    #[error("no index has {file} with {sha256} (asked: {})", .asked.join(", "))]
    NoFile { file: String, sha256: Sha256, asked: Vec<String> },
    /// An index has other bytes under the same name.
    #[error("the index has another hash for {file}: expected {expected}, found {found} at {index}")]
    OtherHash { file: String, expected: Sha256, found: Sha256, index: String },
    /// Without network, and not in the cache.
    #[error("{what} is not in the cache, and the network is switched off")]
    Offline { what: String },
    /// A page that cannot be understood.
    #[error("the page at {address} is not a project's page: {reason}")]
    Malformed { address: String, reason: String },
    /// Metadata that are not what the index promised.
    #[error("wrong hash of the metadata of {file}: expected {expected}, found {found} at {address}")]
    WrongMetadata { file: String, expected: Sha256, found: Sha256, address: String },
    /// A wheel without usable metadata.
    #[error("cannot read the metadata of {file}: {reason}")]
    Metadata { file: String, reason: String },
}

impl From<CacheError> for IndexError {
    fn from(error: CacheError) -> Self {
        Self::Net(error.into())
    }
}

impl Explain for IndexError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Net(error) => error.hint(),
            Self::NoProject { .. } | Self::NoFile { .. } => {
                Some("name an index that has it with --index URL (or UV_DEFAULT_INDEX, PIP_INDEX_URL)".into())
            }
            Self::OtherHash { index, .. } | Self::WrongMetadata { address: index, .. } => Some(format!(
                "do not use this file: ask who runs {index}, or fetch from another index with --index URL"
            )),
            Self::Offline { .. } => Some("run the same without --offline once".into()),
            Self::Malformed { .. } => {
                Some("the address of an index ends in front of the project's name, often in /simple/".into())
            }
            Self::Name { .. } | Self::Metadata { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Net(error) => error.exit_code(),
            Self::OtherHash { .. } | Self::WrongMetadata { .. } => ExitCode::Integrity,
            Self::Name { .. } => ExitCode::Usage,
            _ => ExitCode::Network,
        }
    }
}

type Found = Result<Option<Arc<Listing>>, IndexError>;
/// Filled by whoever asks first, while the others wait.
type PageCell = Arc<OnceCell<Found>>;

/// Asks indexes, each page at most once in its life.
pub struct IndexClient<'a> {
    net: &'a Net,
    indexes: &'a Indexes,
    cache: &'a Cache,
    offline: bool,
    pages: Mutex<BTreeMap<(Url, Freshness), PageCell>>,
}

/// How old a page may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freshness {
    /// Whatever the cache has: enough to find a file whose hash is known.
    Kept,
    /// As the index has it now.
    Fresh,
}

impl<'a> IndexClient<'a> {
    /// A client for these indexes. `offline` uses the pages in the cache only.
    pub fn new(net: &'a Net, indexes: &'a Indexes, cache: &'a Cache, offline: bool) -> Self {
        for index in indexes.all() {
            net.trust(&index.url);
        }
        Self { net, indexes, cache, offline, pages: Mutex::default() }
    }

    /// The files of a project, from the first index that knows it (so that nobody can slip a file under
    /// a private project's name into a public index that is asked later).
    pub fn listing(&self, project: &str) -> Result<Arc<Listing>, IndexError> {
        self.net.block_on(self.first(project))
    }

    /// The `METADATA` of a wheel: through the index where it offers that (PEP 658), else out of the wheel.
    pub fn metadata(&self, file: &ListedFile, reporter: &dyn Reporter) -> Result<String, IndexError> {
        let key = file.sha256.map(|sha256| sha256.hex());
        if let Some(text) = key.as_ref().and_then(|key| self.cache.text("metadata", key)) {
            return Ok(text);
        }
        let text = match &file.metadata {
            Some(offered) if !self.offline => self.offered(file, offered)?,
            _ => self.out_of_wheel(file, reporter)?,
        };
        if let Some(key) = key {
            self.cache.put_text("metadata", &key, &text)?;
        }
        Ok(text)
    }

    /// Addresses of a file in the first index that has it with this hash. `also`: an index that the
    /// lock names for it.
    pub(crate) async fn find(
        &self,
        file: &FileId,
        project: &str,
        also: Option<&Url>,
        freshness: Freshness,
    ) -> Result<Url, IndexError> {
        let (mut failed, mut other, mut asked) = (None, None, Vec::new());
        for index in self.indexes.order(also) {
            match self.page(&index, project, freshness).await {
                Ok(Some(listing)) => match listing.find(file) {
                    Ok(Some(found)) => return Ok(found.url.clone()),
                    Ok(None) => {}
                    Err(found) => other = other.or(Some((shown(&index.url), found))),
                },
                Ok(None) => {}
                // With a known hash the next index may be asked: nobody can slip anything in.
                Err(error) => failed = failed.or(Some(error)),
            }
            asked.push(shown(&index.url));
        }
        if let Some((index, found)) = other {
            return Err(IndexError::OtherHash { file: file.name.clone(), expected: file.sha256, found, index });
        }
        Err(failed.unwrap_or(IndexError::NoFile { file: file.name.clone(), sha256: file.sha256, asked }))
    }

    async fn first(&self, project: &str) -> Result<Arc<Listing>, IndexError> {
        let freshness = if self.offline { Freshness::Kept } else { Freshness::Fresh };
        let mut asked = Vec::new();
        for index in self.indexes.order(None) {
            if let Some(listing) = self.page(&index, project, freshness).await? {
                return Ok(listing);
            }
            asked.push(shown(&index.url));
        }
        if self.offline {
            return Err(IndexError::Offline { what: format!("the list of files of {project}") });
        }
        Err(IndexError::NoProject { project: project.to_owned(), asked })
    }

    /// One project's page of one index; `None` where it has no such project.
    async fn page(&self, index: &Index, project: &str, freshness: Freshness) -> Found {
        let url = index.page(project)?;
        let cell = {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            pages.entry((url.clone(), freshness)).or_default().clone()
        };
        cell.get_or_init(|| self.load(&url, freshness)).await.clone()
    }

    async fn load(&self, url: &Url, freshness: Freshness) -> Found {
        let kept = Kept::read(self.cache, url);
        if freshness == Freshness::Kept {
            return kept.map(|kept| kept.listing().map(Arc::new)).transpose();
        }
        let get = Get {
            accept: Some(ACCEPT),
            compressed: true,
            etag: kept.as_ref().and_then(|kept| kept.etag.as_deref()),
            last_modified: kept.as_ref().and_then(|kept| kept.last_modified.as_deref()),
            ..Get::new(url, LARGEST_PAGE)
        };
        match (self.net.page(&get).await, kept) {
            (Ok(Some(page)), _) => {
                let kept = Kept::of(page);
                let listing = kept.listing()?;
                kept.write(self.cache, url)?;
                Ok(Some(Arc::new(listing)))
            }
            (Ok(None), Some(kept)) => Ok(Some(Arc::new(kept.listing()?))),
            (Ok(None), None) => Err(NetError::status(url, 304).into()),
            (Err(NetError::Status { status: 404 | 410, .. }), _) => Ok(None),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn offered(&self, file: &ListedFile, offered: &MetadataFile) -> Result<String, IndexError> {
        let mut url = file.url.clone();
        url.set_fragment(None);
        url.set_path(&format!("{}.metadata", url.path()));
        let page = self.net.get(&Get { compressed: true, ..Get::new(&url, LARGEST_METADATA) })?;
        let page = page.ok_or_else(|| NetError::status(&url, 304))?;
        if let Some(expected) = offered.sha256 {
            let found = Sha256::of(&page.bytes);
            if found != expected {
                let (file, address) = (file.name.clone(), shown(&url));
                return Err(IndexError::WrongMetadata { file, expected, found, address });
            }
        }
        Ok(page.text()?)
    }

    fn out_of_wheel(&self, file: &ListedFile, reporter: &dyn Reporter) -> Result<String, IndexError> {
        let wrong = |reason: &str| IndexError::Metadata { file: file.name.clone(), reason: reason.to_owned() };
        let sha256 = file.sha256.ok_or_else(|| wrong("the index gives no hash for it"))?;
        let path = match self.cache.file(&sha256) {
            Some(path) => path,
            None if self.offline => return Err(IndexError::Offline { what: file.name.clone() }),
            None => {
                let expected = FileId { name: file.name.clone(), size: file.size, sha256 };
                self.net.download(&Request { urls: vec![file.url.clone()], expected }, self.cache, reporter)?
            }
        };
        wheel_metadata(&path).map_err(|reason| wrong(&reason))
    }
}

/// Reads the one `NAME.dist-info/METADATA` at the top of a wheel.
fn wheel_metadata(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
    let mut found: Option<String> = None;
    for name in archive.file_names() {
        let name = name.map_err(|error| error.to_string())?;
        let is_it = |(folder, rest): (&str, &str)| folder.ends_with(".dist-info") && rest == "METADATA";
        if name.split_once('/').is_some_and(is_it) && found.replace(name.into_owned()).is_some() {
            return Err("it has more than one *.dist-info/METADATA".to_owned());
        }
    }
    let name = found.ok_or("it has no *.dist-info/METADATA")?;
    let entry = archive.by_name(&name).map_err(|error| error.to_string())?;
    let mut text = String::new();
    entry.take(LARGEST_METADATA + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST_METADATA {
        return Err(format!("it is larger than {LARGEST_METADATA} bytes"));
    }
    Ok(text)
}

/// A page as the cache keeps it: one line of JSON, then the body.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: Url,
    content_type: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    #[serde(skip)]
    body: String,
}

impl Kept {
    fn of(page: Page) -> Self {
        let Page { bytes, url, content_type, etag, last_modified } = page;
        let body = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
        Self { url, content_type, etag, last_modified, body }
    }

    fn read(cache: &Cache, url: &Url) -> Option<Self> {
        let text = cache.text("listing", url.as_str())?;
        let (head, body) = text.split_once('\n')?;
        Some(Self { body: body.to_owned(), ..serde_json::from_str(head).ok()? })
    }

    fn write(&self, cache: &Cache, url: &Url) -> Result<(), CacheError> {
        let head = serde_json::to_string(self).unwrap_or_default();
        cache.put_text("listing", url.as_str(), &format!("{head}\n{}", self.body))
    }

    fn listing(&self) -> Result<Listing, IndexError> {
        let files = match self.content_type.as_deref().unwrap_or_default() {
            kind if kind.contains("json") => json::parse(&self.body, &self.url),
            kind if kind.contains("html") => html::parse(&self.body, &self.url),
            // Servers of plain folders often say nothing useful.
            _ if self.body.trim_start().starts_with('{') => json::parse(&self.body, &self.url),
            _ => html::parse(&self.body, &self.url),
        };
        let malformed = |reason| IndexError::Malformed { address: shown(&self.url), reason };
        Ok(Listing { page: self.url.clone(), files: files.map_err(malformed)? })
    }
}

impl Index {
    /// The address of a project's page.
    fn page(&self, project: &str) -> Result<Url, IndexError> {
        let name = PackageName::new(project.to_owned()).ok().filter(|name| !name.as_ref().is_empty());
        let name = name.ok_or_else(|| IndexError::Name { name: project.to_owned() })?;
        let mut url = crate::net::address::without_login(&self.url);
        url.set_path(&format!("{}/{name}/", url.path().trim_end_matches('/')));
        Ok(url)
    }
}

#[cfg(test)]
mod tests;
