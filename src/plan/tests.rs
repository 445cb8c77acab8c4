//! Rules of the plan on small locks; whole locks of uv are in `tests/plan.rs`.

use proptest::prelude::*;

use super::*;
use crate::explain::Explain as _;

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A lock of project `app` that needs `foo`, whose entry is `rest`.
fn lock(rest: &str) -> String {
    format!(
        r#"version = 1
requires-python = ">=3.9"
[[package]]
name = "app"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "foo" }}]
[[package]]
name = "foo"
version = "1.0"
{rest}
"#
    )
}

/// A lock where `foo` comes from an index, with these files.
fn files(wheels: &[&str], sdist: bool) -> String {
    let file = |name: &str| format!(r#"{{ url = "https://files.invalid/{name}", hash = "{HASH}" }}"#);
    let wheels: Vec<_> = wheels.iter().map(|rest| file(&format!("foo-1.0-{rest}.whl"))).collect();
    let sdist = if sdist { format!("sdist = {}", file("foo-1.0.tar.gz")) } else { String::new() };
    lock(&format!(
        "source = {{ registry = \"https://index.invalid/simple\" }}\nwheels = [{}]\n{sdist}",
        wheels.join(",")
    ))
}

fn target(python: &str) -> Target {
    Target { python: python.parse().unwrap(), platform: "x86_64-manylinux_2_28".parse().unwrap() }
}

fn try_plan(lock: &str, project: &str) -> Result<Plan, PlanError> {
    let lock = UvLock::parse(lock, "uv.lock").unwrap();
    let project = Project::parse(Some((project, "pyproject.toml")), None).unwrap();
    plan(&lock, &project, &target("3.14"), &Selection::default())
}

/// What is chosen for `foo`.
fn foo(lock: &str, project: &str) -> Result<Origin, PlanError> {
    let plan = try_plan(lock, project)?;
    Ok(plan.packages.into_iter().find(|package| package.name == "foo").unwrap().origin)
}

fn file(lock: &str, project: &str) -> Option<String> {
    match foo(lock, project).unwrap() {
        Origin::Wheel(remote) | Origin::Sdist(remote) => Some(remote.file.name),
        Origin::Path { path, .. } => Some(path),
        _ => None,
    }
}

#[test]
fn prefers_tag_then_build_then_name() {
    let pure = files(&["py3-none-any", "cp314-cp314-manylinux_2_17_x86_64"], true);
    assert_eq!(file(&pure, "").as_deref(), Some("foo-1.0-cp314-cp314-manylinux_2_17_x86_64.whl"));
    let builds = files(&["py3-none-any", "2-py3-none-any", "10a-py3-none-any"], true);
    assert_eq!(file(&builds, "").as_deref(), Some("foo-1.0-10a-py3-none-any.whl"));
    let sets = ["cp314-cp314-manylinux_2_17_x86_64", "cp314-cp314-manylinux2014_x86_64.manylinux_2_17_x86_64"];
    for order in [[sets[0], sets[1]], [sets[1], sets[0]]] {
        assert_eq!(file(&files(&order, false), "").unwrap(), format!("foo-1.0-{}.whl", sets[1]));
    }
    let other = files(&["cp313-cp313-manylinux_2_17_x86_64"], true);
    assert_eq!(file(&other, "").as_deref(), Some("foo-1.0.tar.gz"));
}

#[test]
fn obeys_no_binary_and_no_build() {
    let both = files(&["py3-none-any"], true);
    let (no_binary, no_build) = ("[tool.uv]\nno-binary-package=['Foo']", "[tool.uv]\nno-build-package=['FOO']");
    assert_eq!(file(&both, no_binary).as_deref(), Some("foo-1.0.tar.gz"));
    assert_eq!(file(&both, no_build).as_deref(), Some("foo-1.0-py3-none-any.whl"));
    let fault = |lock: &str, project: &str| match foo(lock, project) {
        Err(PlanError::NoFile { fault, .. }) => *fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(&files(&["py3-none-any"], false), no_binary), Fault::NoBinary);
    assert!(matches!(fault(&files(&["cp39-cp39-any"], true), no_build), Fault::NoBuild { .. }));
    assert_eq!(fault(&both, "[tool.uv]\nno-binary=true\nno-build=true"), Fault::Neither);
    assert_eq!(fault(&files(&[], false), ""), Fault::Nothing);
    assert_eq!(foo(&lock("source = { editable = \"foo\" }"), no_build).unwrap().kind(), "editable");
    assert!(matches!(fault(&lock("source = { directory = \"foo\" }"), no_build), Fault::NoBuild { .. }));
}

#[test]
fn says_which_wheels_there_are_and_what_was_wanted() {
    let error = foo(&files(&["cp313-cp313-win_amd64"], false), "").unwrap_err();
    insta::assert_snapshot!(error, @"no file of `foo` 1.0 can be used: it has no source distribution, and none of its wheels runs on Python 3.14 on x86_64-manylinux_2_28 (tags wanted: cp314-cp314-manylinux_2_28_x86_64, or an older one): foo-1.0-cp313-cp313-win_amd64.whl");
    assert!(error.hint().unwrap().contains("--platform"));
}

#[test]
fn takes_sha256_only() {
    let weak = files(&["py3-none-any"], false).replace(HASH, "md5:d41d8cd98f00b204e9800998ecf8427e");
    assert!(matches!(foo(&weak, ""), Err(PlanError::Hash { found: Some(_), .. })));
    let none = files(&["py3-none-any"], false).replace(&format!(", hash = \"{HASH}\""), "");
    assert!(matches!(foo(&none, ""), Err(PlanError::Hash { found: None, .. })));
    // What is not chosen may have what it likes.
    let other =
        files(&["py3-none-any"], false) + "sdist = { url = \"https://files.invalid/foo-1.0.zip\", hash = \"md5:0\" }";
    assert_eq!(file(&other, "").as_deref(), Some("foo-1.0-py3-none-any.whl"));
}

#[test]
fn keeps_real_addresses() {
    let real = files(&["py3-none-any"], false).replace(".invalid", ".example");
    let Origin::Wheel(remote) = foo(&real, "").unwrap() else { panic!() };
    assert_eq!(remote.url.as_deref(), Some("https://files.example/foo-1.0-py3-none-any.whl"));
    assert_eq!(remote.index.as_deref(), Some("https://index.example/simple"));
    let Origin::Wheel(remote) = foo(&files(&["py3-none-any"], false), "").unwrap() else { panic!() };
    assert_eq!((remote.url, remote.index), (None, None));
    let direct = format!(
        "source = {{ url = \"https://a.example/foo-1.0.zip\", subdirectory = \"x\" }}\nsdist = {{ hash = \"{HASH}\" }}"
    );
    let Origin::Sdist(remote) = foo(&lock(&direct), "").unwrap() else { panic!() };
    assert_eq!(
        (remote.url.as_deref(), remote.subdirectory.as_deref()),
        (Some("https://a.example/foo-1.0.zip"), Some("x"))
    );
}

#[test]
fn knows_every_source() {
    let sha = "0".repeat(40);
    let origin = |source: &str| foo(&lock(source), "").map(|origin| origin.kind());
    assert_eq!(origin("source = { directory = '../foo' }").unwrap(), "directory");
    assert_eq!(origin("source = { editable = 'foo' }").unwrap(), "editable");
    assert_eq!(origin("source = { virtual = 'foo' }").unwrap(), "virtual");
    assert_eq!(origin("source = { path = 'x/foo-1.0.tar.gz' }").unwrap(), "path");
    assert_eq!(origin(&format!("source = {{ git = 'https://git.invalid/a#{sha}' }}")).unwrap(), "git");
    assert_eq!(
        origin("source = { registry = '../links' }\nwheels = [{ path = 'foo-1-py3-none-any.whl' }]").unwrap(),
        "path"
    );
    for extra in ["lfs=true", "path=foo.whl"] {
        let error = origin(&format!("source = {{ git = 'https://git.invalid/a?{extra}#{sha}' }}"));
        assert!(matches!(error, Err(PlanError::Unsupported { .. })), "{extra}");
    }
}

#[test]
fn two_versions_of_one_name_are_refused() {
    let text = r#"version = 1
requires-python = ">=3.9"
package = [
  { name = "app", version = "1", source = { virtual = "." }, dependencies = [
    { name = "foo", version = "1.0", source = { registry = "a" }, marker = "python_full_version < '3.15'" },
    { name = "foo", version = "2.0", source = { registry = "a" }, marker = "python_full_version >= '3.12'" } ] },
  { name = "foo", version = "1.0", source = { registry = "a" }, wheels = [{ path = "foo-1.0-py3-none-any.whl" }] },
  { name = "foo", version = "2.0", source = { registry = "a" }, wheels = [{ path = "foo-2.0-py3-none-any.whl" }] },
]"#;
    let lock = UvLock::parse(text, "uv.lock").unwrap();
    let version = |python| {
        let plan = plan(&lock, &Project::default(), &target(python), &Selection::default())?;
        Ok::<_, PlanError>(plan.packages.into_iter().find(|package| package.name == "foo").unwrap().version.unwrap())
    };
    assert_eq!(version("3.11").unwrap(), "1.0");
    assert_eq!(version("3.15").unwrap(), "2.0");
    assert!(matches!(version("3.13"), Err(PlanError::Several { .. })));
}

#[test]
fn markers_see_the_lowest_patch_that_is_allowed() {
    let text = files(&["py3-none-any"], false)
        .replace(">=3.9", ">=3.14.2")
        .replace("{ name = \"foo\" }", "{ name = \"foo\", marker = \"python_full_version >= '3.14.2'\" }");
    assert_eq!(file(&text, "").as_deref(), Some("foo-1.0-py3-none-any.whl"));
    let lock = UvLock::parse(&text, "uv.lock").unwrap();
    let try_python = |python| plan(&lock, &Project::default(), &target(python), &Selection::default());
    assert!(matches!(try_python("3.14.1"), Err(PlanError::Python { .. })));
    assert_eq!(try_python("3.14").unwrap().target, target("3.14"));
    assert_eq!(only_python(&lock, &Project::default()), None);
    let one = UvLock::parse(&text.replace(">=3.14.2", "==3.14.*"), "uv.lock").unwrap();
    assert_eq!(only_python(&one, &Project::default()), Some("3.14".parse().unwrap()));
}

/// A lock with a bit of everything, to be damaged.
fn everything() -> String {
    let sha = "0".repeat(40);
    format!(
        r#"version = 1
revision = 9
requires-python = ">=3.9"
resolution-markers = ["sys_platform == 'linux'"]
supported-markers = ["sys_platform == 'linux' or (os_name == 'nt' and python_version in '3.9 3.10')"]
conflicts = [[{{ package = "app", extra = "a" }}, {{ package = "app", group = "g" }}, {{ package = "foo" }}]]
[manifest]
members = ["app"]
requirements = [{{ name = "foo", extras = ["x"], marker = "python_version < '4'" }}]
[manifest.dependency-groups]
dev = [{{ name = "bar" }}]
[[package]]
name = "app"
version = "1"
source = {{ editable = "." }}
dependencies = [{{ name = "foo", extra = ["x"], marker = "extra == 'extra-3-app-a' or extra != 'group-3-app-g'" }}, {{ name = "bar" }}]
optional-dependencies = {{ a = [{{ name = "foo", version = "1.0", source = {{ registry = "https://index.invalid/simple" }} }}] }}
dev-dependencies = {{ g = [{{ name = "bar" }}] }}
metadata = {{ provides-extras = ["a", "b"], requires-dev = {{ g = [{{ name = "bar" }}] }} }}
[[package]]
name = "foo"
version = "1.0"
source = {{ registry = "https://index.invalid/simple" }}
sdist = {{ url = "https://files.invalid/foo-1.0.tar.gz", hash = "{HASH}", size = 3 }}
wheels = [{{ url = "https://files.invalid/foo-1.0-1-py2.py3-none-any.whl", hash = "{HASH}", size = 3 }}]
[[package]]
name = "bar"
source = {{ git = "https://git.invalid/bar?tag=v1&subdirectory=s#{sha}" }}
"#
    )
}

#[test]
fn a_bit_of_everything_is_read() {
    let lock = UvLock::parse(&everything(), "uv.lock").unwrap();
    let plan = plan(&lock, &Project::default(), &target("3.14"), &Selection::default()).unwrap();
    let names: Vec<_> = plan.packages.iter().map(|package| (package.name.as_str(), package.origin.kind())).collect();
    assert_eq!(names, [("app", "editable"), ("bar", "git"), ("foo", "wheel")]);
}

proptest! {
    /// Whatever is done to a lock, it is read or refused.
    #[test]
    fn damaged_locks_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..24, "[\\PC\"'\\[\\]{}=,\\n#0-9a-z]{0,6}"), 1..4)) {
        let mut text = everything();
        for (place, length, with) in edits {
            let mut start = place.index(text.len());
            while !text.is_char_boundary(start) { start -= 1; }
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(end) { end -= 1; }
            text.replace_range(start..end.max(start), &with);
        }
        if let Ok(lock) = UvLock::parse(&text, "uv.lock") {
            let all = Choice { all: true, ..Choice::default() };
            let everything = Selection { extras: all.clone(), groups: all, roots: Roots::All, ..Selection::default() };
            for selection in [Selection::default(), everything] {
                let _ = plan(&lock, &Project::default(), &target("3.14"), &selection);
            }
        }
    }
}
