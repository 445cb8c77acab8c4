//! Stripping against GNU strip, on files that a compiler made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use goblin::elf::Elf;
use tempfile::TempDir;

use super::*;
use crate::relink::elf::sample::Sample;

const SOURCE: &str = "#include <stdio.h>\n\
    static int hidden(int x) { return x * 2; }\n\
    int shown(int x) { return hidden(x) + 1; }\n\
    int main(void) { printf(\"%d\\n\", shown(20)); return 0; }\n";

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// Compiles with the linker that Rust itself uses.
fn compiled(folder: &Path, flags: &[&str]) -> PathBuf {
    let source = folder.join("source.c");
    fs::write(&source, SOURCE).unwrap();
    let out = folder.join("out");
    let arguments = [&["-g", "-Wl,--build-id", source.to_str().unwrap(), "-o", out.to_str().unwrap()], flags].concat();
    run("cc", &arguments);
    out
}

fn stripped(bytes: &[u8], options: Options, link: Option<&str>) -> Stripped {
    match strip(bytes, options, link) {
        Outcome::Stripped(stripped) => stripped,
        other => panic!("{other:?}"),
    }
}

/// Section names and sizes, without those whose contents tools lay out differently.
fn sections(bytes: &[u8]) -> Vec<(String, u64)> {
    let elf = Elf::parse(bytes).unwrap();
    let row = |section: &goblin::elf::SectionHeader| {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap().to_owned();
        let size = if [".shstrtab", ".strtab"].contains(&name.as_str()) { 0 } else { section.sh_size };
        (name, size)
    };
    elf.section_headers.iter().map(row).collect()
}

fn symbols(bytes: &[u8]) -> Vec<(String, u64)> {
    let elf = Elf::parse(bytes).unwrap();
    let row = |symbol: goblin::elf::Sym| (elf.strtab.get_at(symbol.st_name).unwrap().to_owned(), symbol.st_value);
    let mut all: Vec<(String, u64)> = elf.syms.iter().map(row).collect();
    all.sort();
    all
}

#[test]
fn does_what_gnu_strip_does() {
    for flags in [&[][..], &["-static"], &["-no-pie", "-gz"], &["-shared", "-fPIC"], &["-Wl,--emit-relocs"]] {
        let folder = TempDir::new().unwrap();
        let file = compiled(folder.path(), flags);
        let bytes = fs::read(&file).unwrap();
        for (symbols_too, flag) in [(false, "--strip-debug"), (true, "--strip-unneeded")] {
            let ours = stripped(&bytes, Options { symbols: symbols_too, build_id: false }, None).bytes;
            let theirs = folder.path().join("theirs");
            run("strip", &[flag, file.to_str().unwrap(), "-o", theirs.to_str().unwrap()]);
            let theirs = fs::read(theirs).unwrap();
            if !flags.contains(&"-Wl,--emit-relocs") {
                assert!(ours.len() <= theirs.len() + 64, "{flags:?} {flag}: {} {}", ours.len(), theirs.len());
                assert_eq!(sections(&ours), sections(&theirs), "{flags:?} {flag}");
                assert_eq!(symbols(&ours), symbols(&theirs), "{flags:?} {flag}");
            }
            assert!(matches!(
                strip(&ours, Options { symbols: symbols_too, build_id: false }, None),
                Outcome::Unchanged
            ));
            let written = folder.path().join("ours");
            fs::write(&written, &ours).unwrap();
            let listing = run("readelf", &["-aW", written.to_str().unwrap()]);
            assert!(!listing.contains("Warning") && !listing.contains("Error"), "{flags:?} {flag}: {listing}");
            if !flags.contains(&"-shared") {
                fs::set_permissions(&written, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                assert_eq!(run(written.to_str().unwrap(), &[]), "41\n");
            }
        }
    }
}

#[test]
fn what_is_split_off_belongs_to_what_is_left() {
    let folder = TempDir::new().unwrap();
    let file = compiled(folder.path(), &["-no-pie"]);
    let bytes = fs::read(&file).unwrap();
    let Stripped { bytes: ours, debug } = stripped(&bytes, Options::default(), Some("out.debug"));
    let debug = debug.unwrap();
    let elf = Elf::parse(&ours).unwrap();
    let link = elf.section_headers.last().unwrap();
    assert_eq!(elf.shdr_strtab.get_at(link.sh_name), Some(".gnu_debuglink"));
    let start = usize::try_from(link.sh_offset).unwrap();
    assert_eq!(
        ours[start..start + 16],
        [b"out.debug\0\0\0".as_slice(), &crc32fast::hash(&debug).to_le_bytes()].concat()
    );
    // All sections keep number, name and address; those with debug information their contents.
    let theirs = folder.path().join("theirs");
    run("objcopy", &["--only-keep-debug", file.to_str().unwrap(), theirs.to_str().unwrap()]);
    let theirs = fs::read(theirs).unwrap();
    let rows = |bytes: &[u8]| -> Vec<(u32, u64, u64)> {
        let elf = Elf::parse(bytes).unwrap();
        let named =
            |section: &&goblin::elf::SectionHeader| elf.shdr_strtab.get_at(section.sh_name) != Some(".shstrtab");
        let rows = elf.section_headers.iter().filter(named);
        rows.map(|section| (section.sh_type, section.sh_addr, section.sh_size)).collect()
    };
    assert_eq!(rows(&debug), rows(&theirs));
    assert!(debug.len() <= theirs.len() + 256, "{} {}", debug.len(), theirs.len());
    let written = folder.path().join("out.debug");
    fs::write(&written, &debug).unwrap();
    let lines = run("readelf", &["--debug-dump=decodedline", written.to_str().unwrap()]);
    assert!(lines.contains("source.c") && !lines.contains("Warning"), "{lines}");
}

#[test]
fn build_ids_become_zero() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(compiled(folder.path(), &[])).unwrap();
    assert_eq!(build_id::of(&bytes).unwrap().len(), 40);
    let ours = stripped(&bytes, Options { build_id: true, symbols: false }, None).bytes;
    assert_eq!(build_id::of(&ours), None);
    assert!(matches!(strip(&ours, Options { build_id: true, symbols: false }, None), Outcome::Unchanged));
}

