//! Libraries that stay where they are, and rules that hold for both ways.

use super::*;

/// A tree that refers to libraries outside: the sandbox sees them where they are.
fn referring() -> (Bench, PathBuf) {
    let bench = Bench { runtime: Runtime::Referenced, ..Bench::new() };
    let folder = bench.folder.path().join("usr/lib/arch");
    (bench, folder)
}

impl Bench {
    fn relink_in_place(&self) -> Result<RelinkReport, RelinkError> {
        let root = self.folder.path();
        let inputs = Inputs {
            view: vec![View::Bind { from: root.to_owned(), at: root.to_owned() }],
            libraries: vec![root.join("usr/lib/first"), root.join("usr/lib/arch"), root.join("usr/lib/last")],
            interpreter: root.join("usr/lib/arch/ld.so.1"),
            ..self.inputs()
        };
        let (tree, supply) = (self.tree(), Supply::of(&inputs));
        let job = Job { tree: &tree, prefix: Path::new("/akb"), supply, rules: &self.rules, in_place: self.in_place };
        relink(&job, NonZeroUsize::new(2).unwrap(), &Silent)
    }
}

#[test]
fn refers_to_libraries_where_they_are() {
    let (bench, arch) = referring();
    let usr = bench.folder.path().join("usr/lib");
    bench.put("usr/lib/arch/liba.so.1", &library("liba.so.1", &["libdeep.so.1", "libc.so.1"]));
    bench.put("usr/lib/last/liba.so.1", &library("liba.so.1", &[]));
    bench.put("usr/lib/last/libz.so.1", &library("libz.so.1", &[]));
    bench.site("pkg.libs/libown.so.1", &library("libown.so.1", &["libz.so.1"]));
    let search = Some((SearchTag::Runpath, "$ORIGIN/../pkg.libs:/build/lib"));
    bench.site("pkg/ext.so", &module(&["liba.so.1", "libown.so.1", "libz.so.1", "libc.so.1"], search));
    bench.site("pkg/plain.so", &module(&["libc.so.1"], None));
    bench.put("tree/bin/tool", &Sample { interpreter: Some("/lib/ld.so.1"), ..module(&["libc.so.1"], None) });

    let report = bench.relink_in_place().unwrap();
    assert!(report.copied.is_empty() && report.links.is_empty(), "{report:?}");
    assert!(!bench.tree().join("runtime").exists());
    let expected = format!("$ORIGIN/../pkg.libs:{}:{}", arch.display(), usr.join("last").display());
    assert_eq!(bench.search(&format!("{SITE}/pkg/ext.so")), run(&expected));
    assert_eq!(bench.search(&format!("{SITE}/pkg.libs/libown.so.1")), run(&usr.join("last").to_string_lossy()));
    // This dynamic linker has no folder of its own.
    assert_eq!(bench.search("bin/tool"), run(&arch.to_string_lossy()));
    let tool = fs::read(bench.tree().join("bin/tool")).unwrap();
    let interpreter = arch.join("ld.so.1");
    assert_eq!(Image::read(&tool).unwrap().unwrap().interpreter.as_deref(), interpreter.to_str());
    assert!(elf::interpreter_slot(&tool).unwrap().len() < INTERPRETER_SLOT);

    let once = bench.contents();
    bench.relink_in_place().unwrap();
    assert_eq!(bench.contents(), once);
    let believed = [usr.join("arch"), usr.join("last")];
    assert_eq!(bench.check(Some(&interpreter), &believed).findings, []);
    let problems: Vec<String> =
        bench.check(Some(&interpreter), &believed[..1]).findings.into_iter().map(|finding| finding.problem).collect();
    let stray = format!("its search path has `{}`, which is not in the tree", usr.join("last").display());
    assert!(problems.contains(&stray), "{problems:?}");
    assert!(problems.contains(&"needs libz.so.1, which is not there".to_owned()), "{problems:?}");
}

#[test]
fn leaves_out_the_folder_that_the_dynamic_linker_knows() {
    let (bench, arch) = referring();
    let constants = format!("\0{}/\0", arch.display()).into_bytes();
    bench.input("ld.so.1", &Sample { constants, ..library("ld.so.1", &[]) });
    bench.input("libc.so.6", &library("libc.so.6", &[]));
    bench.input("liba.so.1", &library("liba.so.1", &[]));
    bench.site("plain.so", &module(&["libc.so.6"], None));
    bench.site("more.so", &module(&["libc.so.6", "liba.so.1"], None));
    bench.relink_in_place().unwrap();
    assert_eq!(bench.search(&format!("{SITE}/plain.so")), None);
    assert_eq!(bench.search(&format!("{SITE}/more.so")), run(&arch.to_string_lossy()));
    assert_eq!(bench.check(Some(&arch.join("ld.so.1")), &[arch]).findings, []);
}

