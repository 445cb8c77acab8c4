//! `akb elf`, and akb under the name patchelf, on files that the C compiler of this machine makes: they must run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// A program that ends with 42 if its library is found, in `far`, and akb under both names.
struct Bench {
    folder: TempDir,
}

const MAIN: &str = "int answer(void); int main(void) { return answer(); }";
const LIBRARY: &str = "int other(void) { return 1; } int answer(void) { return 42; }";

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.path("far")).unwrap();
        symlink(cargo_bin("akb"), bench.path("patchelf")).unwrap();
        fs::write(bench.path("map"), "ANSWER_1 { global: answer; other; local: *; };").unwrap();
        let version = "-Wl,--version-script=map";
        bench.compile("far/libanswer.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so", version]);
        bench.compile("program", MAIN, &["-Lfar", "-lanswer"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, name: &str, source: &str, options: &[&str]) {
        fs::write(self.path("source.c"), source).unwrap();
        let mut compiler = Command::new("cc");
        let output = compiler.current_dir(&self.folder).args(["-o", name, "source.c"]).args(options).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let cache = self.path("cache");
        Command::new(program).current_dir(&self.folder).env("AKB_CACHE", cache).args(arguments).output().unwrap()
    }

    /// Runs `akb elf`, which must succeed; what it printed.
    fn akb(&self, arguments: &[&str]) -> String {
        let arguments: Vec<&str> = ["elf"].iter().chain(arguments).copied().collect();
        succeeded(&self.run(&cargo_bin("akb"), &arguments))
    }

    fn patchelf(&self, arguments: &[&str]) -> Output {
        self.run(&self.path("patchelf"), arguments)
    }

    /// What patchelf printed; it must succeed.
    fn patched(&self, arguments: &[&str]) -> String {
        succeeded(&self.patchelf(arguments))
    }

    fn runs(&self, program: &str) -> bool {
        let output = Command::new(self.path(program)).env("LD_BIND_NOW", "1").output().unwrap();
        output.status.code() == Some(42) && output.stderr.is_empty()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn sets_prints_and_undoes() {
    let bench = Bench::new();
    let before = bench.bytes("program");
    assert!(!bench.runs("program"));
    let shown = bench.akb(&["set", "--dry-run", "--runpath", "$ORIGIN/far", "program"]);
    assert!(shown.contains("+ runpath"), "{shown}");
    assert_eq!(bench.bytes("program"), before);
    bench.akb(&["set", "--runpath", "$ORIGIN/far", "program", "far/libanswer.so"]);
    assert!(bench.runs("program"));
    let text = bench.akb(&["print", "program", "far/libanswer.so"]);
    assert!(text.contains("$ORIGIN/far") && text.contains("libanswer.so"), "{text}");

    let written = fs::metadata(bench.path("program")).unwrap();
    bench.akb(&["set", "--runpath", "$ORIGIN/far", "program"]);
    assert_eq!(fs::metadata(bench.path("program")).unwrap().ino(), written.ino());
    bench.akb(&["undo", "program"]);
    assert_eq!(bench.bytes("program"), before);
}

#[test]
fn tells_programs_everything() {
    let bench = Bench::new();
    let text = bench.akb(&["print", "--json", "far/libanswer.so"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["soname"], "libanswer.so");
    assert_eq!(found["class"], 64);
    let symbols = found["symbols"].as_array().unwrap();
    let answer = symbols.iter().find(|symbol| symbol["name"] == "answer").unwrap();
    assert_eq!((&answer["version"], &answer["defined"]), (&"ANSWER_1".into(), &true.into()));
}

#[test]
fn reports_every_file_that_it_cannot_edit_and_edits_the_others() {
    let bench = Bench::new();
    fs::write(bench.path("text"), "text").unwrap();
    let output = bench.run(&cargo_bin("akb"), &["elf", "set", "--runpath", "$ORIGIN/far", "text", "program", "absent"]);
    let said = complaint(&output);
    assert!(said.contains("text") && said.contains("absent") && said.contains("2 of 3"), "{said}");
    assert!(bench.runs("program"));
}

#[test]
fn renames_symbols_of_a_library_and_its_user() {
    let bench = Bench::new();
    fs::write(bench.path("names"), "answer the_answer_to_everything\nother o\n").unwrap();
    bench.akb(&["set", "--runpath", "$ORIGIN/far", "--rename-symbols", "names", "program"]);
    assert!(!bench.runs("program"));
    bench.akb(&["set", "--rename-symbols", "names", "far/libanswer.so"]);
    assert!(bench.runs("program"));
    // A stripped file has no journal: what it is now is what it always was.
    for strip in ["strip", "llvm-strip"] {
        if Command::new(strip).arg("--version").output().is_ok() {
            assert!(Command::new(strip).arg("-s").arg(bench.path("far/libanswer.so")).status().unwrap().success());
            assert!(bench.runs("program"), "{strip}");
        }
    }
    bench.akb(&["set", "--rename-symbol", "the_answer_to_everything=answer", "program", "far/libanswer.so"]);
    assert!(bench.runs("program"));
    bench.akb(&["set", "--unversion", "answer", "program"]);
    assert!(bench.runs("program"));
}

/// Versions that it needed from a library that it does not need any more would end it.
#[test]
fn runs_without_a_library_whose_versions_it_needed() {
    let bench = Bench::new();
    bench.akb(&["set", "--remove-needed", "libanswer.so", "program"]);
    let preloaded = || {
        let library = bench.path("far/libanswer.so");
        Command::new(bench.path("program")).env("LD_PRELOAD", library).env("LD_BIND_NOW", "1").output().unwrap()
    };
    assert_eq!(preloaded().status.code(), Some(42), "{}", String::from_utf8_lossy(&preloaded().stderr));
    bench.akb(&["undo", "program"]);
    bench.patched(&["--remove-needed", "libanswer.so", "--set-rpath", "/nowhere", "program"]);
    assert_eq!(preloaded().status.code(), Some(42), "{}", String::from_utf8_lossy(&preloaded().stderr));
    let strip = Command::new("strip").arg(bench.path("program")).output().unwrap();
    assert!(strip.status.success() && strip.stderr.is_empty(), "{}", String::from_utf8_lossy(&strip.stderr));
    assert_eq!(preloaded().status.code(), Some(42));
}

#[test]
fn keeps_modes_and_links() {
    let bench = Bench::new();
    let program = bench.path("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o750)).unwrap();
    symlink("program", bench.path("link")).unwrap();
    bench.akb(&["set", "--runpath", "$ORIGIN/far", "link"]);
    assert!(fs::symlink_metadata(bench.path("link")).unwrap().is_symlink());
    assert_eq!(fs::metadata(&program).unwrap().mode() & 0o777, 0o750);
    assert!(bench.runs("program"));

    fs::hard_link(&program, bench.path("twin")).unwrap();
    bench.akb(&["set", "--runpath", "/nowhere", "twin"]);
    assert_eq!(fs::metadata(&program).unwrap().nlink(), 2);
    assert!(!bench.runs("program"));
    let names = akb::tree::list(bench.folder.path()).unwrap();
    assert!(!names.iter().any(|name| name.display().to_string().contains(".akb-")), "{names:?}");
}

#[test]
fn answers_as_patchelf_does() {
    let bench = Bench::new();
    assert!(bench.patched(&["--version"]).starts_with("patchelf "));
    assert!(complaint(&bench.patchelf(&[])).contains("--set-interpreter"));
    assert!(complaint(&bench.patchelf(&["--print-rpath"])).contains("missing filename"));

    let interpreter = bench.patched(&["--print-interpreter", "program"]);
    assert!(interpreter.trim().starts_with('/'));
    assert_eq!(bench.patched(&["--print-rpath", "program"]), "\n");
    assert_eq!(bench.patched(&["--print-soname", "far/libanswer.so"]), "libanswer.so\n");
    assert!(bench.patched(&["--print-needed", "program"]).contains("libanswer.so\n"));
    assert_eq!(bench.patched(&["--print-os-abi", "program"]), "System V\n");
    assert_eq!(bench.patched(&["--print-execstack", "program"]), "execstack: -\n");
    let said = complaint(&bench.patchelf(&["--set-interpreter", "/ld.so", "far/libanswer.so"]));
    assert!(said.contains("cannot find section '.interp'"), "{said}");
    let said = complaint(&bench.patchelf(&["--set-rpath", "@absent", "program"]));
    assert!(said.contains("getting info about 'absent'"), "{said}");
    let said = complaint(&bench.patchelf(&["--print-rpath", "map"]));
    assert!(said.contains("not an ELF executable"), "{said}");
}

#[test]
fn edits_as_patchelf_does() {
    let bench = Bench::new();
    fs::write(bench.path("path"), "$ORIGIN/far").unwrap();
    bench.patched(&["--set-rpath", "@path", "program"]);
    assert!(bench.runs("program"));
    bench.patched(&["--add-rpath", "/usr/nothing", "program"]);
    assert_eq!(bench.patched(&["--print-rpath", "program"]), "$ORIGIN/far:/usr/nothing\n");
    bench.patched(&["--shrink-rpath", "program"]);
    assert_eq!(bench.patched(&["--print-rpath", "program"]), "$ORIGIN/far\n");
    bench.patched(&["--force-rpath", "--set-rpath", "$ORIGIN/far", "program"]);
    assert!(bench.akb(&["print", "program"]).contains("  rpath "));
    let long = format!("lib{}.so", "long".repeat(50));
    symlink("libanswer.so", bench.path("far").join(&long)).unwrap();
    bench.patched(&["--replace-needed", "libanswer.so", &long, "--add-needed", "libm.so.6", "program"]);
    assert!(bench.patched(&["--print-needed", "program"]).starts_with("libm.so.6\n"));
    assert!(bench.runs("program"));
    bench.patched(&[
        "--remove-needed",
        "libm.so.6",
        "--set-execstack",
        "--no-default-lib",
        "--add-debug-tag",
        "program",
    ]);
    assert_eq!(bench.patched(&["--print-execstack", "program"]), "execstack: X\n");
    bench.patched(&["--clear-execstack", "--set-os-abi", "linux", "program"]);
    assert_eq!(bench.patched(&["--print-os-abi", "program"]), "Linux\n");
    bench.patched(&["--remove-rpath", "--output", "other", "program"]);
    assert_eq!(bench.patched(&["--print-rpath", "other"]), "\n");
    assert_eq!(bench.patched(&["--print-rpath", "program"]), "$ORIGIN/far\n");
    bench.patched(&["--set-soname", "libother.so", "far/libanswer.so"]);
    assert_eq!(bench.patched(&["--print-soname", "far/libanswer.so"]), "libother.so\n");
    bench.patched(&["--set-rpath", "/x", "--output", "/dev/null", "program"]);
}

#[test]
fn under_that_name_edits_in_place_do_not_make_files_larger() {
    let bench = Bench::new();
    let before = bench.bytes("program");
    bench.patched(&["--set-execstack", "--replace-needed", "libanswer.so", "answer.so", "program"]);
    let after = bench.bytes("program");
    assert_eq!(before.len(), after.len());
    bench.patched(&["--clear-execstack", "program"]);
    assert_eq!(bench.bytes("program").len(), before.len());
}

/// Section headers that end the file go on to do so, and an edited file is still one that can be edited again
/// without growth, and undone.
#[test]
fn under_that_name_section_headers_stay_last() {
    let bench = Bench::new();
    let before = bench.bytes("program");
    let number = |bytes: &[u8], at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0_usize, |number, &byte| number << 8 | usize::from(byte))
    };
    let ends = |bytes: &[u8]| number(bytes, 40, 8) + number(bytes, 58, 2) * number(bytes, 60, 2) == bytes.len();
    assert!(ends(&before));
    let long = format!("$ORIGIN/far:{}", "/long".repeat(40));
    bench.patched(&["--set-rpath", &long, "program"]);
    let first = bench.bytes("program");
    assert!(ends(&first) && first.len() > before.len());
    assert!(bench.runs("program"));
    for _ in 0..10 {
        bench.patched(&["--set-rpath", "$ORIGIN/far:/other/folder", "program"]);
        bench.patched(&["--set-rpath", &long, "program"]);
    }
    assert_eq!(bench.bytes("program"), first);
    // The other command knows the journal of this one.
    bench.akb(&["undo", "program"]);
    assert_eq!(bench.bytes("program"), before);
}

#[test]
fn a_search_path_that_becomes_longer_is_crossed_out_under_that_name() {
    let bench = Bench::new();
    bench.patched(&["--set-rpath", "$ORIGIN/first/folder", "program"]);
    let first = bench.bytes("program");
    bench.patched(&["--set-rpath", "$ORIGIN/first/folder:$ORIGIN/far", "program"]);
    let second = bench.bytes("program");
    assert!(second.windows(20).any(|window| window == b"XXXXXXXXXXXXXXXXXXXX"));
    assert!(bench.runs("program"));
    bench.patched(&["--set-rpath", "$ORIGIN/first/folder", "program"]);
    assert_eq!(bench.bytes("program"), first);
}

#[test]
fn writes_a_resolution_cache_and_drops_it_when_stale() {
    let bench = Bench::new();
    let far = bench.path("far").display().to_string();
    bench.patched(&["--set-rpath", &format!("{far}:$ORIGIN/x"), "--build-resolution-cache", "program"]);
    let found: serde_json::Value = serde_json::from_str(&bench.akb(&["print", "--json", "program"])).unwrap();
    let resolved: Vec<&str> = found["resolution_cache"].as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
    assert!(resolved.contains(&format!("={far}/libanswer.so:?$ORIGIN/x").as_str()), "{resolved:?}");
    assert!(bench.runs("program"));
    let before = bench.bytes("program");
    bench.patched(&["--build-resolution-cache", "program"]);
    assert_eq!(bench.bytes("program"), before);
    bench.patched(&["--remove-needed", "libabsent.so", "program"]);
    assert_eq!(bench.bytes("program"), before);
    bench.patched(&["--set-rpath", "/elsewhere", "program"]);
    assert!(!bench.bytes("program").windows(19).any(|window| window == b".note.nixos.ldcache"));

    bench.patched(&["--remove-rpath", "program"]);
    let output = bench.patchelf(&["--build-resolution-cache", "program"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no DT_NEEDED entries or run path"));
}

#[test]
fn refuses_section_headers_that_are_wrong_as_patchelf_does() {
    let bench = Bench::new();
    let sound = bench.bytes("program");
    let broken = |at: usize, bytes: &[u8], arguments: &[&str]| {
        let mut copy = sound.clone();
        copy[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(bench.path("broken"), copy).unwrap();
        let all: Vec<&str> = arguments.iter().chain(&["--output", "/dev/null", "broken"]).copied().collect();
        complaint(&bench.patchelf(&all))
    };
    assert!(broken(32, &[0xff; 4], &[]).contains("program header table out of bounds"));
    assert!(broken(58, &[0x30], &[]).contains("section headers have wrong size"));
    assert!(broken(62, &[0xff; 2], &[]).contains("string table index out of bounds"));
}

#[test]
fn an_output_that_cannot_be_written_and_a_relative_interpreter_are_explained() {
    let bench = Bench::new();
    let akb = cargo_bin("akb");
    let set = |arguments: &[&str]| bench.run(&akb, &[&["elf", "set", "program"], arguments].concat());
    for (output, hint) in [("no/such/file", "mkdir -p no/such"), (".", "name a file: ./NAME")] {
        let text = complaint(&set(&["--no-runpath", "--add-needed", "libx.so", "--output", output]));
        assert!(text.contains(hint), "{text}");
    }
    let text = complaint(&set(&["--interpreter", "ld.so"]));
    assert!(text.contains("expected an absolute path"), "{text}");
}
