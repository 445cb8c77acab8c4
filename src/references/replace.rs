//! Overwrites references in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::bytecode::{self, Fresh};
use super::scan::{io_error, parallel, place_of, prepare};
use super::search::Matcher;
use super::{Filter, Found, Needles, Place, ReferencesError, Unread, scan};
use crate::report::Reporter;
use crate::rewrite::{self, Ready};

/// What is overwritten, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What may stay.
    pub filter: Filter,
    /// What each letter and digit becomes. Must not be in the alphabet of a form or word.
    pub filler: u8,
    /// Overwrite what a program needs to start, too: its `#!` line or interpreter, a library needed by its path. For
    /// trees that are relinked afterwards.
    pub functional: bool,
    /// Overwrite targets of links, too: they lead nowhere then.
    pub links: bool,
}

impl Default for Policy {
    /// All references, by the letter `e`; refuses what would break programs and links.
    fn default() -> Self {
        Self { filter: Filter::default(), filler: b'e', functional: false, links: false }
    }
}

impl Policy {
    fn refuses(&self, found: &Found) -> bool {
        found.member.is_some()
            || match found.place {
                Place::FileName | Place::Archive => true,
                Place::LinkTarget => !self.links,
                _ => found.place.is_functional() && !self.functional,
            }
    }
}

/// What was done to a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// Files and links that hold other bytes now, relative to the tree, sorted: those with references, the bytecode of
    /// changed sources, and the `RECORD` files that list any of them.
    pub changed: BTreeSet<PathBuf>,
    /// References that were overwritten.
    pub count: u64,
    /// Those that were allowed to stay.
    pub kept: Vec<Found>,
    /// What could not be looked into.
    pub unread: Vec<Unread>,
}

/// Overwrites all needles in `tree` that the policy does not allow, so that a later [`scan`](fn@scan) finds only those that it
/// allows. Files keep size, mode and time.
///
/// Everything is looked up and written beside its place first, and nothing is changed where one file cannot be written, or
/// one reference has to be refused: archives cannot be
/// edited in place, nor names, and where something functional would break the policy must say so. In `.dynstr` an
/// entry of RUNPATH is overwritten like any text: the linker then looks into a folder that does not exist, which is
/// harmless; relinking removes it. Bytecode that names its source by hash gets the hash of the edited source, and rows
/// of `RECORD` files theirs. Names of one file (hard links) inside the tree stay one file.
pub fn replace(
    tree: &Path,
    needles: &Needles,
    policy: &Policy,
    jobs: NonZeroUsize,
    reporter: &dyn Reporter,
) -> Result<Replaced, ReferencesError> {
    check_filler(needles, policy.filler)?;
    let matcher = prepare(needles)?;
    // A link to a file stays one.
    let tree = &if tree.is_file() { fs::canonicalize(tree).map_err(io_error("read", tree))? } else { tree.to_owned() };
    let scanned = scan(tree, needles, jobs)?;
    let (forbidden, kept): (Vec<Found>, Vec<Found>) =
        scanned.found.into_iter().partition(|found| policy.filter.forbids(found));
    let refused: Vec<Found> = forbidden.iter().filter(|found| policy.refuses(found)).cloned().collect();
    if !refused.is_empty() {
        return Err(ReferencesError::Refused { tree: tree.to_owned(), found: refused });
    }
    for unread in &scanned.unread {
        reporter.warn(unread.to_string(), None);
    }
    let mut jobs_by_path: BTreeMap<&Path, Task> = BTreeMap::new();
    for found in &forbidden {
        let task = jobs_by_path.entry(&found.path).or_default();
        task.needles.insert(&found.needle);
        task.also = &found.also;
        task.is_link |= found.place == Place::LinkTarget;
    }
    let edit = |(path, task): (&&Path, &Task<'_>)| task.run(tree, path, &matcher, policy.filler);
    let edits = parallel(jobs, || jobs_by_path.par_iter().map(edit).collect::<Result<Vec<Edit>, _>>())??;
    let mut replaced = Replaced { kept, unread: scanned.unread, ..Replaced::default() };
    let mut ready: BTreeMap<PathBuf, Ready> = BTreeMap::new();
    let mut bytecode = Vec::new();
    for edit in edits {
        replaced.count += edit.count;
        ready.extend(edit.ready);
        bytecode.extend(edit.bytecode);
    }
    for (place, header) in bytecode {
        let path = place.strip_prefix(tree).unwrap_or(&place).to_owned();
        // One that had references itself is overwritten already.
        let source = ready.get(&path).map_or(place.as_path(), Ready::beside);
        let mut bytes = fs::read(source).map_err(io_error("read", source))?;
        bytes.splice(..header.len().min(bytes.len()), header);
        let fresh = rewrite::file(&place, &bytes)?;
        ready.insert(path, fresh);
    }
    let beside = |path: &Path| ready.get(path).map(|ready| ready.beside().to_owned());
    let records = parallel(jobs, || rewrite::records(tree, beside))??;
    ready.extend(records);
    replaced.changed.extend(ready.keys().cloned());
    rewrite::put(ready.into_values().collect())?;
    reporter.note(format!("overwrote {} references in {} files", replaced.count, replaced.changed.len()));
    Ok(replaced)
}

/// A filler that is in an alphabet would make new words of it.
fn check_filler(needles: &Needles, filler: u8) -> Result<(), ReferencesError> {
    let of_patterns = needles.patterns.iter().any(|pattern| pattern.alphabet.has(filler));
    let of_words = needles.words.iter().any(|words| words.alphabet().has(filler));
    if !of_patterns && !of_words && filler.is_ascii_graphic() {
        return Ok(());
    }
    let reason = "cannot overwrite references: it is in their own alphabet, or not a printable character";
    Err(ReferencesError::Needle { needle: char::from(filler).to_string(), reason: reason.to_owned() })
}

/// What is to be done to one file.
#[derive(Default)]
struct Task<'a> {
    needles: BTreeSet<&'a str>,
    also: &'a [PathBuf],
    is_link: bool,
}

