use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::explain::Explain as _;
use crate::recipe::Recipe;
use crate::tree::Kind;

mod limits;

const SITE: &str = "lib/python3.14/site-packages";

/// A tree with these files; those that begin with `#!` may be executed.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |node: crate::tree::Node| {
        let bytes = match &node.kind {
            Kind::File { .. } => fs::read(root.join(&node.path)).unwrap(),
            Kind::Dir => b"folder".to_vec(),
            Kind::Link { target } => target.to_str().unwrap().as_bytes().to_vec(),
        };
        (node.path, bytes)
    };
    crate::tree::walk(root).unwrap().into_iter().map(read).collect()
}

fn planned(tree: &Path, rules: &str) -> Result<Plan, SubstituteError> {
    let recipe = Recipe::parse(rules, Path::new("akb.toml")).unwrap();
    let rules = Rules::open(&recipe.substitute, tree)?;
    let inputs = BTreeMap::from([("xmlsec".to_owned(), "/inputs/xmlsec".into())]);
    let job = Job { tree, prefix: place::PREFIX, python: "3.14.2".parse().ok(), inputs: &inputs };
    plan(&rules, &job, NonZeroUsize::new(2).unwrap())
}

/// The diff of what rules do; planning it must change nothing, and applying it must do just that.
fn diff(tree: &Path, rules: &str) -> String {
    let before = contents(tree);
    let plan = planned(tree, rules).unwrap();
    assert_eq!(contents(tree), before);
    plan.apply(tree).unwrap();
    for (path, change) in &plan.changes.0 {
        assert_eq!(fs::read(tree.join(path)).unwrap(), change.after.bytes);
    }
    String::from_utf8(plan.changes.diff()).unwrap()
}

