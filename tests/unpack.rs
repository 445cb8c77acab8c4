//! Archives of every hostile kind are refused with archive, entry and reason, and leave nothing behind.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod archives;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use akb::tree::{self, Kind};
use akb::unpack::{self, Entry, Limits, UnpackError};
use archives::deb::{deb, package};
use archives::hostile::{Case, DEB, SDIST, WHEEL, a, b, cases, top};
use archives::tar::{Header, Tar, sdist};
use archives::zip::{End, Member, Zip64, extra, unicode_path, wheel, zip, zip_with};
use assert_cmd::Command;
use proptest::prelude::*;

/// All names below `folder` with their content.
fn everything(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let nodes = tree::walk(folder).unwrap();
    let read = |path: &Path| fs::read(folder.join(path)).unwrap_or_default();
    nodes.into_iter().map(|node| (node.path.display().to_string(), read(&node.path))).collect()
}

/// What is wrong with how `case` ends in `folder`, where `unpack` says how it ended.
fn judge(case: &Case, unpack: impl Fn(&Path) -> Result<(), String>) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(case.file), &case.bytes).unwrap();
    let before = everything(folder.path());
    let verdict = unpack(folder.path());
    let left = everything(folder.path());
    let what = format!("{} `{}` {}", case.file, case.entry, case.reason);
    match verdict {
        Err(found) => Some(format!("{what}\n   found: {found}")),
        Ok(()) if left != before => Some(format!("{what}\n   left: {:?}", left.keys())),
        Ok(()) => None,
    }
}

fn report(wrong: impl Iterator<Item = String>) {
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    report(cases().iter().filter_map(|case| {
        judge(case, |folder| {
            let archive = folder.join(case.file);
            let error = unpack::any(&archive, &folder.join("dest"), &Limits::default()).err().ok_or("accepted")?;
            let UnpackError::Refused { archive: named, entry, reason } = &error else { return Err(error.to_string()) };
            let shown = entry.as_deref().unwrap_or_default();
            let same = if case.entry.is_empty() { shown.is_empty() } else { shown.starts_with(case.entry) };
            let good = named == &archive && same && reason.to_string().contains(case.reason);
            if good { Ok(()) } else { Err(error.to_string()) }
        })
    }));
}

#[test]
fn the_command_names_archive_entry_and_reason() {
    report(cases().iter().filter_map(|case| {
        judge(case, |folder| {
            let run = akb(folder).args(["unpack", case.file, "dest"]).output().unwrap();
            let text = String::from_utf8_lossy(&run.stderr).into_owned();
            let parts = [case.file, case.entry, case.reason, "is refused", "hint"];
            let good =
                run.status.code() == Some(3) && run.stdout.is_empty() && parts.iter().all(|part| text.contains(part));
            if good { Ok(()) } else { Err(text) }
        })
    }));
}

fn akb(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_akb"));
    command.current_dir(folder).env("HOME", folder).env("COLUMNS", "500");
    command
}

/// Unpacks `bytes` and gives what is there: content and whether it is executable, or a link's text.
fn accepted(file: &str, bytes: &[u8]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join(file);
    fs::write(&archive, bytes).unwrap();
    let dest = folder.path().join("dest");
    unpack::any(&archive, &dest, &Limits::default()).unwrap_or_else(|error| panic!("{file}: {error}"));
    let show = |node: &tree::Node| match &node.kind {
        Kind::Dir => "/".to_owned(),
        Kind::Link { target } => format!("-> {}", target.display()),
        Kind::File { .. } => {
            let mode = fs::metadata(dest.join(&node.path)).unwrap().permissions().mode() & 0o7777;
            let content = fs::read(dest.join(&node.path)).unwrap();
            format!("{mode:o} {}", String::from_utf8_lossy(&content))
        }
    };
    tree::walk(&dest).unwrap().iter().map(|node| (node.path.display().to_string(), show(node))).collect()
}

fn names(file: &str, bytes: &[u8]) -> Vec<String> {
    accepted(file, bytes).into_keys().collect()
}

