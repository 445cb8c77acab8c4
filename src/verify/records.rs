//! Every file against RECORD, and every file in a RECORD.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Check, Finding, Report, Site, VerifyError, few, measure};
use crate::install::record::{self, Row};
use crate::tree::{self, Kind};

pub(super) fn check(site: &Site, report: &mut Report) -> Result<(), VerifyError> {
    let mut listed = BTreeSet::new();
    let mut rows = Vec::new();
    for dist in &site.dists {
        let path = dist.join("RECORD");
        let text = site.read(&path)?;
        match record::parse(&String::from_utf8_lossy(&text)) {
            Ok(found) => rows.extend(found.into_iter().map(|row| (path.clone(), row))),
            Err((line, problem)) => report.findings.push(finding(&path, format!("line {line} {problem}"))),
        }
    }
    for (_, row) in &rows {
        listed.extend(resolve(&site.folder, &row.path));
    }
    let wrong: Vec<Finding> = rows.par_iter().filter_map(|(path, row)| compare(site, path, row)).collect();
    report.findings.extend(wrong);
    let unlisted: BTreeSet<String> = tree::walk(&site.tree.join(&site.folder))?
        .into_iter()
        .filter(|node| node.kind != Kind::Dir)
        .map(|node| site.folder.join(node.path))
        .filter(|path| !listed.contains(path))
        .map(|path| path.display().to_string())
        .collect();
    if !unlisted.is_empty() {
        report
            .findings
            .push(finding(&site.folder, format!("{} files in no RECORD: {}", unlisted.len(), few(&unlisted))));
    }
    report.looked.insert(Check::Record, format!("{} files in {} RECORDs", rows.len(), site.dists.len()));
    Ok(())
}

fn finding(path: &Path, problem: String) -> Finding {
    Finding { check: Check::Record, subject: path.display().to_string(), problem }
}

/// What is wrong with the file of one row.
fn compare(site: &Site, record: &Path, row: &Row) -> Option<Finding> {
    let Some(path) = resolve(&site.folder, &row.path) else {
        return Some(finding(record, format!("lists `{}`, which leaves the tree", row.path)));
    };
    let (digest, size) = match measure(&site.tree.join(&path)) {
        Ok(found) => found,
        Err(error) => {
            return Some(finding(&path, format!("is listed in {} and cannot be read: {error}", record.display())));
        }
    };
    if row.hash.is_empty() {
        return None;
    }
    let found = Row::of(row.path.clone(), &digest, size);
    (found != *row).then(|| {
        finding(&path, format!("expected {} and {} bytes, found {} and {size}", row.hash, row.size, found.hash))
    })
}

/// A row's path from the top of the tree; `None` if it leaves it.
fn resolve(site: &Path, row: &str) -> Option<PathBuf> {
    let mut path = site.to_owned();
    for part in row.split('/') {
        match part {
            ".." => path.pop().then_some(())?,
            "" | "." => return None,
            name => path.push(name),
        }
    }
    Some(path)
}
