//! Builds with this machine's Python and gcc, and a backend in the source tree that needs nothing else.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::explain::Explain as _;
use crate::inputs::View;
use crate::report::{Event, Silent};
use crate::request::Target;

pub(super) fn job(name: &str, version: &str, source: &Path) -> Job {
    Job {
        id: Id { name: name.to_owned(), version: Some(version.to_owned()) },
        source: source.to_owned(),
        subdirectory: None,
        without: &[],
        identity: Sha256::of(name.as_bytes()),
        requires: vec![],
        native: Native::default(),
    }
}

/// This machine's /usr.
fn host() -> Inputs {
    let output = std::process::Command::new("/usr/bin/python3").arg("-V").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap().trim().replace("Python ", "").parse().unwrap();
    let mut view = vec![View::Bind { from: "/usr".into(), at: "/usr".into() }];
    for name in ["bin", "lib", "lib64"] {
        view.push(View::Link { to: format!("usr/{name}").into(), at: format!("/{name}").into() });
    }
    let target = Target { python: version, platform: "x86_64-manylinux_2_36".parse().unwrap() };
    Inputs {
        identity: Sha256::of(b"host"),
        description: "host".into(),
        view,
        python: "/usr/bin/python3".into(),
        stdlib: "/usr/lib/python3".into(),
        target,
        path: vec!["/usr/bin".into()],
        include: vec![],
        libraries: vec!["/usr/lib/x86_64-linux-gnu".into()],
        pkg_config: vec![],
        interpreter: "/lib64/ld-linux-x86-64.so.2".into(),
        runtime: crate::inputs::Runtime::Copied,
        building: Vec::new(),
        named: std::collections::BTreeMap::new(),
        tools: std::collections::BTreeMap::new(),
        env: std::collections::BTreeMap::new(),
    }
}

/// A machine with a cache of its own.
struct Shop {
    folder: tempfile::TempDir,
    inputs: Inputs,
    settings: Settings,
    cache: Cache,
}

impl Shop {
    fn new(jobs: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let settings =
            Settings { jobs: NonZeroUsize::new(jobs).unwrap(), memory: 8 << 30, cache: cache.clone(), offline: true };
        Self { cache: Cache::open(&cache).unwrap(), folder, inputs: host(), settings }
    }

    fn workshop(&self) -> Workshop<'_> {
        Workshop { inputs: &self.inputs, settings: &self.settings, cache: &self.cache, reporter: &Silent }
    }

    /// A source tree with the backend below; `files` are added to it.
    fn project(&self, name: &str, files: &[(&str, &str)]) -> Job {
        let folder = self.folder.path().join(name);
        let pyproject = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['tools']\n";
        for (file, text) in [("pyproject.toml", pyproject), ("tools/backend.py", BACKEND)].iter().chain(files) {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        job(name, "1.0", &folder)
    }

    fn build(&self, jobs: &[Job]) -> Result<BTreeMap<Id, Built>, WheelError> {
        build_all(jobs, BTreeMap::new(), self.workshop())
    }

    fn build_one(&self, job: Job) -> Result<Built, WheelError> {
        Ok(self.build(&[job])?.pop_first().unwrap().1)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.cache.root().join("logs").join(format!("{name}-1.0.log"))).unwrap()
    }
}

/// Compiles every .c file with CFLAGS of the environment in place of its own, as setuptools does, and packs the results.
const BACKEND: &str = r#"
import base64, glob, hashlib, os, runpy, subprocess, sys, zipfile

NAME = os.path.basename(os.getcwd()).rsplit("-", 1)[0]

def get_requires_for_build_wheel(config_settings=None):
    return ["cython>=3", "lxml; python_version >= '3'"]

