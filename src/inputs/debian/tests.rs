use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

use super::signed::tests::{Signer, day, key, message, ring};
use super::*;
use crate::cache::Cache;
use crate::explain::{ExitCode, Explain as _};
use crate::net::{Net, NetConfig};
use crate::report::{Event, Reporter, Silent};
use crate::tree::walk;

/// Name, fields, files (path, text).
type Package<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// An archive on this machine.
struct Server {
    files: Files,
    url: Url,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/debian/", listener.local_addr().unwrap())).unwrap();
        let files = Files::default();
        let shared = files.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = shared.clone();
                std::thread::spawn(move || answer(stream, &files));
            }
        });
        Self { files, url }
    }

    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(format!("/debian/{path}"), bytes.into());
    }

    fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(&format!("/debian/{path}")).unwrap();
    }

    /// Publishes a suite, signed on day 10 and valid until day 15, whose packages are these (name, fields, files).
    fn publish(&self, suite: &str, codename: &str, packages: &[Package<'_>]) {
        let mut index = String::new();
        for (name, fields, files) in packages {
            let version = if *name == "libc6" { "2.43-7" } else { "3.14.8~rc1-1" };
            let control = format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n");
            let deb = deb(&control, files);
            let path = format!("pool/main/{name}_{version}_amd64.deb");
            let (size, digest) = (deb.len(), Sha256::of(&deb).hex());
            writeln!(index, "{control}{fields}Filename: {path}\nSize: {size}\nSHA256: {digest}\n").unwrap();
            self.put(&path, deb);
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(index.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let digest = Sha256::of(&packed).hex();
        let release = format!(
            "Suite: {suite}\nCodename: {codename}\nValid-Until: Fri, 16 Jan 2026 00:00:00 UTC\nAcquire-By-Hash: yes\n\
             No-Support-for-Architecture-all: Packages\nArchitectures: all amd64\nSHA256:\n \
             {digest} {} main/binary-amd64/Packages.gz\n",
            packed.len()
        );
        let signed = message(&release, &[Signer::new(&key(1))]);
        for name in [suite, codename] {
            self.put(&format!("dists/{name}/InRelease"), signed.clone());
            self.put(&format!("dists/{name}/main/binary-amd64/by-hash/SHA256/{digest}"), packed.clone());
        }
    }
}

fn answer(mut stream: TcpStream, files: &Files) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?;
    let found = files.lock().ok()?.get(path).cloned();
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).ok()?;
    stream.write_all(&body).ok()
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, format!("./{path}"), text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A package as dpkg-deb writes them, uncompressed.
fn deb(control: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    let members =
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar", tar(&[("control", control)])), ("data.tar", tar(files))];
    for (name, content) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        bytes.extend(&content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

const PYTHON: Package<'_> = (
    "python3.14",
    "Depends: libc6 (>= 2.40), debconf\nMulti-Arch: allowed\n",
    &[
        ("usr/bin/python3.14", "python"),
        ("usr/lib/python3.14/os.py", "os"),
        ("usr/share/doc/python3.14/copyright", "c"),
    ],
);
const LIBC: Package<'_> = (
    "libc6",
    "",
    &[("usr/lib64/ld-linux-x86-64.so.2", "ld"), ("lib/x86_64-linux-gnu/libc.so.6", "libc"), ("var/x", "x")],
);
const LIBGCC: Package<'_> = ("libgcc-s1", "", &[]);
const LIBSTDCXX: Package<'_> = ("libstdc++6", "", &[]);
const GCC: Package<'_> = ("gcc", "Depends: libc6\n", &[("usr/bin/gcc", "gcc")]);

struct Place {
    server: Server,
    net: Net,
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let config = NetConfig { retries: 0, ..NetConfig::default() };
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        Self { server: Server::start(), net: Net::new(config, &Silent).unwrap(), folder, cache }
    }

    fn with_forky() -> Self {
        let place = Self::new();
        place.server.publish("testing", "forky", &[PYTHON, LIBC, LIBGCC, LIBSTDCXX, GCC]);
        place
    }

    fn archive<'a>(&'a self, reporter: &'a dyn Reporter) -> Archive<'a> {
        Archive { addresses: vec![self.server.url.clone()], net: Some(&self.net), cache: &self.cache, reporter }
    }

    fn resolve(&self, wish: &Wish) -> Result<Resolved, DebianError> {
        let keyring = ring(&[&key(1)]);
        resolve(wish, &self.archive(&Silent), &Trust { keyring: &keyring, now: day(12), strict: true })
    }

    fn realise(&self, resolved: &Resolved, jobs: usize) -> Result<Inputs, DebianError> {
        realise(&resolved.pins, &used(resolved), &self.archive(&Silent), jobs)
    }
}

fn wish(suite: Option<&str>, packages: &[&str]) -> Wish {
    Wish {
        suite: suite.map(str::to_owned),
        packages: packages.iter().map(|&name| name.to_owned()).collect(),
        arch: Arch::X86_64,
        python: "3.14".parse().unwrap(),
        compiles: false,
    }
}

