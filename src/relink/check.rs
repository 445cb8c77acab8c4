//! Reads a finished tree again: does every program and library find what it needs, where it may, and does every
//! entry of a search path serve a purpose?

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::elf::{Image, Priority};
use super::folder::in_tree;
use super::job::is_libc;
use super::missing::{Missing, Reason};
use super::owner::Owners;
use super::probe::{Probed, probe};
use super::resolve::{lacks, names_any, stems};
use super::scan::{self, Kinship, Scan};
use super::{LIBDIR, OPENED, RelinkError, Rules, names_folder, read};
use crate::runtime::seal;
use crate::tree::{self, Kind};

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of programs and libraries.
    pub files: u64,
    /// What is wrong, sorted.
    pub findings: Vec<Finding>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What was expected and what was found.
    pub problem: String,
}

/// What a tree is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Premises<'a> {
    /// Where the tree lies, or will lie.
    pub prefix: &'a Path,
    /// By which it was linked: what may be missing, what is opened by name, what search paths end with.
    pub rules: &'a Rules,
    /// The dynamic linker of its programs.
    pub linker: Linker<'a>,
    /// Folders outside of the tree below which search paths may lead, as they are on this machine.
    pub outside: &'a [PathBuf],
}

/// A dynamic linker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker<'a> {
    /// The tree's own.
    Own,
    /// One outside of it.
    At(&'a Path),
    /// Whichever programs name; it finds the C library by itself.
    Any,
}

impl Premises<'_> {
    fn believes(&self, folder: &Path) -> bool {
        let plain = folder.components().all(|part| part != Component::ParentDir);
        plain && self.outside.iter().any(|believed| folder.starts_with(believed))
    }
}

/// Checks the ELF files of a tree.
pub fn check(tree: &Path, premises: &Premises<'_>, jobs: NonZeroUsize) -> Result<Outcome, RelinkError> {
    let loader = loader(tree, premises)?;
    if loader.is_none() && premises.linker != Linker::Any {
        let path = if let Linker::At(path) = premises.linker { path } else { Path::new(LIBDIR) };
        let finding = Finding { path: path.to_owned(), problem: "there is no dynamic linker".to_owned() };
        return Ok(Outcome { files: 0, findings: vec![finding] });
    }
    let mut scan = scan::scan(tree, loader.as_ref().map(|loader| loader.who), jobs)?;
    if let (None, Some(who)) = (&loader, scan.usual()) {
        scan.restrict(who);
    }
    if !premises.outside.is_empty() {
        // A link may give a library outside the name that a file of the tree opens it by.
        for node in tree::walk(tree)? {
            if let Kind::Link { target } = &node.kind
                && premises.believes(target)
            {
                scan.name(&node.path, target);
            }
        }
    }
    let owners = if premises.rules.name_packages() { Owners::read(tree, &scan)? } else { Owners::default() };
    let mut checker = Checker { tree, premises, loader, scan: &scan, owners, known: BTreeMap::new() };
    let mut findings = Vec::new();
    for (path, image) in &scan.images {
        let problems = checker.problems(path, image)?;
        findings.extend(problems.into_iter().map(|problem| Finding { path: path.clone(), problem }));
    }
    findings.sort();
    findings.dedup();
    Ok(Outcome { files: scan.images.len() as u64, findings })
}

/// The dynamic linker of a tree.
struct Loader {
    /// What programs should name as theirs.
    path: PathBuf,
    name: String,
    who: Kinship,
    /// Its own folder, if it searches that by this name.
    default: Option<PathBuf>,
}

