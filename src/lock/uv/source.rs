//! Where a locked package comes from.

use url::Url;

use super::wire;

/// Where a locked package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An index, or a folder or page that lists files.
    Registry(Place),
    /// A git repository.
    Git(GitSource),
    /// An archive at an address.
    Url {
        /// The address.
        url: String,
        /// Folder inside the archive that holds the project.
        subdirectory: Option<String>,
    },
    /// An archive on this machine, relative to the lock.
    Path(String),
    /// A source folder, relative to the lock.
    Directory(String),
    /// A source folder, relative to the lock, that a development install links to.
    Editable(String),
    /// A source folder, relative to the lock, of a project that is not a package.
    Virtual(String),
}

/// An address or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Url(String),
    /// A path; relative to the lock for an index, to the index for a file.
    Path(String),
    /// At the package's own source.
    Source,
}

/// A revision of a git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// Address without credentials, query and fragment. A user name is kept where ssh needs it.
    pub repository: String,
    /// Full object name of the commit, lower case.
    pub revision: String,
    /// What was asked for: `rev=…`, `tag=…` or `branch=…`; `None` for the default branch.
    pub reference: Option<(String, String)>,
    /// Folder inside the repository that holds the project.
    pub subdirectory: Option<String>,
    /// Archive inside the repository that is the package.
    pub path: Option<String>,
    /// Whether files of Git LFS are part of the sources.
    pub lfs: bool,
}

impl Source {
    /// The source folder, if it is one.
    pub fn folder(&self) -> Option<&str> {
        match self {
            Self::Directory(folder) | Self::Editable(folder) | Self::Virtual(folder) => Some(folder),
            Self::Registry(_) | Self::Git(_) | Self::Url { .. } | Self::Path(_) => None,
        }
    }
}

pub(super) fn convert(wire: wire::Source) -> Result<Source, String> {
    let subdirectory = wire.subdirectory.map(inside).transpose()?;
    let mut found = Vec::new();
    if let Some(place) = wire.registry {
        found.push(Source::Registry(registry(place)));
    }
    if let Some(address) = wire.git {
        found.push(Source::Git(git(&address)?));
    }
    if let Some(url) = wire.url {
        Url::parse(&url).map_err(|error| format!("`{url}` is not an address: {error}"))?;
        found.push(Source::Url { url, subdirectory });
    }
    found.extend(wire.path.map(Source::Path));
    found.extend(wire.directory.map(Source::Directory));
    found.extend(wire.editable.map(Source::Editable));
    found.extend(wire.r#virtual.map(Source::Virtual));
    match (found.pop(), found.len()) {
        (Some(source), 0) => Ok(source),
        (None, _) => {
            Err("its source is of no known kind (registry, git, url, path, directory, editable, virtual)".into())
        }
        (Some(_), _) => Err("its source is of more than one kind".into()),
    }
}

/// As uv does: an address if it has a scheme, else a path.
fn registry(place: String) -> Place {
    let scheme = place.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() { Place::Path(place) } else { Place::Url(place) }
}

fn git(address: &str) -> Result<GitSource, String> {
    let mut url = Url::parse(address).map_err(|error| format!("`{address}` is not an address: {error}"))?;
    let revision = url.fragment().unwrap_or_default().to_ascii_lowercase();
    if !is_object_name(&revision) {
        return Err(format!("the git source `{address}` does not end in `#` and a full object name"));
    }
    let (mut reference, mut subdirectory, mut path, mut lfs) = (None, None, None, false);
    for (key, value) in url.query_pairs() {
        match &*key {
            "rev" | "tag" | "branch" => reference = Some((key.into_owned(), value.into_owned())),
            "subdirectory" => subdirectory = Some(inside(value.into_owned())?),
            "path" => path = Some(inside(value.into_owned())?),
            "lfs" => lfs = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
    }
    if let Some((_, asked)) = reference.as_ref().filter(|(key, asked)| key == "rev" && is_object_name(asked))
        && !asked.eq_ignore_ascii_case(&revision)
    {
        return Err(format!("the git source asks for revision {asked} but is locked to {revision}"));
    }
    url.set_fragment(None);
    url.set_query(None);
    // These fail for addresses that cannot have a user at all, such as `file:`.
    let _ = url.set_password(None);
    if !url.scheme().ends_with("ssh") {
        let _ = url.set_username("");
    }
    Ok(GitSource { repository: url.into(), revision, reference, subdirectory, path, lfs })
}

fn is_object_name(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path that stays inside an archive or repository.
fn inside(path: String) -> Result<String, String> {
    let odd = path.starts_with('/') || path.contains(['\\', '\0']) || path.split('/').any(|part| part == "..");
    if odd { Err(format!("the folder `{path}` leaves its archive or repository")) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "ceb4fcc090851717a3069d78e85ceb1e86c2740c";

    #[test]
    fn reads_git_addresses() {
        let address = format!("ssh://git:secret@git.invalid/a/b.git?subdirectory=x%2Fy&tag=v1&lfs=true#{SHA}");
        let source = git(&address).unwrap();
        assert_eq!(source.repository, "ssh://git@git.invalid/a/b.git");
        assert_eq!(source.revision, SHA);
        assert_eq!(source.reference, Some(("tag".into(), "v1".into())));
        assert_eq!(source.subdirectory.as_deref(), Some("x/y"));
        assert!(source.lfs);
        let plain = git(&format!("https://user:token@git.invalid/a?branch=main#{SHA}")).unwrap();
        assert_eq!(plain.repository, "https://git.invalid/a");
    }

    #[test]
    fn refuses_odd_git_addresses() {
        let other = "0".repeat(40);
        for address in [
            "https://git.invalid/a".to_owned(),
            "https://git.invalid/a#main".to_owned(),
            format!("a b#{SHA}"),
            format!("https://git.invalid/a?subdirectory=../x#{SHA}"),
            format!("https://git.invalid/a?subdirectory=/x#{SHA}"),
            format!("https://git.invalid/a?rev={other}#{SHA}"),
        ] {
            assert!(git(&address).is_err(), "{address}");
        }
    }

    #[test]
    fn tells_addresses_from_paths() {
        assert_eq!(registry("https://index.invalid/simple".into()), Place::Url("https://index.invalid/simple".into()));
        assert_eq!(registry("../links".into()), Place::Path("../links".into()));
    }
}
