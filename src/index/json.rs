//! The JSON form of a project's page (PEP 691).

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::listing::{ListedFile, MetadataFile, address, is_file_name};

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    meta: Meta,
    files: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Meta {
    api_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    size: Option<u64>,
    requires_python: Option<String>,
    yanked: Option<BoolOr<String>>,
    core_metadata: Option<BoolOr<BTreeMap<String, String>>>,
    dist_info_metadata: Option<BoolOr<BTreeMap<String, String>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BoolOr<T> {
    Bool(bool),
    Value(T),
}

/// Reads a page that came from `base`.
pub(super) fn parse(text: &str, base: &Url) -> Result<Vec<ListedFile>, String> {
    let project: Project = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(version) = project.meta.api_version
        && version.split('.').next() != Some("1")
    {
        return Err(format!("it has version {version} of the interface, and only 1 is known"));
    }
    Ok(project.files.into_iter().filter_map(|entry| entry.listed(base)).collect())
}

impl Entry {
    fn listed(self, base: &Url) -> Option<ListedFile> {
        let sha256 = |hashes: &BTreeMap<String, String>| hashes.get("sha256").and_then(|hash| hash.parse().ok());
        let metadata = match self.core_metadata.or(self.dist_info_metadata) {
            Some(BoolOr::Bool(true)) => Some(MetadataFile { sha256: None }),
            Some(BoolOr::Value(hashes)) => Some(MetadataFile { sha256: sha256(&hashes) }),
            _ => None,
        };
        let yanked = match self.yanked {
            Some(BoolOr::Bool(true)) => Some(String::new()),
            Some(BoolOr::Value(reason)) => Some(reason),
            _ => None,
        };
        Some(ListedFile {
            url: address(base, &self.url)?,
            sha256: sha256(&self.hashes),
            name: is_file_name(&self.filename).then_some(self.filename)?,
            size: self.size,
            requires_python: self.requires_python,
            yanked,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{
      "meta": {"api-version": "1.3"}, "name": "demo", "versions": ["1"],
      "files": [
        {"filename": "demo-1-py3-none-any.whl", "url": "../../f/demo-1-py3-none-any.whl", "size": 7,
         "hashes": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "md5": "x"},
         "requires-python": ">=3.8", "yanked": "broken",
         "core-metadata": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},
        {"filename": "demo-1.tar.gz", "url": "https://files.invalid/demo-1.tar.gz", "hashes": {}, "yanked": false,
         "requires-python": null, "dist-info-metadata": true, "upload-time": "2020"},
        {"filename": "../evil", "url": "https://files.invalid/evil", "hashes": {}},
        {"filename": "local.whl", "url": "file:///etc/passwd", "hashes": {}}
      ]}"#;

    #[test]
    fn reads_every_field() {
        let base = Url::parse("https://index.invalid/simple/demo/").unwrap();
        let files = parse(PAGE, &base).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].url.as_str(), "https://index.invalid/f/demo-1-py3-none-any.whl");
        assert_eq!(files[0].yanked.as_deref(), Some("broken"));
        assert_eq!(files[0].size, Some(7));
        assert_eq!(files[0].metadata.unwrap().sha256, files[0].sha256);
        assert_eq!(files[0].requires_python.as_deref(), Some(">=3.8"));
        assert_eq!((files[1].sha256, files[1].yanked.as_deref(), files[1].size), (None, None, None));
        assert_eq!(files[1].metadata, Some(MetadataFile { sha256: None }));
    }

    #[test]
    fn refuses_other_versions_and_other_things() {
        let base = Url::parse("https://index.invalid/").unwrap();
        assert!(parse(r#"{"meta":{"api-version":"2.0"},"files":[]}"#, &base).unwrap_err().contains("2.0"));
        assert!(parse("{}", &base).is_err());
        assert!(parse("[[[[", &base).is_err());
    }
}