#[test]
fn wheels_unpack_with_two_modes() {
    let tree = accepted(WHEEL, &wheel());
    assert_eq!(tree["pkg/__init__.py"], "644 print('hello')\n");
    assert_eq!(tree["pkg/data/tool.sh"], "755 #!/bin/sh\n");
    assert_eq!(tree.len(), 7);
}

#[test]
fn real_kinds_of_wheels_are_taken() {
    let wide = |member: Member| {
        let sizes = [u64::from(member.local.size).to_le_bytes(), u64::from(member.local.compressed).to_le_bytes()];
        extra(1, &sizes.concat())
    };
    let bazel = a().local(|said| said.extra = wide(a()));
    let forced = a().local(|said| {
        said.extra = wide(a());
        (said.size, said.compressed) = (u32::MAX, u32::MAX);
    });
    let empty = Member::new("f/", b"").both(|said| said.compressed = 0);
    let empty = Member { content: Vec::new(), ..empty };
    let members: Vec<Vec<Member>> = vec![
        vec![a().descriptor(true, false), b().descriptor(false, false)],
        vec![a().descriptor(true, true), b().descriptor(false, true)],
        vec![a().both(|said| said.extra = unicode_path(b"a", b"a")), b()],
        vec![a(), b().mode(0)],
        vec![bazel, b()],
        vec![forced, b()],
        vec![a(), b(), Member::new("b", b"").both(|said| said.name = "ü.py".into()).both(|said| said.flags = 1 << 11)],
    ];
    for members in members {
        assert_eq!(&names(WHEEL, &zip(&members))[..2], ["a", "b"]);
    }
    assert_eq!(names(WHEEL, &zip(&[a(), empty, Member::new("f/x", b"")])), ["a", "f", "f/x"]);
    let commit = End { comment: b"0123456789abcdef".to_vec(), ..End::default() };
    assert_eq!(names(WHEEL, &zip_with(&[a(), b()], &commit)), ["a", "b"]);
    let zip64 = End { zip64: Zip64::True, ..End::default() };
    assert_eq!(names(WHEEL, &zip_with(&[a(), b()], &zip64)), ["a", "b"]);
    let full = End { zip64: Zip64::True, members: Some(u16::MAX), start: Some(u32::MAX), ..End::default() };
    assert_eq!(names(WHEEL, &zip_with(&[a(), b()], &full)), ["a", "b"]);
}

#[test]
fn real_kinds_of_source_distributions_are_taken() {
    let tree = accepted(SDIST, &sdist().gzip());
    assert_eq!(tree["pkg-1.0/configure"], "755 #!/bin/sh\n");
    assert_eq!(tree["pkg-1.0/latest"], "-> PKG-INFO");
    assert_eq!(tree["pkg-1.0/again"], tree["pkg-1.0/PKG-INFO"]);
    let long = format!("p-1/{}/{}", "d".repeat(90), "f".repeat(90));
    let tars = vec![
        sdist().bytes(&[0; 9 * 512]),
        Tar::new().folder("./").folder("./p-1/").file("./p-1/x", b""),
        top().folder("p-1/").file("p-1/x", b""),
        top().long(b'L', format!("{long}\0").as_bytes()).file("p-1/dd", b""),
        top()
            .pax(b'x', &[("path", &long), ("size", "1"), ("SCHILY.dev", "2"), ("LIBARCHIVE.x", "y")])
            .file("p-1/dd", b"1"),
        top().member(Header::new("f", b'0', 0).set(345, b"p-1/d"), b""),
        top().member(Header::new("p-1/x", 0, 0).set(257, &[0; 8]), b""),
        top().member(Header::new("p-1/x", b'0', 0).gnu().set(108, b"\x80\0\0\0\x7f\xff\xff\xff"), b""),
        top().file("p-1/SampleH5.gif", b"").file("p-1/sampleH5.gif", b""),
        top().link("p-1/a/l", "../b/./c"),
        top().member(Header::new("p-1/shared", b'5', 0).mode(0o2775), b""),
    ];
    for tar in tars {
        for bytes in [tar.clone().gzip(), tar.end()] {
            assert!(names(SDIST, &bytes).len() >= 2);
        }
    }
    let padded = [sdist().gzip(), vec![0; 1000]].concat();
    assert_eq!(names("pkg-1.0.tgz", &padded), names(SDIST, &sdist().gzip()));
    let link = Member::stored("p-1/l", b"a").mode(0o120_777);
    let tree = accepted("p-1.zip", &zip(&[Member::new("p-1/a", b"1"), link]));
    assert_eq!(tree["p-1/l"], "-> a");
}

