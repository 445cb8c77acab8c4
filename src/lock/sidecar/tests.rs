use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::explain::Explain as _;
use crate::plan::{Origin, Package, Plan, RemoteFile};
use crate::recipe::{Pending, Recipe};

pub(crate) fn file(name: &str) -> FileId {
    FileId { name: name.to_owned(), size: Some(1234), sha256: Sha256::of(name.as_bytes()) }
}

fn reference(name: &str, version: &str) -> Reference {
    Reference { name: name.to_owned(), version: Some(version.to_owned()) }
}

fn locked(name: &str, version: &str, content: Content, build: Option<Vec<Reference>>) -> Locked {
    Locked { name: name.to_owned(), version: Some(version.to_owned()), content, build }
}

fn sdist(name: &str) -> Content {
    Content::Sdist { file: file(name), subdirectory: None }
}

fn sample() -> Sidecar {
    let setuptools = reference("setuptools", "80.9.0");
    let git = Content::Git { revision: "c".repeat(40), tree: Sha256::of(b"tree"), subdirectory: Some("py".to_owned()) };
    Sidecar {
        source: Sha256::of(b"source"),
        target: Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_42".parse().unwrap() },
        fetch_hash: Some(Sha256::of(b"fetch")),
        inputs_hash: Some(Sha256::of(b"inputs")),
        packages: vec![
            locked("app", "1", Content::Local { kind: LocalKind::Editable }, Some(vec![])),
            locked("attrs", "25.4.0", Content::Wheel(file("attrs-25.4.0-py3-none-any.whl")), None),
            locked("lxml", "6.0.2", sdist("lxml-6.0.2.tar.gz"), Some(vec![setuptools.clone()])),
            locked("oci", "0.0.14", git, Some(vec![setuptools.clone()])),
            locked(
                "xmlsec",
                "1.3.17",
                sdist("xmlsec-1.3.17.tar.gz"),
                Some(vec![reference("lxml", "6.0.2"), setuptools]),
            ),
        ],
        builds: vec![locked("setuptools", "80.9.0", Content::Wheel(file("setuptools-80.9.0-py3-none-any.whl")), None)],
        inputs: Some(InputPins {
            provider: Provider::Debian,
            suite: "forky".to_owned(),
            packages: vec![Pin {
                package: "libxml2-dev".to_owned(),
                version: "1:2.15.1+dfsg-1".to_owned(),
                architecture: "amd64".to_owned(),
                file: "pool/main/libx/libxml2/libxml2-dev_2.15.1+dfsg-1_amd64.deb".to_owned(),
                size: 5,
                sha256: Sha256::of(b"deb"),
            }],
        }),
    }
}

fn parse(text: &str) -> Result<Sidecar, SidecarError> {
    Sidecar::parse(text, Path::new("akb.lock"))
}

