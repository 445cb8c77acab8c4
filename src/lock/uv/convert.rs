//! From the lock's spelling to its meaning: names normalised, markers read, references resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};

use super::{
    ConflictItem, Dependency, LockedFile, LockedPackage, Part, Place, Requirement, Source, UvLock, source, wire,
};
use crate::lock::markers::Marker;
use crate::lock::names::{self, WheelName};

/// Most packages of one name. Real locks have one for each fork of the resolution.
const MOST_FORKS: usize = 256;

/// The place of a wrong value in the lock, and what is wrong with it.
type Wrong = (String, String);

pub(super) fn lock(wire: wire::Lock) -> Result<UvLock, Wrong> {
    let at = |place: &str| {
        let place = place.to_owned();
        move |reason: String| (place.clone(), reason)
    };
    let requires_python =
        VersionSpecifiers::from_str(&wire.requires_python).map_err(|error| at("requires-python")(error.to_string()))?;
    let supported = wire.supported_markers.iter().map(|text| marker(text)).collect::<Result<_, _>>();
    let members = wire.manifest.members.iter().map(|text| name(text)).collect::<Result<_, _>>();
    let groups =
        wire.manifest.dependency_groups.into_iter().map(|(group, list)| Ok((name(&group)?, requirements(list)?)));
    let (heads, bodies) = split(wire.packages)?;
    let mut lock = UvLock {
        requires_python,
        supported: supported.map_err(at("supported-markers"))?,
        conflicts: conflicts(wire.conflicts).map_err(at("conflicts"))?,
        members: members.map_err(at("manifest"))?,
        requirements: requirements(wire.manifest.requirements).map_err(at("manifest"))?,
        groups: groups.collect::<Result<_, _>>().map_err(at("manifest"))?,
        packages: Vec::with_capacity(bodies.len()),
    };
    let index = Index::new(&heads)?;
    for (head, body) in heads.iter().zip(bodies) {
        lock.packages.push(package(head, body, &index).map_err(at(&head.describe()))?);
    }
    // Locks of a project that is no workspace name no members.
    if lock.members.is_empty() {
        let root = lock.root().map(|package| package.name.clone());
        lock.members.extend(root);
    }
    Ok(lock)
}

/// What identifies a package.
struct Head {
    name: String,
    version: Option<String>,
    source: Source,
}

impl Head {
    fn describe(&self) -> String {
        let version = self.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
        format!("package `{}`{version}", self.name)
    }
}

fn split(packages: Vec<wire::Package>) -> Result<(Vec<Head>, Vec<Body>), Wrong> {
    let mut heads = Vec::with_capacity(packages.len());
    let mut bodies = Vec::with_capacity(packages.len());
    for wire in packages {
        let at = |reason| (format!("package `{}`", wire.name), reason);
        if let Some(version) = &wire.version {
            Version::from_str(version).map_err(|error| at(error.to_string()))?;
        }
        let source = source::convert(wire.source).map_err(at)?;
        heads.push(Head { name: name(&wire.name).map_err(at)?, version: wire.version, source });
        bodies.push(Body {
            forks: wire.resolution_markers,
            dependencies: wire.dependencies,
            optional: wire.optional_dependencies,
            groups: wire.dev_dependencies,
            metadata: wire.metadata,
            sdist: wire.sdist,
            wheels: wire.wheels,
        });
    }
    Ok((heads, bodies))
}

/// The rest of a package.
struct Body {
    forks: Vec<String>,
    dependencies: Vec<wire::Dependency>,
    optional: BTreeMap<String, Vec<wire::Dependency>>,
    groups: BTreeMap<String, Vec<wire::Dependency>>,
    metadata: wire::Metadata,
    sdist: Option<wire::File>,
    wheels: Vec<wire::File>,
}

/// Finds packages by what a dependency says of them.
struct Index<'a> {
    heads: &'a [Head],
    by_name: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Index<'a> {
    fn new(heads: &'a [Head]) -> Result<Self, Wrong> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, head) in heads.iter().enumerate() {
            let same = by_name.entry(&head.name).or_default();
            if same.iter().any(|other| heads[*other].version == head.version && heads[*other].source == head.source) {
                return Err((head.describe(), "it is there twice".into()));
            }
            if same.len() == MOST_FORKS {
                return Err((head.describe(), format!("the lock has more than {MOST_FORKS} packages of this name")));
            }
            same.push(place);
        }
        Ok(Self { heads, by_name })
    }

    /// Version and source may be left out where the name alone is clear; a dynamic version always is.
    fn find(&self, name: &str, version: Option<&str>, source: Option<&Source>) -> Result<usize, String> {
        let same = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let fits = |place: &&usize| {
            let head = &self.heads[**place];
            let version = if same.len() == 1 { version.or(head.version.as_deref()) } else { version };
            head.version.as_deref() == version && source.is_none_or(|source| head.source == *source)
        };
        let found: Vec<_> = same.iter().filter(fits).collect();
        match (found[..].as_ref(), same.len()) {
            ([place], _) => Ok(**place),
            ([], 0) => Err(format!("it depends on `{name}`, which the lock does not have")),
            ([], _) => Err(format!("it depends on a version or source of `{name}` that the lock does not have")),
            _ => Err(format!("it depends on `{name}`, of which the lock has several, without saying which")),
        }
    }
}