/// The dynamic linker outside that is named, or the program in the tree's library folder that looks like one.
fn loader(tree: &Path, premises: &Premises<'_>) -> Result<Option<Loader>, RelinkError> {
    let candidates = match premises.linker {
        Linker::At(path) => vec![path.to_owned()],
        Linker::Own => tree::list(&tree.join(LIBDIR)).unwrap_or_default(),
        Linker::Any => Vec::new(),
    };
    for file in candidates.iter().filter(|file| file.is_file()) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_loader = ["ld-", "ld.so", "ld64.so"].iter().any(|start| name.starts_with(start));
        let Some(image) = is_loader.then(|| image_of(file)).transpose()?.flatten() else { continue };
        let (path, default) = match premises.linker {
            Linker::At(path) => {
                let bytes = read(file)?;
                (path.to_owned(), path.parent().filter(|folder| names_folder(&bytes, folder)).map(Path::to_owned))
            }
            _ => (premises.prefix.join(LIBDIR).join(&name), None),
        };
        return Ok(Some(Loader { path, name, who: Kinship::of(&image), default }));
    }
    Ok(None)
}

fn image_of(path: &Path) -> Result<Option<Image>, RelinkError> {
    let file = File::open(path).map_err(|source| RelinkError::Io { path: path.to_owned(), source })?;
    Ok(match probe(&file) {
        Ok(Probed::Image(image)) => Some(*image),
        _ => None,
    })
}

struct Checker<'a> {
    tree: &'a Path,
    premises: &'a Premises<'a>,
    loader: Option<Loader>,
    scan: &'a Scan,
    owners: Owners,
    /// Libraries outside of the tree that were looked for.
    known: BTreeMap<PathBuf, Option<Image>>,
}

/// What became of a name that a file asks for.
enum Answer {
    /// Found by the entry of the search path with this index.
    Entry(usize),
    /// Found by the dynamic linker itself.
    Default,
    Wrong(Reason),
}

