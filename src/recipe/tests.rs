use super::*;
use crate::request::{Platform, Target};
use proptest::prelude::*;

const FULL: &str = r#"
[project]
python = "3.14"
package = "My_App"
extras = ["s3"]
groups = ["dev"]
deps-only = true

[inputs]
provider = "debian"
suite = "forky"
packages = ["libxml2-dev"]

[package.Python_XMLSec]
version = "1.3.16"
from-source = true
build-requires = ["setuptools>=80"]
cflags = ["-Wno-error=incompatible-pointer-types"]
cppflags = ["-DX"]
ldflags = ["-Wl,--as-needed"]
env = { PYXMLSEC_STATIC_DEPS = "false" }
config-settings = { a = "1", b = ["2", "3"] }
inputs = ["libxmlsec1-dev"]
dlopen = ["libkadm5clnt_mit.so"]

[install.winners]
"docs/Makefile" = "PyRad"

[verify]
skip-import = ["a.b"]

[relink]
ignore = ["libcuda.so.1"]
"#;

fn parse(text: &str) -> Result<Recipe, RecipeError> {
    Recipe::parse(text, Path::new("akb.toml"))
}

fn message(text: &str) -> String {
    let error = parse(text).unwrap_err();
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[test]
fn reads_every_key_and_normalises_names() {
    let recipe = parse(FULL).unwrap();
    assert_eq!(recipe.project.package.as_deref(), Some("my-app"));
    assert_eq!(recipe.install.winners["docs/Makefile"], "pyrad");
    assert_eq!(recipe.from_source().collect::<Vec<_>>(), ["python-xmlsec"]);
    assert_eq!(recipe.input_packages(), ["libxml2-dev", "libxmlsec1-dev"]);
    assert_eq!(recipe.dlopen(), ["libkadm5clnt_mit.so"]);
    let package = recipe.package("python-xmlsec").unwrap();
    assert_eq!(package.config_settings["b"].values(), ["2", "3"]);
    assert_eq!(package.env["PYXMLSEC_STATIC_DEPS"], "false");
}

#[test]
fn reads_the_table_of_a_pyproject() {
    let text = "[project]\nname = \"x\"\n[tool.other]\ny = 1\n[tool.akb.inputs]\nsuite = \"sid\"\n";
    let recipe = Recipe::parse(text, Path::new("dir/pyproject.toml")).unwrap();
    assert_eq!(recipe.inputs.suite.as_deref(), Some("sid"));
    assert_eq!(Recipe::parse("[project]\nname = \"x\"", Path::new("pyproject.toml")).unwrap(), Recipe::default());
    let error = Recipe::parse("[tool.akb]\ninput = 1\n", Path::new("pyproject.toml")).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `inputs`?"));
}

#[test]
fn errors_name_the_line_the_key_and_the_way_out() {
    insta::assert_snapshot!(message("[package.lxml]\ncflag = [\"-O3\"]\n"), @r"
    akb.toml:2: unknown field `cflag`, expected one of `version`, `file`, `sha256`, `git`, `rev`, `subdirectory`, `path`, `from-source`, `build-requires`, `cflags`, `cppflags`, `ldflags`, `env`, `config-settings`, `inputs`, `dlopen`
    did you mean `cflags`?
    ");
    insta::assert_snapshot!(message("[package.lxml]\ncflags = \"-O3\"\n"), @r#"akb.toml:2: invalid type: string "-O3", expected a sequence"#);
    insta::assert_snapshot!(message("[package.lxml]\ncflags = [\"-O3 -g\"]\n"), @r#"
    akb.toml: package.lxml.cflags: expected one flag without spaces, found `-O3 -g`
    write each flag as an item of its own: cflags = ["-DA", "-DB"]
    "#);
    insta::assert_snapshot!(message("[package.lxml]\nenv = { CFLAGS = \"-O3\" }\n"), @r#"
    akb.toml: package.lxml.env.CFLAGS: expected a variable that akb does not set itself, found `CFLAGS`
    in [package.lxml] write cflags = ["…"], which adds to the interpreter's own flags instead of replacing them
    "#);
    insta::assert_snapshot!(message("[package.lxml]\nversion = \"6\"\npath = \"../lxml\"\n"), @"akb.toml: package.lxml: `version`, `git` and `path` exclude each other");
    insta::assert_snapshot!(message("[package.lxml]\nversion = \">=6\"\n"), @r#"
    akb.toml: package.lxml.version: expected a version (PEP 440), found `>=6`
    a replacement is one exact version, such as version = "1.3.16"
    "#);
    insta::assert_snapshot!(message("[package.lxml]\ngit = \"https://git.invalid/x\"\n"), @"akb.toml: package.lxml: `git` needs `rev`");
    insta::assert_snapshot!(message("[package.lxml]\ngit = \"https://git.invalid/x\"\nrev = \"main\"\n"), @r"
    akb.toml: package.lxml.rev: expected the full object name of a commit, 40 hexadecimal digits, found `main`
    `git ls-remote REPOSITORY` prints the commits that branches and tags name
    ");
    insta::assert_snapshot!(message("[package.lxml]\nbuild-requires = [\"a b c\"]\n"), @r#"
    akb.toml: package.lxml.build-requires: expected a requirement such as "setuptools>=80", found `a b c`
    `a b c` is not a requirement: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`
    "#);
    insta::assert_snapshot!(message("[package.lxml]\n[package.LXML]\n"), @"akb.toml: package.lxml: is said twice, in two spellings of the name");
    insta::assert_snapshot!(message("[install.winners]\n\"../x\" = \"a\"\n"), @r#"akb.toml: install.winners."../x": expected a relative path without `.` and `..`, found `../x`"#);
    insta::assert_snapshot!(message("[inputs]\nprovider = \"nix\"\n"), @"akb.toml:2: unknown variant `nix`, expected `debian` or `host`");
    insta::assert_snapshot!(message("[package.\"a b\"]\n"), @"akb.toml: package.a b: expected a package name (letters, digits, `-`, `_`, `.`), found `a b`");
}

#[test]
fn a_folder_has_one_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let suite = |folder: &Path| Recipe::of_folder(folder).map(|recipe| recipe.inputs.suite);
    assert_eq!(suite(folder.path()).unwrap(), None);
    std::fs::write(folder.path().join("pyproject.toml"), "[tool.akb.inputs]\nsuite = \"sid\"").unwrap();
    assert_eq!(suite(folder.path()).unwrap().as_deref(), Some("sid"));
    std::fs::write(folder.path().join("akb.toml"), "[inputs]\nsuite = \"forky\"").unwrap();
    assert!(matches!(suite(folder.path()), Err(RecipeError::Both { .. })));
    std::fs::write(folder.path().join("pyproject.toml"), "[project]\nname = \"x\"").unwrap();
    assert_eq!(suite(folder.path()).unwrap().as_deref(), Some("forky"));
}

#[test]
fn input_packages_can_be_relations() {
    assert!(parse("[inputs]\npackages = [\"gcc (>= 4:16)\", \"-perl\", \"a | b\"]").is_ok());
    for wrong in ["", "a, b", "a b", "-"] {
        assert!(parse(&format!("[inputs]\npackages = [\"{wrong}\"]")).is_err(), "{wrong}");
    }
}

#[test]
fn only_what_changes_a_lock_changes_its_digest() {
    let base = parse("[package.lxml]\nfrom-source = true\n").unwrap();
    for same in ["cflags = [\"-O3\"]", "ldflags = [\"-s\"]", "dlopen = [\"x.so\"]"] {
        let recipe =
            parse(&format!("[package.lxml]\nfrom-source = true\n{same}\n[verify]\nskip-import = [\"x\"]\n")).unwrap();
        assert_eq!(recipe.lock_digest(), base.lock_digest(), "{same}");
    }
    for other in ["version = \"6.0.1\"", "build-requires = [\"cython\"]", "inputs = [\"x\"]", "env = { A = \"1\" }"] {
        let recipe = parse(&format!("[package.lxml]\nfrom-source = true\n{other}\n")).unwrap();
        assert_ne!(recipe.lock_digest(), base.lock_digest(), "{other}");
    }
}

fn target() -> Target {
    Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_42".parse::<Platform>().unwrap() }
}

fn wheel(name: &str) -> crate::plan::Package {
    crate::plan::Package {
        name: name.to_owned(),
        version: Some("1.0".to_owned()),
        origin: crate::plan::Origin::Wheel(crate::plan::RemoteFile {
            file: crate::plan::FileId {
                name: format!("{name}-1.0-py3-none-any.whl"),
                size: Some(1),
                sha256: Sha256::of(b""),
            },
            url: None,
            index: None,
            subdirectory: None,
        }),
    }
}

fn applied(text: &str) -> Result<Applied, ApplyError> {
    let plan = crate::plan::Plan { target: target(), packages: vec![wheel("a"), wheel("b")] };
    parse(text).unwrap().apply(plan, &["a", "b", "unselected"].map(str::to_owned).into())
}

#[test]
fn replaces_by_version_file_git_and_path() {
    use crate::plan::Origin;
    let zeros = "0".repeat(64);
    let by_file =
        applied(&format!("[package.a]\nversion = \"2\"\nfile = \"a-2.tar.gz\"\nsha256 = \"{zeros}\"\n")).unwrap();
    assert!(by_file.pending.is_empty());
    assert!(matches!(&by_file.plan.packages[0].origin, Origin::Sdist(remote) if remote.file.name == "a-2.tar.gz"));

    let rev = "ceb4fcc090851717a3069d78e85ceb1e86c2740c";
    let by_git = applied(&format!("[package.b]\ngit = \"https://git.invalid/b\"\nrev = \"{rev}\"\n")).unwrap();
    assert!(matches!(&by_git.plan.packages[1].origin, Origin::Git { revision, .. } if revision == rev));

    let by_path = applied("[package.a]\npath = \"../a\"\n[package.b]\npath = \"b-1.tar.gz\"\n").unwrap();
    assert!(matches!(&by_path.plan.packages[0].origin, Origin::Directory { path } if path == "../a"));
    assert!(matches!(&by_path.plan.packages[1].origin, Origin::Path { .. }));
}

#[test]
fn a_version_waits_for_the_index_and_keeps_the_order() {
    let applied = applied("[package.a]\nversion = \"2\"\n[package.b]\nfrom-source = true\n").unwrap();
    assert!(applied.plan.packages.is_empty());
    let wanted: Vec<_> = applied.pending.iter().map(|p| (p.name.as_str(), p.version.as_str(), p.from_source)).collect();
    assert_eq!(wanted, [("a", "2", false), ("b", "1.0", true)]);
    let plan = applied.complete(|_| Ok::<_, ()>(wheel("x").origin)).unwrap();
    assert_eq!(plan.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_replacement_of_nothing_is_an_error_unless_the_lock_knows_it() {
    let error = applied("[package.bb]\nversion = \"2\"\n").unwrap_err();
    assert_eq!(error.to_string(), "the recipe replaces `bb`, which the lock does not have");
    assert_eq!(
        applied("[package.unselectd]\nversion = \"2\"\n").unwrap_err().hint().unwrap(),
        "did you mean [package.unselected]?"
    );
    assert!(applied("[package.unselected]\nversion = \"2\"\n").is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("[package.a]\n{text}"));
    }
}