#[test]
fn debian_packages_unpack_as_on_a_merged_system() {
    let tree = accepted(DEB, &package());
    assert_eq!(tree["usr/lib/libpkg.so.1"], "644 ELF");
    assert_eq!(tree["usr/lib/libpkg.so"], "-> /lib/libpkg.so.1");
    assert_eq!(tree["usr/bin/pkg"], "644 ELF");
    assert!(tree.contains_key("usr/lib/systemd/system-pkg\\x2d.slice"));
    assert!(!tree.contains_key("lib"));
    let set_id = Tar::new().member(Header::new("./usr/bin/su", b'0', 0).mode(0o4755), b"");
    assert_eq!(accepted(DEB, &deb(set_id))["usr/bin/su"], "755 ");
}

#[test]
fn packages_share_a_folder_but_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("root");
    let unpack = |data: Tar| {
        let archive = folder.path().join(DEB);
        fs::write(&archive, deb(data)).unwrap();
        unpack::deb(&archive, &dest, &Limits::default())
    };
    let control = unpack(Tar::new().folder("./usr/").file("./usr/a", b"1").link("./lib", "usr/lib")).unwrap();
    assert!(control.text.starts_with("Package: pkg\n"), "{}", control.text);
    assert_eq!(control.files.iter().map(|entry| &*entry.path).collect::<Vec<_>>(), ["usr/a"]);
    unpack(Tar::new().folder("./usr/").file("./usr/b", b"2").file("./lib/c", b"").link("./lib", "usr/lib")).unwrap();
    let before = everything(&dest);
    let error = unpack(Tar::new().file("./usr/0", b"").folder("./usr/d/").file("./usr/a", b"3")).unwrap_err();
    assert!(error.to_string().contains("`usr/a` exists already"), "{error}");
    // What is not akb's is neither followed nor overwritten.
    symlink("/tmp", dest.join("usr/out")).unwrap();
    let error = unpack(Tar::new().file("./usr/out/x", b"")).unwrap_err();
    assert!(error.to_string().contains("through the link `usr/out`"), "{error}");
    fs::remove_file(dest.join("usr/out")).unwrap();
    assert_eq!(everything(&dest), before, "a refused package takes back what it wrote");
}

#[test]
fn limits_hold() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |file: &str, bytes: Vec<u8>, limits: &Limits| {
        let archive = folder.path().join(file);
        fs::write(&archive, bytes).unwrap();
        let dest = folder.path().join("dest");
        let error = unpack::any(&archive, &dest, limits).unwrap_err();
        assert!(!dest.exists());
        error.to_string()
    };
    let zeros = vec![0; 65 << 20];
    let limits = Limits { ratio: 100, ..Limits::default() };
    assert!(refused(WHEEL, zip(&[Member::new("zeros", &zeros)]), &limits).contains("more than 100 times the size"));
    assert!(refused(SDIST, top().file("p-1/zeros", &zeros).gzip(), &limits).contains("more than 100 times the size"));
    let limits = Limits { files: 3, total_size: 100, file_size: 60, ..Limits::default() };
    let many = |count: usize| (0..count).map(|i| Member::new(format!("f{i}"), b"")).collect::<Vec<_>>();
    assert!(refused(WHEEL, zip(&many(4)), &limits).contains("more than 3 members"));
    assert!(refused(WHEEL, zip(&[Member::new("a", &[1; 61])]), &limits).contains("61 bytes; at most 60"));
    let two = [Member::new("a", &[1; 60]), Member::new("b", &[1; 60])];
    assert!(refused(WHEEL, zip(&two), &limits).contains("more than 100 bytes in all"));
    let headers = top().pax(b'x', &[]).file("p-1/a", b"").pax(b'x', &[]).file("p-1/b", b"");
    assert!(refused(SDIST, headers.gzip(), &limits).contains("more than 3 members"));
    assert!(refused(SDIST, top().file("p-1/a", &[1; 61]).gzip(), &limits).contains("61 bytes; at most 60"));
}

