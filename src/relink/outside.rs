//! What libraries outside of the tree need in turn. They are not changed; a person is told where they would not find it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::RelinkError;
use super::job::is_libc;
use super::library::Library;
use super::resolve::Resolver;
use super::scan::Kinship;

/// Folders of a machine that its dynamic linker searches by itself.
const SYSTEM: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
/// Most libraries that the note spells out.
const NAMED: usize = 4;

impl Resolver<'_> {
    /// Finds out which libraries that are referred to do not find all that they need by their own search path.
    pub(super) fn look_outside(&mut self) -> Result<(), RelinkError> {
        let mut open: Vec<PathBuf> = self.outside.keys().cloned().collect();
        let mut seen: BTreeSet<PathBuf> = open.iter().cloned().collect();
        let mut lost: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        while let Some(path) = open.pop() {
            let Some(library) = self.libraries.at(&path)? else { continue };
            let who = Kinship::of(&library.image);
            let folders = self.searched(&library);
            for name in library.image.needed.iter().filter(|name| !is_libc(name) && !name.contains('/')) {
                match self.libraries.first(&folders, name, who)? {
                    Some(found) => open.extend(seen.insert(found.path.clone()).then_some(found.path)),
                    None => lost.entry(path.clone()).or_default().push(name.clone()),
                }
            }
        }
        self.result.lost = told(&lost);
        Ok(())
    }

    fn searched(&self, library: &Library) -> Vec<PathBuf> {
        let mut folders = library.search_folders();
        let by_itself = |folder: &Path| match self.loader {
            Some(_) => self.default.contains(folder),
            None => SYSTEM.iter().any(|system| folder.starts_with(system)),
        };
        folders.extend(self.job.supply.libraries.iter().filter(|folder| by_itself(folder)).cloned());
        folders
    }
}

fn told(lost: &BTreeMap<PathBuf, Vec<String>>) -> Option<(String, String)> {
    let shown = |(path, names): (&PathBuf, &Vec<String>)| format!("\n  {} needs {}", path.display(), names.join(", "));
    let all: String = lost.iter().take(NAMED).map(shown).collect();
    let more = match lost.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("\n  … and {more} more"),
    };
    let folder = lost.keys().next()?.parent()?.display();
    Some((
        format!("libraries of the inputs do not say where to find what they need:{all}{more}"),
        format!("relink the folders of the inputs first: akb relink {folder} --inputs {folder} …"),
    ))
}
