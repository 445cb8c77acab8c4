//! Text to sidecar lock. Whatever `akb lock` would not have written is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use serde::Deserialize;

use super::{Content, InputPins, LocalKind, Locked, Reference, Sidecar, VERSION};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::inputs::debian::Pin;
use crate::lock::{is_wheel, names};
use crate::plan::FileId;
use crate::recipe::Provider;
use crate::request::{Platform, PythonVersion, Target};

/// Longest text that is read, in bytes. The lock of 200 packages is 60 kB.
const MAX_TEXT: usize = 64 << 20;
/// Largest file that a lock may name, in bytes.
const MAX_FILE: u64 = 64 << 30;
/// Longest name, version or file name, in bytes (that of a file in a folder).
const MAX_NAME: usize = 255;

/// Bytes that the path of an input package has at most.
const MAX_PATH: usize = 1024;

/// A sidecar lock that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidecarError {
    /// Not TOML, an unknown key, or a value of another type.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, counted from one, where it is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A format that this akb does not know.
    #[error("{}: expected version {VERSION} of the format, found version {found}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: i64,
    },
    /// A value that `akb lock` does not write.
    #[error("{}: {entry}: expected {expected}, found `{found}`", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The entry, such as `package lxml 6.0.2`.
        entry: String,
        /// What would be right.
        expected: &'static str,
        /// What it says.
        found: String,
    },
}

impl Explain for SidecarError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Version { found, .. } if *found > i64::from(VERSION) => {
                "it was made by a newer akb: use that one, or run `akb lock` to make it anew".to_owned()
            }
            _ => "`akb lock` makes it anew; it is not meant to be edited".to_owned(),
        })
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

