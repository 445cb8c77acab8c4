use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::recipe::Decimal;
use crate::substitute::template::Values;

fn set(format: Format, text: &str, at: Vec<Key>, with: Scalar, was: Option<Scalar>) -> Result<String, Reason> {
    let template = match &with {
        Scalar::Text(text) => Some(Template::parse(text, &BTreeSet::new()).unwrap()),
        _ => None,
    };
    let rule = Structured { at, with, text: template, was, format };
    let (inputs, programs) = (BTreeMap::new(), BTreeSet::new());
    let cx =
        Cx { values: Values { prefix: "/akb", python: None, inputs: &inputs, canonical: true }, programs: &programs };
    let file = File { path: Path::new("f"), bytes: text.as_bytes(), executable: false };
    let found = rule.find(&file, &cx)?;
    if let Some(missing) = found.missing {
        return Err(missing);
    }
    let mut out = text.to_owned();
    for (range, with) in found.edits {
        for at in &with.prefixes {
            assert!(with.bytes[*at..].starts_with(b"/akb"));
        }
        out.replace_range(range, std::str::from_utf8(&with.bytes).unwrap());
    }
    Ok(out)
}

fn name(name: &str) -> Key {
    Key::Name(name.to_owned())
}

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

#[test]
fn json_keeps_its_form() {
    let file = "{ \"a\" : [1, {\"b\":\"old\\n\"} ],\n\t\"ä\":null}\n";
    let at = vec![name("a"), Key::Index(1), name("b")];
    insta::assert_snapshot!(set(Format::Json, file, at.clone(), text("{prefix}/\"x\""), None).unwrap(), @r#"
    { "a" : [1, {"b":"/akb/\"x\""} ],
    	"ä":null}
    "#);
    insta::assert_snapshot!(set(Format::Json, file, vec![name("ä")], Scalar::Boolean(true), None).unwrap(), @r#"
    { "a" : [1, {"b":"old\n"} ],
    	"ä":true}
    "#);
    let wrong = |at: Vec<Key>, was| set(Format::Json, file, at, text("x"), was).unwrap_err().to_string();
    insta::assert_snapshot!(wrong(at, Some(text("other"))), @r#"f:1: expected "other", found "old\n""#);
    insta::assert_snapshot!(wrong(vec![name("a")], None), @"f:1: expected a plain value, found a list");
    insta::assert_snapshot!(wrong(vec![name("a"), Key::Index(2)], None), @r#"f: "a" has no item 2"#);
    insta::assert_snapshot!(wrong(vec![name("b")], None), @r#"f: the file has no key "b""#);
}

#[test]
fn json_that_two_readers_could_understand_differently_is_refused() {
    for (wrong, line) in [
        ("{\"a\":1,\n\"a\":2}", "f:2"),
        ("{\"a\":1,}", "f:1"),
        ("[1]\n[2]", "f:2"),
        ("{'a':1}", "f:1"),
        ("[01]", "f:1"),
        ("// x\n{}", "f:1"),
        ("\"\\", "f:1"),
        ("", "f:1"),
    ] {
        let error = set(Format::Json, wrong, vec![name("a")], text("x"), None).unwrap_err();
        assert!(matches!(&error, Reason::Syntax { place, .. } if place == line), "{wrong}: {error}");
    }
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert!(set(Format::Json, &deep, vec![Key::Index(0)], text("x"), None).is_err());
}

#[test]
fn toml_keeps_its_form() {
    let file = "# head\n[tool.x] # why\npath = '/old'   # here\nn = 1_000\nlist = [ {k = \"v\"}, ]\nwhen = 2020-01-01\n\n[[many]]\na.b = true\n";
    let at = |keys: &[&str]| [name("tool"), name("x")].into_iter().chain(keys.iter().map(|key| name(key))).collect();
    insta::assert_snapshot!(set(Format::Toml, file, at(&["path"]), text("{prefix}/x"), Some(text("/old"))).unwrap(), @r#"
    # head
    [tool.x] # why
    path = '/akb/x'   # here
    n = 1_000
    list = [ {k = "v"}, ]
    when = 2020-01-01

    [[many]]
    a.b = true
    "#);
    let changed =
        set(Format::Toml, file, at(&["n"]), Scalar::Float(Decimal("2.5".into())), Some(Scalar::Integer(1000)));
    assert_eq!(changed.unwrap(), file.replace("1_000", "2.5"));
    let deep = vec![name("tool"), name("x"), name("list"), Key::Index(0), name("k")];
    assert_eq!(set(Format::Toml, file, deep, text("a\"b\n"), None).unwrap(), file.replace("\"v\"", "\"a\\\"b\\n\""));
    let dotted = vec![name("many"), Key::Index(0), name("a"), name("b")];
    assert_eq!(set(Format::Toml, file, dotted, Scalar::Boolean(false), None).unwrap(), file.replace("true", "false"));
    assert!(set(Format::Toml, file, at(&["when"]), text("x"), None).is_err());
    insta::assert_snapshot!(set(Format::Toml, "a = \n", vec![name("a")], text("x"), None).unwrap_err(), @"f:1: is not TOML: string values must be quoted, expected literal string");
}

#[test]
fn yaml_keeps_its_form() {
    let file = "# ä head\na: # why\n  - path: /old   # here\n    q: 'it''s'\n  - {d: \"x\", e: 5}\nb: &anchor 1\nc: *anchor\nt: !!str 1\nblock: |\n  text\nempty:\nlast: yes\n";
    let at = |index, key: &str| vec![name("a"), Key::Index(index), name(key)];
    let set = |at: Vec<Key>, with| set(Format::Yaml, file, at, with, None);
    assert_eq!(set(at(0, "path"), text("{prefix}/x")).unwrap(), file.replace("/old", "/akb/x"));
    assert_eq!(set(at(0, "path"), text("a: b")).unwrap(), file.replace("/old", "\"a: b\""));
    assert_eq!(set(at(0, "path"), text("yes")).unwrap(), file.replace("/old", "\"yes\""));
    assert_eq!(set(at(0, "path"), text("1.5")).unwrap(), file.replace("/old", "\"1.5\""));
    assert_eq!(set(at(0, "path"), text("a\u{85}\u{7f}\n")).unwrap(), file.replace("/old", "\"a\\u0085\\u007f\\n\""));
    assert_eq!(set(at(0, "q"), text("o'k: #")).unwrap(), file.replace("'it''s'", "'o''k: #'"));
    assert_eq!(set(at(1, "d"), text("y")).unwrap(), file.replace("\"x\"", "\"y\""));
    assert_eq!(set(at(1, "e"), Scalar::Integer(-6)).unwrap(), file.replace('5', "-6"));
    assert_eq!(set(vec![name("last")], Scalar::Boolean(true)).unwrap(), file.replace("yes", "true"));
    for key in ["b", "c", "t", "block", "empty", "a"] {
        let error = set(vec![name(key)], text("x")).unwrap_err();
        assert!(matches!(error, Reason::Value { .. }), "{key}: {error}");
    }
    let windows = "a: 1\r\nb: old # c\r\n";
    let changed = super::tests::set(Format::Yaml, windows, vec![name("b")], text("new"), None).unwrap();
    assert_eq!(changed, windows.replace("old", "new"));
    for wrong in ["a: 1\n---\na: 2\n", "a: 1\na: 2\n", "? [a]\n: 1\n", "a: [", "", "a: \"\n"] {
        assert!(super::yaml::parse(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn json_is_read_as_serde_reads_it(file in "[\\[\\]{},: \"ab01.eE+\\-\\\\/ntrufals]{0,24}") {
        let ours = super::json::parse(&file);
        let theirs: Result<serde_json::Value, _> = serde_json::from_str(&file);
        match ours {
            Ok(node) => prop_assert!(theirs.is_ok_and(|value| agrees(&node, &value)), "{}", file),
            // A key twice is the only thing that we refuse and serde takes.
            Err((_, problem)) => prop_assert!(theirs.is_err() || problem.contains("twice"), "{} {}", file, problem),
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(file in "\\PC{0,60}", lines in "([ \\-:\\[\\]{}#&*!|>'\"a0.\n]|é){0,60}") {
        for text in [&file, &lines] {
            let _ = super::json::parse(text);
            let _ = super::yaml::parse(text);
            let _ = super::toml::parse(text);
        }
    }

    #[test]
    fn a_text_comes_back(new in "\\PC{0,12}|[ab:# '\"\\\\\n\t\u{85}\u{2028}{}\\[\\]&*!|>%@`,?-]{0,12}", style in 0..3_usize) {
        let files = [
            (Format::Json, "{\"k\": \"v\", \"z\": [1]}"),
            (Format::Toml, "k = \"v\" # c\nz = [1]\n"),
            (Format::Toml, "k = 'v' # c\nz = [1]\n"),
            (Format::Yaml, "k: v # c\nz: [1]\n"),
            (Format::Yaml, "k: 'v' # c\nz: [1]\n"),
            (Format::Yaml, "z: [1]\nf: {k: \"v\", l: [v]}\n"),
        ];
        for (format, file) in files {
            let at = if file.contains('f') { vec![name("f"), name("k")] } else { vec![name("k")] };
            let rule = Structured { at, with: text(&new), text: Some(Template::literal(&new)), was: None, format };
            let (inputs, programs) = (BTreeMap::new(), BTreeSet::new());
            let values = Values { prefix: "/akb", python: None, inputs: &inputs, canonical: true };
            let seen = File { path: Path::new("f"), bytes: file.as_bytes(), executable: false };
            let found = rule.find(&seen, &Cx { values, programs: &programs });
            prop_assert!(found.is_ok(), "{:?} {:?} {:?} {}", format, new, found.err(), style);
        }
    }
}

#[test]
fn deep_files_are_refused() {
    let deep = 100_000;
    let lists = format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
    let dashes = format!("{}1\n", "- ".repeat(deep));
    assert!(super::json::parse(&lists).is_err());
    assert!(super::toml::parse(&format!("a = {lists}")).is_err());
    assert!(super::yaml::parse(&lists).is_err());
    assert!(super::yaml::parse(&dashes).is_err());
}

fn agrees(node: &Node, value: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match (&node.value, value) {
        (Value::Null, Theirs::Null) => true,
        (Value::Boolean(ours), Theirs::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), Theirs::Number(theirs)) => ours.parse::<f64>().ok() == theirs.as_f64(),
        (Value::Text(ours), Theirs::String(theirs)) => ours == theirs,
        (Value::List(ours), Theirs::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| agrees(ours, theirs))
        }
        (Value::Table(ours), Theirs::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, ours)| theirs.get(name).is_some_and(|theirs| agrees(ours, theirs)))
        }
        _ => false,
    }
}
