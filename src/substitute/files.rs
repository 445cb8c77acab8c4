//! Which files a rule is about.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::rule::Rule;
use super::{Job, LARGEST, Reason, SubstituteError};
use crate::install::{Layout, record};
use crate::lock::names;
use crate::place;
use crate::recipe::nearest;
use crate::relink::glob;
use crate::tree::{self, Kind, Node};

/// The files of a tree, by name.
pub(super) struct Files<'a> {
    job: &'a Job<'a>,
    nodes: Vec<Node>,
    /// The installed packages with what their RECORDs list, from the top of the tree.
    packages: Vec<(String, PathBuf, BTreeSet<String>)>,
}

/// One entry of `files` and what it finds.
pub(super) struct Entry {
    pub(super) pattern: String,
    /// Indices of nodes.
    pub(super) files: Vec<usize>,
}

impl<'a> Files<'a> {
    pub(super) fn open(job: &'a Job<'a>) -> Result<Self, SubstituteError> {
        let nodes = tree::walk(job.tree)?;
        let mut packages = Vec::new();
        if let Some(python) = job.python {
            let layout = Layout::canonical(python);
            for node in &nodes {
                let dist = node.path.parent().filter(|_| is_record(&node.path));
                let Some(name) = dist.and_then(|dist| package_name(dist, &layout)) else { continue };
                let path = job.tree.join(&node.path);
                let bytes = fs::read(&path).map_err(|source| SubstituteError::Read { path, source })?;
                let listed = record::paths(&bytes).filter_map(|row| layout.place_of(&row)).collect();
                packages.push((name, node.path.clone(), listed));
            }
        }
        Ok(Self { job, nodes, packages })
    }

    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Whether there is something at `path`.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.index(path).is_some()
    }

    /// The node at `path`: a walk sorts by the bytes of paths.
    fn index(&self, path: &Path) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.path.as_os_str().as_bytes().cmp(path.as_os_str().as_bytes())).ok()
    }

    /// Files and links in the folders of programs, from the top of the tree.
    pub(super) fn programs(&self) -> BTreeSet<String> {
        let folder = |path: &Path| path.starts_with("bin") || path.starts_with("runtime/bin");
        let inside = self.nodes.iter().filter(|node| node.kind != Kind::Dir && folder(&node.path));
        inside.filter_map(|node| node.path.to_str().map(str::to_owned)).collect()
    }

    /// What every entry of the rule finds, or why it finds nothing.
    pub(super) fn entries(&self, rule: &Rule) -> Vec<Result<Entry, Reason>> {
        let listed = match self.listed(rule) {
            Ok(listed) => listed,
            Err(reason) => return vec![Err(reason)],
        };
        rule.files.iter().map(|pattern| self.entry(&self.in_tree(rule, pattern), listed)).collect()
    }

    /// An entry of `files` from the top of the tree.
    pub(super) fn in_tree(&self, rule: &Rule, entry: &str) -> String {
        match (&rule.package, self.job.python) {
            (Some(_), Some(python)) => format!("{}/{entry}", Layout::canonical(python).site_packages()),
            _ => entry.to_owned(),
        }
    }

    /// The RECORD of the rule's package and what it lists.
    pub(super) fn record(&self, rule: &Rule) -> Option<&Path> {
        let name = rule.package.as_ref()?;
        self.packages.iter().find(|(known, ..)| known == name).map(|(_, record, _)| record.as_path())
    }

    fn listed(&self, rule: &Rule) -> Result<Option<&BTreeSet<String>>, Reason> {
        let Some(name) = &rule.package else { return Ok(None) };
        match self.packages.iter().find(|(known, ..)| known == name) {
            Some((_, _, listed)) => Ok(Some(listed)),
            None => {
                let known = self.packages.iter().map(|(known, ..)| known.as_str());
                let nearest = nearest::nearest(name, known).map(str::to_owned);
                Err(Reason::NoPackage { name: name.clone(), nearest })
            }
        }
    }

    fn entry(&self, pattern: &str, listed: Option<&BTreeSet<String>>) -> Result<Entry, Reason> {
        let is_listed = |path: &str| listed.is_none_or(|listed| listed.contains(path));
        let named = |index: usize| {
            let node = &self.nodes[index];
            // A name that is no UTF-8 is matched as it is shown.
            let path = node.path.to_string_lossy();
            (node.kind != Kind::Dir && is_listed(&path)).then_some((index, path))
        };
        let mut files = Vec::new();
        if pattern.contains(['*', '?']) {
            // What nobody names by its own name is passed over.
            let matching = (0..self.nodes.len()).filter_map(named).filter(|(_, path)| glob::matches(pattern, path));
            let is_file = |index: &usize| {
                let node = &self.nodes[*index];
                matches!(node.kind, Kind::File { .. }) && !is_reserved(&node.path)
            };
            files.extend(matching.map(|(index, _)| index).filter(is_file));
        } else if let Some((index, _)) = self.index(Path::new(pattern)).and_then(named) {
            let Node { path, kind } = &self.nodes[index];
            if let Kind::Link { target } = kind {
                return Err(Reason::Link { path: path.clone(), target: target.clone() });
            }
            if is_reserved(path) {
                return Err(Reason::Reserved { path: path.clone() });
            }
            files.push(index);
        } else {
            let known: Vec<_> = (0..self.nodes.len()).filter_map(named).collect();
            let known = known.iter().map(|(_, path)| &**path);
            let nearest = nearest::nearest(pattern, known).map(str::to_owned);
            return Err(Reason::NoFile { pattern: pattern.to_owned(), nearest });
        }
        if files.is_empty() {
            return Err(Reason::NoFile { pattern: pattern.to_owned(), nearest: None });
        }
        Ok(Entry { pattern: pattern.to_owned(), files })
    }

    /// Whether a new file may be made at `path`: nothing is there, and all above it are folders.
    pub(super) fn check_new(&self, path: &Path, rule: &Rule) -> Result<(), Reason> {
        if is_reserved(path) {
            return Err(Reason::Reserved { path: path.to_owned() });
        }
        let node = |path: &Path| self.index(path).map(|index| &self.nodes[index]);
        let taken = |above: &&Path| node(above).is_some_and(|node| *above == path || node.kind != Kind::Dir);
        if let Some(taken) = path.ancestors().find(taken) {
            return Err(Reason::Occupied { path: taken.to_owned() });
        }
        if rule.package.is_some() {
            self.listed(rule)?;
        } else if path.components().any(|part| part == Component::Normal("site-packages".as_ref())) {
            return Err(Reason::Unowned { path: path.to_owned() });
        }
        Ok(())
    }

    /// Bytecode of `path` that an edit would not reach, from the top of the tree.
    pub(super) fn unchecked(&self, path: &Path) -> Option<PathBuf> {
        let bytecode = unchecked(&self.job.tree.join(path))?;
        bytecode.strip_prefix(self.job.tree).ok().map(Path::to_owned)
    }

    /// The bytes of a file.
    pub(super) fn read(&self, path: &Path) -> Result<Result<Vec<u8>, Reason>, SubstituteError> {
        let place = self.job.tree.join(path);
        match read(&place) {
            Ok(Some(bytes)) => Ok(Ok(bytes)),
            Ok(None) => Ok(Err(Reason::TooLarge { path: path.to_owned(), expected: LARGEST })),
            Err(source) => Err(SubstituteError::Read { path: place, source }),
        }
    }
}

