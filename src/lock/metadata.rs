//! What a file requires at run time (`Requires-Dist`), from what it says of itself without being built.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr as _;

use pep440_rs::Version;
use serde::Deserialize;

use super::resolve::Requires;
use crate::tree;

/// Longest file that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// The requirements that core metadata (`METADATA`, `PKG-INFO`) name.
pub fn requires_dist(metadata: &str) -> Vec<String> {
    field(metadata, "Requires-Dist").map(str::to_owned).collect()
}

/// The requirements of an unpacked source distribution, where it says them reliably: in core metadata from version
/// 2.2 on (PEP 643), in a static `[project]` (PEP 621), or as setuptools left them in `requires.txt`.
pub fn sdist_requires(folder: &Path) -> Requires {
    let core = read(&folder.join("PKG-INFO"));
    if let Some(text) = core.as_deref().filter(|text| is_static(text)) {
        return Requires::Known(requires_dist(text));
    }
    if let Some(requires) = read(&folder.join("pyproject.toml")).and_then(|text| project_requires(&text)) {
        return Requires::Known(requires);
    }
    egg_info_requires(folder).map_or_else(
        || Requires::Unusable("it says what it requires only when it is built".to_owned()),
        Requires::Known,
    )
}

/// The values of a field of the header, which an empty line ends.
fn field<'t>(metadata: &'t str, name: &'t str) -> impl Iterator<Item = &'t str> {
    let header = metadata.lines().take_while(|line| !line.is_empty());
    header.filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn is_static(metadata: &str) -> bool {
    let version = field(metadata, "Metadata-Version").next().and_then(|text| Version::from_str(text).ok());
    version.is_some_and(|version| version >= Version::new([2, 2]))
        && !field(metadata, "Dynamic").any(|name| name.eq_ignore_ascii_case("Requires-Dist"))
}

#[derive(Deserialize)]
struct PyProject {
    project: Option<Static>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Static {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    dynamic: Vec<String>,
}

fn project_requires(text: &str) -> Option<Vec<String>> {
    let project = toml::from_str::<PyProject>(text).ok()?.project?;
    if project.dynamic.iter().any(|name| name == "dependencies" || name == "optional-dependencies") {
        return None;
    }
    let extras = project.optional_dependencies.iter();
    let optional = extras.flat_map(|(extra, list)| list.iter().map(move |text| with_extra(text, extra)));
    Some(project.dependencies.iter().cloned().chain(optional).collect())
}

/// A requirement that counts under `extra` only.
fn with_extra(requirement: &str, extra: &str) -> String {
    match requirement.split_once(';') {
        Some((requirement, marker)) => format!("{requirement}; ({}) and extra == '{extra}'", marker.trim()),
        None => format!("{requirement}; extra == '{extra}'"),
    }
}

/// `NAME.egg-info/requires.txt`; none means no requirements, if the folder is there.
fn egg_info_requires(folder: &Path) -> Option<Vec<String>> {
    let nodes = tree::walk(folder).ok()?;
    let is_egg_info = |path: &&Path| path.extension().is_some_and(|extension| extension == "egg-info");
    let mut found = nodes.iter().map(|node| node.path.as_path()).filter(is_egg_info);
    let (Some(egg_info), None) = (found.next(), found.next()) else { return None };
    let path = folder.join(egg_info).join("requires.txt");
    if path.exists() { read(&path).map(|text| requires_txt(&text)) } else { Some(Vec::new()) }
}

/// Sections are `[extra]`, `[:marker]` and `[extra:marker]`; lines before the first one always count.
fn requires_txt(text: &str) -> Vec<String> {
    let (mut extra, mut marker) = ("", "");
    let mut requires = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            (extra, marker) = section.split_once(':').unwrap_or((section, ""));
            continue;
        }
        let plain = if marker.is_empty() { line.to_owned() } else { format!("{line}; {marker}") };
        requires.push(if extra.is_empty() { plain } else { with_extra(&plain, extra) });
    }
    requires
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdist(files: &[(&str, &str)]) -> Requires {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        sdist_requires(folder.path())
    }

    fn known(requires: &[&str]) -> Requires {
        Requires::Known(requires.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn static_core_metadata_count() {
        let text =
            "Metadata-Version: 2.2\nName: a\nRequires-Dist: b>=1\nrequires-dist: c; extra == 'x'\n\nRequires-Dist: no";
        assert_eq!(sdist(&[("PKG-INFO", text)]), known(&["b>=1", "c; extra == 'x'"]));
        for other in ["Metadata-Version: 2.1\nRequires-Dist: b", "Metadata-Version: 2.4\nDynamic: requires-dist\n", ""]
        {
            assert!(matches!(sdist(&[("PKG-INFO", other)]), Requires::Unusable(_)), "{other}");
        }
    }

    #[test]
    fn a_static_project_table_counts() {
        let text = "[project]\nname = 'a'\ndependencies = ['b']\n[project.optional-dependencies]\nx = [\"c; os_name=='posix'\"]";
        assert_eq!(sdist(&[("pyproject.toml", text)]), known(&["b", "c; (os_name=='posix') and extra == 'x'"]));
        let dynamic = "[project]\nname = 'a'\ndynamic = ['dependencies']";
        assert!(matches!(sdist(&[("pyproject.toml", dynamic)]), Requires::Unusable(_)));
    }

    #[test]
    fn what_setuptools_left_counts() {
        let text = "b>=1\nc\n\n[:python_version < \"3.8\"]\nd\n\n[x]\ne\n\n[y:os_name == 'nt']\nf\n";
        let expected = known(&[
            "b>=1",
            "c",
            "d; python_version < \"3.8\"",
            "e; extra == 'x'",
            "f; (os_name == 'nt') and extra == 'y'",
        ]);
        assert_eq!(sdist(&[("src/a.egg-info/requires.txt", text)]), expected);
        assert_eq!(sdist(&[("a.egg-info/SOURCES.txt", "")]), known(&[]));
        let two = [("a.egg-info/requires.txt", "b"), ("vendor/c.egg-info/requires.txt", "d")];
        assert!(matches!(sdist(&two), Requires::Unusable(_)), "nobody says which one counts");
        let Requires::Known(requires) = sdist(&[("a.egg-info/requires.txt", text)]) else { unreachable!() };
        for text in requires {
            crate::lock::resolve::requirement::check(&text).unwrap();
        }
    }
}
