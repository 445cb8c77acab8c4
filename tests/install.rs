//! `akb install` as a person sees it: places, collisions all at once, broken wheels, nothing half written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use akb::digest::Sha256;
use akb::install::record::{Row, format};
use assert_cmd::Command;
use tempfile::TempDir;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Writes a wheel whose `RECORD` is right, unless `record` changes it.
fn wheel(folder: &Path, name: &str, files: &[(&str, &str)], record: impl Fn(String) -> String) -> PathBuf {
    let info = format!("{name}-1.0.dist-info");
    let mut members = vec![
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")),
    ];
    members.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    let row = |(path, text): &(String, String)| Row::of(path.clone(), &Sha256::of(text.as_bytes()), text.len() as u64);
    let rows = members.iter().map(row).chain([Row::bare(format!("{info}/RECORD"))]).collect();
    members.push((format!("{info}/RECORD"), record(format(rows))));
    let path = folder.join(format!("{name}-1.0-py3-none-any.whl"));
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    for (path, text) in members {
        zip.start_file(path, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn akb(wheels: &[PathBuf], arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("akb").unwrap();
    command.arg("install").args(wheels).args(["--python", "3.14"]).args(arguments);
    command
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let listed = akb::tree::list(folder).unwrap();
    listed.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_site_has_its_scripts_and_links() {
    let folder = TempDir::new().unwrap();
    let points = ("a-1.0.dist-info/entry_points.txt", "[console_scripts]\ntool = a:main\n");
    let a = wheel(folder.path(), "a", &[("a.py", "def main(): pass\n"), points], |record| record);
    let into = folder.path().join("site");
    akb(&[a], &["--into", into.to_str().unwrap()]).assert().success();
    assert_eq!(names(&into.join("bin")), ["python", "python3", "python3.14", "tool"]);
    let script = fs::read_to_string(into.join("bin/tool")).unwrap();
    assert!(script.starts_with("#!/akb/bin/python\n") && script.contains("from a import main\n"), "{script}");
    assert!(into.join("lib/python3.14/site-packages/a.py").is_file());
    assert_eq!(names(folder.path()), ["a-1.0-py3-none-any.whl", "site"]);
}

#[test]
fn all_collisions_are_told_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let own = "a-1.0.data/scripts/python";
    let a = wheel(folder.path(), "a", &[("docs/Makefile", "a"), ("thing", "a"), (own, "#!python\n")], |record| record);
    let b = wheel(folder.path(), "b", &[("docs/Makefile", "b"), ("thing/x", "b")], |record| record);
    let into = folder.path().join("site");
    let wheels = [a, b];
    let output = akb(&wheels, &["--into", into.to_str().unwrap()]).assert().code(2).get_output().stderr.clone();
    for line in ["bin/python: from a", "docs/Makefile: different contents", "thing: a file of a and a folder of b"] {
        assert!(text(&output).contains(line), "{line} in {}", text(&output));
    }
    assert!(text(&output).contains("\"docs/Makefile\" = \"a\""));
    assert_eq!(names(folder.path()), ["a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"]);
}

#[test]
fn a_winner_decides() {
    let folder = TempDir::new().unwrap();
    let of = |name| wheel(folder.path(), name, &[("docs/Makefile", name)], |record| record);
    let wheels = [of("a"), of("b")];
    let output =
        akb(&wheels, &["--list", "--winner", "docs/Makefile=B"]).assert().success().get_output().stdout.clone();
    let line = format!("lib/python3.14/site-packages/docs/Makefile\tb\t1\t{}\n", Sha256::of(b"b"));
    assert!(text(&output).contains(&line), "{}", text(&output));
    akb(&wheels, &["--list", "--winner", "docs/Makefile=c"]).assert().code(2);
    akb(&wheels, &["--list", "--winner", "docs/Makefile"]).assert().code(2);
}

#[test]
fn wheels_that_disagree_with_their_record_are_refused() {
    let folder = TempDir::new().unwrap();
    let into = folder.path().join("site");
    let a = wheel(folder.path(), "a", &[("a.py", "x = 1\n")], |record| record.replace("a.py", "b.py"));
    let output = akb(&[a], &["--into", into.to_str().unwrap()]).assert().code(3).get_output().stderr.clone();
    assert!(text(&output).contains("a.py: in the wheel, but not listed"), "{}", text(&output));
    assert!(text(&output).contains("b.py: listed, but not in the wheel"));
    assert!(!into.exists());
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let a = wheel(folder.path(), "a", &[("a.py", "")], |record| record);
    let into = folder.path().join("site");
    fs::create_dir(&into).unwrap();
    fs::write(into.join("mine"), "kept").unwrap();
    akb(std::slice::from_ref(&a), &["--into", into.to_str().unwrap()]).assert().code(2);
    assert_eq!(names(&into), ["mine"]);
    fs::remove_file(into.join("mine")).unwrap();
    akb(&[a], &["--into", into.to_str().unwrap()]).assert().success();
}