#[derive(Deserialize)]
struct OnlyVersion {
    version: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSidecar {
    #[serde(rename = "version")]
    _version: i64,
    source: Sha256,
    fetch_hash: Option<String>,
    inputs_hash: Option<String>,
    target: RawTarget,
    inputs: Option<RawInputs>,
    #[serde(default)]
    package: Vec<RawLocked>,
    #[serde(default)]
    build: Vec<RawLocked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    python: PythonVersion,
    platform: Platform,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInputs {
    provider: Provider,
    suite: String,
    #[serde(default)]
    package: Vec<RawPin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPin {
    name: String,
    version: String,
    architecture: String,
    file: String,
    size: u64,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocked {
    name: String,
    version: Option<String>,
    kind: String,
    file: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
    revision: Option<String>,
    tree: Option<String>,
    subdirectory: Option<String>,
    build: Option<Vec<String>>,
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Sidecar, SidecarError> {
    let cx = Reader { path };
    if text.len() > MAX_TEXT {
        return Err(cx.value("the file", "at most 64 MiB", &format!("{} bytes", text.len())));
    }
    let OnlyVersion { version } = toml::from_str(text).map_err(|error| cx.syntax(text, &error))?;
    if version != i64::from(VERSION) {
        return Err(SidecarError::Version { path: path.to_owned(), found: version });
    }
    let raw: RawSidecar = toml::from_str(text).map_err(|error| cx.syntax(text, &error))?;
    let sidecar = Sidecar {
        source: raw.source,
        target: Target { python: raw.target.python, platform: raw.target.platform },
        fetch_hash: raw.fetch_hash.as_deref().map(|hash| cx.sri("fetch-hash", hash)).transpose()?,
        inputs_hash: raw.inputs_hash.as_deref().map(|hash| cx.sri("inputs-hash", hash)).transpose()?,
        packages: raw.package.into_iter().map(|raw| cx.locked("package", raw)).collect::<Result<_, _>>()?,
        builds: raw.build.into_iter().map(|raw| cx.locked("build", raw)).collect::<Result<_, _>>()?,
        inputs: raw.inputs.map(|raw| cx.inputs(raw)).transpose()?,
    };
    cx.consistent(&sidecar)?;
    Ok(sidecar)
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn locked(&self, table: &str, raw: RawLocked) -> Result<Locked, SidecarError> {
        let version = raw.version.as_deref().unwrap_or("");
        let entry = format!("{table} {} {version}", raw.name).trim_end().to_owned();
        self.package_name(&entry, &raw.name)?;
        if let Some(version) = &raw.version {
            self.package_version(&entry, version)?;
        }
        let content = self.content(&entry, &raw)?;
        let build = match (&content, raw.build) {
            (Content::Wheel(_) | Content::Local { kind: LocalKind::Virtual }, Some(_)) => {
                return Err(self.value(&entry, "no build requirements of what is not built", "build"));
            }
            (_, None) => None,
            (_, Some(build)) => Some(build.iter().map(|text| self.reference(&entry, text)).collect::<Result<_, _>>()?),
        };
        Ok(Locked { name: raw.name, version: raw.version, content, build })
    }

    fn content(&self, entry: &str, raw: &RawLocked) -> Result<Content, SidecarError> {
        let none = |key: &'static str, present: bool| {
            if present { Err(self.value(entry, "no such key for its kind", key)) } else { Ok(()) }
        };
        let is_file = matches!(raw.kind.as_str(), "wheel" | "sdist");
        let is_git = raw.kind == "git";
        none("file", raw.file.is_some() && !is_file)?;
        none("size", raw.size.is_some() && !is_file)?;
        none("sha256", raw.sha256.is_some() && !is_file)?;
        none("revision", raw.revision.is_some() && !is_git)?;
        none("tree", raw.tree.is_some() && !is_git)?;
        none("subdirectory", raw.subdirectory.is_some() && !is_git && raw.kind != "sdist")?;
        if let Some(folder) = &raw.subdirectory {
            self.relative(entry, folder)?;
        }
        let subdirectory = raw.subdirectory.clone();
        if let Some(kind) = LocalKind::ALL.into_iter().find(|kind| kind.name() == raw.kind) {
            return Ok(Content::Local { kind });
        }
        Ok(match raw.kind.as_str() {
            "wheel" => Content::Wheel(self.file(entry, raw)?),
            "sdist" => Content::Sdist { file: self.file(entry, raw)?, subdirectory },
            "git" => Content::Git {
                revision: self.revision(entry, self.required(entry, "revision", raw.revision.as_deref())?)?,
                tree: self.sri(entry, self.required(entry, "tree", raw.tree.as_deref())?)?,
                subdirectory,
            },
            other => return Err(self.value(entry, "a kind of package", other)),
        })
    }

    fn file(&self, entry: &str, raw: &RawLocked) -> Result<FileId, SidecarError> {
        let name = self.required(entry, "file", raw.file.as_deref())?;
        self.file_name(entry, name)?;
        if is_wheel(name) != (raw.kind == "wheel") {
            return Err(self.value(entry, "a file name that fits its kind", name));
        }
        let size = raw.size.ok_or_else(|| self.value(entry, "a size", ""))?;
        let sha256 = self.hex(entry, self.required(entry, "sha256", raw.sha256.as_deref())?)?;
        Ok(FileId { name: name.to_owned(), size: Some(self.size(entry, size)?), sha256 })
    }

    fn inputs(&self, raw: RawInputs) -> Result<InputPins, SidecarError> {
        self.word("inputs", &raw.suite)?;
        let mut packages: Vec<Pin> =
            raw.package.into_iter().map(|pin| self.pin(pin)).collect::<Result<_, SidecarError>>()?;
        packages.sort();
        if let Some(pair) = packages.windows(2).find(|pair| pair[0].package == pair[1].package) {
            return Err(self.value("inputs", "each package once", &pair[0].package));
        }
        Ok(InputPins { provider: raw.provider, suite: raw.suite, packages })
    }

    fn pin(&self, raw: RawPin) -> Result<Pin, SidecarError> {
        let entry = format!("inputs package {}", raw.name);
        for word in [&raw.name, &raw.version, &raw.architecture] {
            self.word(&entry, word)?;
        }
        self.pool_path(&entry, &raw.file)?;
        let (size, sha256) = (self.size(&entry, raw.size)?, self.hex(&entry, &raw.sha256)?);
        let RawPin { name: package, version, architecture, file, .. } = raw;
        Ok(Pin { package, version, architecture, file, size, sha256 })
    }

    /// What no entry can say alone: order, doubles, references, cycles.
    fn consistent(&self, sidecar: &Sidecar) -> Result<(), SidecarError> {
        let sorted = |entries: &[Locked]| {
            entries.windows(2).find(|pair| pair[0].reference() >= pair[1].reference()).map(|pair| pair[1].reference())
        };
        if let Some(reference) = sorted(&sidecar.packages).or_else(|| sorted(&sidecar.builds)) {
            return Err(self.value(
                "the file",
                "each package once, sorted by name and version",
                &reference.to_string(),
            ));
        }
        if let Some(pair) = sidecar.packages.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(self.value("the file", "one version of each package", &pair[1].reference().to_string()));
        }
        let mut entries: BTreeMap<Reference, &Locked> = BTreeMap::new();
        let mut files = BTreeMap::new();
        for locked in sidecar.packages.iter().chain(&sidecar.builds) {
            if entries.insert(locked.reference(), locked).is_some() {
                return Err(self.value(
                    "the file",
                    "an entry in one of package and build",
                    &locked.reference().to_string(),
                ));
            }
            if let Some(file) = locked.content.file()
                && files.insert(file.name.to_lowercase(), file).is_some()
            {
                return Err(self.value(&locked.reference().to_string(), "a file name of its own", &file.name));
            }
        }
        self.buildable(&entries)
    }

    /// Every reference names an entry, and no package needs itself to be built.
    fn buildable(&self, entries: &BTreeMap<Reference, &Locked>) -> Result<(), SidecarError> {
        let mut done: BTreeSet<&Reference> = BTreeSet::new();
        for start in entries.keys() {
            // An explicit stack: the depth of a hostile lock is not that of ours.
            let mut stack: Vec<(&Reference, usize)> = vec![(start, 0)];
            let mut open: BTreeSet<&Reference> = BTreeSet::from([start]);
            while let Some((reference, next)) = stack.pop() {
                let requirements =
                    entries.get(reference).and_then(|locked| locked.build.as_deref()).unwrap_or_default();
                let Some(requirement) = requirements.get(next) else {
                    open.remove(reference);
                    done.insert(reference);
                    continue;
                };
                stack.push((reference, next + 1));
                if done.contains(requirement) {
                    continue;
                }
                let Some((requirement, _)) = entries.get_key_value(requirement) else {
                    return Err(self.value(
                        &reference.to_string(),
                        "build requirements of the lock",
                        &requirement.to_string(),
                    ));
                };
                if !open.insert(requirement) {
                    return Err(self.value(
                        &reference.to_string(),
                        "no cycle of build requirements",
                        &requirement.to_string(),
                    ));
                }
                stack.push((requirement, 0));
            }
        }
        Ok(())
    }

    fn reference(&self, entry: &str, text: &str) -> Result<Reference, SidecarError> {
        let (name, version) = text.split_once(' ').map_or((text, None), |(name, version)| (name, Some(version)));
        self.package_name(entry, name)?;
        if let Some(version) = version {
            self.package_version(entry, version)?;
        }
        Ok(Reference { name: name.to_owned(), version: version.map(str::to_owned) })
    }

    fn package_name(&self, entry: &str, name: &str) -> Result<(), SidecarError> {
        let normal = name.len() <= MAX_NAME && names::normalize(name).is_some_and(|normal| normal == name);
        if normal { Ok(()) } else { Err(self.value(entry, "a normalised package name", name)) }
    }

    fn package_version(&self, entry: &str, version: &str) -> Result<(), SidecarError> {
        let fine = version.len() <= MAX_NAME && !version.contains(char::is_whitespace);
        if fine && pep440_rs::Version::from_str(version).is_ok() {
            return Ok(());
        }
        Err(self.value(entry, "a version (PEP 440)", version))
    }

    /// A path below an archive's root: it becomes a part of addresses.
    fn pool_path(&self, entry: &str, path: &str) -> Result<(), SidecarError> {
        if path.len() > MAX_PATH || Path::new(path).extension().is_none_or(|extension| extension != "deb") {
            return Err(self.value(entry, "a path of a Debian package below the archive's root", path));
        }
        path.split('/').try_for_each(|part| self.file_name(entry, part))
    }

    fn file_name(&self, entry: &str, name: &str) -> Result<(), SidecarError> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | ':' | '?' | '#');
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || name.contains(odd) {
            return Err(self.value(entry, "a file name without folder", name));
        }
        Ok(())
    }

    fn word(&self, entry: &str, word: &str) -> Result<(), SidecarError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '~' | ':' | '_');
        if word.is_empty() || word.len() > MAX_NAME || !word.chars().all(fine) || word.starts_with(['.', '-']) {
            return Err(self.value(entry, "a name or version of the archive", word));
        }
        Ok(())
    }

    fn relative(&self, entry: &str, folder: &str) -> Result<(), SidecarError> {
        let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains(|c: char| c.is_control() || c == '\\');
        if folder.len() > 4096 || folder.split('/').any(odd) {
            return Err(self.value(entry, "a relative folder", folder));
        }
        Ok(())
    }

    fn revision(&self, entry: &str, revision: &str) -> Result<String, SidecarError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if matches!(revision.len(), 40 | 64) && revision.bytes().all(hex) {
            return Ok(revision.to_owned());
        }
        Err(self.value(entry, "the full object name of a commit", revision))
    }

    fn size(&self, entry: &str, size: u64) -> Result<u64, SidecarError> {
        if size <= MAX_FILE { Ok(size) } else { Err(self.value(entry, "a size of at most 64 GiB", &size.to_string())) }
    }

    fn hex(&self, entry: &str, text: &str) -> Result<Sha256, SidecarError> {
        let digest = text.parse::<Sha256>().ok().filter(|digest| digest.hex() == text);
        digest.ok_or_else(|| self.value(entry, "64 lower-case hexadecimal digits", text))
    }

    fn sri(&self, entry: &str, text: &str) -> Result<Sha256, SidecarError> {
        let digest = text.parse::<Sha256>().ok().filter(|digest| digest.sri() == text);
        digest.ok_or_else(|| self.value(entry, "`sha256-` and base64", text))
    }

    fn required<'t>(&self, entry: &str, key: &'static str, value: Option<&'t str>) -> Result<&'t str, SidecarError> {
        value.ok_or_else(|| self.value(entry, key, ""))
    }

    fn value(&self, entry: &str, expected: &'static str, found: &str) -> SidecarError {
        let found = found.chars().take(200).collect();
        SidecarError::Value { path: self.path.to_owned(), entry: entry.to_owned(), expected, found }
    }

    fn syntax(&self, text: &str, error: &toml::de::Error) -> SidecarError {
        let before = error.span().and_then(|span| text.get(..span.start));
        SidecarError::Syntax {
            path: self.path.to_owned(),
            line: before.map(|before| before.matches('\n').count() + 1),
            message: error.message().to_owned(),
        }
    }
}
