use std::os::unix::fs::symlink;
use std::sync::Mutex;

use super::*;
use crate::explain::Explain as _;
use crate::report::Event;

/// Keeps warnings.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Reporter for Heard {
    fn event(&self, event: &Event<'_>) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

/// This machine's Python 3.
fn python() -> PythonVersion {
    let output = std::process::Command::new("/usr/bin/python3").arg("-V").output().unwrap();
    let version: PythonVersion =
        String::from_utf8(output.stdout).unwrap().trim().replace("Python ", "").parse().unwrap();
    PythonVersion { patch: None, ..version }
}

/// A prefix with a link to it.
fn linked(python: PythonVersion) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    let name = format!("bin/python{}", python.short());
    symlink(Path::new("/usr").join(&name), folder.path().join(&name)).unwrap();
    folder
}

fn wish(python: PythonVersion, shown: &[&str]) -> Wish {
    let shown = shown.iter().map(PathBuf::from).filter(|folder| folder.is_dir()).collect();
    Wish { python, compiles: false, shown }
}

const MACHINE: [&str; 3] = ["/usr", "/lib", "/lib64"];

#[test]
fn an_interpreter_is_found_asked_and_referred_to() {
    let python = python();
    let (prefix, empty) = (linked(python), tempfile::tempdir().unwrap());
    let prefixes = [Prefix::named(prefix.path()), Prefix::named(empty.path())];
    let heard = Heard::default();
    let inputs = inputs(&prefixes, &wish(python, &MACHINE), &heard).unwrap();
    assert_eq!(inputs.python, fs::canonicalize(format!("/usr/bin/python{}", python.short())).unwrap());
    assert_eq!(inputs.runtime, Runtime::Referenced);
    assert!(inputs.target.python.patch.is_some());
    assert_eq!(inputs.stdlib, Path::new("/usr/lib").join(format!("python{}", python.short())));
    assert!(inputs.locate(&inputs.interpreter).is_some() && inputs.locate(&inputs.stdlib).is_some());
    assert!(inputs.libraries.iter().any(|folder| folder.join("libc.so.6").is_file()), "{:?}", inputs.libraries);
    let warned = heard.0.into_inner().unwrap();
    assert_eq!(warned.len(), 1);
    assert!(warned[0].contains(empty.path().to_str().unwrap()), "{warned:?}");
}

#[test]
fn a_python_of_another_place_is_no_prefix() {
    let python = python();
    let prefix = linked(python);
    let error = inputs(&[Prefix::named(prefix.path())], &wish(python, &[]), &Heard::default()).unwrap_err();
    assert!(matches!(error, PrefixError::NoLibc { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--inputs host"));
}

#[test]
fn one_that_calls_itself_another_is_refused() {
    let python = python();
    let prefix = linked(python);
    let other = PythonVersion { major: 4, ..python };
    let name = |python: PythonVersion| prefix.path().join(format!("bin/python{}", python.short()));
    fs::rename(name(python), name(other)).unwrap();
    let error = inputs(&[Prefix::named(prefix.path())], &wish(other, &MACHINE), &Heard::default()).unwrap_err();
    assert!(matches!(&error, PrefixError::OtherPython { found, .. } if found.starts_with("3.")), "{error}");
}

#[test]
fn identities_follow_content_order_and_place() {
    let python = python();
    let (prefix, other) = (linked(python), tempfile::tempdir().unwrap());
    let header = other.path().join("include/x.h");
    fs::create_dir(other.path().join("include")).unwrap();
    fs::write(&header, "1").unwrap();
    let wish = wish(python, &MACHINE);
    let of = |prefixes: &[Prefix]| inputs(prefixes, &wish, &Heard::default()).unwrap().identity;
    let hashed = || [Prefix::hashed(prefix.path()).unwrap(), Prefix::hashed(other.path()).unwrap()];
    let first = of(&hashed());
    assert_eq!(of(&hashed()), first);
    let [a, b] = hashed();
    assert_ne!(of(&[b, a]), first, "the earlier of two prefixes counts");
    let named = [Prefix::named(prefix.path()), Prefix::named(other.path())];
    let of_names = of(&named);
    fs::write(&header, "2").unwrap();
    assert_ne!(of(&hashed()), first);
    assert_eq!(of(&named), of_names, "a name that says all is believed");
}

#[test]
fn reads_versions_of_both_c_libraries() {
    assert_eq!(libc("glibc 2.43"), Some(Libc::Glibc(2, 43)));
    assert_eq!(libc("musl 1.2.5"), Some(Libc::Musl(1, 2)));
    for text in ["", "glibc", "glibc x.1", "glibc 2", "bionic 1.0", "glibc 99999999.1"] {
        assert_eq!(libc(text), None, "{text}");
    }
}
