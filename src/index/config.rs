//! Which indexes are asked, in which order: flags, lock, environment, pip.conf, uv.toml, the public default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use crate::net::address::{names_nothing, without_login};
use crate::registries;
use crate::report::Reporter;

/// An index by its root address.
#[derive(Clone, PartialEq, Eq)]
pub struct Index {
    /// The name that the user gave it.
    pub name: Option<String>,
    /// Where projects' pages lie; may hold a login.
    pub url: Url,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", without_login(&self.url))
    }
}

/// The indexes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    flags: Vec<Index>,
    lock: Vec<Index>,
    rest: Vec<Index>,
}

/// A setting that names an index in a way that cannot be understood.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place} names an index that cannot be used: {reason}")]
pub struct ConfigError {
    /// The flag, variable or file.
    pub place: String,
    /// What is wrong; shows no address, which may hold a password.
    pub reason: String,
}

impl crate::explain::Explain for ConfigError {
    fn hint(&self) -> Option<String> {
        Some("an index is named by the address of its simple interface, such as --index https://HOST/simple/".into())
    }

    fn exit_code(&self) -> crate::explain::ExitCode {
        crate::explain::ExitCode::Usage
    }
}

impl Indexes {
    /// Exactly these, in this order.
    pub fn only(indexes: Vec<Index>) -> Self {
        Self { flags: indexes, ..Self::default() }
    }

    /// From flags (`URL` or `NAME=URL`), the environment and configuration files. The level that names a
    /// *default* index (`UV_DEFAULT_INDEX`, `PIP_INDEX_URL`, `index-url` …) ends the list; without any, and
    /// without flags, the public default ends it. Addresses under `.invalid` count as not named.
    pub fn configured(
        flags: &[String],
        env: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
        reporter: &dyn Reporter,
    ) -> Result<Self, ConfigError> {
        let flags: Vec<_> = flags.iter().map(|flag| parse("--index", flag)).collect::<Result<_, _>>()?;
        let flags: Vec<_> = flags.into_iter().filter(Index::names_something).collect();
        let mut rest = Vec::new();
        let mut has_default = false;
        for level in [&uv_variables, &pip_variables, &pip_files, &uv_files] as [&dyn Fn(&Sources<'_>) -> Level; 4] {
            let level = level(&Sources { env, home, reporter });
            let default = level.default.filter(Index::names_something);
            has_default = default.is_some();
            rest.extend(level.extra.into_iter().filter(Index::names_something).chain(default));
            if has_default {
                break;
            }
        }
        if !has_default && flags.is_empty() {
            rest.extend(parse("the public default", registries::PYTHON_INDEX));
        }
        Ok(Self { flags, lock: Vec::new(), rest })
    }

    /// Asks an index that a lock names too: after the flags, before all else.
    #[must_use]
    pub fn with_lock(mut self, address: &str) -> Self {
        if let Ok(url) = Url::parse(address) {
            self.lock.push(Index { name: None, url });
        }
        self
    }

    /// All in order, once each, `also` among those of the lock.
    pub(super) fn order(&self, also: Option<&Url>) -> Vec<Index> {
        let also = also.map(|url| Index { name: None, url: url.clone() });
        let mut order: Vec<Index> = Vec::new();
        for index in self.flags.iter().chain(&also).chain(&self.lock).chain(&self.rest) {
            if index.names_something() && !order.iter().any(|known| known.is(index)) {
                order.push(index.clone());
            }
        }
        order
    }

    pub(super) fn all(&self) -> Vec<Index> {
        self.order(None)
    }
}

impl Index {
    fn names_something(&self) -> bool {
        !names_nothing(&self.url)
    }

    fn is(&self, other: &Self) -> bool {
        let bare = |index: &Self| without_login(&index.url).as_str().trim_end_matches('/').to_owned();
        bare(self) == bare(other)
    }
}

/// What one level of configuration says.
#[derive(Default)]
struct Level {
    extra: Vec<Index>,
    default: Option<Index>,
}

struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    home: Option<&'a Path>,
    reporter: &'a dyn Reporter,
}

