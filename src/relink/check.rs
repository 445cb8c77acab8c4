//! Reads a finished tree again: does every program and library find what it needs, in the tree and nowhere else?

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::elf::{Image, Machine};
use super::missing::{Missing, Reason};
use super::resolve::{in_tree, lacks};
use super::scan::{self, Scan};
use super::{LIBDIR, RelinkError, read};
use crate::runtime::seal;
use crate::tree;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of programs and libraries.
    pub files: u64,
    /// What is wrong, sorted.
    pub findings: Vec<Finding>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What was expected and what was found.
    pub problem: String,
}

/// Checks the ELF files of a tree that lies, or will lie, at `prefix`. `ignore` are patterns of sonames that may
/// be missing, `SONAME` or `FILE:SONAME`.
pub fn check(tree: &Path, prefix: &Path, ignore: &[String], jobs: NonZeroUsize) -> Result<Outcome, RelinkError> {
    let Some((loader, machine)) = loader(tree)? else {
        let problem = "there is no dynamic linker".to_owned();
        return Ok(Outcome { files: 0, findings: vec![Finding { path: PathBuf::from(LIBDIR), problem }] });
    };
    let scan = scan::scan(tree, machine, jobs)?;
    let mut findings = Vec::new();
    let interpreter = prefix.join(LIBDIR).join(&loader);
    for (path, image) in &scan.images {
        let problems = outside(path, image, &interpreter, &scan);
        findings.extend(problems.into_iter().map(|problem| Finding { path: path.clone(), problem }));
    }
    for path in scan.images.keys().filter(|path| path.parent() == Some(Path::new(LIBDIR))) {
        let open = seal::open_paths(&read(&tree.join(path))?);
        let problem = |open: &String| Finding { path: path.clone(), problem: format!("names `{open}` of the host") };
        findings.extend(open.iter().map(problem));
    }
    findings.extend(unresolved(&scan, &loader, ignore));
    let files = scan.images.len() as u64;
    findings.sort();
    findings.dedup();
    Ok(Outcome { files, findings })
}

/// The tree's dynamic linker: the program in its library folder that others name as theirs.
fn loader(tree: &Path) -> Result<Option<(String, Machine)>, RelinkError> {
    let Ok(files) = tree::list(&tree.join(LIBDIR)) else { return Ok(None) };
    for file in files.iter().filter(|file| file.is_file()) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_loader = ["ld-", "ld.so", "ld64.so"].iter().any(|start| name.starts_with(start));
        if let Some(machine) = is_loader.then(|| read(file)).transpose()?.and_then(|bytes| Machine::of(&bytes)) {
            return Ok(Some((name, machine)));
        }
    }
    Ok(None)
}

/// Texts that lead out of the tree, or to nothing.
fn outside(path: &Path, image: &Image, interpreter: &Path, scan: &Scan) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(found) = image.interpreter.as_ref().filter(|found| Path::new(found) != interpreter) {
        problems.push(format!("its interpreter is `{found}`; expected `{}`", interpreter.display()));
    }
    for text in image.search.iter().flat_map(|search| search.text.split(':')) {
        match in_tree(path, text) {
            None => problems.push(format!("its search path has `{text}`, which is not in the tree")),
            Some(folder) if !scan.names.contains_key(&folder) => {
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

/// Follows every need as the dynamic linker would: each file's own search path must do, whoever loads it.
fn unresolved(scan: &Scan, loader: &str, ignore: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, image) in &scan.images {
        let folders: Vec<PathBuf> = image.search_folders().filter_map(|text| in_tree(path, text)).collect();
        for name in image.needed.iter().filter(|name| !name.contains('/')) {
            let always = (name == loader).then(|| Path::new(LIBDIR).join(loader));
            let found = always.or_else(|| folders.iter().find_map(|folder| scan.find(folder, name)).cloned());
            let reason = match found {
                None => Reason::NotFound,
                Some(found) => match lacks(scan, image, name, &found) {
                    Some(lacks) => Reason::Versions { found, lacks },
                    None => continue,
                },
            };
            let missing = Missing { soname: name.clone(), file: path.clone(), reason };
            if !missing.is_ignored(ignore) {
                findings.push(Finding { path: path.clone(), problem: missing.problem() });
            }
        }
    }
    findings
}
