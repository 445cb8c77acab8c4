//! `akb references`, `akb strip` and `akb why` as a person sees them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

fn akb(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("akb").unwrap();
    command.args(arguments);
    command
}

fn run(arguments: &[&str], code: i32) -> (String, String) {
    let Output { stdout, stderr, .. } = akb(arguments).assert().code(code).get_output().clone();
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Compiles with the linker that Rust itself uses; the source's folder is in the debug information.
fn compile(folder: &Path, program: &Path) {
    let source = folder.join("source.c");
    fs::write(&source, "int main(void) { return 7; }\n").unwrap();
    Command::new("cc").args(["-g", text(&source), "-o", text(program)]).assert().success();
}

#[test]
fn what_is_found_is_told_and_may_be_overwritten() {
    let folder = TempDir::new().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("share")).unwrap();
    fs::write(tree.join("share/a.conf"), "x = 1\nroot = /build/source-7/x\n").unwrap();
    symlink("/build/source-7", tree.join("link")).unwrap();
    let find = ["references", text(&tree), "--find", "/build/source-7"];
    let (table, error) = run(&find, 6);
    assert!(table.contains("share/a.conf\n          13  line 2"), "{table}");
    assert!(table.contains("in `root = /build/source-7/x`") && table.contains("link target"), "{table}");
    assert!(error.contains("2 forbidden references") && error.contains("make the link relative"), "{error}");
    let (json, _) = run(&[&find[..], &["--json"]].concat(), 6);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["found"][1]["path"], "share/a.conf");
    assert_eq!((&json["found"][1]["offset"], &json["found"][1]["line"]), (&13.into(), &2.into()));
    run(&[&find[..], &["--allow", "source-*"]].concat(), 0);
    run(&[&find[..], &["--allow-in", "share/**"]].concat(), 6);
    let (_, error) = run(&[&find[..], &["--replace"]].concat(), 6);
    assert!(error.contains("nothing was changed") && error.contains("link at 0, link target"), "{error}");
    assert!(fs::read_to_string(tree.join("share/a.conf")).unwrap().contains("/build/source-7"));
    let (changed, _) = run(&[&find[..], &["--replace", "--links", "--filler", "z"]].concat(), 0);
    assert_eq!(changed, "link\nshare/a.conf\n");
    assert_eq!(fs::read_to_string(tree.join("share/a.conf")).unwrap(), "x = 1\nroot = /zzzzz/zzzzzz-z/x\n");
    run(&find, 0);
}

#[test]
fn a_link_to_a_file_stays_a_link() {
    let folder = TempDir::new().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "/build/source-7").unwrap();
    symlink("file", &link).unwrap();
    let (changed, _) = run(&["references", text(&link), "--find", "/build/source-7", "--replace"], 0);
    assert_eq!(changed, format!("{}\n", text(&link)));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("file"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "/eeeee/eeeeee-e");
    compile(folder.path(), &file);
    run(&["strip", text(&link)], 0);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("file"));
}

/// One needle that cannot be overwritten is found when others are overwritten already.
#[test]
fn all_references_are_overwritten_or_none() {
    let folder = TempDir::new().unwrap();
    for at in 0..20 {
        fs::write(folder.path().join(format!("f{at}")), "/build/source-7").unwrap();
    }
    fs::write(folder.path().join("z"), "/-/-/-").unwrap();
    let arguments =
        ["references", text(folder.path()), "--find", "/build/source-7", "--find", "/-/-", "--replace", "-j1"];
    let (_, error) = run(&arguments, 2);
    assert!(error.contains("too little of it"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("f0")).unwrap(), "/build/source-7");
    assert_eq!(akb::tree::list(folder.path()).unwrap().len(), 21);
}

#[test]
fn wrong_calls_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let (_, error) = run(&["references", text(folder.path())], 2);
    assert!(error.contains("nothing to look for") && error.contains("--find PATH"), "{error}");
    run(&["references", text(folder.path()), "--find", "abc"], 2);
    run(&["references", text(&folder.path().join("absent")), "--find", "/build"], 1);
    run(&["references", text(folder.path()), "--store", "--replace", "--filler", "a"], 2);
}

#[test]
fn debug_information_goes_and_its_paths_with_it() {
    let folder = TempDir::new().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let program = tree.join("program");
    compile(folder.path(), &program);
    let find = ["references", text(&tree), "--find", text(folder.path())];
    let (table, error) = run(&find, 6);
    assert!(table.contains("ELF .debug_") && error.contains("akb strip"), "{table}{error}");
    let debug = folder.path().join("debug");
    let (summary, _) = run(&["strip", text(&tree), "--debug", text(&debug), "--build-id"], 0);
    assert!(summary.contains("1 files changed") && summary.contains("1 files for debuggers"), "{summary}");
    run(&find, 0);
    Command::new(&program).assert().code(7);
    run(&["references", text(&debug), "--find", text(folder.path())], 6);
    let (summary, _) = run(&["strip", text(&program)], 0);
    assert!(summary.contains("0 files changed, 0 bytes less"), "{summary}");
}

#[test]
fn libraries_that_say_where_they_look_are_found() {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("libx.so");
    let source = folder.path().join("x.c");
    fs::write(&source, "int x(void) { return 1; }\n").unwrap();
    let path = "-Wl,-rpath,/opt/one/lib:/opt/inputs/two/lib";
    let arguments = ["-shared", "-fPIC", "-Wl,--enable-new-dtags", path, text(&source), "-o", text(&library)];
    Command::new("cc").args(arguments).assert().success();
    let (table, _) = run(&["references", text(&library), "--find", "/opt/inputs"], 6);
    assert!(table.contains(".dynstr RUNPATH entry 2"), "{table}");
    run(&["references", text(&library), "--find", "/opt/inputs", "--replace"], 0);
    let bytes = fs::read(&library).unwrap();
    let entry = b"/opt/one/lib:/eee/eeeeee/two/lib\0";
    assert!(bytes.windows(entry.len()).any(|window| window == entry));
}