#[test]
fn the_text_is_this_and_reads_back() {
    let sidecar = sample();
    let text = sidecar.to_toml();
    insta::assert_snapshot!(text, @r#"
    # Made by `akb lock`; do not edit.
    # What a build of this project may take: files by name, size and hash. No address.
    version = 1
    source = "sha256:41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d"
    fetch-hash = "sha256-59N5nswJ9cvERqoKebsfudASY5X6GaWQO3Ql9C5ekuc="
    inputs-hash = "sha256-MjgVI+Yxl8kptn95OoCYvtCuOm+pAmNP28xvpFZ/M0Y="

    [target]
    python = "3.14"
    platform = "x86_64-manylinux_2_42"

    [[package]]
    name = "app"
    version = "1"
    kind = "editable"
    build = []

    [[package]]
    name = "attrs"
    version = "25.4.0"
    kind = "wheel"
    file = "attrs-25.4.0-py3-none-any.whl"
    size = 1234
    sha256 = "e92f09861b01cfecede182b3fbcef61d8c3a75d4249acec48bf8fe20c8ec9839"

    [[package]]
    name = "lxml"
    version = "6.0.2"
    kind = "sdist"
    file = "lxml-6.0.2.tar.gz"
    size = 1234
    sha256 = "fdb3022b7dc94f551349b40d81e28c3169f8e8b373bbb2266bc71c3d04a4814f"
    build = [
        "setuptools 80.9.0",
    ]

    [[package]]
    name = "oci"
    version = "0.0.14"
    kind = "git"
    revision = "cccccccccccccccccccccccccccccccccccccccc"
    tree = "sha256-3Jxe24stR55pe0sLirh08ysyUThZjOnnt1nrgpIRBiI="
    subdirectory = "py"
    build = [
        "setuptools 80.9.0",
    ]

    [[package]]
    name = "xmlsec"
    version = "1.3.17"
    kind = "sdist"
    file = "xmlsec-1.3.17.tar.gz"
    size = 1234
    sha256 = "42b2744b15f4525b390b159cd15f123550c60d722786b25a39e4237518d39f12"
    build = [
        "lxml 6.0.2",
        "setuptools 80.9.0",
    ]

    [[build]]
    name = "setuptools"
    version = "80.9.0"
    kind = "wheel"
    file = "setuptools-80.9.0-py3-none-any.whl"
    size = 1234
    sha256 = "d369112ec118aba0f61afe30ebf8466f097e23d797cdb7e6bf15047ad451c68a"

    [inputs]
    provider = "debian"
    suite = "forky"

    [[inputs.package]]
    name = "libxml2-dev"
    version = "1:2.15.1+dfsg-1"
    architecture = "amd64"
    file = "pool/main/libx/libxml2/libxml2-dev_2.15.1+dfsg-1_amd64.deb"
    size = 5
    sha256 = "9cfa1468c93fc18652e34a000f0c6614b0fa18f6f4887477ad9b0d36ca6a7eaa"
    "#);
    assert_eq!(parse(&text).unwrap(), sidecar);
}

#[test]
fn order_of_entries_does_not_show() {
    let mut shuffled = sample();
    shuffled.packages.reverse();
    shuffled.packages.iter_mut().filter_map(|locked| locked.build.as_mut()).for_each(|build| build.reverse());
    assert_eq!(shuffled.to_toml(), sample().to_toml());
}

/// Each row: what to replace in the sample's text, and a part of the message.
#[test]
fn refuses_what_akb_lock_does_not_write() {
    let text = sample().to_toml();
    let hash = Sha256::of(b"setuptools-80.9.0-py3-none-any.whl").hex();
    for (from, to, message) in [
        ("version = 1\n", "version = 2\n", "found version 2"),
        ("version = 1\n", "", "missing field `version`"),
        ("version = 1\n", "version = 1\nurl = \"x\"\n", "unknown field `url`"),
        ("kind = \"editable\"\n", "kind = \"editable\"\nurl = \"x\"\n", "unknown field `url`"),
        ("name = \"attrs\"", "name = \"../attrs\"", "normalised package name"),
        ("name = \"attrs\"", "name = \"Attrs\"", "normalised package name"),
        ("version = \"25.4.0\"", "version = \"x\"", "a version"),
        ("file = \"attrs-25.4.0-py3-none-any.whl\"", "file = \"../a.whl\"", "file name without folder"),
        ("file = \"attrs-25.4.0-py3-none-any.whl\"", "file = \"a\\u0000.whl\"", "file name without folder"),
        ("file = \"attrs-25.4.0-py3-none-any.whl\"", "file = \"attrs.tar.gz\"", "fits its kind"),
        (
            "file = \"attrs-25.4.0-py3-none-any.whl\"",
            "file = \"SETUPTOOLS-80.9.0-py3-none-any.whl\"",
            "file name of its own",
        ),
        ("size = 1234", "size = 99999999999999", "at most 64 GiB"),
        ("size = 1234", "size = -1", "invalid value"),
        (hash.as_str(), "00", "64 lower-case hexadecimal digits"),
        ("kind = \"editable\"", "kind = \"editable\"\nsize = 1", "no such key for its kind"),
        ("kind = \"editable\"", "kind = \"folder\"", "a kind of package"),
        ("revision = \"cccc", "revision = \"main", "object name"),
        ("subdirectory = \"py\"", "subdirectory = \"../py\"", "relative folder"),
        ("\"lxml 6.0.2\",", "\"lxml 6.0.3\",", "build requirements of the lock"),
        (
            "    \"setuptools 80.9.0\",\n]\n\n[[package]]\nname = \"oci\"",
            "    \"xmlsec 1.3.17\",\n]\n\n[[package]]\nname = \"oci\"",
            "cycle",
        ),
        ("name = \"attrs\"\nversion = \"25.4.0\"", "name = \"zzz\"\nversion = \"25.4.0\"", "sorted"),
        ("name = \"attrs\"\nversion = \"25.4.0\"", "name = \"app\"\nversion = \"2\"", "one version of each"),
        ("kind = \"wheel\"", "kind = \"wheel\"\nbuild = []", "not built"),
        ("suite = \"forky\"", "suite = \"../x\"", "name or version of the archive"),
        ("file = \"pool/main", "file = \"pool/../main", "file name without folder"),
        ("file = \"pool/main", "file = \"/pool/main", "file name without folder"),
        ("provider = \"debian\"", "provider = \"x\"", "unknown variant"),
        ("fetch-hash = \"sha256-", "fetch-hash = \"sha256:", "`sha256-` and base64"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = parse(&text.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(error.contains(message), "{to}: {error}");
    }
}

fn plan_of(sidecar: &Sidecar) -> Plan {
    let packages = sidecar.packages.iter().map(|locked| Package {
        name: locked.name.clone(),
        version: locked.version.clone(),
        origin: match &locked.content {
            Content::Wheel(file) => Origin::Wheel(remote(file)),
            Content::Sdist { file, .. } => Origin::Sdist(remote(file)),
            Content::Git { revision, subdirectory, .. } => Origin::Git {
                repository: "https://git.invalid/oci".to_owned(),
                revision: revision.clone(),
                subdirectory: subdirectory.clone(),
            },
            Content::Local { .. } => Origin::Editable { path: ".".to_owned() },
        },
    });
    Plan { target: sidecar.target.clone(), packages: packages.collect() }
}

fn remote(file: &FileId) -> RemoteFile {
    RemoteFile { file: file.clone(), url: Some("https://files.invalid/x".to_owned()), index: None, subdirectory: None }
}

#[test]
fn a_fitting_plan_passes_and_each_difference_is_named() {
    let sidecar = sample();
    let plan = plan_of(&sidecar);
    assert_eq!(sidecar.check_against(&plan, Some(sidecar.source)), Ok(()));

    let mut other = plan.clone();
    other.packages.remove(0);
    other.packages[0].version = Some("26".to_owned());
    if let Origin::Sdist(remote) = &mut other.packages[1].origin {
        remote.file.sha256 = Sha256::of(b"other");
    }
    other.packages.push(Package {
        name: "zope".to_owned(),
        version: None,
        origin: Origin::Virtual { path: ".".to_owned() },
    });
    let error = sidecar.check_against(&other, None).unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()), @r"
    akb.lock is not up to date: app 1 (editable) is no longer needed; attrs is 25.4.0 (attrs-25.4.0-py3-none-any.whl e92f09861b01…) there and 26 (attrs-25.4.0-py3-none-any.whl e92f09861b01…) here; lxml is 6.0.2 (lxml-6.0.2.tar.gz fdb3022b7dc9…) there and 6.0.2 (lxml-6.0.2.tar.gz d9298a10d1b0…) here; zope (virtual) is missing
    run `akb lock DIR`; `akb lock DIR --check` shows what would change
    ");
}

#[test]
fn another_target_or_source_is_named() {
    let sidecar = sample();
    let mut plan = plan_of(&sidecar);
    assert!(matches!(sidecar.check_against(&plan, Some(Sha256::of(b"new"))), Err(Drift::Source { .. })));
    plan.target.python = "3.14.8".parse().unwrap();
    assert_eq!(sidecar.check_against(&plan, None), Ok(()), "the patch level chooses no file");
    plan.target.python = "3.13".parse().unwrap();
    let error = sidecar.check_against(&plan, None).unwrap_err().to_string();
    assert!(error.contains("3.13 on x86_64-manylinux_2_42"), "{error}");
}

#[test]
fn what_is_built_needs_a_build_environment() {
    let mut sidecar = sample();
    let plan = plan_of(&sidecar);
    sidecar.packages[2].build = None;
    assert_eq!(sidecar.check_against(&plan, None), Err(Drift::NoBuild { name: "lxml".to_owned() }));
}

#[test]
fn a_lock_of_files_is_a_plan_and_one_of_git_is_not() {
    let mut sidecar = sample();
    assert!(matches!(sidecar.plan(), Err(Drift::NoAddress { name, .. }) if name == "app"));
    sidecar.packages.retain(|locked| locked.content.file().is_some());
    let plan = sidecar.plan().unwrap();
    assert_eq!(plan.packages.len(), 3);
    assert_eq!(sidecar.check_against(&plan, None), Ok(()));
    let files = sidecar.files();
    assert_eq!(files.len(), 4);
    assert_eq!(files["lxml-6.0.2.tar.gz"].size, Some(1234));
}

#[test]
fn pending_replacements_come_from_the_lock() {
    let sidecar = sample();
    let pending = |version: &str, from_source| Pending {
        name: "attrs".to_owned(),
        version: version.to_owned(),
        file: None,
        from_source,
    };
    assert!(matches!(sidecar.origin_of(&pending("25.4.0", false)), Some(Origin::Wheel(_))));
    assert_eq!(sidecar.origin_of(&pending("25.4.0", true)), None);
    assert_eq!(sidecar.origin_of(&pending("25.3.0", false)), None);
}

#[test]
fn the_source_digest_sees_both_sources() {
    let recipe = Recipe::parse("[package.a]\nfrom-source = true", Path::new("akb.toml")).unwrap();
    let digests = [source_digest("a", &recipe), source_digest("b", &recipe), source_digest("a", &Recipe::default())];
    assert_eq!(digests.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

fn any_locked() -> impl Strategy<Value = Locked> {
    ("[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,3})?", "[0-9]{1,3}(\\.[0-9]{1,3}){0,2}", any::<u64>(), 0..3_u8).prop_map(
        |(name, version, size, kind)| {
            let named = |ending: &str| FileId {
                name: format!("{name}-{version}{ending}"),
                size: Some(size >> 30),
                sha256: Sha256::of(name.as_bytes()),
            };
            let content = match kind {
                0 => Content::Wheel(named("-py3-none-any.whl")),
                1 => Content::Sdist { file: named(".tar.gz"), subdirectory: None },
                _ => Content::Local { kind: LocalKind::Directory },
            };
            let build = is_built_for_test(&content).then(Vec::new);
            Locked { name, version: Some(version), content, build }
        },
    )
}

fn is_built_for_test(content: &Content) -> bool {
    !matches!(content, Content::Wheel(_))
}

proptest! {
    #[test]
    fn every_lock_reads_back(mut packages in proptest::collection::vec(any_locked(), 0..12)) {
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages.dedup_by(|a, b| a.name == b.name);
        let sidecar = Sidecar { packages, builds: vec![], fetch_hash: None, inputs_hash: None, inputs: None, ..sample() };
        prop_assert_eq!(parse(&sidecar.to_toml()).unwrap(), sidecar);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}", at in 0..4000_usize) {
        let _ = parse(&text);
        let mut sample = sample().to_toml();
        if let Some(at) = (0..=at.min(sample.len())).rev().find(|at| sample.is_char_boundary(*at)) {
            sample.insert_str(at, &text);
            let _ = parse(&sample);
        }
    }
}
