//! Debian packages from the real archive run and compile from folders of their own, where there is no `/usr`.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use akb::cache::Cache;
use akb::inputs::debian::relocate::{Outputs, Place, Relocated, relocate};
use akb::inputs::debian::{self, Archive, KEYRING, Keyring, Trust, Use, Wish, address};
use akb::net::{Net, NetConfig};
use akb::report::Silent;
use akb::request::Arch;
use akb::tree::{self, Kind};

const PROGRAM: &str = r#"
#include <stdio.h>
#include <string.h>
#include <libxml/parser.h>
int main(void) {
    char line[4096];
    xmlDocPtr document = xmlParseMemory("<tree/>", 7);
    puts((const char *)xmlDocGetRootElement(document)->name);
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strchr(line, '/')) fputs(strchr(line, '/'), stdout);
    return 0;
}
"#;

const EXTENSION: &str = r#"
#include <Python.h>
#include <libxml/xmlversion.h>
static PyObject *version(PyObject *self, PyObject *none) { return PyUnicode_FromString(LIBXML_DOTTED_VERSION); }
static PyMethodDef methods[] = {{"version", version, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "ext", 0, -1, methods};
PyMODINIT_FUNC PyInit_ext(void) { return PyModule_Create(&module); }
"#;

const SCRIPT: &str = r#"set -e
cc program.c -o program $(pkg-config --cflags --libs libxml-2.0)
echo "program: $(./program | sort -u | tr '\n' ' ')"
include=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
x86_64-linux-gnu-gcc -shared -fPIC "-I$include" ext.c -o ext.so $(pkg-config --cflags --libs libxml-2.0)
echo "ext: $(python3 -c 'import ext; print(ext.version() >= "2")')"
g++ exception.cc -o exception && ./exception
echo 'int main(void) { return 0; }' > empty.c
cc -static empty.c -o static && ./static && echo static
cc -O2 -flto -march=native empty.c -o lto && ./lto && echo lto
echo "pg_config: $(pg_config --includedir)"
echo "krb5-config: $(krb5-config --libs gssapi)"
echo "perl: $(perl -MPOSIX -e 'print POSIX::floor(2.5)')"
echo "python: $(python3 -c 'import ssl, sqlite3, lzma, ctypes, zoneinfo; zoneinfo.ZoneInfo("Europe/Berlin"); print("ok")')"
"#;

const EXCEPTION: &str = r#"
#include <cstdlib>
#include <iostream>
#include <stdexcept>
int main() { try { throw std::runtime_error("thrown"); } catch (const std::exception &e) { std::cout << e.what() << "\n"; } }
"#;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test stands where the command does")]
fn packages_run_and_compile_without_usr() {
    let Some(arch @ Arch::X86_64) = Arch::host() else {
        panic!("this test knows the packages and the compiler's names of x86_64 only: {}", std::env::consts::ARCH);
    };
    let folder = tempfile::tempdir().unwrap();
    let env = |name: &str| std::env::var(name).ok();
    let net = Net::new(NetConfig::from_env(&env, None), &Silent).unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    let host = address::hosts_archive(Path::new("/"));
    let archive = Archive {
        addresses: address::addresses(None, None, host.as_deref()).unwrap(),
        net: Some(&net),
        cache: &cache,
        reporter: &Silent,
    };
    let keyring = Keyring::parse(KEYRING).unwrap();
    let trust = Trust { keyring: &keyring, now: std::time::SystemTime::now(), strict: false };
    let python = "3.14".parse().unwrap();
    let packages = ["g++", "libxml2-dev", "libkrb5-dev", "libpq-dev"].map(str::to_owned).into();
    let wish = Wish { suite: Some("forky".to_owned()), packages, arch, python, compiles: true };
    let found = debian::resolve(&wish, &archive, &trust).unwrap();
    let inputs = debian::realise(&found.pins, &Use { suite: found.suite, arch, python }, &archive, 2).unwrap();
    let tree = inputs.locate(Path::new("/usr")).unwrap().parent().unwrap().to_owned();

    let root = folder.path().join("root");
    let make = |written: &Path, jobs: usize| -> Relocated {
        let place = |name: &str| Place { write_to: written.join(name), finally_at: Path::new("/p").join(name) };
        let out = Outputs { runtime: place("out"), dev: place("dev") };
        relocate(&tree, &out, &inputs.target, jobs, &Silent).unwrap()
    };
    let done = make(&root.join("p"), 2);
    assert_eq!(done.python, Path::new("/p/out/bin/python3.14"));
    let again = folder.path().join("written/somewhere/else");
    assert_eq!(make(&again, 1), done);
    same(&root.join("p"), &again);
    fs::remove_dir_all(&again).unwrap();
    names_no(&root.join("p/out"), b"/p/dev");

    let work = root.join("w");
    fs::create_dir_all(&work).unwrap();
    for (name, text) in [("program.c", PROGRAM), ("ext.c", EXTENSION), ("exception.cc", EXCEPTION), ("script", SCRIPT)]
    {
        fs::write(work.join(name), text).unwrap();
    }
    let said = inside(&root, "cd /w && exec sh script");
    let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{said}"));
    let program = line("program: ");
    assert!(program.contains("tree") && program.contains("/p/out/lib/libxml2.so."), "{program}");
    let strange = |path: &&str| path.starts_with('/') && !path.starts_with("/p/out/") && !path.starts_with("/w/");
    assert_eq!(program.split(' ').find(strange), None);
    assert_eq!(line("ext: "), "True");
    assert_eq!(line("pg_config: "), "/p/dev/include/postgresql");
    assert!(line("krb5-config: ").contains("-L/p/dev/lib/x86_64-linux-gnu/mit-krb5 -lgssapi_krb5"), "{said}");
    assert_eq!(line("perl: "), "2");
    assert_eq!(line("python: "), "ok");
    for wanted in ["thrown", "static", "lto"] {
        assert!(said.lines().any(|line| line == wanted), "{wanted}: {said}");
    }
    let strange: Vec<_> = done.leftovers.iter().filter(|left| left.reason.is_none()).collect();
    assert!(strange.len() < 20, "{strange:#?}");
}