fn package(head: &Head, body: Body, index: &Index<'_>) -> Result<LockedPackage, String> {
    let list = |list: Vec<wire::Dependency>| -> Result<Vec<_>, String> {
        list.into_iter().map(|wire| dependency(wire, index)).collect()
    };
    let tables = |tables: BTreeMap<String, Vec<wire::Dependency>>| -> Result<BTreeMap<_, _>, String> {
        tables.into_iter().map(|(key, wire)| Ok((name(&key)?, list(wire)?))).collect()
    };
    let (mut extras, mut groups) = (tables(body.optional)?, tables(body.groups)?);
    for extra in &body.metadata.provides_extras {
        extras.entry(name(extra)?).or_default();
    }
    for group in body.metadata.requires_dev.keys() {
        groups.entry(name(group)?).or_default();
    }
    let wheel = |wire: wire::File| wheel(head, wire);
    Ok(LockedPackage {
        name: head.name.clone(),
        version: head.version.clone(),
        source: head.source.clone(),
        forks: body.forks.iter().map(|text| marker(text)).collect::<Result<_, _>>()?,
        dependencies: list(body.dependencies)?,
        extras,
        groups,
        sdist: body.sdist.map(|wire| file(head, wire)).transpose()?,
        wheels: body.wheels.into_iter().map(wheel).collect::<Result<_, _>>()?,
    })
}

fn dependency(wire: wire::Dependency, index: &Index<'_>) -> Result<Dependency, String> {
    let source = wire.source.map(source::convert).transpose()?;
    Ok(Dependency {
        package: index.find(&name(&wire.name)?, wire.version.as_deref(), source.as_ref())?,
        extras: wire.extra.iter().map(|extra| name(extra)).collect::<Result<_, _>>()?,
        marker: wire.marker.as_deref().map(marker).transpose()?,
    })
}

fn file(head: &Head, wire: wire::File) -> Result<LockedFile, String> {
    let named = |address: &str| {
        names::file_name(address).ok_or_else(|| format!("`{address}` does not end in the name of a file"))
    };
    let (name, place) = match (wire.url, wire.path, wire.filename, &head.source) {
        (Some(url), ..) => (named(&url)?, Place::Url(url)),
        (_, Some(path), ..) => (named(&path)?, Place::Path(path)),
        (_, _, Some(name), _) => (named(&name)?, Place::Source),
        (_, _, _, Source::Url { url: address, .. } | Source::Path(address)) => (named(address)?, Place::Source),
        _ => return Err("a file has neither address, path nor name".into()),
    };
    Ok(LockedFile { name, place, hash: wire.hash, size: wire.size })
}

fn wheel(head: &Head, wire: wire::File) -> Result<(WheelName, LockedFile), String> {
    let file = file(head, wire)?;
    let name = WheelName::parse(&file.name).map_err(|error| error.to_string())?;
    let version = head.version.as_deref().and_then(|version| Version::from_str(version).ok());
    if name.name != head.name || version.is_some_and(|version| version != name.version) {
        return Err(format!("the wheel `{}` is of another package or version", file.name));
    }
    Ok((name, file))
}

fn requirements(list: Vec<wire::Requirement>) -> Result<Vec<Requirement>, String> {
    let convert = |wire: wire::Requirement| {
        Ok(Requirement {
            name: name(&wire.name)?,
            extras: wire.extras.iter().map(|extra| name(extra)).collect::<Result<BTreeSet<_>, String>>()?,
            marker: wire.marker.as_deref().map(marker).transpose()?,
        })
    };
    list.into_iter().map(convert).collect()
}

fn conflicts(sets: Vec<Vec<wire::Conflict>>) -> Result<Vec<Vec<ConflictItem>>, String> {
    let item = |wire: wire::Conflict| {
        let part = match (wire.extra, wire.group) {
            (None, None) => Part::Project,
            (Some(extra), None) => Part::Extra(name(&extra)?),
            (None, Some(group)) => Part::Group(name(&group)?),
            (Some(_), Some(_)) => return Err("an item names both an extra and a group".to_owned()),
        };
        Ok(ConflictItem { package: name(&wire.package)?, part })
    };
    sets.into_iter().map(|set| set.into_iter().map(item).collect()).collect()
}

fn marker(text: &str) -> Result<Marker, String> {
    Marker::parse(text).map_err(|error| error.to_string())
}

fn name(text: &str) -> Result<String, String> {
    names::normalize(text).ok_or_else(|| format!("`{text}` is not a valid name"))
}
