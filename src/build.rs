//! Tells the library which sources it is made from: what they make is kept under that name.

#![expect(clippy::disallowed_methods, reason = "lists folders as src/tree.rs does, which is not compiled yet")]

use std::path::Path;
use std::{fs, io};

use sha2::{Digest as _, Sha256};

fn main() -> io::Result<()> {
    let mut hasher = Sha256::new();
    for name in ["Cargo.lock", "python-shim", "src"] {
        println!("cargo::rerun-if-changed={name}");
        add(Path::new(name), &mut hasher)?;
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=AKB_SOURCES={digest}");
    Ok(())
}

/// Name, size and contents of a file, or of every file of a folder, sorted.
fn add(path: &Path, hasher: &mut Sha256) -> io::Result<()> {
    if path.is_dir() {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        return names.iter().try_for_each(|name| add(&path.join(name), hasher));
    }
    let bytes = fs::read(path)?;
    hasher.update(format!("{} {}\n", path.display(), bytes.len()));
    hasher.update(bytes);
    Ok(())
}