def build_wheel(out, config_settings=None, metadata_directory=None):
    print("settings", config_settings)
    module = NAME.replace("-", "_")
    info = module + "-1.0.dist-info/"
    files = {
        module + ".py": b"value = 42\n",
        info + "METADATA": ("Metadata-Version: 2.1\nName: %s\nVersion: 1.0\n" % NAME).encode(),
        info + "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
        info + "entry_points.txt": ("[console_scripts]\n%s-tool = %s:main\n" % (NAME, module)).encode(),
    }
    if os.path.exists("check.py"):
        runpy.run_path("check.py")
    for source in sorted(glob.glob("*.c")):
        command = ["gcc", "-shared", "-fPIC", *os.environ["CFLAGS"].split(), "-c", source, "-o", source + ".o"]
        print(*command, flush=True)
        subprocess.run(command, check=True)
        subprocess.run(["gcc", "-shared", source + ".o", "-o", source + ".so"], check=True)
        files[module + "_" + source[:-2] + ".so"] = open(source + ".so", "rb").read()
    record = ""
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\n" % (path, digest, len(data))
    files[info + "RECORD"] = (record + info + "RECORD,,\n").encode()
    file = "%s-1.0-py3-none-any.whl" % module
    with zipfile.ZipFile(os.path.join(out, file), "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data)
    return file
"#;

const FLAGS_C: &str = r#"
#ifdef __OPTIMIZE__
#pragma message "optimised"
#endif
#ifdef NDEBUG
#pragma message "no assertions"
#endif
#ifdef EXTRA
#pragma message "extra"
#endif
const char *where(void) { return __FILE__; }
"#;

#[test]
fn flags_of_a_recipe_are_added_to_the_interpreters_own() {
    let shop = Shop::new(1);
    let mut job = shop.project("flags", &[("a.c", FLAGS_C)]);
    job.native.cflags = vec!["-DEXTRA".into()];
    let built = shop.build_one(job.clone()).unwrap();
    let log = shop.log("flags");
    for seen in ["optimised", "no assertions", "extra"] {
        assert!(log.contains(&format!("#pragma message: {seen}")), "{seen} in {log}");
    }
    assert!(log.lines().any(|line| line.starts_with("gcc ") && line.contains("-O2") && line.contains("-DEXTRA")));
    let bytes = fs::read(&built.wheel).unwrap();
    assert!(memchr::memmem::find(&bytes, BUILD_ROOT.as_bytes()).is_none());
    // Nor can a variable of the recipe take them away.
    job.native.env.insert("CFLAGS".into(), "-DOTHER".into());
    shop.build_one(job).unwrap();
    assert!(shop.log("flags").lines().any(|line| line.contains("-O2") && line.contains("-DEXTRA -DOTHER")));
}

#[test]
fn the_same_bytes_wherever_and_with_however_many() {
    let wheels: Vec<Vec<Sha256>> = [1, 2]
        .map(|jobs| {
            let shop = Shop::new(jobs);
            let files = [("a.c", FLAGS_C), ("b.c", "#include <assert.h>\nvoid f(int x) { assert(x); }\n")];
            let jobs = ["one", "two", "three"].map(|name| shop.project(name, &files)).to_vec();
            shop.build(&jobs).unwrap().values().map(|built| built.sha256).collect()
        })
        .to_vec();
    assert_eq!(wheels[0], wheels[1]);
}

#[test]
fn what_was_built_is_in_the_cache() {
    let shop = Shop::new(1);
    let job = shop.project("kept", &[]);
    let first = shop.build_one(job.clone()).unwrap();
    assert!(!first.cached && first.peak_memory > 0 && first.cpu > Duration::ZERO);
    let second = shop.build_one(job.clone()).unwrap();
    assert!(second.cached);
    assert_eq!((&second.wheel, second.sha256), (&first.wheel, first.sha256));
    let mut other = job;
    other.native.config_settings.insert("a".into(), vec!["b".into()]);
    assert!(!shop.build_one(other).unwrap().cached);
    assert!(shop.log("kept").starts_with("settings {'a': 'b'}"));
    let leftovers = crate::tree::walk(first.wheel.parent().unwrap()).unwrap();
    assert_eq!(leftovers.len(), 2, "{leftovers:?}");
}

#[test]
fn a_damaged_cache_is_noticed() {
    let shop = Shop::new(1);
    let job = shop.project("damaged", &[]);
    let built = shop.build_one(job.clone()).unwrap();
    fs::remove_file(&built.wheel).unwrap();
    fs::write(&built.wheel, "x").unwrap();
    assert!(shop.build_one(job).unwrap_err().to_string().contains("expected sha256:"));
}

#[test]
fn a_job_sees_what_it_requires() {
    let shop = Shop::new(2);
    let check = "import base, os, subprocess\nassert base.value == 42\n\
                 assert base.__file__.startswith('/akb/build/env/lib/python3')\n\
                 assert os.access('/akb/build/env/bin/base-tool', os.X_OK)\n";
    let base = shop.project("base", &[]);
    let mut top = shop.project("above", &[("check.py", check)]);
    let error = shop.build(&[top.clone(), base.clone()]).unwrap_err();
    assert!(matches!(&error, WheelError::Failed(failed) if failed.cause == Cause::Module("base".into())), "{error}");
    top.requires = vec![Requirement::Built(base.id.clone())];
    assert_eq!(shop.build(&[top, base]).unwrap().len(), 2);
}

#[test]
fn surroundings_are_fixed() {
    let shop = Shop::new(1);
    let check = "import os, sys, time\nprint('at', os.getcwd(), int(os.stat('pyproject.toml').st_mtime), time.tzname)\n\
                 print('stdin', repr(sys.stdin.read()), 'hash', hash('a'), 'path', sys.path[0])\n\
                 print('names', *sorted(os.environ))\n";
    shop.build_one(shop.project("around", &[("check.py", check)])).unwrap();
    let log = shop.log("around");
    assert!(log.contains("at /akb/build/around-1.0 315532800 ('UTC', 'UTC')\n"), "{log}");
    assert!(log.contains("stdin '' hash "), "{log}");
    assert!(log.contains("path /akb/build/around-1.0/tools\n"), "{log}");
    assert!(log.contains(
        "names ARFLAGS CFLAGS CMAKE_BUILD_PARALLEL_LEVEL CXXFLAGS DIST_EXTRA_CONFIG HOME LANG LC_ALL MAKEFLAGS PATH \
         PYTHONDONTWRITEBYTECODE PYTHONHASHSEED PYTHONNOUSERSITE PYTHONUNBUFFERED SOURCE_DATE_EPOCH TMPDIR TZ\n"
    ));
    let second = Shop::new(2);
    second.build_one(second.project("around", &[("check.py", check)])).unwrap();
    assert_eq!(log, second.log("around"));
}

#[test]
fn a_missing_header_is_explained() {
    let shop = Shop::new(1);
    let job = shop.project("needy", &[("a.c", "#include <libnone/none.h>\n")]);
    let error = shop.build_one(job.clone()).unwrap_err();
    assert_eq!(error.to_string(), "needy 1.0 does not build: the header libnone/none.h is missing");
    assert!(error.hint().unwrap().contains("[package.needy]\ninputs = "), "{:?}", error.hint());
    assert!(error.output().unwrap().contains("compilation terminated"));
    let WheelError::Failed(failed) = &error else { panic!("{error}") };
    assert_eq!(fs::read_to_string(&failed.log).unwrap(), error.output().unwrap());
    // A rerun starts anew.
    fs::write(job.source.join("a.c"), "").unwrap();
    shop.build_one(job).unwrap();
}

#[test]
fn requirements_are_asked_for_once() {
    let shop = Shop::new(1);
    let job = shop.project("asked", &[]);
    for _ in 0..2 {
        let found = requires(&job, &BTreeMap::new(), shop.workshop()).unwrap();
        assert_eq!(found, ["cython>=3", "lxml; python_version >= '3'"]);
        fs::remove_dir_all(job.source.join("tools")).ok();
    }
}

#[test]
fn backends_that_break_the_specification_are_refused() {
    let shop = Shop::new(1);
    for (name, pyproject, expected) in [
        ("outside", "build-backend = 'x'\nbackend-path = ['../..']", "is outside the source tree"),
        ("absolute", "build-backend = 'x'\nbackend-path = ['/usr/lib']", "is outside the source tree"),
        ("elsewhere", "build-backend = 'json'\nbackend-path = ['.']", "not from backend-path"),
        ("hookless", "build-backend = 'json'", "has no build_wheel"),
        ("legacy", "", "the Python module setuptools is missing"),
    ] {
        let pyproject = format!("[build-system]\nrequires = []\n{pyproject}\n");
        let error = shop.build_one(shop.project(name, &[("pyproject.toml", &pyproject)])).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_wheel_of_another_package_is_refused() {
    let shop = Shop::new(1);
    let mut job = shop.project("mine", &[]);
    job.id.version = Some("2.0".into());
    let error = shop.build_one(job).unwrap_err();
    assert_eq!(error.to_string(), "mine 2.0: expected one wheel of mine 2.0, found mine-1.0-py3-none-any.whl");
}

struct Events(Mutex<Vec<String>>);

impl Reporter for Events {
    fn event(&self, event: &Event<'_>) {
        let text = match event {
            Event::ItemProgress { item, doing: Some(doing), .. } => format!("{item}: {doing}"),
            Event::ItemStarted { item, .. } => format!("{item}: start"),
            Event::ItemFinished { item, cached, .. } => format!("{item}: end, cached {cached}"),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

#[test]
fn progress_names_the_files() {
    let shop = Shop::new(1);
    let job = shop.project("shown", &[("a.c", ""), ("b.c", "")]);
    let events = Events(Mutex::default());
    for _ in 0..2 {
        build_all(std::slice::from_ref(&job), BTreeMap::new(), Workshop { reporter: &events, ..shop.workshop() })
            .unwrap();
    }
    let expected = ["start", "a.c", "b.c", "end, cached false", "start", "end, cached true"];
    assert_eq!(events.0.into_inner().unwrap(), expected.map(|text| format!("shown 1.0: {text}")));
}

#[test]
fn names_that_are_no_names_are_refused() {
    for name in ["../x", "a b", "", ".hidden", "a/b"] {
        let id = Id { name: name.to_owned(), version: None };
        assert!(id.folder().is_err(), "{name}");
    }
    assert_eq!(job("a", "1!2.0+x", Path::new("/")).id.folder().unwrap(), "a-1!2.0+x");
    assert_eq!(Id { name: "out".into(), version: None }.folder().unwrap(), "out-source");
}
