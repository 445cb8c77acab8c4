//! An archive's `Packages` index, read without copying: tens of thousands of packages, few of them used.

use std::collections::BTreeMap;

use super::relation;
use super::version;
use crate::digest::Sha256;

/// What resolution and pins need of one package. Fields that are absent are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Package<'i> {
    pub name: &'i str,
    pub version: &'i str,
    pub architecture: &'i str,
    pub depends: &'i str,
    pub pre_depends: &'i str,
    pub provides: &'i str,
    pub conflicts: &'i str,
    pub breaks: &'i str,
    pub priority: &'i str,
    /// Path below the archive's root.
    pub filename: &'i str,
    pub size: &'i str,
    pub sha256: &'i str,
}

/// All packages of an index by name, and the names that they provide.
#[derive(Debug, Default)]
pub struct Index<'i> {
    packages: Vec<Package<'i>>,
    /// Numbers into `packages`; the latest version where a name comes more than once.
    by_name: BTreeMap<&'i str, usize>,
    /// Provided name to (number, version that it provides).
    provided: BTreeMap<&'i str, Vec<(usize, Option<&'i str>)>>,
}

/// A paragraph that no archive writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} in the paragraph of package `{package}`")]
pub struct BadIndex {
    package: String,
    problem: String,
}

impl<'i> Index<'i> {
    /// Adds the packages of `text` that are for `architecture` or `all`.
    pub fn add(&mut self, text: &'i str, architecture: &str) -> Result<(), BadIndex> {
        let mut package = Package::default();
        for line in text.split('\n').chain([""]) {
            if line.is_empty() {
                let found = std::mem::take(&mut package);
                if found != Package::default() {
                    self.add_package(found, architecture)?;
                }
                continue;
            }
            // Continuation lines hold nothing that is needed here.
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let (field, value) = line.split_once(':').ok_or_else(|| BadIndex {
                package: package.name.to_owned(),
                problem: format!("expected `Field: value`, found `{}`", line.chars().take(80).collect::<String>()),
            })?;
            if let Some(place) = package.field(field) {
                if !place.is_empty() {
                    return Err(BadIndex {
                        package: package.name.to_owned(),
                        problem: format!("field {field} comes twice"),
                    });
                }
                *place = value.trim();
            }
        }
        Ok(())
    }

    fn add_package(&mut self, package: Package<'i>, architecture: &str) -> Result<(), BadIndex> {
        package.check()?;
        if package.architecture != architecture && package.architecture != "all" {
            return Ok(());
        }
        if let Some(&known) = self.by_name.get(package.name)
            && version::compare(self.packages[known].version, package.version).is_ge()
        {
            return Ok(());
        }
        self.by_name.insert(package.name, self.packages.len());
        self.packages.push(package);
        Ok(())
    }

    /// Notes who provides what; call once, after the last [`Index::add`].
    pub fn finish(&mut self) -> Result<(), BadIndex> {
        for &number in self.by_name.values() {
            let package = &self.packages[number];
            if package.provides.is_empty() {
                continue;
            }
            let groups = relation::parse(package.provides)
                .map_err(|error| BadIndex { package: package.name.to_owned(), problem: error.to_string() })?;
            for name in groups.into_iter().flatten() {
                let version = name.version.map(|(_, version)| version);
                self.provided.entry(name.name).or_default().push((number, version));
            }
        }
        Ok(())
    }

    /// The package of this name.
    pub fn get(&self, name: &str) -> Option<&Package<'i>> {
        self.by_name.get(name).map(|&number| &self.packages[number])
    }

    /// Who provides `name`, and which version of it, in the order of the providers' names.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = (&Package<'i>, Option<&'i str>)> {
        let found = self.provided.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().map(|(number, version)| (&self.packages[*number], *version))
    }

    /// All names of real packages, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'i str> {
        self.by_name.keys().copied()
    }

    /// Number of packages.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether it has no package.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl<'i> Package<'i> {
    fn field(&mut self, name: &str) -> Option<&mut &'i str> {
        Some(match name {
            "Package" => &mut self.name,
            "Version" => &mut self.version,
            "Architecture" => &mut self.architecture,
            "Depends" => &mut self.depends,
            "Pre-Depends" => &mut self.pre_depends,
            "Provides" => &mut self.provides,
            "Conflicts" => &mut self.conflicts,
            "Breaks" => &mut self.breaks,
            "Priority" => &mut self.priority,
            "Filename" => &mut self.filename,
            "Size" => &mut self.size,
            "SHA256" => &mut self.sha256,
            _ => return None,
        })
    }

    fn check(&self) -> Result<(), BadIndex> {
        for (field, value) in [("Package", self.name), ("Version", self.version), ("Architecture", self.architecture)] {
            let legal = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._~:".contains(&byte));
            if value.is_empty() || !legal {
                return Err(self.bad(format!("field {field} is `{value}`")));
            }
        }
        Ok(())
    }

    /// Size in bytes and digest of its file.
    pub fn file(&self) -> Result<(u64, Sha256), BadIndex> {
        let size = self.size.parse().map_err(|_| self.bad(format!("field Size is `{}`", self.size)))?;
        let sha256 = self.sha256.parse().map_err(|_| self.bad(format!("field SHA256 is `{}`", self.sha256)))?;
        Ok((size, sha256))
    }

    fn bad(&self, problem: String) -> BadIndex {
        BadIndex { package: self.name.to_owned(), problem }
    }

    /// How much a distribution wants this package: smaller is more.
    pub fn rank(&self) -> usize {
        const ORDER: [&str; 4] = ["required", "important", "standard", "optional"];
        ORDER.iter().position(|name| *name == self.priority).unwrap_or(ORDER.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "Package: a\nVersion: 1\nArchitecture: amd64\nDepends: b (>= 1),\n c\nProvides: v (= 2), w\n\n\
        Package: a\nVersion: 2\nArchitecture: amd64\nSize: 5\nSHA256: zz\n\n\n\
        Package: a\nVersion: 1.5\nArchitecture: amd64\n\n\
        Package: b\nVersion: 1\nArchitecture: i386\n\nPackage: c\nVersion: 1\nArchitecture: all\nProvides: w\n";

    fn index(text: &str) -> Result<Index<'_>, BadIndex> {
        let mut index = Index::default();
        index.add(text, "amd64")?;
        index.finish()?;
        Ok(index)
    }

    #[test]
    fn keeps_the_latest_of_the_right_architecture() {
        let index = index(TEXT).unwrap();
        assert_eq!(index.names().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(index.get("a").unwrap().version, "2");
        assert!(index.get("a").unwrap().file().is_err());
        assert_eq!(index.providers("w").map(|(package, _)| package.name).collect::<Vec<_>>(), ["c"]);
        assert_eq!(index.providers("v").count(), 0, "only an older version provides it");
    }

    #[test]
    fn refuses_broken_paragraphs() {
        for text in [
            "Package: a\nVersion: 1\n",
            "Package: a b\nVersion: 1\nArchitecture: all\n",
            "Package: a\nPackage: b\nVersion: 1\nArchitecture: all\n",
            "Package: a\nVersion: 1\nArchitecture: all\nno colon\n",
            "Package: a\nVersion: 1\nArchitecture: all\nProvides: (\n",
        ] {
            assert!(index(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "((Package|Version|Architecture|Provides|Size)?(: ?)?[a-z0-9 ,()=]{0,8}\n){0,12}") {
            drop(index(&text));
        }
    }
}