#[test]
fn links_what_has_its_name_in_its_header_alone() {
    let (mut bench, arch) = referring();
    bench.put("usr/lib/arch/blas/other.so", &library("libblas.so.3", &[]));
    bench.put("usr/lib/arch/libblas-generic.so", &library("libblas.so.3", &[]));
    bench.input("libplug.so.12", &library("libplug.so.12", &[]));
    bench.rules.dlopen.insert("pkg/*.so".into(), vec!["libplug.so".into()]);
    bench.site("pkg/ext.so", &module(&["libblas.so.3"], None));
    let report = bench.relink_in_place().unwrap();
    let links: Vec<(&str, &Path)> = report.links.iter().map(|(name, to)| (name.as_str(), to.as_path())).collect();
    assert_eq!(
        links,
        [("libblas.so.3", &*arch.join("libblas-generic.so")), ("libplug.so", &*arch.join("libplug.so.12"))]
    );
    assert_eq!(bench.search(&format!("{SITE}/pkg/ext.so")), run("$ORIGIN/../../../../runtime/lib"));
    assert!(bench.tree().join("runtime/lib/libplug.so").is_file());
}

#[test]
fn keeps_c_libraries_and_machines_apart() {
    let bench = Bench::new();
    bench.input("libc.so.6", &library("libc.so.6", &[]));
    bench.input("libz.so.1", &library("libz.so.1", &["libc.so.6"]));
    bench.input("ld-linux-x86-64.so.2", &library("ld-linux-x86-64.so.2", &[]));
    bench.site("pkg/gnu.so", &module(&["libz.so.1", "libc.so.6"], None));
    bench.site("other/libz.so.1", &library("libz.so.1", &["libc.musl-x86_64.so.1"]));
    bench.site("other/musl.so", &module(&["libz.so.1", "libc.musl-x86_64.so.1"], None));
    let mut inputs = bench.inputs();
    inputs.interpreter = "/usr/lib/arch/ld-linux-x86-64.so.2".into();
    // Sealing knows what is in the real one.
    inputs.runtime = Runtime::Referenced;
    let (tree, rules) = (bench.tree(), Rules::default());
    let supply = Supply::of(&inputs);
    let job = Job { tree: &tree, prefix: Path::new("/akb"), supply, rules: &rules, in_place: false };
    let report = relink(&job, NonZeroUsize::MIN, &Silent).unwrap();
    let skipped: Vec<(&str, &str)> =
        report.skipped.iter().map(|(path, why)| (path.file_name().unwrap().to_str().unwrap(), why.as_str())).collect();
    let other = "it is for another C library";
    assert_eq!(skipped, [("libz.so.1", other), ("musl.so", other)]);
    assert_eq!(bench.search(&format!("{SITE}/pkg/gnu.so")), run("/usr/lib/arch"));
}

#[test]
fn prefers_the_dynamic_linkers_own_c_library() {
    let bench = Bench::new();
    bench.input("libm.so.6", &library("libm.so.6", &[]));
    bench.site("pkg.libs/libm.so.6", &library("libm.so.6", &[]));
    bench.site("pkg.libs/libown.so.1", &library("libown.so.1", &["libm.so.6"]));
    bench.relink().unwrap();
    assert_eq!(bench.search(&format!("{SITE}/pkg.libs/libown.so.1")), run("$ORIGIN/../../../../runtime/lib"));
}

#[test]
fn edits_hard_links_once() {
    for in_place in [false, true] {
        let bench = Bench { in_place, ..Bench::new() };
        bench.site("pkg/a.so", &module(&["libc.so.1"], None));
        bench.site("deep/er/c.so", &module(&["libc.so.1"], None));
        let at = |name: &str| bench.tree().join(SITE).join(name);
        fs::hard_link(at("pkg/a.so"), at("pkg/b.so")).unwrap();
        fs::hard_link(at("pkg/a.so"), at("deep/er/a.so")).unwrap();
        bench.relink().unwrap();
        let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(at(name)).unwrap());
        assert_eq!(inode("pkg/a.so"), inode("pkg/b.so"));
        // It lies elsewhere, and so needs another search path.
        assert_ne!(inode("pkg/a.so"), inode("deep/er/a.so"));
        assert_eq!(bench.search(&format!("{SITE}/pkg/b.so")), run("$ORIGIN/../../../../runtime/lib"));
        assert_eq!(bench.search(&format!("{SITE}/deep/er/a.so")), run("$ORIGIN/../../../../../runtime/lib"));
        assert_eq!(fs::read(at("deep/er/a.so")).unwrap(), fs::read(at("deep/er/c.so")).unwrap());
        assert_eq!(bench.findings(), Vec::<String>::new());
        let once = bench.contents();
        assert_eq!(bench.relink().unwrap().changed, Vec::<PathBuf>::new());
        assert_eq!(bench.contents(), once);
    }
}