/// What is to take the place of its names, as paths in the tree.
struct Edit {
    ready: Vec<(PathBuf, Ready)>,
    count: u64,
    bytecode: Vec<Fresh>,
}

impl Task<'_> {
    fn run(&self, tree: &Path, path: &Path, matcher: &Matcher<'_>, filler: u8) -> Result<Edit, ReferencesError> {
        let place = place_of(tree, path);
        if self.is_link {
            let target = fs::read_link(&place).map_err(io_error("read", &place))?;
            let (bytes, count) = self.overwrite(target.as_os_str().as_bytes(), path, matcher, filler)?;
            let ready = rewrite::link(OsStr::from_bytes(&bytes).as_ref(), &place)?;
            return Ok(Edit { ready: vec![(path.to_owned(), ready)], count, bytecode: Vec::new() });
        }
        let old = fs::read(&place).map_err(io_error("read", &place))?;
        let (new, count) = self.overwrite(&old, path, matcher, filler)?;
        let first = rewrite::file(&place, &new)?;
        let mut bytecode = bytecode::fresh(&place, &old, &new)?;
        let mut ready = Vec::new();
        for other in self.also {
            let other_place = place_of(tree, other);
            ready.push((other.clone(), rewrite::hard_link(&first, &other_place, &new)?));
            bytecode.extend(bytecode::fresh(&other_place, &old, &new)?);
        }
        ready.push((path.to_owned(), first));
        Ok(Edit { ready, count, bytecode })
    }

    /// The bytes with all of the needles gone.
    fn overwrite(
        &self,
        old: &[u8],
        path: &Path,
        matcher: &Matcher<'_>,
        filler: u8,
    ) -> Result<(Vec<u8>, u64), ReferencesError> {
        let mut new = old.to_vec();
        let mut count = 0;
        for hit in matcher.find(old) {
            let shown = matcher.shown(old, &hit);
            if self.needles.contains(shown.as_str()) {
                count += 1;
                for at in matcher.hidden(&hit) {
                    if new[at].is_ascii_alphanumeric() {
                        new[at] = filler;
                    }
                }
            }
        }
        let left = matcher.find(&new).into_iter().map(|hit| matcher.shown(&new, &hit));
        if let Some(needle) = left.into_iter().find(|shown| self.needles.contains(shown.as_str())) {
            let reason = "cannot be overwritten: too little of it is letters and digits".to_owned();
            return Err(ReferencesError::Needle { needle, reason });
        }
        if count == 0 {
            return Err(ReferencesError::Changed { path: path.to_owned() });
        }
        Ok((new, count))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::process::Command;

    use super::super::testing::{HELD, jobs, needles};
    use super::*;
    use crate::digest::Sha256;
    use crate::install::record;
    use crate::report::Silent;

    fn run(tree: &Path, policy: &Policy) -> Result<Replaced, ReferencesError> {
        replace(tree, &needles(), policy, jobs(2), &Silent)
    }

    fn paths(replaced: &Replaced) -> Vec<&str> {
        replaced.changed.iter().map(|path| path.to_str().unwrap()).collect()
    }

    fn left(tree: &Path) -> Vec<Found> {
        scan(tree, &needles(), jobs(1)).unwrap().found
    }

    #[test]
    fn nothing_is_left_and_nothing_else_moves() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join("a.bin");
        fs::write(&file, format!("x\0{HELD}/bin /build/src y 89abcdf0")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o555)).unwrap();
        fs::hard_link(&file, tree.path().join("b.bin")).unwrap();
        fs::write(tree.path().join("c"), "clean").unwrap();
        let about = |name: &str| fs::metadata(tree.path().join(name)).unwrap();
        let before = (about("a.bin").mtime_nsec(), about("c").ino());
        let replaced = run(tree.path(), &Policy::default()).unwrap();
        assert_eq!(paths(&replaced), ["a.bin", "b.bin"]);
        assert_eq!(replaced.count, 3);
        assert_eq!(fs::read_to_string(&file).unwrap(), "x\0/shop/eeeeeeee-tool/bin /eeeee/eee y eeeeeeee");
        assert_eq!(before, (about("a.bin").mtime_nsec(), about("c").ino()));
        assert_eq!((about("a.bin").ino(), about("a.bin").mode()), (about("b.bin").ino(), 0o100_555));
        assert_eq!(left(tree.path()), []);
        assert_eq!(run(tree.path(), &Policy::default()).unwrap().changed, BTreeSet::new());
    }

    #[test]
    fn utf_16_is_overwritten_character_by_character() {
        let tree = tempfile::tempdir().unwrap();
        let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        fs::write(tree.path().join("a"), wide(&format!("é{HELD}"))).unwrap();
        run(tree.path(), &Policy::default()).unwrap();
        assert_eq!(fs::read(tree.path().join("a")).unwrap(), wide("é/shop/eeeeeeee-tool"));
    }

    #[test]
    fn what_cannot_be_overwritten_is_refused_before_anything_is_written() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), HELD).unwrap();
        fs::write(tree.path().join("0123abcd.txt"), "").unwrap();
        fs::write(tree.path().join("run"), format!("#!{HELD}/bin/sh\n{HELD}\n")).unwrap();
        symlink(HELD, tree.path().join("link")).unwrap();
        let error = run(tree.path(), &Policy::default()).unwrap_err();
        let ReferencesError::Refused { found, .. } = &error else { panic!("{error}") };
        let places: Vec<&Place> = found.iter().map(|found| &found.place).collect();
        assert_eq!(places, [&Place::FileName, &Place::LinkTarget, &Place::Shebang]);
        assert_eq!(fs::read_to_string(tree.path().join("a")).unwrap(), HELD);
        fs::remove_file(tree.path().join("0123abcd.txt")).unwrap();
        let replaced = run(tree.path(), &Policy { functional: true, links: true, ..Policy::default() }).unwrap();
        assert_eq!(paths(&replaced), ["a", "link", "run"]);
        assert_eq!(fs::read_link(tree.path().join("link")).unwrap(), Path::new("/shop/eeeeeeee-tool"));
        assert_eq!(left(tree.path()), []);
    }

    #[test]
    fn what_is_allowed_stays() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), format!("{HELD} /build/src")).unwrap();
        fs::write(tree.path().join("doc"), "/build/src").unwrap();
        let filter = Filter { allow: vec!["*-tool".into()], allow_in: vec!["doc".into()], deny: Vec::new() };
        let replaced = run(tree.path(), &Policy { filter: filter.clone(), ..Policy::default() }).unwrap();
        assert_eq!(fs::read_to_string(tree.path().join("a")).unwrap(), format!("{HELD} /eeeee/eee"));
        assert_eq!((paths(&replaced), replaced.kept.len()), (vec!["a"], 2));
        let denied = Filter { deny: vec![HELD.into()], ..filter };
        assert_eq!(left(tree.path()).iter().filter(|found| denied.forbids(found)).count(), 1);
        let only = Filter { deny: vec!["/build/src".into()], ..Filter::default() };
        let forbidden: Vec<Found> = left(tree.path()).into_iter().filter(|found| only.forbids(found)).collect();
        assert_eq!(forbidden.iter().map(|found| found.path.to_str().unwrap()).collect::<Vec<_>>(), ["doc"]);
    }

    #[test]
    fn fillers_that_make_new_references_are_refused() {
        let tree = tempfile::tempdir().unwrap();
        for filler in [b'0', b'\n'] {
            let error = run(tree.path(), &Policy { filler, ..Policy::default() }).unwrap_err();
            assert!(matches!(error, ReferencesError::Needle { .. }), "{error}");
        }
        fs::write(tree.path().join("a"), "/-/-/-").unwrap();
        let needles = Needles::default().literal("/-/-");
        let error = replace(tree.path(), &needles, &Policy::default(), jobs(1), &Silent).unwrap_err();
        assert!(error.to_string().contains("too little of it"), "{error}");
    }

    /// Bytecode that is checked against its source is still taken by Python, and RECORD still tells the truth.
    #[test]
    fn hashes_of_sources_stay_true() {
        let tree = tempfile::tempdir().unwrap();
        let site = tree.path().join("lib/site-packages");
        fs::create_dir_all(site.join("p-1.dist-info")).unwrap();
        let source = format!("WHERE = '{HELD}'\n");
        fs::write(site.join("p.py"), &source).unwrap();
        let record = |source: &str| {
            let row =
                |path: &str| record::Row::of(path.to_owned(), &Sha256::of(source.as_bytes()), source.len() as u64);
            record::format(vec![row("p.py"), row("../../bin/absent"), record::Row::bare("p-1.dist-info/RECORD".into())])
        };
        fs::write(site.join("p-1.dist-info/RECORD"), record(&source)).unwrap();
        let python = |arguments: &[&str]| {
            let output = Command::new("python3").args(arguments).current_dir(&site).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        python(&["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "p.py"]);
        let replaced = run(tree.path(), &Policy::default()).unwrap();
        assert_eq!(replaced.changed.len(), 3, "{:?}", replaced.changed);
        let script = "import importlib.machinery as m, sys\n\
                      def no(*a): raise SystemExit('compiled again')\n\
                      m.SourceFileLoader.source_to_code = no\n\
                      sys.path.insert(0, '')\nimport p; print(p.WHERE, p.__cached__.endswith('.pyc'))";
        assert_eq!(python(&["-B", "-c", script]), "/shop/eeeeeeee-tool True\n");
        let text = fs::read_to_string(site.join("p-1.dist-info/RECORD")).unwrap();
        let expected = record(&fs::read_to_string(site.join("p.py")).unwrap());
        assert_eq!(
            text.lines().find(|line| line.starts_with("p.py")),
            expected.lines().find(|line| line.starts_with("p.py"))
        );
    }
}
