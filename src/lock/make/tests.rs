use std::cell::RefCell;
use std::path::Path;

use super::*;
use crate::lock::resolve::tests::Memory;
use crate::plan::RemoteFile;
use crate::recipe::Applied;
use crate::report::Silent;
use crate::request::Target;

/// Sources in memory: static and dynamic requirements by `name version`.
#[derive(Default)]
struct Fake {
    requires: BTreeMap<&'static str, (&'static [&'static str], &'static [&'static str])>,
    /// The environments that dynamic requirements were asked in.
    asked: RefCell<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
#[error("setup.py fell over")]
struct Broken;
impl Explain for Broken {
    fn output(&self) -> Option<&str> {
        Some("Traceback")
    }
}

impl Fake {
    fn of(requires: &[(&'static str, &'static [&'static str], &'static [&'static str])]) -> Self {
        let requires = requires.iter().map(|(name, fixed, dynamic)| (*name, (*fixed, *dynamic))).collect();
        Self { requires, asked: RefCell::default() }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }
}

impl Sources for Fake {
    fn size(&self, _: &str, file: &FileId) -> Result<u64, Failed> {
        Ok(file.name.len() as u64)
    }

    fn tree(&self, package: &Package) -> Result<Sha256, Failed> {
        Ok(Sha256::of(package.name.as_bytes()))
    }

    fn static_requires(&self, subject: &Subject<'_>) -> Result<Vec<String>, Failed> {
        let name = subject.locked.reference().to_string();
        self.requires.get(name.as_str()).map(|(fixed, _)| Self::texts(fixed)).ok_or_else(|| Box::new(Broken) as Failed)
    }

    fn dynamic_requires(
        &self,
        subject: &Subject<'_>,
        entries: &BTreeMap<Reference, Locked>,
    ) -> Result<Vec<String>, Failed> {
        let name = subject.locked.reference().to_string();
        let build = subject.locked.build.as_ref().unwrap();
        assert!(build.iter().all(|reference| entries.contains_key(reference)), "{name} is asked too early");
        let environment: Vec<String> = build.iter().map(ToString::to_string).collect();
        self.asked.borrow_mut().push(format!("{name}: {}", environment.join(", ")));
        Ok(self.requires.get(name.as_str()).map(|(_, dynamic)| Self::texts(dynamic)).unwrap_or_default())
    }
}

fn remote(name: &str) -> RemoteFile {
    let file = FileId { name: name.to_owned(), size: Some(7), sha256: Sha256::of(name.as_bytes()) };
    RemoteFile { file, url: None, index: Some("https://index.invalid/simple".to_owned()), subdirectory: None }
}

fn package(file: &str) -> Package {
    let mut parts = file.split('-');
    let name = parts.next().unwrap().to_owned();
    let version = Some(parts.next().unwrap().trim_end_matches(".tar.gz").to_owned());
    let origin = if crate::lock::is_wheel(file) { Origin::Wheel(remote(file)) } else { Origin::Sdist(remote(file)) };
    Package { name, version, origin }
}

fn target() -> Target {
    Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_42".parse().unwrap() }
}

fn made_with(
    plan: &Plan,
    recipe: &str,
    previous: Option<&Sidecar>,
    index: &[&str],
    sources: &Fake,
) -> Result<Sidecar, MakeError> {
    let recipe = Recipe::parse(recipe, Path::new("akb.toml")).unwrap();
    let (source, also_locked) = (Sha256::of(b""), BTreeMap::new());
    let request = Request {
        plan,
        recipe: &recipe,
        source,
        also_locked: &also_locked,
        previous,
        exclude_newer: None,
        inputs: None,
    };
    make(&request, &Memory::new(index), sources, &Silent)
}

fn made(files: &[&str], index: &[&str], sources: &Fake) -> Result<Sidecar, MakeError> {
    let plan = Plan { target: target(), packages: files.iter().map(|file| package(file)).collect() };
    let sidecar = made_with(&plan, "", None, index, sources);
    if let Ok(sidecar) = &sidecar {
        assert_eq!(sidecar.check_against(&plan, None), Ok(()));
        assert_eq!(&Sidecar::parse(&sidecar.to_toml(), Path::new("akb.lock")).unwrap(), sidecar);
    }
    sidecar
}

fn shown(sidecar: &Sidecar) -> String {
    let line = |locked: &Locked| {
        let build = locked.build.as_ref().map(|build| {
            let build: Vec<String> = build.iter().map(ToString::to_string).collect();
            format!(" <- {}", build.join(", "))
        });
        format!("{} {}{}\n", locked.reference(), locked.content.kind(), build.unwrap_or_default())
    };
    let lines = |entries: &[Locked]| entries.iter().map(line).collect::<String>();
    format!("{}--\n{}", lines(&sidecar.packages), lines(&sidecar.builds))
}

const INDEX: [&str; 8] = [
    "setuptools-80.9-py3-none-any.whl",
    "setuptools-81.0-py3-none-any.whl",
    "wheel-0.45-py3-none-any.whl",
    "lxml-6.1-cp314-cp314-manylinux_2_17_x86_64.whl",
    "cython-3.1.tar.gz",
    "flit_core-3.12-py3-none-any.whl",
    "pytest_runner-6.0-py3-none-any.whl : setuptools<81",
    "pkgconfig-1.5-py3-none-any.whl",
];

#[test]
fn locks_what_builds_what() {
    let sources = Fake::of(&[
        ("lxml 6.0.2", &["cython", "setuptools"], &[]),
        ("xmlsec 1.3.17", &["lxml", "setuptools", "pkgconfig"], &["wheel"]),
        ("cython 3.1", &["flit_core"], &[]),
    ]);
    let files = ["attrs-25.4-py3-none-any.whl", "lxml-6.0.2.tar.gz", "xmlsec-1.3.17.tar.gz"];
    let sidecar = made(&files, &INDEX, &sources).unwrap();
    insta::assert_snapshot!(shown(&sidecar), @r"
    attrs 25.4 wheel
    lxml 6.0.2 sdist <- cython 3.1, setuptools 81.0
    xmlsec 1.3.17 sdist <- lxml 6.0.2, pkgconfig 1.5, setuptools 81.0, wheel 0.45
    --
    cython 3.1 sdist <- flit-core 3.12
    flit-core 3.12 wheel
    pkgconfig 1.5 wheel
    setuptools 81.0 wheel
    wheel 0.45 wheel
    ");
    insta::assert_snapshot!(sources.asked.borrow().join("\n"), @r"
    cython 3.1: flit-core 3.12
    lxml 6.0.2: cython 3.1, setuptools 81.0
    xmlsec 1.3.17: lxml 6.0.2, pkgconfig 1.5, setuptools 81.0
    ");
    let shuffled = ["xmlsec-1.3.17.tar.gz", "lxml-6.0.2.tar.gz", "attrs-25.4-py3-none-any.whl"];
    let mut index = INDEX;
    index.reverse();
    let mut plan = Plan { target: target(), packages: shuffled.iter().map(|file| package(file)).collect() };
    let other = made_with(&plan, "", None, &index, &sources).unwrap();
    assert_eq!(other.to_toml(), sidecar.to_toml());
    plan.packages.clear();
    assert_eq!(shown(&made_with(&plan, "", None, &index, &sources).unwrap()), "--\n");
}

#[test]
fn dynamic_requirements_can_change_the_choice_and_leave_nothing_behind() {
    let sources = Fake::of(&[("oci 0.1", &["setuptools"], &["pytest-runner"])]);
    let sidecar = made(&["oci-0.1.tar.gz"], &INDEX, &sources).unwrap();
    insta::assert_snapshot!(shown(&sidecar), @r"
    oci 0.1 sdist <- pytest-runner 6.0, setuptools 80.9
    --
    pytest-runner 6.0 wheel
    setuptools 80.9 wheel
    ");
}

#[test]
fn the_recipe_adds_build_requirements() {
    let sources = Fake::of(&[("a 1", &["setuptools"], &[])]);
    let plan = Plan { target: target(), packages: vec![package("a-1.tar.gz")] };
    let sidecar =
        made_with(&plan, "[package.a]\nbuild-requires = [\"wheel\", \"setuptools<81\"]", None, &INDEX, &sources);
    insta::assert_snapshot!(shown(&sidecar.unwrap()), @r"
    a 1 sdist <- setuptools 80.9, wheel 0.45
    --
    setuptools 80.9 wheel
    wheel 0.45 wheel
    ");
}

#[test]
fn a_previous_lock_is_kept_where_it_fits() {
    let sources = Fake::of(&[("a 1", &["setuptools"], &[])]);
    let plan = Plan { target: target(), packages: vec![package("a-1.tar.gz")] };
    let recipe = "[package.a]\nbuild-requires = [\"setuptools<81\"]";
    let old = made_with(&plan, recipe, None, &INDEX, &sources).unwrap();
    let setuptools = |sidecar: &Sidecar| sidecar.builds[0].reference().to_string();
    assert_eq!(setuptools(&old), "setuptools 80.9");
    assert_eq!(setuptools(&made_with(&plan, "", Some(&old), &INDEX, &sources).unwrap()), "setuptools 80.9");
    assert_eq!(setuptools(&made_with(&plan, "", None, &INDEX, &sources).unwrap()), "setuptools 81.0");
}

#[test]
fn git_and_local_sources_are_built_too() {
    let sources = Fake::of(&[("oci 0.0.14", &["setuptools"], &[]), ("app", &["oci"], &[])]);
    let git =
        Origin::Git { repository: "https://git.invalid/oci".to_owned(), revision: "c".repeat(40), subdirectory: None };
    let packages = vec![
        Package { name: "app".to_owned(), version: None, origin: Origin::Editable { path: ".".to_owned() } },
        Package { name: "oci".to_owned(), version: Some("0.0.14".to_owned()), origin: git },
        Package { name: "root".to_owned(), version: None, origin: Origin::Virtual { path: "..".to_owned() } },
    ];
    let plan = Plan { target: target(), packages };
    let sidecar = made_with(&plan, "", None, &INDEX, &sources).unwrap();
    insta::assert_snapshot!(shown(&sidecar), @r"
    app editable <- oci 0.0.14
    oci 0.0.14 git <- setuptools 81.0
    root virtual
    --
    setuptools 81.0 wheel
    ");
    assert!(!sidecar.to_toml().contains("://"), "no address");
    assert_eq!(Sidecar::parse(&sidecar.to_toml(), Path::new("akb.lock")).unwrap(), sidecar);
}

#[test]
fn failures_name_the_package_and_the_way_out() {
    let told = |error: MakeError| format!("{error}\n{}", error.hint().unwrap_or_default());
    let cycle = Fake::of(&[("a 1", &["b"], &[]), ("b 1", &["c"], &[]), ("c 1", &["b"], &[])]);
    insta::assert_snapshot!(told(made(&["a-1.tar.gz"], &["b-1.tar.gz", "c-1.tar.gz"], &cycle).unwrap_err()), @r#"
    b 1 -> c 1 -> b 1 cannot be built: each needs the next to be built
    take a version of b that has a wheel: [package.…] build-requires = ["b==…"]
    "#);
    let conflict = Fake::of(&[("a 1", &["setuptools>=90"], &[])]);
    insta::assert_snapshot!(told(made(&["a-1.tar.gz"], &INDEX, &conflict).unwrap_err()), @r#"
    no set of packages can build a: Because there is no version of setuptools in >=90 and the build of a depends on setuptools >=90, the build of a cannot be set up.
    narrow the choice: [package.a] build-requires = ["…==…"], or another version of it
    "#);
    let broken = made(&["a-1.tar.gz"], &INDEX, &Fake::default()).unwrap_err();
    assert_eq!(
        (broken.to_string().as_str(), broken.output()),
        ("build requirements of a 1: setup.py fell over", Some("Traceback"))
    );
}

#[test]
fn pending_replacements_come_from_the_index() {
    let recipe = |text: &str| Recipe::parse(text, Path::new("akb.toml")).unwrap();
    let plan = Plan { target: target(), packages: vec![package("oci-0.0.14.tar.gz")] };
    let apply = |text: &str| recipe(text).apply(plan.clone(), &BTreeSet::new()).unwrap();
    let index =
        Memory::new(&["oci-0.0.15.tar.gz", "oci-0.0.15-py3-none-any.whl yanked", "oci-0.0.16-py3-none-any.whl <3.14"]);
    let (target, empty, none) = (target(), BTreeMap::new(), BTreeMap::new());
    let world = World { source: &index, target: &target, own: &empty, preferred: &none, exclude_newer: None };
    let file = |applied: Applied| {
        complete(applied, &world).map(|plan| match &plan.packages[0].origin {
            Origin::Wheel(remote) | Origin::Sdist(remote) => remote.file.name.clone(),
            other => other.kind().to_owned(),
        })
    };
    assert_eq!(file(apply("[package.oci]\nversion = \"0.0.15\"")).unwrap(), "oci-0.0.15.tar.gz");
    let exact = apply("[package.oci]\nversion = \"0.0.15\"\nfile = \"oci-0.0.15-py3-none-any.whl\"");
    assert_eq!(file(exact).unwrap(), "oci-0.0.15-py3-none-any.whl");
    let error = file(apply("[package.oci]\nversion = \"0.0.16\"")).unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()), @r"
    the index has no oci 0.0.16 for Python 3.14 on x86_64-manylinux_2_42
    versions of oci that fit: 0.0.15
    ");
}

#[test]
fn the_fetch_hash_is_that_of_a_flat_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = BTreeMap::new();
    for name in ["b.whl", "a.tar.gz"] {
        let path = folder.path().join(format!("elsewhere-{name}"));
        std::fs::write(&path, name).unwrap();
        files.insert(name.to_owned(), path);
    }
    // Computed apart, from the description of the format.
    assert_eq!(flat_hash(&files).unwrap().sri(), "sha256-lzP3Qfab9soMkLisiPyonUWXqNqjXd05rl+K2BeyGmQ=");
}