/// What is wrong, with the way out; every byte must be as it was.
fn wrong(tree: &Path, rules: &str) -> String {
    let before = contents(tree);
    let error = planned(tree, rules).unwrap_err();
    assert_eq!(contents(tree), before);
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[test]
fn literal_rules_replace_every_occurrence() {
    let tree = tree(&[("etc/a", "/usr/bin/x /usr/bin/x\nkeep\n"), ("etc/b", "nothing\n"), ("etc/d/c", "/usr/bin/x")]);
    insta::assert_snapshot!(diff(tree.path(), r#"
        [[substitute]]
        files = ["etc/*"]
        replace = "/usr/bin/x"
        with = "{runtime}/bin/x"
    "#), @r#"
    diff --git a/akb-spots b/akb-spots
    new file mode 100644
    --- /dev/null
    +++ b/akb-spots
    @@ -0,0 +1 @@
    +0,19 etc/a
    --- a/etc/a
    +++ b/etc/a
    @@ -1,2 +1,2 @@
    -/usr/bin/x /usr/bin/x
    +/akb/runtime/bin/x /akb/runtime/bin/x
     keep
    "#);
}

#[test]
fn a_pattern_has_groups_and_a_count() {
    let tree = tree(&[("etc/a", "a = 1\nb = 22\n")]);
    let rules = |count: u32| {
        format!(
            "[[substitute]]\nfiles = [\"etc/a\"]\npattern = '(?m)^(?<key>\\w+) = (\\d+)$'\nwith = '{{key}}: \"{{2}}\"'\ncount = {count}\n"
        )
    };
    insta::assert_snapshot!(wrong(tree.path(), &rules(3)), @r#"
    rule 1 (pattern "(?m)^(?<key>\\w+) = (\\d+)$"): expected 3 matches, found 2: etc/a:1, etc/a:2
    write count = 2 if all of them are meant
    "#);
    insta::assert_snapshot!(diff(tree.path(), &rules(2)), @r#"
    --- a/etc/a
    +++ b/etc/a
    @@ -1,2 +1,2 @@
    -a = 1
    -b = 22
    +a: "1"
    +b: "22"
    "#);
}

#[test]
fn nothing_matches_and_the_nearest_line_is_shown() {
    let sources = [
        ("lib/python3.14/site-packages/a.py", "import os\nX = \"/usr/local/bin/xmlsec1\"\n"),
        ("lib/python3.14/site-packages/b.py", "Y = 1\n"),
    ];
    let tree = tree(&sources);
    insta::assert_snapshot!(wrong(tree.path(), &format!(r#"
        [[substitute]]
        files = ["{SITE}/*.py", "{SITE}/c.py"]
        replace = "/usr/bin/xmlsec1"
        with = "x"

        [[substitute]]
        files = ["{SITE}/b.py"]
        pattern = "Y = 2"
        with = "x"
    "#)), @r#"
    3 substitutions cannot be made; nothing was written
    rule 1 (replace "/usr/bin/xmlsec1"): no file is `lib/python3.14/site-packages/c.py`
    rule 1 (replace "/usr/bin/xmlsec1"): "/usr/bin/xmlsec1" is in none of the 2 files of `lib/python3.14/site-packages/*.py`; the nearest line is lib/python3.14/site-packages/a.py:2
        expected  /usr/bin/xmlsec1
        found     X = "/usr/local/bin/xmlsec1"
                       ~~~~~^^^^^^~~~~~~~~~~~
    rule 2 (pattern "Y = 2"): the pattern is not in `lib/python3.14/site-packages/b.py`; the nearest line is lib/python3.14/site-packages/b.py:1
        expected  Y = 2
        found     Y = 1
                  ~~~~^
    did you mean `lib/python3.14/site-packages/a.py`?
    correct the rule, or write mode = "warn" in it if it may match nothing
    "#);
    let warn = format!("[[substitute]]\nfiles = [\"{SITE}/b.py\"]\nreplace = \"Z\"\nwith = \"\"\nmode = \"warn\"\n");
    let plan = planned(tree.path(), &warn).unwrap();
    assert_eq!(plan.report.warnings.len(), 1);
    let plan = planned(tree.path(), &warn.replace("warn", "quiet")).unwrap();
    assert!(plan.report.warnings.is_empty() && plan.changes.0.is_empty());
}

#[test]
fn rules_that_want_the_same_bytes_are_both_named() {
    let tree = tree(&[("etc/a", "one\ntwo three\n")]);
    insta::assert_snapshot!(wrong(tree.path(), r#"
        [[substitute]]
        files = ["etc/a"]
        replace = "two three"
        with = ""

        [[substitute]]
        files = ["etc/*"]
        pattern = "thr.."
        with = ""
    "#), @r#"
    rule 2 (pattern "thr.."): etc/a:2: rule 1 (replace "two three") changes the same bytes
    make one rule of the two, or narrow the `files` of one
    "#);
}

#[test]
fn variables_are_all_found_and_unknown_ones_stay_or_fail() {
    let tree = tree(&[("etc/a", "me@example.org@version@x\n@bin@/@other@ @no name@\n")]);
    let rules = r#"
        [[substitute]]
        files = ["etc/a"]
        variables = { version = "1", bin = "{prefix}/bin" }
    "#;
    insta::assert_snapshot!(wrong(tree.path(), &format!("{rules}unknown = \"fail\"")), @r#"
    rule 1 (variables): etc/a:2: @other@ has no value
    add other = "…" to `variables`, or write unknown = "leave"
    "#);
    insta::assert_snapshot!(wrong(tree.path(), &rules.replace("version =", "versoin =")), @r#"
    rule 1 (variables): @versoin@ is not in `etc/a`; the nearest line is etc/a:1
        expected  @versoin@
        found     me@example.org@version@x
                                ~~~~~^^~~
    correct the rule, or write mode = "warn" in it if it may match nothing
    "#);
    insta::assert_snapshot!(diff(tree.path(), rules), @r#"
    diff --git a/akb-spots b/akb-spots
    new file mode 100644
    --- /dev/null
    +++ b/akb-spots
    @@ -0,0 +1 @@
    +17 etc/a
    --- a/etc/a
    +++ b/etc/a
    @@ -1,2 +1,2 @@
    -me@example.org@version@x
    -@bin@/@other@ @no name@
    +me@example.org1x
    +/akb/bin/@other@ @no name@
    "#);
}

#[test]
fn shebangs_name_the_trees_own_programs() {
    let python = format!("{SITE}/a/cli.py");
    let tree = tree(&[
        ("bin/python", "#!x"),
        ("bin/one", "#!/usr/bin/env python3\nimport a\n"),
        ("bin/two", "#! /usr/local/bin/python3.14 -u\n"),
        ("bin/right", "#!/akb/bin/python\n"),
        ("runtime/bin/node", "ELF"),
        ("bin/three", "#!/usr/bin/env -S node --x\n"),
        ("bin/sh", "#!/bin/sh -e\n"),
        ("bin/old", "#!/usr/bin/python2\n"),
        (&python, "#!/usr/bin/env python\n"),
        ("bin/text", "no script\n"),
        ("bin/unclear", "#!/usr/bin/env -S A=1 python3\n"),
    ]);
    let rules = format!("[[substitute]]\nfiles = [\"bin/*\", \"{SITE}/**\"]\nshebangs = true\nmode = \"quiet\"\n");
    let plan = planned(tree.path(), &rules).unwrap();
    insta::assert_snapshot!(plan.report.notes.join("\n"), @r#"
    bin/old stays with python2: the tree has none
    bin/python stays with x: the tree has none
    bin/sh stays with sh: the tree has none
    bin/unclear stays with #!/usr/bin/env -S A=1 python3: akb does not know which program it starts
    a #! line stays: lib/python3.14/site-packages/a/cli.py is compiled to bytecode, which must be the same in every folder: it cannot say where the tree is
    "#);
    insta::assert_snapshot!(diff(tree.path(), &rules), @r#"
    diff --git a/akb-spots b/akb-spots
    new file mode 100644
    --- /dev/null
    +++ b/akb-spots
    @@ -0,0 +1,3 @@
    +2 bin/one
    +2 bin/three
    +2 bin/two
    --- a/bin/one
    +++ b/bin/one
    @@ -1,2 +1,2 @@
    -#!/usr/bin/env python3
    +#!/akb/bin/python
     import a
    --- a/bin/three
    +++ b/bin/three
    @@ -1 +1 @@
    -#!/usr/bin/env -S node --x
    +#!/akb/runtime/bin/node --x
    --- a/bin/two
    +++ b/bin/two
    @@ -1 +1 @@
    -#! /usr/local/bin/python3.14 -u
    +#!/akb/bin/python -u
    "#);
    // `place` finds `#!` lines of programs by itself, but a list that has them does no harm.
    let texts = place::texts::parse(&fs::read(tree.path().join(place::SPOTS)).unwrap()).unwrap();
    assert_eq!(texts[Path::new("bin/one")], [2]);
}

#[test]
fn whole_files_are_replaced_or_made() {
    let record = format!("{SITE}/Some_Pkg-1.0.dist-info/RECORD");
    let tree = tree(&[("etc/a", "old\n"), (&record, "Some_Pkg-1.0.dist-info/RECORD,,\n"), ("patches/x", "{prefix}\n")]);
    let rules = r#"
        [[substitute]]
        files = ["etc/a"]
        contents = "new {prefix}\n"
        executable = true

        [[substitute]]
        package = "some.pkg"
        files = ["made/y.txt"]
        source = "patches/x"
        new = true
    "#;
    insta::assert_snapshot!(diff(tree.path(), rules), @r#"
    diff --git a/akb-spots b/akb-spots
    new file mode 100644
    --- /dev/null
    +++ b/akb-spots
    @@ -0,0 +1 @@
    +4 etc/a
    diff --git a/etc/a b/etc/a
    old mode 100644
    new mode 100755
    --- a/etc/a
    +++ b/etc/a
    @@ -1 +1 @@
    -old
    +new /akb
    --- a/lib/python3.14/site-packages/Some_Pkg-1.0.dist-info/RECORD
    +++ b/lib/python3.14/site-packages/Some_Pkg-1.0.dist-info/RECORD
    @@ -1 +1,2 @@
     Some_Pkg-1.0.dist-info/RECORD,,
    +made/y.txt,sha256=xHC-4oepJw5hyMP0dbxkM6ZRe7oVKpAnh6uMUoJyj_U,9
    diff --git a/lib/python3.14/site-packages/made/y.txt b/lib/python3.14/site-packages/made/y.txt
    new file mode 100644
    --- /dev/null
    +++ b/lib/python3.14/site-packages/made/y.txt
    @@ -0,0 +1 @@
    +{prefix}
    "#);
    assert_eq!(fs::metadata(tree.path().join("etc/a")).unwrap().permissions().mode() & 0o777, 0o755);
    insta::assert_snapshot!(wrong(tree.path(), rules), @r#"
    2 substitutions cannot be made; nothing was written
    rule 1 (contents of "etc/a"): the tree was substituted before: it has an akb-spots
    rule 2 (source "patches/x"): lib/python3.14/site-packages/made/y.txt cannot be a new file: something is there
    make the tree anew, and follow all rules at once
    leave `new` out to replace its contents, or name another path
    "#);
    let unowned = format!("[[substitute]]\nfiles = [\"{SITE}/x\"]\ncontents = \"\"\nnew = true\n");
    insta::assert_snapshot!(wrong(tree.path(), &unowned), @r#"
    rule 1 (contents of "lib/python3.14/site-packages/x"): lib/python3.14/site-packages/x would be in no RECORD
    write package = "NAME" in the rule: whose file it is
    "#);
}

#[test]
fn new_files_do_not_lie_within_each_other() {
    let tree = tree(&[("etc/a", "x")]);
    for (one, other) in [("m/x", "m/x"), ("m", "m/x"), ("m/x", "m")] {
        let rule = |path| format!("[[substitute]]\nfiles = [\"{path}\"]\ncontents = \"\"\nnew = true\n");
        let text = wrong(tree.path(), &format!("{}{}", rule(one), rule(other)));
        assert!(text.starts_with(&format!("rule 2 (contents of \"{other}\"): {one} cannot be a new file")), "{text}");
    }
}

#[test]
fn what_a_source_says_is_part_of_the_identity() {
    let tree = tree(&[("etc/a", "old"), ("patch", "one")]);
    let said = "[[substitute]]\nfiles = [\"etc/a\"]\nsource = \"patch\"\n";
    let recipe = Recipe::parse(said, Path::new("akb.toml")).unwrap();
    let identity = || Rules::open(&recipe.substitute, tree.path()).unwrap().identity().to_owned();
    let first = identity();
    fs::write(tree.path().join("patch"), "two").unwrap();
    assert_ne!(identity(), first);
    fs::remove_file(tree.path().join("patch")).unwrap();
    assert!(matches!(Rules::open(&recipe.substitute, tree.path()), Err(SubstituteError::Read { .. })));
}
