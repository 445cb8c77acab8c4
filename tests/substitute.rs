//! `akb substitute` as a person sees it: rules in a tree, and replacements in files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use akb::digest::Sha256;
use akb::install::record::{Row, format};
use assert_cmd::Command;
use tempfile::TempDir;

const SITE: &str = "lib/python3.14/site-packages";
const SOURCE: &str = "import os\n\nBINARY = \"/usr/bin/xmlsec1\"\n";

const RULES: &str = r#"
[[substitute]]
package = "some-pkg"
files = ["some/*.py"]
replace = '"/usr/bin/xmlsec1"'
with = "__import__('sys').prefix + '/runtime/bin/xmlsec1'"
count = 1

[[substitute]]
files = ["etc/*.json"]
at = ["paths", 0]
with = "{prefix}/share"
was = "/usr/share"

[[substitute]]
package = "some-pkg"
files = ["some/extra.txt"]
source = "extra.txt"
new = true
"#;

/// A tree with a package, and a recipe beside it.
fn fixture(rules: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let row = Row::of("some/a.py".to_owned(), &Sha256::of(SOURCE.as_bytes()), SOURCE.len() as u64);
    let rows = vec![row, Row::bare("Some_Pkg-1.dist-info/RECORD".to_owned())];
    write(&format!("tree/{SITE}/some/a.py"), SOURCE);
    write(&format!("tree/{SITE}/Some_Pkg-1.dist-info/RECORD"), &format(rows));
    write("tree/etc/x.json", "{\n  \"paths\": [ \"/usr/share\" ],\n  \"n\": 1\n}\n");
    write("akb.toml", rules);
    write("extra.txt", "extra\n");
    folder
}

fn akb(folder: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("akb").unwrap().current_dir(folder).arg("substitute").args(arguments).assert()
}