impl Sources<'_> {
    fn set(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.trim().is_empty())
    }

    /// Reads `URL` or `NAME=URL`; what cannot be used is said and left out.
    fn index(&self, place: &str, text: &str) -> Option<Index> {
        match parse(place, text) {
            Ok(index) => Some(self.with_login(index)),
            Err(error) => {
                self.reporter.warn(error.to_string(), crate::explain::Explain::hint(&error));
                None
            }
        }
    }

    fn indexes(&self, place: &str, text: &str) -> Vec<Index> {
        text.split_whitespace().filter_map(|part| self.index(place, part)).collect()
    }

    fn variable(&self, name: &str) -> Vec<Index> {
        self.set(name).map(|text| self.indexes(name, &text)).unwrap_or_default()
    }

    /// Adds `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`.
    fn with_login(&self, mut index: Index) -> Index {
        let Some(name) = &index.name else { return index };
        let letter = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' };
        let name: String = name.chars().map(letter).collect();
        if let Some(user) = self.set(&format!("UV_INDEX_{name}_USERNAME")) {
            let _ = index.url.set_username(&user);
        }
        if let Some(password) = self.set(&format!("UV_INDEX_{name}_PASSWORD")) {
            let _ = index.url.set_password(Some(&password));
        }
        index
    }

    fn read(&self, path: &Path) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.reporter.warn(format!("{} is ignored: {error}", path.display()), None);
                None
            }
        }
    }

    /// The folder for settings of the user's.
    fn config_home(&self) -> Option<PathBuf> {
        self.set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(self.home?.join(".config")))
    }
}

fn parse(place: &str, text: &str) -> Result<Index, ConfigError> {
    let wrong = |reason: &str| ConfigError { place: place.to_owned(), reason: reason.to_owned() };
    let text = text.trim();
    let named = text.split_once('=').filter(|(name, _)| !name.contains([':', '/', '?']) && !name.is_empty());
    let (name, address) = named.map_or((None, text), |(name, address)| (Some(name.to_owned()), address));
    let url = Url::parse(address).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&format!("`{}` is neither http nor https", url.scheme())));
    }
    Ok(Index { name, url })
}

fn uv_variables(sources: &Sources<'_>) -> Level {
    let default = sources.variable("UV_DEFAULT_INDEX").into_iter().next();
    Level {
        extra: [sources.variable("UV_INDEX"), sources.variable("UV_EXTRA_INDEX_URL")].concat(),
        default: default.or_else(|| sources.variable("UV_INDEX_URL").into_iter().next()),
    }
}

fn pip_variables(sources: &Sources<'_>) -> Level {
    Level {
        extra: sources.variable("PIP_EXTRA_INDEX_URL"),
        default: sources.variable("PIP_INDEX_URL").into_iter().next(),
    }
}

/// pip's files, the one that overrides all others first.
fn pip_files(sources: &Sources<'_>) -> Level {
    let named = sources.set("PIP_CONFIG_FILE").map(PathBuf::from);
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Level::default();
    }
    let own = sources.config_home().map(|folder| folder.join("pip/pip.conf"));
    let legacy = sources.home.map(|home| home.join(".pip/pip.conf"));
    let system = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf"].map(|path| Some(PathBuf::from(path)));
    let files: Vec<_> = [named, own, legacy].into_iter().chain(system).flatten().collect();
    let mut values: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for path in files {
        let Some(text) = sources.read(&path) else { continue };
        let place = path.display().to_string();
        let ini = read_ini(&text);
        for section in ["install", "global"] {
            for key in ["index-url", "extra-index-url"] {
                if let Some(value) = ini.get(&(section.to_owned(), key.to_owned())) {
                    values.entry(key).or_insert_with(|| (place.clone(), value.clone()));
                }
            }
        }
    }
    let indexes = |key| values.get(key).map(|(place, text)| sources.indexes(place, text)).unwrap_or_default();
    Level { extra: indexes("extra-index-url"), default: indexes("index-url").into_iter().next() }
}

/// An INI file as Python's configparser reads it: (section, key) → value, lines of a value joined by newlines.
fn read_ini(text: &str) -> BTreeMap<(String, String), String> {
    let mut values: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut section = String::new();
    let mut last: Option<(String, String)> = None;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with([' ', '\t'])
            && let Some(value) = last.as_ref().and_then(|key| values.get_mut(key))
        {
            value.push('\n');
            value.push_str(bare);
        } else if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.trim().clone_into(&mut section);
            last = None;
        } else if let Some((key, value)) = bare.split_once(['=', ':']) {
            let key = (section.clone(), key.trim().to_ascii_lowercase().replace('_', "-"));
            values.insert(key.clone(), value.trim().to_owned());
            last = Some(key);
        }
    }
    values
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UvFile {
    index: Vec<UvIndex>,
    index_url: Option<String>,
    extra_index_url: Vec<String>,
}

#[derive(Deserialize)]
struct UvIndex {
    name: Option<String>,
    url: String,
    #[serde(default)]
    default: bool,
    #[serde(default)]
    explicit: bool,
}

