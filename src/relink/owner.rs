//! Which package a file belongs to, and which files a rule means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder::join;
use super::scan::Scan;
use super::{Job, RelinkError, Rules, glob, read};
use crate::install::record;
use crate::lock::names::normalize;

/// The packages of a tree's programs and libraries.
#[derive(Debug, Default)]
pub(super) struct Owners {
    by_file: BTreeMap<PathBuf, String>,
    /// Folders with packages.
    sites: BTreeSet<PathBuf>,
}

impl Owners {
    /// Reads every RECORD of the tree.
    pub(super) fn read(tree: &Path, scan: &Scan) -> Result<Self, RelinkError> {
        let site = |path: &Path| path.ancestors().find(|folder| folder.ends_with("site-packages")).map(Path::to_owned);
        let mut sites: BTreeSet<PathBuf> = scan.images.keys().filter_map(|path| site(path)).collect();
        let mut by_file = BTreeMap::new();
        for path in &scan.records {
            let Some((site, name)) = path.parent().and_then(|info| Some((info.parent()?, info.file_name()?.to_str()?)))
            else {
                continue;
            };
            let Some(package) = name.split('-').next().and_then(normalize) else { continue };
            let rows = record::paths(&read(&tree.join(path))?).collect::<Vec<_>>();
            let files = rows.iter().filter_map(|row| join(site, Path::new(row)));
            for file in files.filter(|file| scan.images.contains_key(file)) {
                by_file.insert(file, package.clone());
            }
            sites.insert(site.to_owned());
        }
        Ok(Self { by_file, sites })
    }

    pub(super) fn of(&self, path: &Path) -> Option<&str> {
        self.by_file.get(path).map(String::as_str)
    }

    /// Whether `files`, a package or a pattern, means the file at `path`.
    pub(super) fn means(&self, files: &str, path: &Path) -> bool {
        let matches = |path: &Path| glob::matches(files, &path.to_string_lossy());
        if files.contains('/') {
            let below = self.sites.iter().filter_map(|site| path.strip_prefix(site).ok());
            return matches(path) || below.into_iter().any(matches);
        }
        path.file_name().is_some_and(|name| matches(Path::new(name)))
            || self.of(path).is_some_and(|owner| normalize(files).is_some_and(|files| files == owner))
    }

    /// Whether one of the patterns, `SONAME` or `FILES:SONAME`, means that `path` asks for `soname`.
    pub(super) fn listed(&self, patterns: &[String], path: &Path, soname: &str) -> bool {
        patterns.iter().any(|pattern| match pattern.split_once(':') {
            Some((files, pattern)) => glob::matches(pattern, soname) && self.means(files, path),
            None => glob::matches(pattern, soname),
        })
    }

    /// Everything that a table of rules has for a file, in the table's order.
    pub(super) fn values<'r>(&self, table: &'r BTreeMap<String, Vec<String>>, path: &Path) -> Vec<&'r str> {
        let mut values: Vec<&str> = Vec::new();
        for (files, list) in table {
            if self.means(files, path) {
                let new: Vec<&str> = list.iter().map(String::as_str).filter(|value| !values.contains(value)).collect();
                values.extend(new);
            }
        }
        values
    }

    /// Names of files in the rules that mean none of the tree's.
    pub(super) fn unused<'r>(&self, rules: &'r Rules, scan: &Scan) -> Vec<&'r str> {
        let names = rules.dlopen.keys().chain(rules.runpath.keys()).map(String::as_str);
        names.filter(|files| !scan.images.keys().any(|path| self.means(files, path))).collect()
    }
}

impl Job<'_> {
    /// The owners of the tree's files, if a rule asks for them.
    pub(super) fn owners(&self, scan: &Scan) -> Result<Owners, RelinkError> {
        if self.rules.name_packages() { Owners::read(self.tree, scan) } else { Ok(Owners::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_whom_a_rule_means() {
        let path = |text: &str| PathBuf::from(text);
        let owners = Owners {
            by_file: BTreeMap::from([(path("site/My/ext.so"), "my-package".to_owned())]),
            sites: BTreeSet::from([path("site")]),
        };
        for (files, expected) in [
            ("My.Package", true),
            ("my", false),
            ("ext.so", true),
            ("e*.so", true),
            ("My/*.so", true),
            ("site/My/*.so", true),
            ("**/ext.so", true),
            ("*/other.so", false),
        ] {
            assert_eq!(owners.means(files, Path::new("site/My/ext.so")), expected, "{files}");
        }
        let patterns = ["libcuda.so.*".to_owned(), "my-package:libx.so".to_owned()];
        assert!(owners.listed(&patterns, Path::new("other.so"), "libcuda.so.1"));
        assert!(owners.listed(&patterns, Path::new("site/My/ext.so"), "libx.so"));
        assert!(!owners.listed(&patterns, Path::new("other.so"), "libx.so"));
    }
}
