//! One pass over a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::archive::{self, Budget, Outline, Packing};
use super::place::{Layout, Place, context};
use super::search::{Hit, Matcher};
use super::{Encoding, Found, Needles, ReferencesError, Scan, Unread, sections};
use crate::tree::{self, Kind, Node};

/// Finds all needles in the contents, names and link targets of `tree`, a folder or a single file. The result does not
/// depend on `jobs`.
///
/// Archives (zip, tar) and compressed files (gzip, bzip2, xz, zstd) are searched inside too. What could not be unpacked
/// is told, and searched as it is.
pub fn scan(tree: &Path, needles: &Needles, jobs: NonZeroUsize) -> Result<Scan, ReferencesError> {
    let nodes = nodes(tree)?;
    let matcher = prepare(needles)?;
    let bytes = nodes.iter().map(|node| if let Kind::File { size, .. } = node.kind { size } else { 0 }).sum();
    let mut scan = Scan { names: nodes.len() as u64, bytes, ..Scan::default() };
    if needles.is_empty() {
        return Ok(scan);
    }
    let looks = parallel(jobs, || {
        let look = |buffer: &mut Vec<u8>, node: &Node| look(tree, node, &matcher, buffer);
        nodes.par_iter().map_init(Vec::new, look).collect::<Result<Vec<Look>, _>>()
    })??;
    for look in looks {
        scan.found.extend(look.found);
        scan.unread.extend(look.unread);
    }
    join_hard_links(tree, &mut scan.found)?;
    scan.found.sort();
    Ok(scan)
}

/// What is in `tree`; one node with an empty path where it is a file.
pub(super) fn nodes(tree: &Path) -> Result<Vec<Node>, ReferencesError> {
    if tree.is_file() {
        let tree = fs::canonicalize(tree).map_err(io_error("read", tree))?;
        return Ok(vec![Node { path: PathBuf::new(), kind: tree::kind(&tree)? }]);
    }
    Ok(tree::walk(tree)?)
}

pub(super) fn prepare(needles: &Needles) -> Result<Matcher<'_>, ReferencesError> {
    if let Some((needle, reason)) = needles.flaw() {
        return Err(ReferencesError::Needle { needle, reason: reason.to_owned() });
    }
    let problem = |reason| ReferencesError::Needle { needle: "all of them together".to_owned(), reason };
    Matcher::new(needles).map_err(problem)
}

pub(super) fn parallel<T: Send>(jobs: NonZeroUsize, work: impl FnOnce() -> T + Send) -> Result<T, ReferencesError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build();
    Ok(pool.map_err(|error| ReferencesError::Threads(error.to_string()))?.install(work))
}