/// uv's files: the user's overrides the machine's.
fn uv_files(sources: &Sources<'_>) -> Level {
    let paths = match sources.set("UV_CONFIG_FILE").map(PathBuf::from) {
        Some(named) => vec![named],
        None if sources.set("UV_NO_CONFIG").is_some() => Vec::new(),
        None => {
            let own = sources.config_home().map(|folder| folder.join("uv/uv.toml"));
            own.into_iter().chain([PathBuf::from("/etc/uv/uv.toml")]).collect()
        }
    };
    let mut level = Level::default();
    for path in paths {
        let Some(text) = sources.read(&path) else { continue };
        let place = path.display().to_string();
        let file: UvFile = match toml::from_str(&text) {
            Ok(file) => file,
            Err(error) => {
                sources.reporter.warn(format!("{place} is ignored: {}", error.message()), None);
                continue;
            }
        };
        // An explicit index serves only projects that name it, and those stand in the lock with it.
        for entry in file.index.iter().filter(|entry| !entry.explicit) {
            let Some(mut index) = sources.index(&place, &entry.url) else { continue };
            index.name.clone_from(&entry.name);
            let index = sources.with_login(index);
            if entry.default {
                level.default.get_or_insert(index);
            } else {
                level.extra.push(index);
            }
        }
        level.extra.extend(file.extra_index_url.iter().filter_map(|url| sources.index(&place, url)));
        if let (None, Some(url)) = (&level.default, &file.index_url) {
            level.default = sources.index(&place, url);
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    fn addresses(indexes: &Indexes, also: Option<&str>) -> Vec<String> {
        let also = also.map(|text| Url::parse(text).unwrap());
        indexes.order(also.as_ref()).iter().map(|index| index.url.to_string()).collect()
    }

    /// Settings from variables and from files below a home folder.
    fn configured(flags: &[&str], variables: &[(&str, &str)], files: &[(&str, &str)]) -> Indexes {
        let home = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Indexes::configured(&flags, &env, Some(home.path()), &Silent).unwrap()
    }

    #[test]
    fn asks_in_the_documented_order() {
        let indexes = configured(
            &["https://flag.example/s"],
            &[
                ("UV_INDEX", "one=https://u1.example/s https://u2.example/s"),
                ("UV_INDEX_ONE_USERNAME", "me"),
                ("UV_INDEX_ONE_PASSWORD", "p@ss"),
                ("UV_EXTRA_INDEX_URL", "https://u3.example/s"),
                ("PIP_EXTRA_INDEX_URL", "https://p1.example/s"),
            ],
            &[
                (
                    ".config/pip/pip.conf",
                    "[global]\nindex-url = https://p2.example/s\nextra_index_url:\n  https://p3.example/s\n # no\n  https://u2.example/s/\n",
                ),
                (".config/uv/uv.toml", "index-url = 'https://never.example/s'"),
            ],
        );
        assert_eq!(
            addresses(&indexes, Some("https://lock.example/s")),
            [
                "https://flag.example/s",
                "https://lock.example/s",
                "https://me:p%40ss@u1.example/s",
                "https://u2.example/s",
                "https://u3.example/s",
                "https://p1.example/s",
                "https://p3.example/s",
                "https://p2.example/s",
            ]
        );
        assert!(!format!("{indexes:?}").contains("p%40ss"));
    }

    #[test]
    fn a_default_replaces_the_public_one() {
        let uv = configured(
            &[],
            &[("UV_DEFAULT_INDEX", "d=https://d.example/s"), ("PIP_INDEX_URL", "https://p.example")],
            &[],
        );
        assert_eq!(addresses(&uv, None), ["https://d.example/s"]);
        let file = "[[index]]\nname = 'x'\nurl = 'https://x.example/s'\n[[index]]\nurl = 'https://d.example/s'\ndefault = true\n\
                    [[index]]\nurl = 'https://e.example/s'\nexplicit = true\n";
        let uv = configured(&[], &[], &[(".config/uv/uv.toml", file)]);
        assert_eq!(addresses(&uv, None), ["https://x.example/s", "https://d.example/s"]);
        let pip = configured(
            &[],
            &[],
            &[(".pip/pip.conf", "[global]\nindex-url=https://g.example\n[install]\nindex-url=https://i.example\n")],
        );
        assert_eq!(addresses(&pip, None), ["https://i.example/"]);
    }

    #[test]
    fn what_names_nothing_is_passed_over() {
        let indexes = configured(
            &["https://index.invalid/simple"],
            &[("UV_DEFAULT_INDEX", "https://x.invalid"), ("PIP_CONFIG_FILE", "/dev/null")],
            &[(".pip/pip.conf", "[global]\nindex-url=https://g.example\n")],
        );
        assert_eq!(addresses(&indexes, Some("https://lock.invalid/")), [registries::PYTHON_INDEX]);
        let indexes = indexes.with_lock("https://lock.example/s");
        assert_eq!(addresses(&indexes, None), ["https://lock.example/s", registries::PYTHON_INDEX]);
    }

    #[test]
    fn refuses_flags_without_showing_them() {
        for flag in ["ftp://me:secret@h/", "secret", "file:///secret"] {
            let error = Indexes::configured(&[flag.to_owned()], &|_| None, None, &Silent).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