/// Strip, then edit, and edit, then strip, are the same file.
#[test]
fn edited_files_are_edited_again() {
    let folder = TempDir::new().unwrap();
    let file = compiled(folder.path(), &[]);
    let bytes = fs::read(&file).unwrap();
    let interpreter = elf::Image::read(&bytes).unwrap().unwrap().interpreter.unwrap();
    let search = elf::SearchPath { tag: elf::SearchTag::Runpath, text: "$ORIGIN/../lib:/somewhere/else".repeat(9) };
    let edits = Edits {
        search: Some(Some(search)),
        interpreter: Some(Interpreter { path: interpreter, slot: Some(256) }),
        ..Edits::default()
    };
    let edit = |bytes: &[u8]| elf::edit(bytes, &edits).unwrap().unwrap();
    let ours = stripped(&edit(&bytes), Options::default(), None).bytes;
    let other = edit(&stripped(&bytes, Options::default(), None).bytes);
    assert!(ours == other);
    assert!(ours.len() < bytes.len());
    assert_eq!(elf::pristine(&ours).unwrap(), stripped(&bytes, Options::default(), None).bytes);
    fs::write(&file, &ours).unwrap();
    assert_eq!(run(file.to_str().unwrap(), &[]), "41\n");
}

#[test]
fn what_is_not_understood_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(compiled(folder.path(), &[])).unwrap();
    let left = |bytes: &[u8]| match strip(bytes, Options::default(), None) {
        Outcome::Left(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(left(&[&bytes[..], b"archive"].concat()), "7 bytes follow the end of the ELF file");
    assert!(left(&bytes[..bytes.len() - 100]).len() > 5);
    let object = fs::read(compiled(folder.path(), &["-c"])).unwrap();
    assert_eq!(left(&object), "it is an object file, or a core");
    for other in [&b"!<arch>\n"[..], b"", b"#!/bin/sh"] {
        assert_eq!(strip(other, Options::default(), None), Outcome::Unchanged);
    }
}

/// Files of all classes and byte orders, and every single byte of one changed: never a panic, and never a file that
/// its own check would refuse.
#[test]
fn odd_files_do_no_harm() {
    for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
        let sample = Sample { wide, little, constants: vec![1; 40], ..Sample::default() }.make();
        assert_eq!(strip(&sample, Options::default(), None), Outcome::Unchanged);
    }
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(compiled(folder.path(), &["-shared", "-fPIC", "-nostdlib"])).unwrap();
    let table = Source::read(&bytes).unwrap().table();
    for at in (0..400).chain(table).step_by(3) {
        for value in [0, 1, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            strip(&bytes, Options { symbols: at % 2 == 0, build_id: true }, Some("x"));
        }
    }
}

