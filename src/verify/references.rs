//! No byte, name or link may still say where the tree was made.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::{Check, Finding, Report, VerifyError};
use crate::place::{PREFIX, RECEIPT, Receipt};
use crate::references::{self, Found, Needles, Place};
use crate::tree::{self, Kind, Node};
use crate::wheel::BUILD_ROOT;

pub(super) fn check(
    tree: &Path,
    receipt: &Receipt,
    jobs: NonZeroUsize,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let meanings = meanings(receipt);
    let needles = meanings.keys().fold(Needles::default(), |needles, text| needles.literal(text.as_str()));
    let scan = references::scan(tree, &needles, jobs)?;
    let found = scan.found.iter().filter(|found| found.path != Path::new(RECEIPT));
    report.findings.extend(found.map(|found| finding(found, &meanings)));
    for node in tree::walk(tree)? {
        report.findings.extend(link(tree, &node, &receipt.outside));
    }
    report.looked.insert(Check::References, format!("{} files and links", scan.names));
    Ok(())
}

/// What must not be found, and what it would be.
fn meanings(receipt: &Receipt) -> BTreeMap<String, &'static str> {
    let mut meanings = BTreeMap::from([(BUILD_ROOT.to_owned(), "the folder in which packages are compiled")]);
    // A tree that really is placed at the canonical prefix may name it.
    if receipt.prefix != Path::new(PREFIX) {
        meanings.insert(format!("{PREFIX}/bin/"), "the canonical prefix");
    }
    meanings
}

fn finding(found: &Found, meanings: &BTreeMap<String, &'static str>) -> Finding {
    let what = meanings.get(&found.needle).copied().unwrap_or("what it must not name");
    let (needle, offset, place) = (&found.needle, found.offset, &found.place);
    let problem = match (place, &found.member) {
        (Place::FileName, None) => format!("has {what} in its name"),
        (_, None) => format!("names `{needle}` ({what}) at offset {offset}, {place}"),
        (_, Some(member)) => format!("names `{needle}` ({what}) in its member {member} at offset {offset}, {place}"),
    };
    Finding { check: Check::References, subject: found.path.display().to_string(), problem }
}

/// What is wrong with a link.
fn link(tree: &Path, node: &Node, outside: &[PathBuf]) -> Option<Finding> {
    let Kind::Link { target } = &node.kind else { return None };
    let problem = if target.is_absolute() && !outside.iter().any(|folder| target.starts_with(folder)) {
        format!("is a link to `{}`, outside the tree", target.display())
    } else if !tree.join(&node.path).exists() {
        format!("is a link to `{}`, which does not exist", target.display())
    } else {
        return None;
    };
    Some(Finding { check: Check::References, subject: node.path.display().to_string(), problem })
}
