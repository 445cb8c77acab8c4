use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use super::elf::sample::Sample;
use super::elf::{Image, SearchTag};
use super::*;
use crate::digest::Sha256;
use crate::explain::Explain as _;
use crate::inputs::{Inputs, View};
use crate::report::Silent;
use crate::tree::{Kind, walk};

mod referring;

const SITE: &str = "lib/python3.14/site-packages";

/// A tree and the inputs that it is relinked from.
struct Bench {
    folder: tempfile::TempDir,
    rules: Rules,
    runtime: Runtime,
    in_place: bool,
}

fn library(soname: &str, needed: &[&str]) -> Sample {
    Sample {
        soname: Some(soname.to_owned()),
        needed: needed.iter().map(|&name| name.to_owned()).collect(),
        ..Sample::default()
    }
}

fn module(needed: &[&str], search: Option<(SearchTag, &str)>) -> Sample {
    Sample { soname: None, search: search.map(|(tag, text)| (tag, text.to_owned())), ..library("", needed) }
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            rules: Rules::default(),
            runtime: Runtime::Copied,
            in_place: false,
        };
        bench.input("ld.so.1", &library("ld.so.1", &[]));
        bench.input("libc.so.1", &library("libc.so.1", &["ld.so.1"]));
        bench
    }

    fn put(&self, path: &str, sample: &Sample) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, sample.make()).unwrap();
    }

    fn input(&self, name: &str, sample: &Sample) {
        self.put(&format!("usr/lib/arch/{name}"), sample);
    }

    fn site(&self, name: &str, sample: &Sample) {
        self.put(&format!("tree/{SITE}/{name}"), sample);
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            identity: Sha256::of(b""),
            description: "test".into(),
            view: vec![View::Bind { from: self.folder.path().join("usr"), at: "/usr".into() }],
            python: "/usr/bin/python3.14".into(),
            stdlib: "/usr/lib/python3.14".into(),
            target: crate::request::Target {
                python: "3.14.2".parse().unwrap(),
                platform: "x86_64-manylinux_2_42".parse().unwrap(),
            },
            libraries: vec!["/usr/lib/arch".into()],
            interpreter: "/usr/lib/arch/ld.so.1".into(),
            runtime: self.runtime,
            ..host_less()
        }
    }

    fn relink_with(&self, jobs: usize) -> Result<RelinkReport, RelinkError> {
        let inputs = self.inputs();
        let (tree, supply) = (self.tree(), Supply::of(&inputs));
        let job = Job { tree: &tree, prefix: Path::new("/akb"), supply, rules: &self.rules, in_place: self.in_place };
        relink(&job, NonZeroUsize::new(jobs).unwrap(), &Silent)
    }

    fn relink(&self) -> Result<RelinkReport, RelinkError> {
        self.relink_with(2)
    }

    fn search(&self, path: &str) -> Option<(SearchTag, String)> {
        let image = Image::read(&fs::read(self.tree().join(path)).unwrap()).unwrap().unwrap();
        image.search.map(|search| (search.tag, search.text))
    }

    fn findings(&self) -> Vec<String> {
        let outcome = self.check(None, &[]);
        outcome.findings.iter().map(|finding| format!("{}: {}", finding.path.display(), finding.problem)).collect()
    }

    fn check(&self, interpreter: Option<&Path>, outside: &[PathBuf]) -> Outcome {
        let linker = interpreter.map_or(Linker::Own, Linker::At);
        let premises = Premises { prefix: Path::new("/akb"), rules: &self.rules, linker, outside };
        check(&self.tree(), &premises, NonZeroUsize::MIN).unwrap()
    }

    /// Paths, link texts and hashes of all that is in the tree.
    fn contents(&self) -> BTreeMap<PathBuf, String> {
        let nodes = walk(&self.tree()).unwrap().into_iter();
        nodes
            .map(|node| {
                let text = match &node.kind {
                    Kind::File { .. } => Sha256::of(&fs::read(self.tree().join(&node.path)).unwrap()).hex(),
                    Kind::Link { target } => target.display().to_string(),
                    Kind::Dir => String::new(),
                };
                (node.path, text)
            })
            .collect()
    }
}

