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
    assert!(text.contains("\"libxml2-16\"") && text.contains("\"libxml2.out\""), "{text}");
    assert_eq!(fs::read(&torch).unwrap(), before);
    let report: Value = serde_json::from_slice(&fs::read(bench.path("report.json")).unwrap()).unwrap();
    let missing: Vec<&str> =
        report["missing"].as_array().unwrap().iter().map(|missing| missing["soname"].as_str().unwrap()).collect();
    assert_eq!(missing, ["libnvjit.so.12", "libxml2.so.16"]);
    let needs = &report["linked"]["lib/python3.14/site-packages/torch/_C.so"]["needs"][0];
    assert_eq!(needs["found"], "lib/python3.14/site-packages/torch/lib/libtorch.so");

    let ignored = ["--inputs", "./none", "--ignore", "libcusparse*:libnvjit.so.*", "--optional", "libxml2.so.*"];
    let dry = bench.relink(&[&ignored[..], &["--dry-run"]].concat());
    assert!(dry.contains("would change") && dry.contains("libxml2.so.16, which is not there (ignored)"), "{dry}");
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
