//! What a project's page says, whatever its form.

use url::Url;

use crate::digest::Sha256;
use crate::plan::FileId;

/// A project's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Where it came from in the end.
    pub page: Url,
    /// Its files in the order of the page. Those whose names or addresses cannot be right are left out.
    pub files: Vec<ListedFile>,
}

/// One file of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// File name.
    pub name: String,
    /// Its address, absolute.
    pub url: Url,
    /// Its hash, where the index gives this kind.
    pub sha256: Option<Sha256>,
    /// Bytes, where the index says so.
    pub size: Option<u64>,
    /// `Requires-Python` as it stands in the metadata.
    pub requires_python: Option<String>,
    /// The reason (maybe empty) why it should not be chosen any more (PEP 592).
    pub yanked: Option<String>,
    /// Whether its metadata can be had alone, at the same address with `.metadata` behind it.
    pub metadata: Option<MetadataFile>,
}

/// Metadata that can be had without the file (PEP 658, PEP 714).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataFile {
    /// Hash of the metadata, where the index gives one.
    pub sha256: Option<Sha256>,
}

impl Listing {
    /// The file of this name and hash, or of this name where the index gives no hash. `Err`: the page has
    /// that name with this other hash only.
    pub fn find(&self, file: &FileId) -> Result<Option<&ListedFile>, Sha256> {
        let mut other = None;
        let mut unknown = None;
        for listed in self.files.iter().filter(|listed| listed.name == file.name) {
            match listed.sha256 {
                Some(sha256) if sha256 == file.sha256 => return Ok(Some(listed)),
                Some(sha256) => other = Some(sha256),
                None => unknown = Some(listed),
            }
        }
        match (unknown, other) {
            (None, Some(other)) => Err(other),
            (unknown, _) => Ok(unknown),
        }
    }
}

/// Whether a text can be the name of a distribution file.
pub(crate) fn is_file_name(name: &str) -> bool {
    let odd = |char: char| char.is_control() || matches!(char, '/' | '\\');
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(odd)
}

/// An address on a page, made absolute; only http and https lead anywhere.
pub(super) fn address(base: &Url, text: &str) -> Option<Url> {
    base.join(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}