/// The parts of inputs that relinking does not look at.
fn host_less() -> Inputs {
    Inputs {
        identity: Sha256::of(b""),
        description: String::new(),
        view: vec![],
        python: PathBuf::new(),
        stdlib: PathBuf::new(),
        target: crate::request::Target {
            python: "3.14".parse().unwrap(),
            platform: "x86_64-manylinux_2_42".parse().unwrap(),
        },
        path: vec![],
        include: vec![],
        libraries: vec![],
        pkg_config: vec![],
        interpreter: PathBuf::new(),
        runtime: Runtime::Copied,
        building: Vec::new(),
        named: BTreeMap::new(),
        tools: std::collections::BTreeMap::new(),
        env: std::collections::BTreeMap::new(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what may be absent")]
fn run(text: &str) -> Option<(SearchTag, String)> {
    Some((SearchTag::Runpath, text.to_owned()))
}

#[test]
fn copies_what_is_needed_and_no_more() {
    let bench = Bench::new();
    bench.input("liba.so.1.2", &library("liba.so.1", &["libb.so.1", "libc.so.1"]));
    symlink("liba.so.1.2", bench.folder.path().join("usr/lib/arch/liba.so.1")).unwrap();
    bench.input("libb.so.1", &library("libb.so.1", &["libc.so.1"]));
    bench.input("libunused.so.1", &library("libunused.so.1", &["libc.so.1"]));
    bench.site("pkg/ext.so", &module(&["liba.so.1", "libc.so.1"], None));
    let program = Sample { interpreter: Some("/lib/ld.so.1"), ..module(&["libc.so.1"], None) };
    bench.put("tree/runtime/bin/python3.14", &program);

    let report = bench.relink().unwrap();
    let copied: Vec<&str> = report.copied.keys().map(String::as_str).collect();
    assert_eq!(copied, ["ld.so.1", "liba.so.1", "libb.so.1", "libc.so.1"]);
    assert_eq!(bench.search(&format!("{SITE}/pkg/ext.so")), run("$ORIGIN/../../../../runtime/lib"));
    assert_eq!(bench.search("runtime/bin/python3.14"), run("$ORIGIN/../lib"));
    assert_eq!(bench.search("runtime/lib/liba.so.1"), run("$ORIGIN"));
    // The dynamic linker is there before anything is searched.
    assert_eq!(bench.search("runtime/lib/libc.so.1"), None);
    let python = fs::read(bench.tree().join("runtime/bin/python3.14")).unwrap();
    assert_eq!(elf::interpreter_slot(&python).unwrap().len(), INTERPRETER_SLOT);
    assert_eq!(Image::read(&python).unwrap().unwrap().interpreter.as_deref(), Some("/akb/runtime/lib/ld.so.1"));
    assert_eq!(report.changed, [PathBuf::from(format!("{SITE}/pkg/ext.so")), PathBuf::from("runtime/bin/python3.14")]);
    assert_eq!(bench.findings(), Vec::<String>::new());
}

#[test]
fn keeps_what_resolves_inside_and_completes_it() {
    let bench = Bench::new();
    bench.site("pkg.libs/libown-1a.so.1", &library("libown-1a.so.1", &["libinner-2b.so.1", "libc.so.1"]));
    bench.site("pkg.libs/libinner-2b.so.1", &library("libinner-2b.so.1", &[]));
    let rpath = Some((SearchTag::Rpath, "/build/lib:$ORIGIN/../pkg.libs:$ORIGIN/../../../../../../..:"));
    bench.site("pkg/rpath.so", &module(&["libown-1a.so.1", "libc.so.1"], rpath));
    let idle = module(&[], Some((SearchTag::Runpath, "$ORIGIN/../pkg.libs")));
    bench.site("pkg/opens.so", &Sample { constants: b"\0libown-1a.so.1\0".to_vec(), ..idle.clone() });
    bench.site("pkg/idle.so", &idle);
    bench.site("pkg/stale.so", &module(&[], Some((SearchTag::Runpath, "/build/lib"))));
    bench.site("pkg/plain.so", &module(&[], None));

    let report = bench.relink().unwrap();
    let search = |name: &str| bench.search(&format!("{SITE}/{name}"));
    // The tag stays, since what the file loads may rely on it; what it loads is complete by itself too.
    let text = "$ORIGIN/../pkg.libs:$ORIGIN/../../../../runtime/lib".to_owned();
    assert_eq!(search("pkg/rpath.so"), Some((SearchTag::Rpath, text)));
    assert_eq!(search("pkg.libs/libown-1a.so.1"), run("$ORIGIN:$ORIGIN/../../../../runtime/lib"));
    // It may open a library there by name.
    assert_eq!(search("pkg/opens.so"), run("$ORIGIN/../pkg.libs"));
    assert_eq!(search("pkg/idle.so"), None);
    let dropped: Vec<&[String]> = report.dropped().map(|(_, dropped)| dropped).collect();
    let expected: [&[&str]; 3] =
        [&["$ORIGIN/../pkg.libs"], &["/build/lib", "$ORIGIN/../../../../../../.."], &["/build/lib"]];
    assert_eq!(dropped, expected);
    assert_eq!(search("pkg/stale.so"), None);
    let changed: Vec<&str> = report.changed.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(changed, ["idle.so", "rpath.so", "stale.so", "libown-1a.so.1"]);
    assert_eq!(bench.findings(), Vec::<String>::new());
}

#[test]
fn opens_by_name_what_the_recipe_says() {
    let mut bench = Bench::new();
    bench.rules.dlopen.insert("My.Package".into(), vec!["libplug.so".into(), "libdev.so".into()]);
    bench.rules.dlopen.insert("other/*.so".into(), vec!["libplug.so".into()]);
    bench.input("libplug.so.12", &library("libplug.so.12", &["libc.so.1"]));
    bench.input("libdev.so.3", &library("libdev.so.3", &[]));
    symlink("libdev.so.3", bench.folder.path().join("usr/lib/arch/libdev.so")).unwrap();
    let opener = Sample { constants: b"x/usr/lib64libplug".to_vec(), ..module(&[], None) };
    bench.site("mine/ext.so", &opener);
    bench.site("mine/else.so", &module(&[], None));
    bench.site("other/ext.so", &module(&[], None));
    let record = bench.tree().join(SITE).join("my_package-1.0.dist-info/RECORD");
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    fs::write(record, "\"mine/ext.so\",sha256=x,1\nmine/data.txt,,\n../../../etc/passwd,,\n").unwrap();

    let report = bench.relink().unwrap();
    let links: Vec<(&str, &Path)> = report.links.iter().map(|(name, to)| (name.as_str(), to.as_path())).collect();
    assert_eq!(links, [("libdev.so", Path::new("libdev.so.3")), ("libplug.so", Path::new("libplug.so.12"))]);
    assert!(bench.tree().join("runtime/lib/libplug.so").is_file());
    assert_eq!(bench.search(&format!("{SITE}/mine/ext.so")), run("$ORIGIN/../../../../runtime/lib"));
    assert_eq!(bench.search(&format!("{SITE}/other/ext.so")), run("$ORIGIN/../../../../runtime/lib"));
    assert_eq!(bench.search(&format!("{SITE}/mine/else.so")), None);
    // It would try the host's folder first.
    let bytes = fs::read(bench.tree().join(SITE).join("mine/ext.so")).unwrap();
    assert!(bytes.windows(18).any(|window| window == b"x/akb/lib64libplug"));
}

#[test]
fn heeds_what_libraries_say_that_they_open() {
    let bench = Bench::new();
    bench.input("libsecond.so.1", &library("libsecond.so.1", &[]));
    bench.input("libnice.so.1", &library("libnice.so.1", &[]));
    let says = |json| Sample { dlopen: Some(json), ..module(&[], None) };
    bench.site("a.so", &says(r#"[{"soname":["libfirst.so.1","libsecond.so.1"],"priority":"required"}]"#));
    bench.site("b.so", &says(r#"[{"soname":["libabsent.so.1"]},{"soname":["libnice.so.1"],"priority":"suggested"}]"#));
    let report = bench.relink().unwrap();
    let copied: Vec<&str> = report.copied.keys().map(String::as_str).collect();
    assert_eq!(copied, ["ld.so.1", "libsecond.so.1"]);
    assert_eq!(bench.search(&format!("{SITE}/a.so")), run("$ORIGIN/../../../runtime/lib"));
    assert_eq!(bench.search(&format!("{SITE}/b.so")), None);
    bench.site("c.so", &says(r#"[{"soname":["libabsent.so.1"],"priority":"required"}]"#));
    assert!(bench.relink().unwrap_err().to_string().contains("c.so opens libabsent.so.1 by name, which is not there"));
}

#[test]
fn reports_all_that_is_missing_at_once() {
    let mut bench = Bench::new();
    bench.rules.ignore = vec!["libcuda.so.*".into(), "**/tests/*:libtest.so.1".into()];
    bench.rules.dlopen.insert("pkg/a.so".into(), vec!["libnamed.so".into()]);
    bench.input("libold.so.1", &Sample { defines: Some("OLD_1".into()), ..library("libold.so.1", &[]) });
    bench.site("pkg/a.so", &module(&["libfoo_bar.so.2", "libcuda.so.1"], None));
    let newer = Sample { needs: Some(("libold.so.1".into(), "OLD_2".into())), ..module(&["libold.so.1"], None) };
    bench.site("pkg/b.so", &newer);
    bench.site("pkg/c.so", &module(&["/abs/libx.so"], None));
    bench.site("pkg/tests/d.so", &module(&["libtest.so.1"], None));

    let error = bench.relink().unwrap_err();
    insta::assert_snapshot!(error, @"
    4 libraries were not resolved:
      lib/python3.14/site-packages/pkg/c.so needs `/abs/libx.so`: expected a name without a slash
      lib/python3.14/site-packages/pkg/a.so needs libfoo_bar.so.2, which is not there
      lib/python3.14/site-packages/pkg/a.so opens libnamed.so by name, which is not there
      lib/python3.14/site-packages/pkg/b.so needs OLD_2 of libold.so.1, which runtime/lib/libold.so.1 does not define
    ");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("write in akb.toml: [inputs] packages = [\"libfoo-bar2\", \"libnamed-dev\"]"), "{hint}");
    assert!(hint.ends_with("ignore = [\"libfoo_bar.so.2\", \"libnamed.so\"]"), "{hint}");
    // Nothing was written.
    assert!(!bench.tree().join(LIBDIR).exists());
}

#[test]
fn what_is_ignored_is_not_called_unsuitable() {
    let mut bench = Bench::new();
    bench.rules.ignore = vec!["*".into()];
    bench.input("libthere.so.1", &library("libthere.so.1", &[]));
    bench.input("libsmall.so.1", &Sample { wide: false, ..library("libsmall.so.1", &[]) });
    bench.site("a.so", &module(&["libthere.so.1", "libsmall.so.1"], None));
    let report = bench.relink().unwrap();
    let reason = |missing: &Missing| (missing.soname.clone(), missing.reason.clone());
    let found = PathBuf::from("/usr/lib/arch/libsmall.so.1");
    assert_eq!(
        report.ignored.iter().map(reason).collect::<Vec<_>>(),
        [("libsmall.so.1".to_owned(), Reason::Unsuitable { found }), ("libthere.so.1".to_owned(), Reason::NotFound),]
    );
}

#[test]
fn finds_libraries_of_other_packages_and_by_soname() {
    let bench = Bench::new();
    bench.site("cuda/lib/libcublas.so.12", &library("libcublas.so.12", &[]));
    bench.input("alternatives/libblas-3.so", &library("libblas.so.3", &[]));
    bench.site("torch/ext.so", &module(&["libcublas.so.12", "libblas.so.3"], None));
    let report = bench.relink().unwrap();
    assert!(report.copied.contains_key("libblas.so.3"));
    assert_eq!(
        bench.search(&format!("{SITE}/torch/ext.so")),
        run("$ORIGIN/../cuda/lib:$ORIGIN/../../../../runtime/lib")
    );
}

#[test]
fn orders_folders_so_that_each_need_finds_its_own() {
    let bench = Bench::new();
    let old = Sample { defines: Some("V_1".into()), ..library("libx.so.1", &[]) };
    let new = Sample { defines: Some("V_2".into()), ..library("libx.so.1", &[]) };
    bench.site("old/libx.so.1", &old);
    bench.site("old/liby.so.1", &library("liby.so.1", &[]));
    bench.input("libx.so.1", &new);
    let search = Some((SearchTag::Runpath, "$ORIGIN/../old".to_owned()));
    let needs = Some(("libx.so.1".to_owned(), "V_2".to_owned()));
    bench.site("pkg/ext.so", &Sample { search, needs, ..module(&["libx.so.1", "liby.so.1"], None) });
    bench.relink().unwrap();
    let expected = run("$ORIGIN/../../../../runtime/lib:$ORIGIN/../old");
    assert_eq!(bench.search(&format!("{SITE}/pkg/ext.so")), expected);
    assert_eq!(bench.findings(), Vec::<String>::new());
}

#[test]
fn leaves_other_machines_and_other_files_alone() {
    let bench = Bench::new();
    bench.site("pkg/small.so", &Sample { wide: false, ..module(&["libnowhere.so.1"], None) });
    bench.put("tree/data/static", &Sample { needed: vec![], interpreter: None, ..Sample::default() });
    fs::write(
        bench.tree().join("data/broken.so"),
        b"\x7fELF\x02\x01\x01 and then nothing that makes sense, for a while longer",
    )
    .unwrap();
    let report = bench.relink().unwrap();
    assert_eq!(report.changed, Vec::<PathBuf>::new());
    let skipped: Vec<String> = report.skipped.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(skipped, ["data/broken.so", &format!("{SITE}/pkg/small.so")]);
}

#[test]
fn never_writes_through_a_hard_link() {
    let bench = Bench::new();
    bench.site("pkg/ext.so", &module(&["libc.so.1"], None));
    let cached = bench.folder.path().join("cached");
    fs::hard_link(bench.tree().join(SITE).join("pkg/ext.so"), &cached).unwrap();
    let before = fs::read(&cached).unwrap();
    bench.relink().unwrap();
    assert_eq!(fs::read(&cached).unwrap(), before);
}

#[test]
fn makes_the_same_whatever_the_jobs_and_however_often() {
    let make = |jobs| {
        let mut bench = Bench::new();
        bench.rules.dlopen.insert("p3/ext.so".into(), vec!["libl0.so".into()]);
        for index in 0..12 {
            let next = format!("libl{}.so.1", (index + 1) % 12);
            bench.input(&format!("libl{index}.so.1"), &library(&format!("libl{index}.so.1"), &[&next, "libc.so.1"]));
            bench.site(&format!("p{index}/ext.so"), &module(&[&format!("libl{index}.so.1")], None));
        }
        bench.relink_with(jobs).unwrap();
        let once = bench.contents();
        bench.relink_with(jobs).unwrap();
        assert_eq!(bench.contents(), once);
        once
    };
    assert_eq!(make(1), make(4));
}

#[test]
fn checks_what_it_did() {
    let bench = Bench::new();
    bench.input("liba.so.1", &library("liba.so.1", &["libc.so.1"]));
    bench.site("pkg/ext.so", &module(&["liba.so.1"], None));
    let program = Sample { interpreter: Some("/lib/ld.so.1"), ..module(&["libc.so.1"], None) };
    bench.put("tree/runtime/bin/python3.14", &program);
    bench.relink().unwrap();
    fs::remove_file(bench.tree().join("runtime/lib/liba.so.1")).unwrap();
    bench.site("pkg/stray.so", &module(&[], Some((SearchTag::Runpath, "/akb/build/x:$ORIGIN/../none"))));
    bench.put("tree/runtime/bin/tool", &program);
    bench.put(
        "tree/runtime/lib/libhost.so.1",
        &Sample { constants: b"\0/usr/lib/plugins\0".to_vec(), ..library("libhost.so.1", &[]) },
    );
    insta::assert_snapshot!(bench.findings().join("\n"), @"
    lib/python3.14/site-packages/pkg/ext.so: needs liba.so.1, which is not there
    lib/python3.14/site-packages/pkg/stray.so: its search path has `$ORIGIN/../none`, which holds no library
    lib/python3.14/site-packages/pkg/stray.so: its search path has `/akb/build/x`, which is not in the tree
    runtime/bin/tool: its interpreter is `/lib/ld.so.1`; expected `/akb/runtime/lib/ld.so.1`
    runtime/bin/tool: needs libc.so.1, which is not there
    runtime/lib/libhost.so.1: names `/usr/lib/plugins` of the host
    ");
    let empty = tempfile::tempdir().unwrap();
    let rules = Rules::default();
    let premises = Premises { prefix: Path::new("/akb"), rules: &rules, linker: Linker::Own, outside: &[] };
    let outcome = check(empty.path(), &premises, NonZeroUsize::MIN).unwrap();
    assert_eq!(outcome.findings[0].problem, "there is no dynamic linker");
}

#[test]
fn says_what_the_inputs_lack() {
    let bench = Bench::new();
    fs::remove_file(bench.folder.path().join("usr/lib/arch/ld.so.1")).unwrap();
    fs::create_dir_all(bench.tree()).unwrap();
    let error = bench.relink().unwrap_err();
    assert_eq!(error.to_string(), "the inputs (test) have no dynamic linker at /usr/lib/arch/ld.so.1");
}
