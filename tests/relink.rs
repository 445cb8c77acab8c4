//! `akb relink` on any folder, with libraries that gcc makes: what is relinked is loaded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a tree, folders with libraries beside it, and a program that loads.
struct Bench {
    folder: TempDir,
}

const LOADER: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    int (*answer)(void) = library ? (int (*)(void))dlsym(library, "answer") : 0;
    if (!answer) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    printf("%d\n", answer());
    return 0;
}
"#;

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: TempDir::new().unwrap() };
        bench.compile("load", LOADER, &["-ldl"]);
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn compile(&self, path: &str, source: &str, arguments: &[&str]) {
        let to = self.path(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let code = self.path("code.c");
        fs::write(&code, source).unwrap();
        let output = Command::new("gcc").arg("-o").arg(&to).arg(&code).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A library with a function of its name that adds one to those of the libraries that it needs.
    fn library(&self, path: &str, function: &str, needs: &[&str], flags: &[&str]) {
        let names: Vec<String> = needs.iter().map(|need| function_of(need)).collect();
        let declared: String = names.iter().map(|name| format!("int {name}(void);\n")).collect();
        let sum: String = names.iter().map(|name| format!(" + {name}()")).collect();
        let soname = format!("-Wl,-soname,{}", Path::new(path).file_name().unwrap().to_str().unwrap());
        let files: Vec<String> = needs.iter().map(|need| self.path(need).display().to_string()).collect();
        let mut arguments = vec!["-shared", "-fPIC", "-Wl,--no-as-needed", &soname];
        arguments.extend(files.iter().map(String::as_str));
        // As if they had been elsewhere when it was linked.
        arguments.push("-Wl,--allow-shlib-undefined");
        arguments.extend(flags);
        self.compile(path, &format!("{declared}int {function}(void) {{ return 1{sum}; }}\n"), &arguments);
    }

    fn akb(&self, arguments: &[&str]) -> Output {
        let mut command = assert_cmd::Command::cargo_bin("akb").unwrap();
        command.current_dir(self.folder.path()).arg("relink").arg("tree").args(arguments).output().unwrap()
    }

    fn relink(&self, arguments: &[&str]) -> String {
        let output = self.akb(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a library answers when it is loaded with all that it needs, or why it cannot be.
    fn load(&self, path: &str) -> Result<i32, String> {
        let output =
            Command::new(self.path("load")).arg(self.path(path)).env_clear().env("LD_BIND_NOW", "1").output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The search path of a file, as binutils see it, tag included.
    fn search(&self, path: &str) -> String {
        let output = Command::new("readelf").args(["-dW"]).arg(self.path(path)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| line.contains("(RUNPATH)") || line.contains("(RPATH)"));
        let parts = lines.map(|line| {
            let tag = if line.contains("(RPATH)") { "rpath" } else { "runpath" };
            format!("{tag} {}", line.split(['[', ']']).nth(1).unwrap())
        });
        parts.collect::<Vec<_>>().join(" and ")
    }
}

/// The function that a library has: `libcublas.so.12` has `cublas`.
fn function_of(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    name.trim_start_matches("lib").split('.').next().unwrap().to_owned()
}

/// Packages that bundle libraries for each other, as those of CUDA do; nothing says where.
fn split_set() -> Bench {
    let bench = Bench::new();
    let site = "tree/lib/python3.14/site-packages";
    let path = |name: &str| format!("{site}/{name}");
    bench.library(&path("nvidia/nvjitlink/lib/libnvjit.so.12"), "nvjit", &[], &[]);
    bench.library(&path("nvidia/cublas/lib/libcublaslt.so.12"), "cublaslt", &[], &[]);
    let lt = path("nvidia/cublas/lib/libcublaslt.so.12");
    bench.library(&path("nvidia/cublas/lib/libcublas.so.12"), "cublas", &[&lt], &[]);
    let jit = path("nvidia/nvjitlink/lib/libnvjit.so.12");
    bench.library(&path("nvidia/cusparse/lib/libcusparse.so.12"), "cusparse", &[&jit], &[]);
    let needs = [path("nvidia/cublas/lib/libcublas.so.12"), path("nvidia/cusparse/lib/libcusparse.so.12")];
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    bench.library(
        &path("torch/lib/libtorch.so"),
        "torch",
        &needs,
        &["-Wl,--enable-new-dtags,-rpath,$ORIGIN:/build/torch/lib"],
    );
    bench.library(
        &path("torch/_C.so"),
        "answer",
        &[&path("torch/lib/libtorch.so")],
        &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib"],
    );
    bench
}

#[test]
fn a_split_set_of_packages_is_loaded_wherever_it_lies() {
    let bench = split_set();
    let module = "tree/lib/python3.14/site-packages/torch/_C.so";
    assert!(bench.load(module).unwrap_err().contains("cannot open shared object file"));
    let text = bench.relink(&["--inputs", "./none"]);
    assert!(text.contains("libtorch.so: dropped $ORIGIN:/build/torch/lib, which answers no need"), "{text}");
    assert_eq!(bench.load(module), Ok(6));
    let torch = "tree/lib/python3.14/site-packages/torch/lib/libtorch.so";
    assert_eq!(bench.search(torch), "runpath $ORIGIN/../../nvidia/cublas/lib:$ORIGIN/../../nvidia/cusparse/lib");
    // Nothing is left to do, and nothing is wrong.
    assert!(bench.relink(&["--inputs", "./none"]).ends_with("6 ELF files: 0 changed, 0 copied (0 bytes)\n"));
    assert_eq!(bench.relink(&["--check"]), "6 ELF files, 0 findings\n");
    fs::rename(bench.path("tree"), bench.path("elsewhere")).unwrap();
    assert_eq!(bench.load("elsewhere/lib/python3.14/site-packages/torch/_C.so"), Ok(6));
}

#[test]
fn a_bundle_that_lived_on_an_inherited_rpath_is_loaded() {
    let bench = Bench::new();
    bench.library("prefix/lib/libout.so.1", "out", &[], &[]);
    bench.library("tree/pkg.libs/libdeep.so.1", "deep", &[], &[]);
    // Neither says where its needs are: the extension module's DT_RPATH counts for them.
    let needs = ["tree/pkg.libs/libdeep.so.1", "prefix/lib/libout.so.1"];
    bench.library("tree/pkg.libs/libmid.so.1", "mid", &needs, &[]);
    let flags = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../pkg.libs"];
    bench.library("tree/pkg/ext.so", "answer", &["tree/pkg.libs/libmid.so.1"], &flags);
    bench.relink(&["--inputs", "./prefix"]);
    assert_eq!(bench.load("tree/pkg/ext.so"), Ok(4));
    assert_eq!(bench.search("tree/pkg/ext.so"), "rpath $ORIGIN/../pkg.libs");
    let prefix = bench.path("prefix/lib");
    assert_eq!(bench.search("tree/pkg.libs/libmid.so.1"), format!("runpath $ORIGIN:{}", prefix.display()));
    assert_eq!(bench.relink(&["--check", "--inputs", "./prefix"]), "3 ELF files, 0 findings\n");
}

#[test]
fn what_is_opened_by_name_gets_an_entry() {
    let bench = Bench::new();
    bench.library("prefix/lib/libplug.so.12", "plug", &[], &[]);
    let source = "#include <dlfcn.h>\nint answer(void) { return dlopen(\"libplug.so\", RTLD_NOW) ? 7 : 8; }\n";
    bench.compile("tree/ext.so", source, &["-shared", "-fPIC"]);
    bench.relink(&["--inputs", "./prefix", "--dlopen", "ext.so=libplug.so"]);
    assert_eq!(bench.load("tree/ext.so"), Ok(7));
    assert_eq!(bench.search("tree/ext.so"), "runpath $ORIGIN/runtime/lib");
}

#[test]
fn all_that_is_missing_is_said_at_once_and_nothing_changed() {
    let bench = split_set();
    fs::remove_file(bench.path("tree/lib/python3.14/site-packages/nvidia/nvjitlink/lib/libnvjit.so.12")).unwrap();
    bench.library("gone/libxml2.so.16", "xml2", &[], &[]);
    bench.library("tree/lib/python3.14/site-packages/a.so", "answer", &["gone/libxml2.so.16"], &[]);
    let torch = bench.path("tree/lib/python3.14/site-packages/torch/lib/libtorch.so");
    let before = fs::read(&torch).unwrap();
    let output = bench.akb(&["--inputs", "./none", "--report", "report.json"]);
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("2 libraries were not resolved:"), "{text}");
    assert!(text.contains("libcusparse.so.12 needs libnvjit.so.12, which is not there"), "{text}");
    assert!(text.contains(" libxml2-16;") && text.contains("\"libxml2.out\""), "{text}");
    assert_eq!(fs::read(&torch).unwrap(), before);
    assert!(String::from_utf8(output.stdout).unwrap().contains(" would change"));
    let report: Value = serde_json::from_slice(&fs::read(bench.path("report.json")).unwrap()).unwrap();
    let missing: Vec<&str> =
        report["missing"].as_array().unwrap().iter().map(|missing| missing["soname"].as_str().unwrap()).collect();
    assert_eq!(missing, ["libnvjit.so.12", "libxml2.so.16"]);
    let needs = &report["linked"]["lib/python3.14/site-packages/torch/_C.so"]["needs"][0];
    assert_eq!(needs["found"], "lib/python3.14/site-packages/torch/lib/libtorch.so");

    let ignored = ["--inputs", "./none", "--ignore", "libcusparse*:libnvjit.so.*", "--optional", "libxml2.so.*"];
    let dry = bench.relink(&[&ignored[..], &["--dry-run"]].concat());
    assert!(dry.contains("would change") && dry.contains("libxml2.so.16, which is not there: ignored"), "{dry}");
    assert_eq!(fs::read(&torch).unwrap(), before);
    bench.relink(&ignored);
    assert_ne!(fs::read(&torch).unwrap(), before);
}

#[test]
fn the_check_reports_entries_without_use() {
    let bench = Bench::new();
    bench.library("tree/other/libidle.so.1", "idle", &[], &[]);
    bench.library("tree/pkg/libdeep.so.1", "deep", &[], &[]);
    bench.library(
        "tree/pkg/ext.so",
        "answer",
        &["tree/pkg/libdeep.so.1"],
        &["-Wl,--enable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../other"],
    );
    let output = bench.akb(&["--check"]);
    assert_eq!(output.status.code(), Some(6));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "pkg/ext.so: its search path has `$ORIGIN/../other`, which answers no need\n3 ELF files, 1 findings\n"
    );
    bench.relink(&["--inputs", "./none"]);
    assert_eq!(bench.search("tree/pkg/ext.so"), "runpath $ORIGIN");
    assert_eq!(bench.load("tree/pkg/ext.so"), Ok(2));
}

#[test]
fn what_a_bundle_opens_over_an_inherited_rpath_is_found() {
    let bench = Bench::new();
    bench.library("tree/plug/libplug.so.1", "plug", &[], &[]);
    bench.library("tree/pkg.libs/libdeep.so.1", "deep", &[], &[]);
    let source = "#include <dlfcn.h>\nint deep(void);\n\
                  int mid(void) { return dlopen(\"libplug.so.1\", RTLD_NOW) ? 7 * deep() : 0; }\n";
    let deep = bench.path("tree/pkg.libs/libdeep.so.1").display().to_string();
    bench.compile("tree/pkg.libs/libmid.so.1", source, &["-shared", "-fPIC", "-Wl,-soname,libmid.so.1", &deep]);
    let flags = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../pkg.libs:$ORIGIN/../plug"];
    bench.library("tree/pkg/ext.so", "answer", &["tree/pkg.libs/libmid.so.1"], &flags);
    assert_eq!(bench.load("tree/pkg/ext.so"), Ok(8));
    bench.relink(&["--inputs", "./none"]);
    assert_eq!(bench.load("tree/pkg/ext.so"), Ok(8));
    assert_eq!(bench.relink(&["--check"]), "4 ELF files, 0 findings\n");
}

#[test]
fn another_spelling_of_a_folder_goes_without_a_word() {
    let bench = Bench::new();
    bench.library("tree/libdeep.so.1", "deep", &[], &[]);
    bench.library("tree/ext.so", "answer", &["tree/libdeep.so.1"], &["-Wl,-rpath,$ORIGIN:$ORIGIN/."]);
    assert_eq!(bench.relink(&["--inputs", "./none"]), "2 ELF files: 1 changed, 0 copied (0 bytes)\n");
    assert_eq!(bench.search("tree/ext.so"), "runpath $ORIGIN");
}

#[test]
fn files_for_another_machine_are_left_alone_without_a_dynamic_linker_too() {
    let bench = Bench::new();
    bench.library("prefix/lib/libout.so.1", "out", &[], &[]);
    for name in ["tree/a.so", "tree/b.so", "tree/foreign.so"] {
        bench.library(name, "answer", &["prefix/lib/libout.so.1"], &[]);
    }
    let mut bytes = fs::read(bench.path("tree/foreign.so")).unwrap();
    // EM_XTENSA
    bytes[18] = 94;
    fs::write(bench.path("tree/foreign.so"), &bytes).unwrap();
    let text = bench.relink(&["--inputs", "./prefix"]);
    assert_eq!(
        text,
        "foreign.so: left as it is: it is for another machine\n2 ELF files: 2 changed, 0 copied (0 bytes)\n"
    );
    assert_eq!(fs::read(bench.path("tree/foreign.so")).unwrap(), bytes);
    assert_eq!(bench.load("tree/a.so"), Ok(2));
    assert_eq!(bench.relink(&["--check", "--inputs", "./prefix"]), "2 ELF files, 0 findings\n");
}

#[test]
fn one_dynamic_linker_under_two_names_is_one() {
    let bench = Bench::new();
    let linker =
        String::from_utf8(Command::new("gcc").args(["-print-file-name=ld-linux-x86-64.so.2"]).output().unwrap().stdout)
            .unwrap();
    if !Path::new(linker.trim()).is_file() {
        println!("skipped: no ld-linux-x86-64.so.2 here");
        return;
    }
    for folder in ["prefix/lib/x86_64-linux-gnu", "prefix/lib64"] {
        fs::create_dir_all(bench.path(folder)).unwrap();
        fs::copy(linker.trim(), bench.path(folder).join("ld-linux-x86-64.so.2")).unwrap();
    }
    bench.library("prefix/lib/libout.so.1", "out", &[], &[]);
    bench.library("tree/a.so", "answer", &["prefix/lib/libout.so.1"], &[]);
    bench.relink(&["--inputs", "./prefix", "--ignore", "libc.so.6"]);
    let text = bench.relink(&["--check", "--inputs", "./prefix", "--ignore", "libc.so.6"]);
    assert_eq!(text, "1 ELF files, 0 findings\n");
}

/// The rows of a `RECORD` whose hash or size is not that of its file.
fn wrong_rows(bench: &Bench, site: &str) -> Vec<String> {
    let text = fs::read_to_string(bench.path(site).join("pkg-1.dist-info/RECORD")).unwrap();
    let wrong = |text: &&str| {
        let name = text.split(',').next().unwrap();
        row(name, &fs::read(bench.path(site).join(name)).unwrap()) != **text
    };
    text.lines().filter(wrong).map(str::to_owned).collect()
}

fn row(name: &str, bytes: &[u8]) -> String {
    let row = akb::install::record::Row::of(name.to_owned(), &akb::digest::Sha256::of(bytes), bytes.len() as u64);
    format!("{},{},{}", row.path, row.hash, row.size)
}

#[test]
fn records_stay_true() {
    let bench = Bench::new();
    let site = "tree/anywhere";
    bench.library("prefix/lib/libout.so.1", "out", &[], &[]);
    bench.library("tree/anywhere/a.so", "answer", &["prefix/lib/libout.so.1"], &[]);
    bench.library("tree/anywhere/untouched.so", "answer", &[], &["-nostdlib"]);
    let true_row = |name: &str| row(name, &fs::read(bench.path(site).join(name)).unwrap());
    let text = format!("{}\n{}\n", true_row("a.so"), true_row("untouched.so"));
    fs::create_dir(bench.path(site).join("pkg-1.dist-info")).unwrap();
    let record = bench.path(site).join("pkg-1.dist-info/RECORD");
    fs::write(&record, &text).unwrap();
    bench.relink(&["--inputs", "./prefix", "--no-records"]);
    assert_eq!(fs::read_to_string(&record).unwrap(), text);
    assert_eq!(wrong_rows(&bench, site).len(), 1);
    // As after a run that was stopped before it came to them.
    bench.relink(&["--inputs", "./prefix"]);
    assert_eq!(wrong_rows(&bench, site), Vec::<String>::new());
    let before = fs::metadata(&record).unwrap().modified().unwrap();
    bench.relink(&["--inputs", "./prefix"]);
    assert_eq!(fs::metadata(&record).unwrap().modified().unwrap(), before);
}

#[test]
fn a_file_for_which_there_is_no_room_stays_as_it_was() {
    let bench = Bench::new();
    bench.library("prefix/lib/libout.so.1", "out", &[], &[]);
    bench.library("tree/a.so", "answer", &["prefix/lib/libout.so.1"], &[]);
    let before = fs::read(bench.path("tree/a.so")).unwrap();
    // The new segment begins below the limit and ends above it.
    let blocks = before.len() / 512 + 1;
    let akb = assert_cmd::cargo::cargo_bin("akb");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" relink tree --inputs ./prefix");
    let output = Command::new("sh").args(["-c", &script]).arg(akb).current_dir(bench.folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("a.so: File too large"), "{text}");
    assert_eq!(fs::read(bench.path("tree/a.so")).unwrap(), before);
    bench.relink(&["--inputs", "./prefix"]);
    assert_eq!(bench.load("tree/a.so"), Ok(2));
}

#[test]
fn a_prefix_whose_libraries_do_not_find_each_other_is_told_of() {
    let bench = Bench::new();
    bench.library("prefix/lib/libdeep.so.1", "deep", &[], &[]);
    bench.library("prefix/lib/libout.so.1", "out", &["prefix/lib/libdeep.so.1"], &[]);
    bench.library("tree/a.so", "answer", &["prefix/lib/libout.so.1"], &[]);
    let told = |output: Output| {
        assert!(output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        text.contains("prefix/lib/libout.so.1 needs libdeep.so.1").then_some(text)
    };
    assert!(told(bench.akb(&["--inputs", "./prefix"])).is_some());
    assert!(bench.load("tree/a.so").unwrap_err().contains("libdeep.so.1"));
    let mut command = assert_cmd::Command::cargo_bin("akb").unwrap();
    let output = command.current_dir(bench.folder.path()).args(["relink", "prefix", "--inputs", "./none"]).output();
    assert!(output.unwrap().status.success());
    assert_eq!(told(bench.akb(&["--inputs", "./prefix"])), None);
    assert_eq!(bench.load("tree/a.so"), Ok(3));
}

#[test]
fn names_of_any_bytes_are_relinked() {
    use std::os::unix::ffi::OsStrExt as _;
    let bench = Bench::new();
    bench.library("prefix/lib/libout.so.1", "out", &[], &[]);
    bench.library("tree/a.so", "answer", &["prefix/lib/libout.so.1"], &[]);
    let odd = std::ffi::OsStr::from_bytes(b"\xff.so");
    fs::rename(bench.path("tree/a.so"), bench.path("tree").join(odd)).unwrap();
    let output = bench.akb(&["--inputs", "./prefix", "--report", "report.json"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("cannot say it as JSON") && text.contains("rename files"), "{text}");
    bench.relink(&["--inputs", "./prefix"]);
    bench.relink(&["--inputs", "./prefix", "--check"]);
    fs::rename(bench.path("tree").join(odd), bench.path("tree/a.so")).unwrap();
    assert_eq!(bench.load("tree/a.so"), Ok(2));
}

#[test]
fn a_folder_that_no_search_path_can_name_is_refused() {
    let bench = Bench::new();
    bench.library("a:b/lib/libout.so.1", "out", &[], &[]);
    bench.library("tree/a.so", "answer", &["a:b/lib/libout.so.1"], &[]);
    let output = bench.akb(&["--inputs", "./a:b"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("a:b/lib/libout.so.1 is in a folder that no search path can name"), "{text}");
    // Below a folder of that kind all is well.
    fs::create_dir(bench.path("tree/a:b")).unwrap();
    fs::copy(bench.path("a:b/lib/libout.so.1"), bench.path("tree/a:b/libout.so.1")).unwrap();
    fs::rename(bench.path("tree/a.so"), bench.path("tree/a:b/a.so")).unwrap();
    bench.relink(&["--inputs", "./none"]);
    assert_eq!(bench.load("tree/a:b/a.so"), Ok(2));
}
