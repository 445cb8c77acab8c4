//! No byte, name or link may still say where the tree was made.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Check, Finding, Report, VerifyError};
use crate::place::{PREFIX, RECEIPT, Receipt};
use crate::tree::{self, Kind, Node};
use crate::wheel::BUILD_ROOT;

pub(super) fn check(tree: &Path, receipt: &Receipt, report: &mut Report) -> Result<(), VerifyError> {
    let nodes = tree::walk(tree)?;
    let finders = needles(receipt).map(|(needle, what)| (memchr::memmem::Finder::new(&needle).into_owned(), what));
    let findings: Vec<Finding> = nodes
        .par_iter()
        .filter(|node| node.path != Path::new(RECEIPT))
        .map(|node| look(tree, node, &finders, &receipt.outside))
        .collect::<Result<Vec<_>, VerifyError>>()?
        .into_iter()
        .flatten()
        .collect();
    report.findings.extend(findings);
    report.looked.insert(Check::References, format!("{} files and links", nodes.len()));
    Ok(())
}

/// What must not be found, and what it would be.
fn needles(receipt: &Receipt) -> [(Vec<u8>, &'static str); 2] {
    let build = BUILD_ROOT.as_bytes().to_vec();
    // A tree that really is placed at the canonical prefix may name it.
    let canonical = if receipt.prefix == Path::new(PREFIX) { build.clone() } else { format!("{PREFIX}/bin/").into() };
    [(build, "the folder in which packages are compiled"), (canonical, "the canonical prefix")]
}

type Finder = (memchr::memmem::Finder<'static>, &'static str);

fn look(tree: &Path, node: &Node, finders: &[Finder], outside: &[PathBuf]) -> Result<Vec<Finding>, VerifyError> {
    let path = tree.join(&node.path);
    let finding =
        |problem: String| Finding { check: Check::References, subject: node.path.display().to_string(), problem };
    let mut findings = Vec::new();
    match &node.kind {
        Kind::Link { target } => {
            if target.is_absolute() && !outside.iter().any(|folder| target.starts_with(folder)) {
                findings.push(finding(format!("is a link to `{}`, outside the tree", target.display())));
            } else if !path.exists() {
                findings.push(finding(format!("is a link to `{}`, which does not exist", target.display())));
            }
        }
        Kind::File { .. } => {
            let bytes = fs::read(&path).map_err(|source| VerifyError::Io { path, source })?;
            for (finder, what) in finders {
                if let Some(offset) = finder.find(&bytes) {
                    let needle = String::from_utf8_lossy(finder.needle());
                    findings.push(finding(format!("names `{needle}` ({what}) at offset {offset}")));
                }
            }
        }
        Kind::Dir => {}
    }
    for (finder, what) in finders {
        if finder.find(node.path.as_os_str().as_bytes()).is_some() {
            findings.push(finding(format!("has {what} in its name")));
        }
    }
    Ok(findings)
}