fn used(resolved: &Resolved) -> Use {
    Use { suite: resolved.suite.clone(), arch: Arch::X86_64, python: "3.14".parse().unwrap() }
}

fn names(resolved: &Resolved) -> Vec<&str> {
    resolved.pins.iter().map(|pin| pin.package.as_str()).collect()
}

#[test]
fn pins_become_a_tree() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("testing"), &["gcc"])).unwrap();
    assert_eq!(
        (resolved.suite.as_str(), names(&resolved)),
        ("forky", vec!["gcc", "libc6", "libgcc-s1", "libstdc++6", "python3.14"])
    );
    let inputs = place.realise(&resolved, 2).unwrap();
    assert_eq!(inputs.description, "debian forky, 5 packages");
    assert_eq!(inputs.target.python.to_string(), "3.14.8");
    assert_eq!(inputs.target.platform.to_string(), "x86_64-manylinux_2_43");
    let text = |path: &str| fs::read_to_string(inputs.locate(Path::new(path)).unwrap()).unwrap();
    assert_eq!(text("/bin/python3.14"), "python");
    assert_eq!(text("/lib64/ld-linux-x86-64.so.2"), "ld");
    assert_eq!(text("/lib/x86_64-linux-gnu/libc.so.6"), "libc", "merged into /usr");
    assert_eq!(text("/usr/bin/cc"), "gcc", "an alternative");
    assert!(text("/etc/passwd").starts_with("root:"));
    for dropped in ["/usr/share/doc", "/var"] {
        assert_eq!(inputs.locate(Path::new(dropped)), None, "{dropped}");
    }
    assert_eq!(fs::metadata(inputs.locate(Path::new("/usr/bin/gcc")).unwrap()).unwrap().mtime(), 1);
}

#[test]
fn the_tree_does_not_depend_on_jobs_and_is_used_again() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("forky"), &["gcc"])).unwrap();
    let folders: Vec<_> = [1, 4]
        .map(|jobs| {
            let other = Place { folder: tempfile::tempdir().unwrap(), ..Place::with_forky() };
            let cache = Cache::open(other.folder.path()).unwrap();
            let archive = Archive { cache: &cache, ..place.archive(&Silent) };
            let inputs = realise(&resolved.pins, &used(&resolved), &archive, jobs).unwrap();
            // Made once, nothing is asked for again.
            let offline = Archive { net: None, ..archive };
            assert_eq!(realise(&resolved.pins, &used(&resolved), &offline, jobs).unwrap().identity, inputs.identity);
            let root = inputs.locate(Path::new("/usr")).unwrap();
            (inputs.identity, walk(&root).unwrap())
        })
        .into();
    assert_eq!(folders[0], folders[1]);
}

#[test]
fn pins_need_no_index() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("forky"), &[])).unwrap();
    for path in ["dists/testing/InRelease", "dists/forky/InRelease"] {
        place.server.remove(path);
    }
    assert!(place.realise(&resolved, 2).is_ok());
    let error = place.resolve(&wish(Some("forky"), &[])).unwrap_err();
    assert!(matches!(error, DebianError::NoSuite { .. }), "{error}");
}

#[test]
fn what_the_archive_dropped_is_named() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("forky"), &["gcc"])).unwrap();
    for pin in &resolved.pins[..2] {
        place.server.remove(&pin.file);
    }
    let error = place.realise(&resolved, 2).unwrap_err();
    assert_eq!(error.to_string(), "the archive no longer has gcc 3.14.8~rc1-1, libc6 2.43-7");
    assert!(matches!(&error, DebianError::Gone { pins } if pins[..] == resolved.pins[..2]));
    assert!(error.hint().unwrap().contains("akb lock"));
    let archive = Archive { net: None, ..place.archive(&Silent) };
    let error = realise(&resolved.pins, &used(&resolved), &archive, 1).unwrap_err();
    assert_eq!(error.to_string(), "offline, and the cache lacks gcc_3.14.8~rc1-1_amd64.deb, libc6_2.43-7_amd64.deb");
}

#[test]
fn other_bytes_are_refused() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("forky"), &[])).unwrap();
    let pin = &resolved.pins[0];
    let size = usize::try_from(pin.size).unwrap();
    place.server.put(&pin.file, vec![b'x'; size]);
    assert_eq!(place.realise(&resolved, 2).unwrap_err().exit_code(), ExitCode::Integrity);
    // A package under another one's name.
    let other = deb("Package: evil\nVersion: 1\nArchitecture: amd64\n", &[]);
    let mut pins = resolved.pins.clone();
    (pins[0].size, pins[0].sha256) = (other.len() as u64, Sha256::of(&other));
    place.server.put(&pins[0].file, other);
    let error = place.realise(&Resolved { pins, ..resolved.clone() }, 2).unwrap_err();
    assert_eq!(error.to_string(), "pool/main/libc6_2.43-7_amd64.deb is evil 1 amd64, the pin says libc6 2.43-7 amd64");
}