/// Runs a script where there are only the two prefixes, a folder to work in, `/proc` and two devices.
fn inside(root: &Path, script: &str) -> String {
    for name in ["proc", "dev", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["null", "urandom"] {
        fs::write(root.join("dev").join(name), "").unwrap();
    }
    let enter = "mount --rbind /proc \"$0/proc\" && mount --bind /dev/null \"$0/dev/null\" && \
                 mount --bind /dev/urandom \"$0/dev/urandom\" && \
                 PATH=\"$PATH:/usr/sbin:/sbin\" exec chroot \"$0\" /p/dev/bin/env -i PATH=/p/out/bin:/p/dev/bin /p/dev/bin/sh -c \"$1\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", enter])
        .arg(root)
        .arg(script)
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    said.into_owned()
}

fn same(one: &Path, other: &Path) {
    let (left, right) = (tree::walk(one).unwrap(), tree::walk(other).unwrap());
    assert_eq!(left, right);
    for node in left.iter().filter(|node| matches!(node.kind, Kind::File { .. })) {
        let read = |root: &Path| fs::read(root.join(&node.path)).unwrap();
        assert!(read(one) == read(other), "{} differs", node.path.display());
    }
}

/// No file, name or link of `root` contains `needle`.
fn names_no(root: &Path, needle: &[u8]) {
    for node in tree::walk(root).unwrap() {
        let bytes = match &node.kind {
            Kind::File { .. } => fs::read(root.join(&node.path)).unwrap(),
            Kind::Link { target } => target.clone().into_os_string().into_encoded_bytes(),
            Kind::Dir => Vec::new(),
        };
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{} names the development files", PathBuf::from(&node.path).display());
    }
}