/// The bytes of a file; `None` where it is too large.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LARGEST).then_some(bytes))
}

/// Bytecode of a Python source that Python would go on to use after an edit: it names the hash of its source, and says
/// that nobody is to compare it (PEP 552).
pub(super) fn unchecked(source: &Path) -> Option<PathBuf> {
    const HASHED_AND_UNCHECKED: [u8; 4] = 1_u32.to_le_bytes();
    let stem = source.file_name()?.to_str()?.strip_suffix(".py")?;
    let cached = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let tag = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.'));
        tag.is_some_and(|tag| tag.ends_with(".pyc"))
    };
    let says_so = |path: &PathBuf| {
        let mut head = [0; 8];
        File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head[4..] == HASHED_AND_UNCHECKED
    };
    let folder = source.parent()?.join("__pycache__");
    tree::list(&folder).ok()?.into_iter().filter(cached).find(says_so)
}

/// A file of the project.
pub(super) fn source(folder: &Path, path: &str) -> io::Result<Vec<u8>> {
    read(&folder.join(path))?.ok_or_else(|| io::Error::other(format!("it has more than {LARGEST} bytes")))
}

fn is_record(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "RECORD")
        && path.parent().and_then(Path::extension).is_some_and(|extension| extension == "dist-info")
}

/// What akb writes and keeps right itself, and bytecode, which follows its source.
fn is_reserved(path: &Path) -> bool {
    is_record(path)
        || path.extension().is_some_and(|extension| extension == "pyc")
        || [place::RECEIPT, place::SPOTS, "pyvenv.cfg"].iter().any(|name| path == Path::new(name))
}

/// The normalised name of the package of a `.dist-info` folder in site-packages.
fn package_name(dist: &Path, layout: &Layout) -> Option<String> {
    let inside = dist.strip_prefix(layout.site_packages()).ok()?.to_str()?;
    let name = inside.strip_suffix(".dist-info")?.split('-').next()?;
    names::normalize(name)
}