#[test]
fn paths_stay_in_the_pool() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("forky"), &[])).unwrap();
    for file in [
        "https://evil.invalid/x.deb",
        "//evil.invalid/x.deb",
        "/x.deb",
        "pool/../x.deb",
        "pool//x.deb",
        "pool/x?y",
        "x.deb",
    ] {
        let mut changed = resolved.clone();
        changed.pins[0].file = file.to_owned();
        assert!(matches!(place.realise(&changed, 1), Err(DebianError::Path { .. })), "{file}");
    }
}

#[test]
fn two_packages_cannot_have_one_file() {
    let place = Place::new();
    let twin = ("twin", "", &[("usr/bin/gcc", "other")][..]);
    place.server.publish("testing", "forky", &[PYTHON, LIBC, LIBGCC, LIBSTDCXX, GCC, twin]);
    let resolved = place.resolve(&wish(Some("forky"), &["gcc", "twin"])).unwrap();
    let error = place.realise(&resolved, 2).unwrap_err();
    assert!(matches!(error, DebianError::Unpack { .. }), "{error}");
}

#[test]
fn looks_for_the_suite_that_has_the_python() {
    let place = Place::with_forky();
    place.server.publish("stable", "trixie", &[LIBC]);
    let resolved = place.resolve(&wish(None, &[])).unwrap();
    assert_eq!(resolved.suite, "forky");
    let error = place.resolve(&wish(Some("stable"), &[])).unwrap_err();
    assert_eq!(error.to_string(), "no package python3.14 in stable");
    for suite in ["../x", "", "a/b", ".x"] {
        assert!(matches!(place.resolve(&wish(Some(suite), &[])), Err(DebianError::SuiteName(_))), "{suite}");
    }
}

#[test]
fn an_index_must_be_the_asked_one_signed_and_fresh() {
    struct Warnings(Mutex<Vec<String>>);
    impl Reporter for Warnings {
        fn event(&self, event: &Event<'_>) {
            if let Event::Warning { message, .. } = event {
                self.0.lock().unwrap().push(message.clone());
            }
        }
    }
    let place = Place::with_forky();
    let warnings = Warnings(Mutex::default());
    let archive = place.archive(&warnings);
    let keyring = ring(&[&key(1)]);
    let ask = |suite: &str, keyring: &Keyring, now, strict| {
        resolve(&wish(Some(suite), &[]), &archive, &Trust { keyring, now, strict })
    };
    // A mirror that answers with another suite's true index.
    let release = place.server.files.lock().unwrap()["/debian/dists/forky/InRelease"].clone();
    place.server.put("dists/stable/InRelease", release.clone());
    let error = ask("stable", &keyring, day(12), true).unwrap_err();
    assert_eq!(error.to_string(), "asked for suite `stable`, the archive gave the index of `testing` (`forky`)");
    let error = ask("forky", &ring(&[&key(2)]), day(12), false).unwrap_err();
    assert!(matches!(error, DebianError::Signature { .. }), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Integrity);

    assert!(ask("forky", &keyring, day(18), false).is_ok());
    assert_eq!(*warnings.0.lock().unwrap(), ["the index of suite `forky` expired 3 days ago"]);
    assert!(matches!(ask("forky", &keyring, day(18), true), Err(DebianError::Expired { days: 3, .. })));

    let tampered = String::from_utf8(release).unwrap().replace("Suite: testing", "Suite: forky");
    place.server.put("dists/forky/InRelease", tampered);
    assert!(matches!(ask("forky", &keyring, day(12), false), Err(DebianError::Signature { .. })));
}

#[test]
fn a_changed_package_list_is_refused() {
    let place = Place::with_forky();
    let path = {
        let files = place.server.files.lock().unwrap();
        files.keys().find(|path| path.contains("forky/main/binary-amd64/by-hash")).unwrap().clone()
    };
    place.server.put(path.strip_prefix("/debian/").unwrap(), "other");
    assert_eq!(place.resolve(&wish(Some("forky"), &[])).unwrap_err().exit_code(), ExitCode::Integrity);
}

#[test]
fn pins_cover_what_they_name() {
    let place = Place::with_forky();
    let resolved = place.resolve(&wish(Some("forky"), &["gcc"])).unwrap();
    for (packages, expected) in [
        (&[][..], true),
        (&["gcc", "-cpp"], true),
        (&["gcc (>= 3)", "clang | gcc"], true),
        (&["gcc (>= 4)"], false),
        (&["clang"], false),
        (&["gcc:arm64"], false),
    ] {
        assert_eq!(covers(&wish(None, packages), &resolved.pins), expected, "{packages:?}");
    }
    assert!(!covers(&Wish { compiles: true, ..wish(None, &[]) }, &resolved.pins));
}

#[test]
fn versions_tell_the_target() {
    for (version, expected) in [
        ("3.14.8-1", Some(vec![3, 14, 8])),
        ("3.15.0~rc1-1", Some(vec![3, 15, 0])),
        ("1:2.43+dfsg-7", Some(vec![2, 43])),
        ("2", None),
        ("a.b", None),
    ] {
        assert_eq!(numbers(version), expected, "{version}");
    }
}