fn out(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn err(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_dry_run_prints_a_diff_that_patch_would_take_and_changes_nothing() {
    let folder = fixture(RULES);
    let arguments = ["tree", "--rules", "akb.toml", "--prefix", "/srv/app", "--dry-run"];
    let diff = out(&akb(folder.path(), &arguments).success());
    for line in [
        "--- a/etc/x.json\n+++ b/etc/x.json\n@@ -1,4 +1,4 @@\n {\n-  \"paths\": [ \"/usr/share\" ],\n+  \"paths\": [ \"/srv/app/share\" ],\n",
        "-BINARY = \"/usr/bin/xmlsec1\"\n+BINARY = __import__('sys').prefix + '/runtime/bin/xmlsec1'\n",
        "new file mode 100644\n--- /dev/null\n+++ b/lib/python3.14/site-packages/some/extra.txt\n@@ -0,0 +1 @@\n+extra\n",
    ] {
        assert!(diff.contains(line), "{line}\nin\n{diff}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("tree").join(SITE).join("some/a.py")).unwrap(), SOURCE);
    assert!(!folder.path().join("tree").join(SITE).join("some/extra.txt").exists());
}

#[test]
fn rules_change_a_tree_and_its_record() {
    let folder = fixture(RULES);
    let report = out(&akb(folder.path(), &["tree", "--rules", "akb.toml", "--prefix", "/akb"]).success());
    assert!(report.ends_with("3 matches, 5 files changed\n"), "{report}");
    let tree = folder.path().join("tree");
    assert_eq!(fs::read_to_string(tree.join("akb-spots")).unwrap(), "16 etc/x.json\n");
    let record = fs::read_to_string(tree.join(SITE).join("Some_Pkg-1.dist-info/RECORD")).unwrap();
    for path in ["some/a.py", "some/extra.txt"] {
        let bytes = fs::read(tree.join(SITE).join(path)).unwrap();
        let row = format(vec![Row::of(path.to_owned(), &Sha256::of(&bytes), bytes.len() as u64)]);
        assert!(record.contains(&row), "{row} in {record}");
    }
    // The first rule finds nothing any more, and the file of the last one is there: nothing is written.
    let again = err(&akb(folder.path(), &["tree", "--rules", "akb.toml"]).code(2));
    assert!(again.contains("substitutions cannot be made; nothing was written"), "{again}");
    assert!(
        again.contains("rule 1 (replace") && again.contains("a.py:3") && again.contains("rule 3 (source"),
        "{again}"
    );
}

#[test]
fn the_report_is_data_too() {
    let folder = fixture(RULES);
    let json = out(&akb(folder.path(), &["tree", "--rules", "akb.toml", "--dry-run", "--json"]).success());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["report"]["rules"][0]["matches"], 1);
    assert_eq!(json["report"]["files"].as_array().unwrap().len(), 4);
    assert!(json["diff"].as_str().unwrap().contains("+++ b/etc/x.json"));
}

#[test]
fn a_finished_tree_is_left_alone() {
    let folder = fixture(RULES);
    let hash = Sha256::of(b"");
    let receipt = serde_json::json!({
        "version": 1, "name": "x", "prefix": "/srv/x", "hash": hash, "nar_size": 0, "inputs": "",
        "skip_import": {}, "ignore_missing": [],
    });
    fs::write(folder.path().join("tree/akb-receipt.json"), receipt.to_string()).unwrap();
    let refused = err(&akb(folder.path(), &["tree", "--rules", "akb.toml"]).code(2));
    assert!(refused.contains("is a finished tree"), "{refused}");
    assert!(out(&akb(folder.path(), &["tree", "--rules", "akb.toml", "-n"]).success()).contains("/srv/x/share"));
}

#[test]
fn files_are_changed_as_by_substitute_in_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a b");
    fs::write(&path, "one two @three@ @four@\n").unwrap();
    fs::hard_link(&path, folder.path().join("cache")).unwrap();
    let arguments = [
        "a b",
        "--replace-fail",
        "one",
        "two",
        "--subst-var-by",
        "three",
        "--3",
        "--replace-fail",
        "two",
        "-2",
        "--replace-warn",
        "zz",
        "",
        "--subst-var",
        "FOUR",
        "--replace-quiet",
        "yy",
        "",
    ];
    let mut command = Command::cargo_bin("akb").unwrap();
    let done = command.current_dir(folder.path()).env("FOUR", "4").env("four", "x").arg("substitute").args(arguments);
    let done = done.assert().success();
    assert!(err(&done).contains("rule 4 (replace-warn \"zz\")"), "{}", err(&done));
    assert_eq!(fs::read_to_string(&path).unwrap(), "-2 -2 --3 @four@\n");
    assert_eq!(fs::read_to_string(folder.path().join("cache")).unwrap(), "one two @three@ @four@\n");
}

#[test]
fn one_file_that_does_not_match_keeps_all_as_they_were() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), "prefix = /usr/local\n").unwrap();
    fs::write(folder.path().join("b"), "prefix = /opt/local\n").unwrap();
    let failed = err(&akb(folder.path(), &["a", "b", "--replace-fail", "/usr/local", "/x"]).code(2));
    for line in ["b:1\n", "    expected  /usr/local\n", "    found     prefix = /opt/local\n", "^^^"] {
        assert!(failed.contains(line), "{line} in {failed}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "prefix = /usr/local\n");
    akb(folder.path(), &["a"]).code(2);
    akb(folder.path(), &["a", "--replace-fail", "", "x"]).code(2);
    akb(folder.path(), &["a", "--subst-var", "AKB_TEST_NOT_SET"]).code(2);
    akb(folder.path(), &["missing", "--replace-fail", "a", "b"]).code(1);
    std::os::unix::fs::symlink("a", folder.path().join("l")).unwrap();
    akb(folder.path(), &["l", "--replace-fail", "/usr/local", "b"]).code(2);
}

#[test]
fn files_are_found_by_any_path_and_once() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("a"), "old\n").unwrap();
    let arguments = ["../a", "../sub/../a", "--replace-fail", "old", "new"];
    let done = akb(&folder.path().join("sub"), &arguments).success();
    assert!(out(&done).ends_with("1 matches, 1 files changed\n"), "{}", out(&done));
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "new\n");
    let failed = err(&akb(folder.path(), &["sub", "--replace-fail", "old", "new"]).code(1));
    assert!(failed.contains("sub: it is a folder; name the files in it"), "{failed}");
}

#[test]
fn bytes_that_are_no_utf_8_are_taken_and_printed_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), b"M\xfcller\nold\n").unwrap();
    let mut command = Command::cargo_bin("akb").unwrap();
    command.current_dir(folder.path()).args(["substitute", "a", "-n", "--replace-fail"]);
    command.args([b"M\xfcller".as_slice(), b"M\xe4\xdf".as_slice()].map(std::ffi::OsStr::from_bytes));
    let diff = command.assert().success().get_output().stdout.clone();
    assert!(diff.ends_with(b"-M\xfcller\n+M\xe4\xdf\n old\n"), "{}", String::from_utf8_lossy(&diff));
    // A variable that is set to nothing is set.
    fs::write(folder.path().join("b"), "<@X@>").unwrap();
    let mut command = Command::cargo_bin("akb").unwrap();
    command.current_dir(folder.path()).env("X", "").args(["substitute", "b", "--subst-var", "X"]).assert().success();
    assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "<>");
}

/// More files than a process may open.
#[test]
fn many_files_are_changed_at_once() {
    let folder = fixture("[[substitute]]\nfiles = [\"many/*\"]\nreplace = \"old\"\nwith = \"new\"\n");
    fs::create_dir(folder.path().join("tree/many")).unwrap();
    for at in 0..200 {
        fs::write(folder.path().join(format!("tree/many/{at}")), "old").unwrap();
    }
    let akb = assert_cmd::cargo::cargo_bin("akb");
    let script = format!("ulimit -n 100; exec '{}' substitute tree --rules akb.toml", akb.display());
    Command::new("sh").current_dir(folder.path()).args(["-c", &script]).assert().success();
    assert_eq!(fs::read_to_string(folder.path().join("tree/many/199")).unwrap(), "new");
}