/// Where a node lies.
pub(super) fn place_of(tree: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { tree.to_owned() } else { tree.join(path) }
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReferencesError {
    let path = path.to_owned();
    move |source| ReferencesError::Io { doing, path, source }
}

/// What one name holds.
#[derive(Default)]
struct Look {
    found: Vec<Found>,
    unread: Vec<Unread>,
}

fn look(tree: &Path, node: &Node, matcher: &Matcher<'_>, buffer: &mut Vec<u8>) -> Result<Look, ReferencesError> {
    let mut tally = Tally { matcher, path: &node.path, look: Look::default() };
    if let Some(name) = node.path.file_name() {
        tally.plain(name.as_bytes(), None, Some(&Place::FileName));
    }
    match &node.kind {
        Kind::Dir => {}
        Kind::Link { target } => tally.plain(target.as_os_str().as_bytes(), None, Some(&Place::LinkTarget)),
        Kind::File { size, .. } => {
            let path = place_of(tree, &node.path);
            if *size >= matcher.shortest().min(MINIMUM) as u64 && stream(&path, *size, matcher, buffer)? {
                let bytes = fs::read(&path).map_err(io_error("read", &path))?;
                let budget = &mut Budget::new(bytes.len() as u64);
                tally.whole(&bytes, None, 0, budget);
            }
        }
    }
    Ok(tally.look)
}

/// No archive is smaller.
const MINIMUM: usize = 18;
/// Bytes that are read at once: they stay in the processor's cache until they were searched.
const CHUNK: usize = 256 << 10;
/// Bytes that tell an archive by its start or end.
const MARK: usize = 512;

/// Whether there is any reason to look closer at a file: a hit, or an archive.
fn stream(path: &Path, size: u64, matcher: &Matcher<'_>, buffer: &mut Vec<u8>) -> Result<bool, ReferencesError> {
    let error = |source| io_error("read", path)(source);
    let mut file = File::open(path).map_err(error)?;
    let overlap = matcher.longest().max(MARK);
    buffer.resize(CHUNK + overlap, 0);
    let (mut kept, mut total, mut start) = (0, 0, None);
    let mut begin = Vec::new();
    loop {
        let count = match file.read(&mut buffer[kept..kept + CHUNK]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(error(source)),
        };
        total += count as u64;
        let filled = kept + count;
        // A short file is at its end when its size was read; a second call would only say so.
        let is_end = count == 0 || total == size;
        let bytes = &buffer[..filled];
        let head = *start.get_or_insert_with(|| {
            begin.extend_from_slice(&bytes[..filled.min(sections::HEADER)]);
            Packing::of(&bytes[..filled.min(MARK)], &[]).is_some()
        });
        if head || !matcher.find(bytes).is_empty() {
            return Ok(true);
        }
        if is_end {
            let end = &bytes[filled.saturating_sub(MARK)..];
            return Ok(Packing::of(&[], end).is_some() || sections::any(&file, &begin));
        }
        // Hits that are cut off here are found again with their whole text, those that are not have returned.
        let from = filled.saturating_sub(overlap);
        buffer.copy_within(from..filled, 0);
        kept = filled - from;
    }
}

/// Collects what is found in one file.
struct Tally<'a> {
    matcher: &'a Matcher<'a>,
    path: &'a Path,
    look: Look,
}

/// What makes two hits one row: member is the same already.
type Key = (Place, String, Encoding);

impl Tally<'_> {
    /// Bytes that have no structure, or all of which are one place.
    fn plain(&mut self, bytes: &[u8], member: Option<&str>, place: Option<&Place>) {
        let hits = self.matcher.find(bytes);
        if hits.is_empty() {
            return;
        }
        let name = member.map_or(self.path.as_os_str().as_bytes(), str::as_bytes);
        let mut layout = Layout::of(name, bytes);
        self.rows(bytes, &hits, member, |at| place.cloned().unwrap_or_else(|| layout.place(at)));
    }

    /// The bytes of a file or member, which may be an archive.
    fn whole(&mut self, bytes: &[u8], member: Option<&str>, depth: usize, budget: &mut Budget) {
        let end = &bytes[bytes.len().saturating_sub(MARK)..];
        let Some(packing) = Packing::of(&bytes[..bytes.len().min(MARK)], end) else {
            self.plain(bytes, member, None);
            return self.sections(bytes, member, budget);
        };
        let outline = archive::open(packing, bytes, depth, budget, &mut |part, budget| {
            let name = member.map_or_else(|| part.member.clone(), |outer| format!("{outer}!{}", part.member));
            if part.is_name {
                self.plain(&part.bytes, Some(&name), Some(&Place::FileName));
            } else {
                self.whole(&part.bytes, Some(&name), depth + 1, budget);
            }
        });
        let own = own_hits(self.matcher, bytes, &outline);
        self.rows(bytes, &own, member, |_| Place::Archive);
        self.look.unread.extend(outline.unread.into_iter().map(|(inner, reason)| {
            let names: Vec<&str> = member.into_iter().chain(inner.as_deref()).collect();
            let member = (!names.is_empty()).then(|| names.join("!"));
            Unread { path: self.path.to_owned(), member, reason }
        }));
    }

    /// The compressed sections of an ELF file.
    fn sections(&mut self, bytes: &[u8], member: Option<&str>, budget: &mut Budget) {
        sections::open(bytes, budget, &mut |section, content, reason| {
            let name = member.map_or_else(|| section.to_owned(), |outer| format!("{outer}!{section}"));
            self.plain(content, Some(&name), Some(&Place::Section { name: section.to_owned() }));
            let path = self.path.to_owned();
            self.look.unread.extend(reason.map(|reason| Unread { path, member: Some(name), reason }));
        });
    }

    fn rows(&mut self, bytes: &[u8], hits: &[Hit], member: Option<&str>, mut place: impl FnMut(usize) -> Place) {
        let mut rows: BTreeMap<Key, Found> = BTreeMap::new();
        for hit in hits {
            let place = place(hit.start);
            let needle = self.matcher.shown(bytes, hit);
            let encoding = if hit.wide { Encoding::Utf16 } else { Encoding::Bytes };
            // All lines of a text are one row.
            let kind = if let Place::Text { .. } = place { Place::Text { line: 0 } } else { place.clone() };
            rows.entry((kind, needle.clone(), encoding)).and_modify(|row| row.count += 1).or_insert_with(|| Found {
                path: self.path.to_owned(),
                member: member.map(str::to_owned),
                offset: hit.start as u64,
                place,
                needle,
                count: 1,
                encoding,
                context: context(bytes, hit.start, hit.end, hit.wide),
                also: Vec::new(),
            });
        }
        self.look.found.extend(rows.into_values());
    }
}

