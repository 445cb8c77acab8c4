//! `RECORD` files after the tree was edited.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::error::InstallError;
use super::layout::Layout;
use super::record::{self, Row};
use super::write::threads;
use crate::digest::Sha256;
use crate::tree;

/// Gives the rows of `changed` files (paths in the tree) their hash and size as they are now, in every `RECORD`
/// that lists them. Rows without a hash stay so. Gives the number of rows that changed.
pub fn refresh_records(
    tree: &Path,
    layout: &Layout,
    changed: &BTreeSet<String>,
    jobs: NonZeroUsize,
) -> Result<usize, InstallError> {
    let mut records = installed(tree, layout)?;
    let listed = |row: &Row| layout.place_of(&row.path).filter(|place| !row.hash.is_empty() && changed.contains(place));
    let wanted: BTreeSet<String> = records.iter().flat_map(|record| &record.rows).filter_map(listed).collect();
    let hashes: BTreeMap<String, (Sha256, u64)> =
        threads(jobs)?.install(|| wanted.into_par_iter().map(|place| hash(tree, place)).collect::<Result<_, _>>())?;
    let mut count = 0;
    for record in &mut records {
        for row in &mut record.rows {
            let Some((sha256, size)) = listed(row).and_then(|place| hashes.get(&place)) else { continue };
            let fresh = Row::of(row.path.clone(), sha256, *size);
            if *row != fresh {
                *row = fresh;
                record.edited = true;
                count += 1;
            }
        }
    }
    save(records)?;
    Ok(count)
}

/// Lists the bytecode of every listed source in the same `RECORD`: without hash and size, as pip does. Sources
/// without bytecode are passed over. Gives the number of rows that were added.
pub fn record_bytecode(tree: &Path, layout: &Layout) -> Result<usize, InstallError> {
    let mut records = installed(tree, layout)?;
    let mut count = 0;
    for record in &mut records {
        let rows: BTreeSet<&str> = record.rows.iter().map(|row| row.path.as_str()).collect();
        let fresh: BTreeSet<String> = record
            .rows
            .iter()
            .filter_map(|row| bytecode_path(&row.path, layout))
            .filter(|path| !rows.contains(path.as_str()))
            .filter(|path| layout.place_of(path).is_some_and(|place| tree.join(place).is_file()))
            .collect();
        record.edited |= !fresh.is_empty();
        count += fresh.len();
        record.rows.extend(fresh.into_iter().map(Row::bare));
    }
    save(records)?;
    Ok(count)
}

/// Where Python looks for the bytecode of a source (PEP 3147).
fn bytecode_path(source: &str, layout: &Layout) -> Option<String> {
    let stem = source.strip_suffix(".py")?;
    let tag = format!("cpython-{}{}", layout.python.major, layout.python.minor);
    Some(match stem.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/__pycache__/{name}.{tag}.pyc"),
        None => format!("__pycache__/{stem}.{tag}.pyc"),
    })
}

/// One `RECORD` of a tree.
struct Installed {
    path: PathBuf,
    rows: Vec<Row>,
    edited: bool,
}

fn installed(tree: &Path, layout: &Layout) -> Result<Vec<Installed>, InstallError> {
    let mut records = Vec::new();
    for folder in tree::list(&tree.join(layout.site_packages()))? {
        let path = folder.join("RECORD");
        if folder.extension().is_none_or(|suffix| suffix != "dist-info") || !path.is_file() {
            continue;
        }
        let wrong = |problem| InstallError::Installed { path: path.clone(), problem };
        let text = fs::read_to_string(&path).map_err(|source| InstallError::Read { path: path.clone(), source })?;
        let rows = record::parse(&text).map_err(|(line, problem)| wrong(format!("line {line} {problem}")))?;
        if let Some(row) = rows.iter().find(|row| layout.place_of(&row.path).is_none()) {
            return Err(wrong(format!("{:?} leaves the tree", row.path)));
        }
        records.push(Installed { path, rows, edited: false });
    }
    Ok(records)
}

fn hash(tree: &Path, place: String) -> Result<(String, (Sha256, u64)), InstallError> {
    let path = tree.join(&place);
    let hashed = File::open(&path).and_then(Sha256::of_reader);
    hashed.map(|found| (place, found)).map_err(|source| InstallError::Read { path, source })
}

fn save(records: Vec<Installed>) -> Result<(), InstallError> {
    for record in records.into_iter().filter(|record| record.edited) {
        let Installed { path, rows, .. } = record;
        replace(&path, record::format(rows).as_bytes()).map_err(|source| InstallError::Write { path, source })?;
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