impl Checker<'_> {
    fn problems(&mut self, path: &Path, image: &Image) -> Result<Vec<String>, RelinkError> {
        let mut problems = self.outside(path, image);
        if path.parent() == Some(Path::new(LIBDIR)) && self.premises.linker == Linker::Own {
            let open = seal::open_paths(&read(&self.tree.join(path))?);
            problems.extend(open.iter().map(|open| format!("names `{open}` of the host")));
        }
        let mut used = Vec::new();
        let mut missing = Vec::new();
        for (names, required) in self.asked(path, image) {
            let mut reason = None;
            for name in &names {
                match self.answer(path, image, name)? {
                    Answer::Entry(index) => used.push(index),
                    Answer::Default => {}
                    Answer::Wrong(wrong) => {
                        reason.get_or_insert((name.clone(), wrong));
                        continue;
                    }
                }
                reason = None;
                break;
            }
            missing.extend(reason.filter(|_| required));
        }
        // What an entry is for cannot be told where something is missing.
        let complete = missing.is_empty();
        for (name, reason) in missing {
            if !self.owners.listed(&self.premises.rules.may_be_missing(), path, &name) {
                problems.push(Missing::new(&name, path, None, reason).problem());
            }
        }
        if complete {
            problems.extend(self.unused(path, image, &used)?);
        }
        Ok(problems)
    }

    /// Names that a file asks for, of each group one, and whether it must be there.
    fn asked(&self, path: &Path, image: &Image) -> Vec<(Vec<String>, bool)> {
        let one = |name: &str| (vec![name.to_owned()], true);
        let mut asked: Vec<_> = image.needed.iter().filter(|name| !name.contains('/')).map(|name| one(name)).collect();
        asked.extend(self.owners.values(&self.premises.rules.dlopen, path).into_iter().map(one));
        let own = OPENED.iter().filter(|(library, _)| path == Path::new(LIBDIR).join(library));
        asked.extend(own.map(|(_, name)| (vec![(*name).to_owned()], false)));
        let notes = image.dlopen.iter();
        asked.extend(notes.map(|note| (note.soname.clone(), note.priority == Priority::Required)));
        asked
    }

    /// Follows a need as the dynamic linker would: the file's own search path must do, whoever loads it.
    fn answer(&mut self, path: &Path, image: &Image, name: &str) -> Result<Answer, RelinkError> {
        if self.loader.as_ref().is_some_and(|loader| loader.name == name) {
            return Ok(Answer::Default);
        }
        let mut wrong = None;
        for (index, text) in entries(image).enumerate() {
            let found = match in_tree(path, text) {
                Some(folder) => self.scan.find(&folder, name).cloned(),
                None => Some(Path::new(text).join(name)),
            };
            let Some(found) = found else { continue };
            let Some(library) = self.library(&found)? else { continue };
            if Kinship::of(image).refuses(&library).is_some() {
                // The dynamic linker goes on.
                wrong.get_or_insert(Reason::Unsuitable { found });
                continue;
            }
            return Ok(match lacks(&library, image, name) {
                Some(lacks) => Answer::Wrong(Reason::Versions { found, lacks }),
                None => Answer::Entry(index),
            });
        }
        let default = self.loader.as_ref().and_then(|loader| loader.default.clone()).map(|folder| folder.join(name));
        if let Some(found) = default.filter(|_| !image.no_default_lib)
            && let Some(library) = self.library(&found)?
        {
            return Ok(match lacks(&library, image, name) {
                Some(lacks) => Answer::Wrong(Reason::Versions { found, lacks }),
                None => Answer::Default,
            });
        }
        if self.loader.is_none() && is_libc(name) {
            return Ok(Answer::Default);
        }
        Ok(Answer::Wrong(wrong.unwrap_or(if image.needed.iter().any(|needed| needed == name) {
            Reason::NotFound
        } else {
            Reason::NotFoundByName
        })))
    }

    /// A library of the tree, or one outside that may be believed.
    fn library(&mut self, file: &Path) -> Result<Option<Image>, RelinkError> {
        if let Some(image) = self.scan.images.get(file) {
            return Ok(Some(image.clone()));
        }
        if !file.is_absolute() || !self.premises.believes(file) {
            return Ok(None);
        }
        if let Some(known) = self.known.get(file) {
            return Ok(known.clone());
        }
        let image = if file.is_file() { image_of(file)? } else { None };
        self.known.insert(file.to_owned(), image.clone());
        Ok(image)
    }

    /// Texts that lead out of the tree, or to nothing.
    fn outside(&self, path: &Path, image: &Image) -> Vec<String> {
        let mut problems = Vec::new();
        if let (Some(found), Some(loader)) = (&image.interpreter, &self.loader)
            && Path::new(found) != loader.path
        {
            problems.push(format!("its interpreter is `{found}`; expected `{}`", loader.path.display()));
        }
        let by_rule = self.owners.values(&self.premises.rules.runpath, path);
        for text in entries(image).filter(|text| !by_rule.contains(text)) {
            match in_tree(path, text) {
                None if self.premises.believes(Path::new(text)) => {}
                None => problems.push(format!("its search path has `{text}`, which is not in the tree")),
                Some(folder) if !self.scan.names.contains_key(&folder) => {
                    problems.push(format!("its search path has `{text}`, which holds no library"));
                }
                Some(_) => {}
            }
        }
        for name in image.needed.iter().chain(&image.soname).filter(|name| name.contains('/')) {
            problems.push(format!("names `{name}`; expected a name without a slash"));
        }
        problems
    }

    /// Entries of the search path that answer no need, and that no rule wants.
    fn unused(&self, path: &Path, image: &Image, used: &[usize]) -> Result<Vec<String>, RelinkError> {
        let by_rule = self.owners.values(&self.premises.rules.runpath, path);
        let mut problems = Vec::new();
        for (index, text) in entries(image).enumerate() {
            if used.contains(&index) || by_rule.contains(&text) {
                continue;
            }
            // A folder without libraries, or one that may not be believed, has been reported.
            let stems = match in_tree(path, text) {
                Some(folder) if !self.scan.names.contains_key(&folder) => continue,
                Some(folder) => stems(path, self.scan.names.get(&folder)),
                None if !self.premises.believes(Path::new(text)) => continue,
                None => BTreeSet::new(),
            };
            if !names_any(&self.tree.join(path), &stems)? {
                problems.push(format!("its search path has `{text}`, which answers no need"));
            }
        }
        Ok(problems)
    }
}

fn entries(image: &Image) -> impl Iterator<Item = &str> {
    image.search.iter().flat_map(|search| search.text.split(':'))
}