#[test]
fn follows_the_rules_of_the_recipe() {
    let mut bench = Bench::new();
    bench.input("libcuda.so.1", &library("libcuda.so.1", &[]));
    bench.input("libnice.so.1", &library("libnice.so.1", &[]));
    bench.rules.ignore = vec!["libcuda.so.*".into()];
    bench.rules.optional = vec!["a.so:libgone.so.1".into(), "libnice.so.*".into()];
    bench.rules.runpath = BTreeMap::from([("a.so".into(), vec!["$ORIGIN/plugins".into()])]);
    bench.site("a.so", &module(&["libcuda.so.1", "libgone.so.1", "libnice.so.1"], None));
    bench.site("b.so", &module(&["libnice.so.1"], None));
    let report = bench.relink().unwrap();
    // A stub among the inputs is no driver.
    assert_eq!(report.copied.keys().collect::<Vec<_>>(), ["ld.so.1", "libnice.so.1"]);
    let ignored: Vec<&str> = report.ignored.iter().map(|missing| missing.soname.as_str()).collect();
    assert_eq!(ignored, ["libcuda.so.1", "libgone.so.1"]);
    assert_eq!(bench.search(&format!("{SITE}/a.so")), run("$ORIGIN/../../../runtime/lib:$ORIGIN/plugins"));
    assert_eq!(bench.findings(), Vec::<String>::new());
    bench.site("b.so", &module(&["libgone.so.1"], None));
    assert!(bench.relink().unwrap_err().to_string().contains("b.so needs libgone.so.1"));
}

#[test]
fn finds_libraries_of_the_tree_by_the_name_in_their_header() {
    let bench = Bench::new();
    bench.site("cuda/lib/libodd.so", &library("libodd.so.2", &[]));
    bench.site("pkg/ext.so", &module(&["libodd.so.2"], None));
    let report = bench.relink().unwrap();
    let target = Path::new("../../lib/python3.14/site-packages/cuda/lib/libodd.so");
    assert_eq!(report.links.get("libodd.so.2").map(PathBuf::as_path), Some(target));
    assert!(bench.tree().join("runtime/lib/libodd.so.2").is_file());
    assert_eq!(bench.findings(), Vec::<String>::new());
}

#[test]
fn reports_what_several_have_and_takes_the_nearest() {
    let bench = Bench::new();
    let two = |version: &str| Sample { defines: Some(version.into()), ..library("libx.so.1", &[]) };
    bench.site("a/libx.so.1", &two("A"));
    bench.site("pkg/inner/libx.so.1", &two("B"));
    bench.site("pkg/ext.so", &module(&["libx.so.1"], None));
    let report = bench.relink().unwrap();
    assert_eq!(bench.search(&format!("{SITE}/pkg/ext.so")), run("$ORIGIN/inner"));
    let note = report.notes.first().unwrap();
    assert!(note.contains("needs libx.so.1, which is in") && note.contains("pkg/inner"), "{note}");
}

#[test]
fn names_for_linkers_are_not_what_runs() {
    let (mut bench, arch) = referring();
    let usr = bench.folder.path().join("usr/lib");
    bench.put("usr/lib/arch/libk.so.12", &library("libk.so.12", &[]));
    fs::create_dir_all(usr.join("first")).unwrap();
    std::os::unix::fs::symlink("../arch/libk.so.12", usr.join("first/libk.so")).unwrap();
    bench.site("pkg/ext.so", &module(&["libc.so.1"], None));
    bench.rules.dlopen.insert("ext.so".into(), vec!["libk.so".into()]);
    bench.relink_in_place().unwrap();
    let link = fs::read_link(bench.tree().join("runtime/lib/libk.so")).unwrap();
    assert_eq!(link, arch.join("libk.so.12"));
    assert_eq!(bench.check(Some(&arch.join("ld.so.1")), std::slice::from_ref(&arch)).findings, []);
    let found = bench.search(&format!("{SITE}/pkg/ext.so")).unwrap().1;
    assert!(found.contains("runtime/lib") && !found.contains("first"), "{found}");
}