/// Hits in an archive's own bytes that belong to no member.
fn own_hits(matcher: &Matcher<'_>, bytes: &[u8], outline: &Outline) -> Vec<Hit> {
    let mut hits = matcher.find(bytes);
    hits.retain(|hit| !outline.covers(&Range { start: hit.start, end: hit.end }));
    hits
}

/// A file with several names in the tree is told once, under the first of them.
fn join_hard_links(tree: &Path, found: &mut Vec<Found>) -> Result<(), ReferencesError> {
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let in_content = |one: &Found| one.member.is_some() || !matches!(one.place, Place::FileName | Place::LinkTarget);
    let paths: BTreeSet<PathBuf> = found.iter().filter(|one| in_content(one)).map(|one| one.path.clone()).collect();
    let mut dropped = BTreeSet::new();
    for path in paths {
        let place = place_of(tree, &path);
        let metadata = fs::metadata(&place).map_err(io_error("read", &place))?;
        if metadata.nlink() < 2 {
            continue;
        }
        let key = (metadata.dev(), metadata.ino());
        if let Some(known) = first.get(&key) {
            names.entry(known.clone()).or_default().push(path.clone());
            dropped.insert(path);
        } else {
            first.insert(key, path);
        }
    }
    found.retain(|one| !in_content(one) || !dropped.contains(&one.path));
    for one in found.iter_mut().filter(|one| in_content(one)) {
        one.also = names.get(&one.path).cloned().unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::super::testing::{HELD, OTHER, jobs, needles};
    use super::*;

    fn lines(tree: &Path, count: usize) -> String {
        let scan = scan(tree, &needles(), jobs(count)).unwrap();
        let unread = scan.unread.iter().map(|one| format!("unread {} {:?}\n", one.path.display(), one.member));
        scan.found.iter().map(|found| format!("{found}\n")).chain(unread).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn zip(members: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, bytes) in members {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn all_places_are_told_whatever_the_jobs() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::create_dir_all(path("89abcdf0/empty")).unwrap();
        fs::write(path("run"), format!("#!{HELD}/bin/sh\n\ncd {HELD}; cd {HELD}\n# /build/src\n")).unwrap();
        fs::hard_link(path("run"), path("run2")).unwrap();
        fs::write(path("m.pyc"), format!("\0{OTHER}")).unwrap();
        fs::write(path("data"), format!("\0\0ab89abcdf0cd{HELD}")).unwrap();
        symlink(format!("{OTHER}/x"), path("link")).unwrap();
        fs::write(path("clean"), "").unwrap();
        let one = lines(tree.path(), 1);
        insta::assert_snapshot!(one, @r"
        89abcdf0 at 0, file name: /shop/89abcdf0-lib
        data at 4, binary: /shop/89abcdf0-lib
        data at 14, binary: /shop/0123abcd-tool
        link at 0, link target: /shop/89abcdf0-lib
        m.pyc at 1, bytecode: /shop/89abcdf0-lib
        run at 2, #! line: /shop/0123abcd-tool
        run at 33, line 3: /shop/0123abcd-tool (2 times)
        run at 79, line 4: /build/src
        ");
        assert_eq!(lines(tree.path(), 5), one);
        let found = scan(tree.path(), &needles(), jobs(1)).unwrap().found;
        assert_eq!(found[5].also, [PathBuf::from("run2")]);
        assert_eq!(found[5].context, format!("#!{HELD}/bin/sh"));
    }

    #[test]
    fn archives_are_looked_into() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        let inner = zip(&[("m.pyc", HELD.as_bytes())], zip::CompressionMethod::Deflated);
        let members: [(&str, &[u8]); 3] = [("a/t.txt", HELD.as_bytes()), ("89abcdf0.txt", b""), ("inner.jar", &inner)];
        fs::write(path("x.whl"), zip(&members, zip::CompressionMethod::Deflated)).unwrap();
        let stored = zip(&members, zip::CompressionMethod::Stored);
        fs::write(path("zipapp"), [format!("#!{OTHER}/bin/x\n").as_bytes(), &stored].concat()).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(HELD.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, "doc/x", HELD.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        fs::write(path("s.tar"), &tar).unwrap();
        fs::write(path("s.tar.gz"), gzip(&tar)).unwrap();
        fs::write(path("broken.gz"), &gzip(OTHER.as_bytes())[..20]).unwrap();
        insta::assert_snapshot!(lines(tree.path(), 2), @r"
        s.tar!doc/x at 0, line 1: /shop/0123abcd-tool
        s.tar.gz!content!doc/x at 0, line 1: /shop/0123abcd-tool
        x.whl!89abcdf0.txt at 0, file name: /shop/89abcdf0-lib
        x.whl!a/t.txt at 0, line 1: /shop/0123abcd-tool
        x.whl!inner.jar!m.pyc at 0, bytecode: /shop/0123abcd-tool
        zipapp at 2, archive, outside of members: /shop/89abcdf0-lib
        zipapp!89abcdf0.txt at 0, file name: /shop/89abcdf0-lib
        zipapp!a/t.txt at 0, line 1: /shop/0123abcd-tool
        zipapp!inner.jar!m.pyc at 0, bytecode: /shop/0123abcd-tool
        unread broken.gz None
        ");
    }

    /// Names are made by others, and so are archives that end early or say one name twice.
    #[test]
    fn what_is_odd_is_told() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::write(path("late.gz"), [gzip(HELD.as_bytes()), b"more".to_vec()].concat()).unwrap();
        let members: [(&str, &[u8]); 2] = [("one", HELD.as_bytes()), ("two", b"")];
        let mut twice = zip(&members, zip::CompressionMethod::Deflated);
        let names: Vec<usize> = memchr::memmem::find_iter(&twice, b"two").collect();
        for at in names {
            twice[at..at + 3].copy_from_slice(b"one");
        }
        fs::write(path("twice.zip"), twice).unwrap();
        fs::write(path("\u{1b}[2J\n"), HELD).unwrap();
        insta::assert_snapshot!(lines(tree.path(), 1), @r"
        \u{1b}[2J\n at 0, line 1: /shop/0123abcd-tool
        late.gz!content at 0, line 1: /shop/0123abcd-tool
        unread late.gz None
        unread twice.zip None
        ");
    }

    #[test]
    fn compressed_sections_are_looked_into() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        let (debug, plain) = (path("section"), path("plain"));
        fs::write(&debug, format!("{}{HELD}", " ".repeat(5000))).unwrap();
        let objcopy = |arguments: &[&str]| {
            assert!(std::process::Command::new("objcopy").args(arguments).status().unwrap().success());
        };
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        fs::write(&plain, crate::relink::elf::sample::Sample::default().make()).unwrap();
        objcopy(&["--add-section", &format!(".debug_x={}", text(&debug)), &text(&plain)]);
        for how in ["zlib-gabi", "zlib-gnu"] {
            objcopy(&[&format!("--compress-debug-sections={how}"), &text(&plain), &text(&path(how))]);
        }
        fs::remove_file(plain).unwrap();
        fs::remove_file(debug).unwrap();
        // What the dynamic linker would make of the file does not matter.
        let mut odd = fs::read(path("zlib-gabi")).unwrap();
        let elf = goblin::elf::Elf::parse(&odd).unwrap();
        let hash = elf.section_headers.iter().find(|section| section.sh_type == goblin::elf::section_header::SHT_HASH);
        let symbols = usize::try_from(hash.unwrap().sh_offset).unwrap() + 4;
        odd[symbols..symbols + 4].fill(0x7f);
        assert!(goblin::elf::Elf::parse(&odd).is_err());
        fs::write(path("odd"), odd).unwrap();
        insta::assert_snapshot!(lines(tree.path(), 1), @r"
        odd!.debug_x at 5000, ELF .debug_x: /shop/0123abcd-tool
        zlib-gabi!.debug_x at 5000, ELF .debug_x: /shop/0123abcd-tool
        zlib-gnu!.zdebug_x at 5000, ELF .zdebug_x: /shop/0123abcd-tool
        ");
        let found = scan(tree.path(), &needles(), jobs(1)).unwrap().found;
        assert_eq!(found[0].place.advice(true), "remove debug information: akb strip");
    }

    #[test]
    fn bombs_are_not_unpacked() {
        let tree = tempfile::tempdir().unwrap();
        let bomb = (0..3).fold(vec![0; 200 << 20], |bytes, _| gzip(&bytes));
        fs::write(tree.path().join("bomb.gz"), &bomb).unwrap();
        assert_eq!(lines(tree.path(), 1), "unread bomb.gz Some(\"content!content\")\n");
    }

    /// Every place relative to the ends of what is read at once.
    #[test]
    fn hits_across_reads_are_found() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join("big");
        for at in (CHUNK - 30..CHUNK + 40).chain(2 * CHUNK - 5..2 * CHUNK + 5).step_by(3) {
            let mut bytes = vec![b' '; 2 * CHUNK + 100];
            bytes[at..at + HELD.len()].copy_from_slice(HELD.as_bytes());
            fs::write(&file, &bytes).unwrap();
            let found = scan(tree.path(), &needles(), jobs(1)).unwrap().found;
            let row = found.iter().map(|found| (found.offset, found.needle.as_str())).collect::<Vec<_>>();
            assert_eq!(row, [(at as u64, HELD)]);
        }
    }

    #[test]
    fn one_file_is_a_tree_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, HELD).unwrap();
        symlink("f", folder.path().join("l")).unwrap();
        for name in ["f", "l"] {
            assert_eq!(lines(&folder.path().join(name), 1), format!(" at 0, line 1: {HELD}\n"));
        }
    }

    #[test]
    fn needles_that_mean_nothing_are_refused() {
        let tree = tempfile::tempdir().unwrap();
        let error = scan(tree.path(), &Needles::default().literal("abc"), jobs(1)).unwrap_err();
        assert_eq!(error.to_string(), "`abc` is shorter than 4 bytes and would be found everywhere");
    }

    #[test]
    fn what_is_forbidden_is_an_error_that_says_where() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("a"), format!("\n{HELD}")).unwrap();
        let scan = scan(tree.path(), &needles(), jobs(1)).unwrap();
        let error = scan.forbid(tree.path(), &super::super::Filter::default()).unwrap_err();
        let expected = format!("found 1:\n  a at 1, line 2: {HELD}");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
}
