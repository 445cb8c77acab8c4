//! What is refused, and files and texts that are odd.

use super::*;

#[test]
fn binary_files_change_by_equal_length_only() {
    let tree = tree(&[("lib/x.so", "\u{0}/usr/lib/a\u{0}"), ("lib/t", "/usr/lib/a")]);
    let rules = |with: &str, binary: bool| {
        format!("[[substitute]]\nfiles = [\"lib/*\"]\nreplace = \"/usr/lib/a\"\nwith = \"{with}\"\nbinary = {binary}\n")
    };
    insta::assert_snapshot!(wrong(tree.path(), &rules("/xxx/lib/a", false)), @r#"
    rule 1 (replace "/usr/lib/a"): lib/x.so is a binary file
    write binary = true in the rule, with a replacement of the same length, or narrow its `files`
    "#);
    insta::assert_snapshot!(wrong(tree.path(), &rules("/xxx/lib", true)), @r#"
    rule 1 (replace "/usr/lib/a"): lib/x.so: expected a replacement of 10 bytes, found one of 8
    fill the replacement up to the same length
    "#);
    assert_eq!(diff(tree.path(), &rules("/xxx/lib/a", true)).matches("Binary files").count(), 1);
}

#[test]
fn links_and_files_of_akb_are_refused() {
    let tree = tree(&[("etc/a", "x"), ("pyvenv.cfg", "x")]);
    symlink("a", tree.path().join("etc/l")).unwrap();
    symlink("/etc", tree.path().join("out")).unwrap();
    let rules = |file: &str| format!("[[substitute]]\nfiles = [\"{file}\"]\nreplace = \"x\"\nwith = \"y\"\n");
    insta::assert_snapshot!(wrong(tree.path(), &rules("etc/l")), @r#"
    rule 1 (replace "x"): etc/l is a link to a
    name the file itself (a)
    "#);
    insta::assert_snapshot!(wrong(tree.path(), &rules("pyvenv.cfg")), @r#"
    rule 1 (replace "x"): pyvenv.cfg is written by akb itself
    take it out of `files`
    "#);
    insta::assert_snapshot!(wrong(tree.path(), &rules("out/passwd")), @r#"rule 1 (replace "x"): no file is `out/passwd`"#);
    let made = "[[substitute]]\nfiles = [\"out/x\"]\ncontents = \"\"\nnew = true\n";
    insta::assert_snapshot!(wrong(tree.path(), made), @r#"
    rule 1 (contents of "out/x"): out cannot be a new file: something is there
    leave `new` out to replace its contents, or name another path
    "#);
    assert_eq!(diff(tree.path(), &rules("**")).matches("+++").count(), 1);
}

#[test]
fn a_compiled_source_does_not_say_where_the_tree_is() {
    let tree = tree(&[("lib/python3.14/site-packages/a.py", "X = \"/usr/bin/x\"\n")]);
    let rules =
        |with: &str| format!("[[substitute]]\nfiles = [\"{SITE}/a.py\"]\nreplace = '\"/usr/bin/x\"'\nwith = {with}\n");
    insta::assert_snapshot!(wrong(tree.path(), &rules("'\"{runtime}/bin/x\"'")), @r#"
    rule 1 (replace "\"/usr/bin/x\""): lib/python3.14/site-packages/a.py is compiled to bytecode, which must be the same in every folder: it cannot say where the tree is
    write an expression that asks Python, such as with = "(__import__('sys').prefix + '/runtime/bin/x')" in place of the whole quoted text
    "#);
    let asked = "\"(__import__('sys').prefix + '/runtime/bin/x')\"";
    assert!(diff(tree.path(), &rules(asked)).contains("+X = (__import__('sys').prefix + '/runtime/bin/x')\n"));
}

#[test]
fn a_tree_that_names_itself_is_placed_and_keeps_its_identity() {
    let record = format!("{SITE}/p-1.dist-info/RECORD");
    let script = "#!/akb/bin/python\nX = '/usr/share/x'\n";
    let row = crate::install::record::Row::of(
        "../../../bin/s".to_owned(),
        &Sha256::of(script.as_bytes()),
        script.len() as u64,
    );
    let rows = crate::install::record::format(vec![row]);
    let tree = tree(&[("bin/s", script), ("share/x.conf", "a = @x@:@x@\n"), (&record, &rows)]);
    diff(
        tree.path(),
        r#"
        [[substitute]]
        files = ["bin/s"]
        replace = "/usr/share"
        with = "{prefix}/share"

        [[substitute]]
        files = ["share/x.conf"]
        variables = { x = "{prefix}/y" }
    "#,
    );
    let layout = crate::install::Layout::canonical("3.14.2".parse().unwrap());
    let jobs = NonZeroUsize::MIN;
    crate::install::refresh_records(tree.path(), &layout, &["bin/s".to_owned()].into(), jobs).unwrap();
    let canonical = place::identify(tree.path(), Path::new(place::PREFIX)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let receipt = |prefix: &Path, hash| place::Receipt {
        version: 1,
        name: "x".to_owned(),
        prefix: prefix.to_owned(),
        hash,
        nar_size: 0,
        inputs: String::new(),
        skip_import: BTreeMap::new(),
        rules: crate::relink::Rules::default(),
        outside: Vec::new(),
    };
    let (one, two) = (out.path().join("a/longer/place"), out.path().join("b"));
    place::place(tree.path(), &one, Some(canonical.hash), |found| receipt(&one, found.hash), jobs).unwrap();
    let own = one.to_str().unwrap();
    assert_eq!(fs::read_to_string(one.join("share/x.conf")).unwrap(), format!("a = {own}/y:{own}/y\n"));
    let placed = fs::read_to_string(one.join("bin/s")).unwrap();
    assert_eq!(placed, format!("#!{own}/bin/python\nX = '{own}/share/x'\n"));
    assert!(fs::read_to_string(one.join(&record)).unwrap().contains(&format!(",{}\n", placed.len())));
    assert_eq!(place::identify(&one, &one).unwrap(), canonical);
    place::replace(&one, &one, &two, Some(canonical.hash), |found| receipt(&two, found.hash), jobs).unwrap();
    assert_eq!(place::identify(&two, &two).unwrap(), canonical);

    // A file that says the canonical prefix where the tree lies elsewhere is not what was placed.
    fs::write(two.join("share/x.conf"), "a = /akb/y:/akb/y\n").unwrap();
    assert!(matches!(place::identify(&two, &two), Err(place::PlaceError::Spot { offset: 4, .. })));
    // A name that would have to be quoted in some of the files is refused.
    let odd = out.path().join("it's");
    let error = place::place(tree.path(), &odd, None, |found| receipt(&odd, found.hash), jobs).unwrap_err();
    assert!(matches!(error, place::PlaceError::Unquoted { .. }), "{error}");
}

#[test]
fn wrong_tables_say_what_would_be_right() {
    let message = |text: &str| {
        let error = Recipe::parse(&format!("[[substitute]]\n{text}\n"), Path::new("akb.toml")).unwrap_err();
        format!("{error}\n{}", error.hint().unwrap_or_default())
    };
    let all: Vec<String> = [
        "files = [\"a\"]",
        "files = [\"a\"]\nreplace = \"a\"\npattern = \"b\"",
        "files = [\"a\"]\nreplace = \"a\"",
        "files = [\"a\"]\nreplace = \"a\"\nwith = 1",
        "files = [\"a\"]\nreplace = \"\"\nwith = \"\"",
        "files = [\"../a\"]\nreplace = \"a\"\nwith = \"\"",
        "replace = \"a\"\nwith = \"\"",
        "files = [\"a\"]\nreplace = \"a\"\nwith = \"{prefx}\"",
        "files = [\"a\"]\npattern = \"(\"\nwith = \"\"",
        "files = [\"a\"]\nreplace = \"a\"\nwith = \"\"\nunknown = \"fail\"",
        "files = [\"a\"]\nreplace = \"a\"\nwith = \"\"\nmode = \"quiet\"\ncount = 1",
        "files = [\"a\"]\nat = [\"x\"]\nwith = 1",
        "files = [\"a*\"]\ncontents = \"\"\nnew = true",
        "files = [\"a\"]\nvariables = { \"a b\" = \"\" }",
        "files = [\"a\"]\nreplase = \"a\"",
    ]
    .map(message)
    .into();
    insta::assert_snapshot!(all.join("\n"), @r#"
    akb.toml: substitute 1: kind: expected exactly one of replace, pattern, variables, shebangs, contents, source, at, found ``

    akb.toml: substitute 1: kind: expected exactly one of replace, pattern, variables, shebangs, contents, source, at, found `replace, pattern`

    akb.toml: substitute 1: with: expected the new text, found ``
    write with = "" to take the text out
    akb.toml: substitute 1: with: expected a text, found `1`
    write with = "1"
    akb.toml: substitute 1: replace: expected a text that is not empty, found ``

    akb.toml: substitute 1: files: expected a relative path without `.` and `..`, found `../a`

    akb.toml: substitute 1: files: expected at least one path in the tree, such as "bin/*", found `[]`

    akb.toml: substitute 1: with: expected one of {prefix}, {site}, {runtime}, {python}, {version}, {up} or {inputs.NAME}, found `{prefx}`
    did you mean {prefix}? If it is meant as it stands, write literal = true
    akb.toml: substitute 1: pattern: expected a regular expression (syntax of Rust's regex), found `(`
    regex parse error:
        (
        ^
    error: unclosed group
    akb.toml: substitute 1: unknown: expected none beside `replace`, found `unknown`

    akb.toml: substitute 1: count: expected no `mode` beside it: the rule must match just so often, found `both`

    akb.toml: substitute 1: files: expected names that all end with .json, .yaml or .toml, found `a`
    write format = "json", "yaml" or "toml"
    akb.toml: substitute 1: files: expected the path of a new file, found `a*`

    akb.toml: substitute 1: variables: expected names of letters, digits, `_`, `-` and `'` that begin with a letter or `_`, found `a b`

    akb.toml:3: unknown field `replase`, expected one of `package`, `files`, `replace`, `pattern`, `variables`, `shebangs`, `contents`, `source`, `at`, `with`, `was`, `format`, `mode`, `count`, `binary`, `literal`, `unknown`, `new`, `executable`
    did you mean `replace`?
    "#);
}

/// A tree that is no whole one yet, such as what `pip install --prefix` makes.
#[test]
fn shebangs_name_no_python_that_is_not_there() {
    let tree = tree(&[("bin/one", "#!/usr/bin/python3\n")]);
    let recipe = "[[substitute]]\nfiles = [\"bin/*\"]\nshebangs = true\n";
    let recipe = Recipe::parse(recipe, Path::new("akb.toml")).unwrap();
    let rules = Rules::open(&recipe.substitute, tree.path()).unwrap();
    let inputs = BTreeMap::new();
    let job = Job { tree: tree.path(), prefix: "/srv/x", python: "3.14.2".parse().ok(), inputs: &inputs };
    assert!(plan(&rules, &job, NonZeroUsize::MIN).is_err());
    fs::write(tree.path().join("bin/python"), "").unwrap();
    let plan = plan(&rules, &job, NonZeroUsize::MIN).unwrap();
    assert_eq!(plan.changes.0[Path::new("bin/one")].after.bytes, b"#!/srv/x/bin/python\n");
}

#[test]
fn names_that_are_no_utf_8_are_matched_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let tree = tree(&[("etc/a", "old")]);
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"etc/\xff"));
    fs::write(tree.path().join(odd), "old").unwrap();
    let plan =
        planned(tree.path(), "[[substitute]]\nfiles = [\"etc/*\"]\nreplace = \"old\"\nwith = \"new\"\n").unwrap();
    assert_eq!(plan.changes.0[odd].after.bytes, b"new");
}

/// Python would run what the source said before, and say nothing.
#[test]
fn sources_of_unchecked_bytecode_are_refused() {
    let pyc = |flags: u8| format!("\u{1}\u{2}\u{3}\u{4}{}\0\0\0 hash and code", char::from(flags));
    let (source, cache) = (format!("{SITE}/a/b.py"), format!("{SITE}/a/__pycache__/b.cpython-314.pyc"));
    let rule = format!("[[substitute]]\nfiles = [\"{SITE}/a/*\"]\nreplace = \"old\"\nwith = \"new\"\n");
    for (flags, refused) in [(0, false), (1, true), (3, false)] {
        let tree = tree(&[(&source, "x = 'old'\n"), (&cache, &pyc(flags))]);
        let step =
            in_place::Step::Replace { mode: crate::recipe::Mode::Fail, old: b"old".to_vec(), new: b"new".to_vec() };
        assert_eq!(in_place::plan(&[tree.path().join(&source)], &[step]).is_err(), refused, "{flags}");
        if refused {
            insta::assert_snapshot!(wrong(tree.path(), &rule), @r#"
            rule 1 (replace "old"): lib/python3.14/site-packages/a/b.py would not be read: Python uses lib/python3.14/site-packages/a/__pycache__/b.cpython-314.pyc, and never compares it
            remove it first: rm lib/python3.14/site-packages/a/__pycache__/b.cpython-314.pyc
            "#);
        } else {
            planned(tree.path(), &rule).unwrap();
        }
    }
}

#[test]
fn steps_of_a_command_line_follow_each_other() {
    let tree = tree(&[("a", "a b @v@\n"), ("bin", "a\u{0}b")]);
    let path = tree.path().join("a");
    let replace = |mode, old: &str, new: &str| in_place::Step::Replace { mode, old: old.into(), new: new.into() };
    use crate::recipe::Mode::{Fail, Quiet, Warn};
    let variable = in_place::Step::Variable { name: b"v".to_vec(), value: b"{prefix} $&".to_vec() };
    let steps = [
        replace(Fail, "a", "b"),
        replace(Fail, "b", "cc"),
        replace(Warn, "zz", ""),
        replace(Quiet, "zz", ""),
        variable,
    ];
    let plan = in_place::plan(std::slice::from_ref(&path), &steps).unwrap();
    assert_eq!(plan.report.warnings.len(), 1);
    assert_eq!(plan.report.rules.iter().map(|rule| rule.matches).collect::<Vec<_>>(), [1, 2, 0, 0, 1]);
    assert_eq!(fs::read(&path).unwrap(), b"a b @v@\n");
    plan.apply(Path::new("/")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"cc cc {prefix} $&\n");
    assert!(in_place::plan(&[path], &[replace(Fail, "zz", "")]).is_err());
    assert!(in_place::plan(&[tree.path().join("bin")], &[replace(Fail, "a", "cc")]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rules_equal_a_naive_replacement(
        texts in prop::collection::vec("[abx@\n]{0,30}", 1..4),
        old in "[ab]{1,2}",
        new in "[xy{}$]{0,4}",
    ) {
        let names: Vec<String> = (0..texts.len()).map(|index| format!("d/{index}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let tree = tree(&files);
        for rule in ["replace", "pattern"] {
            let text = format!("[[substitute]]\nfiles = [\"d/*\"]\n{rule} = \"{old}\"\nwith = '{new}'\nmode = \"quiet\"\nliteral = true\n");
            let plan = planned(tree.path(), &text).unwrap();
            for (name, text) in &files {
                let expected = text.replace(&old, &new);
                match plan.changes.0.get(Path::new(name)) {
                    Some(change) => prop_assert_eq!(&change.after.bytes, expected.as_bytes()),
                    None => prop_assert_eq!(*text, expected.as_str()),
                }
            }
        }
    }

    #[test]
    fn no_rule_makes_it_panic(
        text in "[a-c@/{}\"'\n\\x00]{0,40}",
        rule in "(replace|pattern|contents|source|unknown|at|was) = (\"[a-c{}@().*+?\\[\\]]{0,8}\"|\\['[a-c]', [0-3]\\])",
        with in "[a-c{}1@]{0,6}",
    ) {
        let tree = tree(&[("d/a.json", &text), ("d/b", &text)]);
        let text = format!("[[substitute]]\nfiles = [\"d/**\"]\n{rule}\nwith = '{with}'\n");
        if let Ok(recipe) = Recipe::parse(&text, Path::new("akb.toml"))
            && let Ok(rules) = Rules::open(&recipe.substitute, tree.path())
        {
            let inputs = BTreeMap::new();
            let job = Job { tree: tree.path(), prefix: place::PREFIX, python: None, inputs: &inputs };
            let _ = plan(&rules, &job, NonZeroUsize::MIN).map_err(|error| (error.to_string(), error.hint()));
        }
    }
}