#[test]
fn only_new_or_empty_folders_are_filled() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(WHEEL), wheel()).unwrap();
    let dest = folder.path().join("dest");
    fs::create_dir(&dest).unwrap();
    akb(folder.path()).args(["unpack", WHEEL, "dest"]).assert().success();
    let before = everything(folder.path());
    let run = akb(folder.path()).args(["unpack", WHEEL, "dest"]).assert().code(2);
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("expected a new or empty folder"));
    assert_eq!(everything(folder.path()), before);
}

#[test]
fn the_command_lists_hashes_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(WHEEL), wheel()).unwrap();
    let run = akb(folder.path()).args(["unpack", "--list", WHEEL]).assert().success();
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    let empty = akb::digest::Sha256::of(b"").hex();
    assert!(text.lines().any(|line| line == format!("{empty}           0  pkg-1.0.dist-info/RECORD")), "{text}");
    assert_eq!(text.lines().count(), 4);
    assert_eq!(everything(folder.path()).len(), 1);
}

/// A change to some bytes of an archive.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// Copies the bytes at one place to another.
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<prop::sample::Index>(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..80_usize)
            .prop_map(|(from, to, length)| Change::Copy(from, to, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Change::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Copy(from, to, length) => {
                let from = from.index(bytes.len());
                let part = bytes[from..(from + length).min(bytes.len())].to_vec();
                let to = to.index(bytes.len());
                let end = (to + part.len()).min(bytes.len());
                bytes.splice(to..end, part);
            }
        }
    }
    bytes
}

/// Unpacks changed bytes; nothing may be outside of the folder, and nothing in it after an error.
fn survive(file: &str, bytes: &[u8]) -> Option<Vec<Entry>> {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("in").join(file);
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(&archive, bytes).unwrap();
    let limits = Limits { total_size: 1 << 24, file_size: 1 << 24, ..Limits::default() };
    let result = unpack::any(&archive, &folder.path().join("dest"), &limits);
    let mut left = everything(folder.path());
    left.retain(|name, _| name != "in" && name != &format!("in/{file}"));
    if result.is_ok() {
        left.retain(|name, _| name != "dest" && !name.starts_with("dest/"));
    }
    assert_eq!(left, BTreeMap::new());
    result.ok()
}

fn contents(entries: &[Entry]) -> Vec<(String, akb::digest::Sha256)> {
    entries.iter().map(|entry| (entry.path.clone(), entry.sha256)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A ZIP archive says all twice and sums its contents: what is taken after a change has the same files.
    #[test]
    fn changed_wheels_are_refused_or_equal(changes in prop::collection::vec(change(), 1..4)) {
        let valid = survive(WHEEL, &wheel()).unwrap();
        if let Some(entries) = survive(WHEEL, &changed(wheel(), &changes)) {
            prop_assert_eq!(contents(&entries), contents(&valid));
        }
    }

    /// gzip sums all: only its own header can change.
    #[test]
    fn changed_source_distributions_are_refused_or_equal(changes in prop::collection::vec(change(), 1..4)) {
        let valid = survive(SDIST, &sdist().gzip()).unwrap();
        if let Some(entries) = survive(SDIST, &changed(sdist().gzip(), &changes)) {
            prop_assert_eq!(contents(&entries), contents(&valid));
        }
    }

    #[test]
    fn changed_tar_archives_stay_inside(changes in prop::collection::vec(change(), 1..12)) {
        survive(SDIST, &changed(sdist().end(), &changes));
    }

    #[test]
    fn changed_debian_packages_stay_inside(changes in prop::collection::vec(change(), 1..4)) {
        survive(DEB, &changed(package(), &changes));
    }
}
