//! `--inputs`: compiling against folders that are split as distributions split them. Python and gcc are this
//! machine's, seen through a prefix of links; the libraries are made here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// Programs of this machine that builds see. Debian's `cc` is a link into `/etc`, which they do not.
const PROGRAMS: [(&str, &str); 8] = [
    ("cc", "gcc"),
    ("as", "as"),
    ("ld", "ld"),
    ("sh", "sh"),
    ("env", "env"),
    ("ar", "ar"),
    ("cat", "cat"),
    ("gcc", "gcc"),
];

/// Says what it sees, and compiles as setuptools does.
const BACKEND: &str = r#"
import ctypes, json, os, shlex, subprocess, zipfile

def said(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()

def build_wheel(out, config_settings=None, metadata_directory=None):
    flags = lambda name: shlex.split(os.environ[name])
    subprocess.check_call([*flags("CC"), *flags("CFLAGS"), "-fPIC", "-c", "m.c", "-o", "m.o"])
    subprocess.check_call([*flags("LDSHARED"), "m.o", "-lfoo", "-lbar", "-o", "m.so", *flags("LDFLAGS")])
    subprocess.check_call([*flags("CC"), "p.c", "-lfoo", "-o", "p", *flags("LDFLAGS")])
    facts = {
        "value": ctypes.CDLL("./m.so").value(),
        "program": said("./p"),
        "gssapi": subprocess.check_output("krb5-config gssapi --prefix", shell=True, text=True).strip(),
        "libs": said("krb5-config", "--libs", "gssapi"),
        "pg": said("pg_config", "--includedir"),
        "script": said("./script"),
        "env": dict(os.environ),
    }
    info = "probe-1.0.dist-info/"
    files = {
        "facts.json": json.dumps(facts),
        info + "METADATA": "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n",
        info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
        info + "RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(out, "probe-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "probe-1.0-py3-none-any.whl"
"#;

/// Prefixes and a project in a folder.
struct Bench {
    folder: TempDir,
    python: String,
}

impl Bench {
    fn new() -> Self {
        let mut python = std::process::Command::new("/usr/bin/python3");
        let output = python.args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).output().unwrap();
        let bench = Self {
            folder: TempDir::new().unwrap(),
            python: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        };
        bench.host();
        bench.libraries();
        bench.tools();
        bench.project();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        // Its real name is what results contain.
        fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn host(&self) {
        let bin = self.path("host/bin");
        fs::create_dir_all(&bin).unwrap();
        for (name, program) in PROGRAMS {
            symlink(Path::new("/usr/bin").join(program), bin.join(name)).unwrap();
        }
        let python = format!("python{}", self.python);
        symlink(Path::new("/usr/bin").join(&python), bin.join(&python)).unwrap();
        // Enough for modules that use nothing of it, where the machine has no headers.
        self.write(&format!("python-dev/include/python{}/Python.h", self.python), "#include <stddef.h>\n");
    }

    /// foo has its headers elsewhere, and loads bar, which nobody names.
    fn libraries(&self) {
        self.write("foo-dev/include/foo.h", "int foo(void);\n");
        self.write("foo-dev/lib/pkgconfig/foo.pc", "Name: foo\n");
        self.write("bar.c", "int bar(void) { return 2; }\n");
        self.write("foo.c", "int bar(void);\nint foo(void) { return 40 + bar(); }\n");
        for (name, needs) in [("bar", None), ("foo", Some("bar"))] {
            let library = self.path(&format!("{name}/lib/lib{name}.so"));
            fs::create_dir_all(library.parent().unwrap()).unwrap();
            let mut gcc = std::process::Command::new("gcc");
            gcc.args(["-shared", "-fPIC"]).arg(self.path(&format!("{name}.c"))).arg("-o").arg(library);
            gcc.arg(format!("-Wl,-soname,lib{name}.so"));
            if let Some(needs) = needs {
                let folder = self.path(&format!("{needs}/lib"));
                gcc.arg(format!("-l{needs}")).arg(format!("-L{}", folder.display()));
                gcc.arg(format!("-Wl,-rpath,{}", folder.display()));
            }
            assert!(gcc.status().unwrap().success());
        }
    }

    /// As nixpkgs has them: `krb5-config` names the output without headers, `pg_config` is in one of its own.
    fn tools(&self) {
        let krb5 = self.path("krb5");
        let text = "#!/bin/sh\ncase \"$*\" in *--prefix*) echo PREFIX;; *) echo -LPREFIX/lib -lgssapi;; esac\n";
        self.write("krb5-dev/bin/krb5-config", &text.replace("PREFIX", krb5.to_str().unwrap()));
        self.write("krb5-dev/include/gssapi/gssapi_ext.h", "");
        self.write("krb5/lib/libkrb5.so", "");
        self.write("pg/bin/pg_config", "#!/usr/bin/env sh\necho /pg/include\n");
    }

    fn project(&self) {
        let pyproject = "[project]\nname = 'probe'\nversion = '1.0'\n\
                         [build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";
        self.write("probe/pyproject.toml", pyproject);
        self.write("probe/backend.py", BACKEND);
        self.write("probe/m.c", "#include <foo.h>\nint bar(void);\nint value(void) { return foo() + bar() - 2; }\n");
        self.write(
            "probe/p.c",
            "#include <foo.h>\n#include <stdio.h>\nint main(void) { return !printf(\"%d\", foo()); }\n",
        );
        self.write("probe/script", "#!/bin/sh\necho a shell\n");
    }

    /// `akb wheel` of the project with these prefixes.
    fn wheel(&self, prefixes: &[&str]) -> Command {
        let mut command = Command::cargo_bin("akb").unwrap();
        command.arg("wheel").arg(self.path("probe")).args(["--python", &self.python, "--offline"]);
        for prefix in prefixes {
            command.arg("--inputs").arg(self.path(prefix));
        }
        for shown in ["/usr", "/lib", "/lib64"].map(PathBuf::from).iter().chain([&self.path("bar")]) {
            if shown.is_dir() {
                command.arg("--show").arg(shown);
            }
        }
        command.arg("--cache").arg(self.path("cache")).arg("--out").arg(self.path("out"));
        command
    }

    fn facts(&self) -> Value {
        let file = fs::File::open(self.path("out/probe-1.0-py3-none-any.whl")).unwrap();
        let mut wheel = zip::ZipArchive::new(file).unwrap();
        serde_json::from_reader(wheel.by_name("facts.json").unwrap()).unwrap()
    }

    /// What it says when it fails.
    fn refused(&self, prefixes: &[&str]) -> String {
        let output = self.wheel(prefixes).assert().failure().get_output().stderr.clone();
        String::from_utf8(output).unwrap().replace(self.path("").to_str().unwrap(), "")
    }
}

const ALL: [&str; 7] = ["host", "python-dev", "foo-dev", "foo", "krb5-dev", "krb5", "pg"];

#[test]
fn compiles_against_split_outputs() {
    let bench = Bench::new();
    bench.wheel(&ALL).assert().success();
    let facts = bench.facts();
    assert_eq!(facts["value"], 42, "headers, libraries and what those load are found");
    assert_eq!(facts["program"], "42", "and programs that try them run");
    assert_eq!(facts["gssapi"], bench.path("krb5-dev").to_str().unwrap(), "the prefix with gssapi_ext.h");
    assert_eq!(facts["libs"], format!("-L{}/lib -lgssapi", bench.path("krb5").display()));
    assert_eq!(facts["pg"], "/pg/include");
    assert_eq!(facts["script"], "a shell");
    let env = |name: &str| facts["env"][name].as_str().unwrap_or_default().to_owned();
    assert!(env("PKG_CONFIG_PATH").ends_with("foo-dev/lib/pkgconfig"));
    assert!(env("CMAKE_PREFIX_PATH").contains("/foo-dev:"));
    assert_eq!(env("LD_LIBRARY_PATH"), "", "tools of other origin would load these");
    assert_eq!(env("CC").split(' ').next(), Some("cc"));
}

#[test]
fn the_same_prefixes_are_the_same_inputs() {
    let bench = Bench::new();
    bench.wheel(&ALL).assert().success();
    let again = bench.wheel(&ALL).arg("-v").assert().success().get_output().stderr.clone();
    assert!(String::from_utf8(again).unwrap().contains("probe 1.0 from the cache"));
    bench.write("foo-dev/include/foo.h", "int foo(void); /* changed */\n");
    let changed = bench.wheel(&ALL).arg("-v").assert().success().get_output().stderr.clone();
    assert!(String::from_utf8(changed).unwrap().contains("probe 1.0 built"));
}

#[test]
fn a_bare_compiler_is_told_its_c_library() {
    let bench = Bench::new();
    fs::remove_file(bench.path("host/bin/cc")).unwrap();
    let bare = "#!/bin/sh\ncase \"$*\" in *--dynamic-linker=*|*' -E '*) exec /usr/bin/gcc \"$@\";; esac\nexit 1\n";
    bench.write("host/bin/cc", bare);
    bench.wheel(&ALL).assert().success();
    let facts = bench.facts();
    assert_eq!(facts["value"], 42);
    assert!(facts["env"]["PATH"].as_str().unwrap().starts_with("/akb/build/env/bin:/akb/build/shim/bin:"));
}

#[test]
fn says_what_is_missing_and_where_it_looked() {
    let bench = Bench::new();
    let python = &bench.python;
    let said = bench.refused(&["foo", "pg"]);
    assert!(said.contains(&format!("error: no prefix has bin/python{python}; looked in pg/bin\n")), "{said}");
    assert!(said.contains(&format!("pkgs.python{}", python.replace('.', ""))), "{said}");

    bench.write("doc/share/doc/x", "");
    let said = bench.refused(&["doc", "pg"]);
    assert!(said.contains("warning: doc has nothing that a build could use"), "{said}");

    bench.write("broken/bin/cc", "#!/bin/sh\necho the compiler is broken >&2\nexit 1\n");
    let said = bench.refused(&["broken", "host"]);
    assert!(said.contains("error: broken/bin/cc cannot make a program that runs here\n"), "{said}");
    assert!(said.contains("the compiler is broken"), "{said}");

    fs::create_dir_all(bench.path("only/bin")).unwrap();
    let name = format!("bin/python{python}");
    symlink(Path::new("/usr").join(&name), bench.path("only").join(&name)).unwrap();
    let said = bench.refused(&["only"]);
    assert!(said.contains("error: no prefix has a C compiler (cc, gcc or clang); looked in only/bin\n"), "{said}");

    fs::remove_file(bench.path("only").join(&name)).unwrap();
    bench.write(&format!("only/{name}"), "#!/bin/sh\n");
    let said = bench.refused(&["only", "host"]);
    assert!(
        said.contains(&format!("error: several prefixes have Python {python}: only/{name}, host/{name}\n")),
        "{said}"
    );
    let said = bench.refused(&["only"]);
    assert!(said.contains("is no dynamically linked program for this machine"), "{said}");

    let said = bench.refused(&["absent"]);
    assert!(said.contains("error: cannot read absent: No such file or directory"), "{said}");
}
