//! Search paths as lists of folders.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{Machine, SearchPath};

impl SearchPath {
    /// The same path with one more folder, or more of them, at its end.
    #[must_use]
    pub fn with(&self, folders: &str) -> Self {
        let text = if self.text.is_empty() { folders.to_owned() } else { format!("{}:{folders}", self.text) };
        Self { tag: self.tag, text }
    }

    /// The same path without the folders that hold nothing that is `needed` and not found before, as the file
    /// system is now. Folders that only the dynamic linker knows (`$ORIGIN`, relative ones) stay. Where `prefixes`
    /// are named, absolute folders that start with none of them go too.
    #[must_use]
    pub fn shrunk(&self, needed: &[String], machine: Machine, prefixes: &[String]) -> Self {
        let mut missing: Vec<&String> = needed.iter().collect();
        let mut kept: Vec<&str> = Vec::new();
        for folder in self.text.split(':') {
            let absolute = folder.starts_with('/');
            let allowed = prefixes.is_empty() || prefixes.iter().any(|prefix| folder.starts_with(prefix.as_str()));
            if !absolute && !folder.is_empty() {
                kept.push(folder);
            } else if absolute && allowed {
                let before = missing.len();
                missing.retain(|name| !is_for(&Path::new(folder).join(name), machine));
                if missing.len() < before {
                    kept.push(folder);
                }
            }
        }
        Self { tag: self.tag, text: kept.join(":") }
    }
}

/// Whether a file is an ELF file for a machine.
fn is_for(path: &Path, machine: Machine) -> bool {
    const HEADER: u64 = 64;
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER).read_to_end(&mut start));
    read.is_ok() && Machine::of(&start) == Some(machine)
}
