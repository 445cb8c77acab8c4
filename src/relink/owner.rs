//! Which files a name in the recipe's `dlopen` table means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::scan::{Scan, join};
use super::{Job, RelinkError, glob, read};
use crate::tree;

/// Names to open, by file; and the table's keys that mean no file.
type Opened = (BTreeMap<PathBuf, Vec<String>>, Vec<String>);

/// Names that each file opens at run time, from the recipe's table.
pub(super) fn opened(job: &Job<'_>, scan: &Scan) -> Result<Opened, RelinkError> {
    let mut opened: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut unused = Vec::new();
    for (key, names) in job.dlopen {
        let files = if key.contains(['/', '*']) { matching(key, job.site, scan) } else { of_package(job, key, scan)? };
        if files.is_empty() {
            unused.push(key.clone());
        }
        for file in files {
            let all = opened.entry(file).or_default();
            all.extend(names.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
        }
    }
    Ok((opened, unused))
}

/// Files whose path below the tree or below the site matches.
fn matching(pattern: &str, site: &Path, scan: &Scan) -> Vec<PathBuf> {
    let matches = |path: &Path| glob::matches(pattern, &path.to_string_lossy());
    let files = scan.images.keys().filter(|path| matches(path) || path.strip_prefix(site).is_ok_and(matches));
    files.cloned().collect()
}

/// Files of a package, by its RECORD.
fn of_package(job: &Job<'_>, package: &str, scan: &Scan) -> Result<Vec<PathBuf>, RelinkError> {
    let site = job.tree.join(job.site);
    let wanted = normalized(package);
    let mut files = BTreeSet::new();
    for folder in tree::list(&site)? {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()?.strip_suffix(".dist-info")) else {
            continue;
        };
        if name.split('-').next().map(normalized) != Some(wanted.clone()) {
            continue;
        }
        let record = read(&folder.join("RECORD"))?;
        let rows = String::from_utf8_lossy(&record);
        let paths = rows.lines().filter_map(|row| join(job.site, Path::new(&first_field(row))));
        files.extend(paths.filter(|path| scan.images.contains_key(path)));
    }
    Ok(files.into_iter().collect())
}

/// The first field of a row of comma-separated values.
fn first_field(row: &str) -> String {
    let Some(quoted) = row.strip_prefix('"') else { return row.split(',').next().unwrap_or_default().to_owned() };
    quoted.replace("\"\"", "\u{0}").split('"').next().unwrap_or_default().replace('\u{0}', "\"")
}

/// A package name as PEP 503 normalises it.
fn normalized(name: &str) -> String {
    let mut normal = String::new();
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.extend(other.to_lowercase()),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rows_and_names() {
        assert_eq!(first_field("a/b.so,sha256=x,1"), "a/b.so");
        assert_eq!(first_field("\"a,\"\"b\"\".so\",sha256=x,1"), "a,\"b\".so");
        assert_eq!(normalized("Python_Kadmin.-rs"), "python-kadmin-rs");
    }
}