#[test]
fn trees_keep_hard_links_and_debug_files() {
    let folder = TempDir::new().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy(compiled(folder.path(), &[]), tree.join("bin/a")).unwrap();
    fs::hard_link(tree.join("bin/a"), tree.join("bin/b")).unwrap();
    fs::write(tree.join("text"), "x".repeat(100)).unwrap();
    let id = build_id::of(&fs::read(tree.join("bin/a")).unwrap()).unwrap();
    let debug = folder.path().join("debug");
    let jobs = std::num::NonZeroUsize::MIN;
    let report = super::tree(&tree, Options::default(), Some(&debug), jobs, &crate::report::Silent).unwrap();
    let changed: Vec<&str> = report.changed.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(changed, ["bin/a", "bin/b"]);
    assert_eq!((report.files, report.left.len()), (1, 0));
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(tree.join(name)).unwrap());
    assert_eq!(inode("bin/a"), inode("bin/b"));
    assert!(debug.join(format!("lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..])).is_file());
    assert_eq!(run(tree.join("bin/b").to_str().unwrap(), &[]), "41\n");
    let again = super::tree(&tree, Options::default(), None, jobs, &crate::report::Silent).unwrap();
    assert!(again.changed.is_empty());
}

/// Neither by those of another tree, nor by stripping them, too.
#[test]
fn files_for_debuggers_are_never_lost() {
    let folder = TempDir::new().unwrap();
    let jobs = std::num::NonZeroUsize::MIN;
    let strip =
        |tree: &Path, debug: Option<&Path>| super::tree(tree, Options::default(), debug, jobs, &crate::report::Silent);
    let debug = folder.path().join("debug");
    let path = |name: &str| folder.path().join(name);
    for tree in ["one", "two"] {
        fs::create_dir(path(tree)).unwrap();
        let flags = ["-Wl,--build-id=none", &format!("-DTREE_{tree}"), "-g3"];
        fs::copy(compiled(folder.path(), &flags), path(tree).join("a")).unwrap();
    }
    strip(&path("one"), Some(&debug)).unwrap();
    let file = debug.join("lib/debug/a.debug");
    let first = fs::read(&file).unwrap();
    let before = fs::read(path("two").join("a")).unwrap();
    let error = strip(&path("two"), Some(&debug)).unwrap_err();
    assert!(matches!(error, StripError::Taken { .. }), "{error}");
    assert_eq!((fs::read(&file).unwrap(), fs::read(path("two").join("a")).unwrap()), (first.clone(), before));
    let absent = strip(&path("absent"), None).unwrap_err().to_string();
    assert!(absent.starts_with(&format!("cannot read {}: ", path("absent").display())), "{absent}");
    let report = strip(&debug, None).unwrap();
    assert_eq!(report.left.values().next().map(String::as_str), Some("it is a file for debuggers"));
    assert_eq!(fs::read(&file).unwrap(), first);
}

/// Such as a library and the same one with another search path.
#[test]
fn files_with_one_build_id_share_a_file_for_debuggers_if_they_are_equal() {
    let folder = TempDir::new().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let bytes = fs::read(compiled(folder.path(), &[])).unwrap();
    let name = memchr::memmem::find(&bytes, b"hidden\0").unwrap();
    let other = [&bytes[..name], b"HIDDEN", &bytes[name + 6..]].concat();
    for (name, bytes) in [("a", &bytes), ("b", &other), ("c", &bytes)] {
        fs::write(tree.join(name), bytes).unwrap();
    }
    let debug = folder.path().join("debug");
    let jobs = std::num::NonZeroUsize::new(3).unwrap();
    let report = super::tree(&tree, Options::default(), Some(&debug), jobs, &crate::report::Silent).unwrap();
    assert_eq!(report.changed.len(), 3);
    let targets: Vec<&str> = report.debug.keys().map(|path| path.to_str().unwrap()).collect();
    assert!(targets[0].starts_with("lib/debug/.build-id/") && targets[1..] == ["lib/debug/b.debug"], "{targets:?}");
}
