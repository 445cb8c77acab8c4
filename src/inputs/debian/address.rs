//! Where the archive is: the first of flag, environment, the host's apt configuration and the public default
//! that names it.

use std::fs;
use std::path::Path;

use url::Url;

use crate::registries;
use crate::tree;

/// A text that is no archive's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the http or https address of a Debian archive, found `{0}`")]
pub struct NotAnArchive(pub String);

/// The addresses to use, mirrors in the order in which they are tried; each ends in a slash.
///
/// `flag` and `environment` (`AKB_DEBIAN_MIRROR`) may list several, separated by white space or commas;
/// `host` is what [`hosts_archive`] found.
pub fn addresses(flag: Option<&str>, environment: Option<&str>, host: Option<&str>) -> Result<Vec<Url>, NotAnArchive> {
    let named = |text: &&str| !text.trim().is_empty();
    let text = [flag, environment, host].into_iter().flatten().find(named).unwrap_or(registries::DEBIAN_ARCHIVE);
    text.split([',', ' ', '\t', '\n']).filter(named).map(address).collect()
}

fn address(text: &str) -> Result<Url, NotAnArchive> {
    let wrong = || NotAnArchive(text.to_owned());
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The first archive in the apt configuration below `root` (`/` on a real machine) that is reached by http or
/// https and whose path ends in `/debian`: not the archive of security updates, nor one of another vendor.
pub fn hosts_archive(root: &Path) -> Option<String> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    files.extend(tree::list(&apt.join("sources.list.d")).unwrap_or_default());
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        match file.extension()?.to_str()? {
            "list" => from_list(&text),
            "sources" => from_deb822(&text),
            _ => None,
        }
    })
}

/// sources.list(5), one line per source: `deb [options] URI suite component…`.
fn from_list(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        rest.split_whitespace().next().filter(|uri| is_debian(uri)).map(str::to_owned)
    })
}

/// sources.list(5), paragraphs: `Types: deb`, `URIs: …`, `Enabled: no`.
fn from_deb822(text: &str) -> Option<String> {
    let paragraphs = deb822_fast::Deb822::from_reader(text.as_bytes()).ok()?;
    paragraphs.iter().find_map(|paragraph| {
        let enabled = paragraph.get("Enabled").is_none_or(|value| !matches!(value.trim(), "no" | "false" | "0"));
        let binary = paragraph.get("Types")?.split_whitespace().any(|kind| kind == "deb");
        let uris = paragraph.get("URIs").filter(|_| enabled && binary)?;
        uris.split_whitespace().find(|uri| is_debian(uri)).map(str::to_owned)
    })
}

fn is_debian(uri: &str) -> bool {
    address(uri).is_ok_and(|url| url.path().ends_with("/debian/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_names_one_wins() {
        let one = |flag, environment, host| {
            addresses(flag, environment, host).unwrap().iter().map(Url::to_string).collect::<Vec<_>>().join(" ")
        };
        let (flag, variable, host) =
            ("https://flag.invalid/debian", "http://a.invalid/debian/, http://b.invalid/d", "http://h.invalid/debian");
        assert_eq!(one(Some(flag), Some(variable), Some(host)), "https://flag.invalid/debian/");
        assert_eq!(one(None, Some(variable), Some(host)), "http://a.invalid/debian/ http://b.invalid/d/");
        assert_eq!(one(None, Some(" "), Some(host)), "http://h.invalid/debian/");
        assert_eq!(one(None, None, None), format!("{}/", registries::DEBIAN_ARCHIVE));
        for text in ["file:///debian", "mirror.invalid/debian", "http://a.invalid/?x"] {
            assert!(addresses(Some(text), None, None).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_both_formats_of_apt() {
        for (name, text, expected) in [
            (
                "a.list",
                "# deb http://no.invalid/debian x\ndeb-src http://no.invalid/debian x\ndeb http://yes.invalid/debian x main\n",
                true,
            ),
            (
                "a.list",
                "deb [arch=amd64 signed-by=/k] http://yes.invalid/debian/ x main # http://no.invalid/debian\n",
                true,
            ),
            ("a.list", "deb http://no.invalid/debian-security x main\ndeb cdrom:[x]/debian x\n", false),
            (
                "a.sources",
                "Types: deb\nURIs: http://no.invalid/debian-security\nSuites: x\n\nTypes: deb deb-src\nURIs: cdrom:/debian http://yes.invalid/debian\n",
                true,
            ),
            (
                "a.sources",
                "Types: deb\nEnabled: no\nURIs: http://no.invalid/debian\n\nTypes: deb-src\nURIs: http://no.invalid/debian\n",
                false,
            ),
            ("a.save", "deb http://no.invalid/debian x main\n", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("etc/apt/sources.list.d");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
            let found = hosts_archive(root.path());
            assert_eq!(found.is_some_and(|uri| uri.contains("yes.invalid")), expected, "{text}");
        }
        assert_eq!(hosts_archive(Path::new("/nonexistent")), None);
    }
}
