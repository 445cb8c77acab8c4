use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;

fn edit(range: Range<usize>, with: &str, by: usize) -> Edit {
    Edit { range, with: Text::from(with.as_bytes().to_vec()), by }
}

fn changes(list: Vec<(&str, Change)>) -> Changes {
    Changes(list.into_iter().map(|(path, change)| (path.into(), change)).collect())
}

fn change(before: Option<&str>, after: &str) -> Change {
    let after = Text::from(after.as_bytes().to_vec());
    Change { before: before.map(|text| text.as_bytes().to_vec()), after, executable: None }
}

#[test]
fn edits_apply_in_any_order_and_keep_track_of_prefixes() {
    let mut with = Text::from(b"<".to_vec());
    with.push_prefix(b"/akb");
    let prefixed = Edit { range: 6..7, with, by: 0 };
    let change = Change::edited(b"one two three".to_vec(), vec![prefixed, edit(0..3, "1", 1)]).unwrap();
    assert_eq!(change.after.bytes, b"1 tw</akb three");
    assert_eq!(change.after.prefixes, [5]);
}

#[test]
fn overlaps_name_both() {
    let text = || b"abcdef".to_vec();
    let overlap = Change::edited(text(), vec![edit(2..5, "", 7), edit(1..3, "", 4)]).unwrap_err();
    assert_eq!(overlap, Overlap { first: 4, second: 7, offset: 2 });
    assert!(Change::edited(text(), vec![edit(2..2, "x", 0), edit(2..2, "y", 1)]).is_err());
    assert!(Change::edited(text(), vec![edit(1..3, "x", 0), edit(3..4, "y", 1)]).is_ok());
    assert!(Change::edited(text(), vec![edit(1..3, "x", 0), edit(3..3, "y", 1)]).is_ok());
}

#[test]
fn a_diff_can_be_read() {
    let made = Change { executable: Some(true), ..change(None, "#!/bin/sh\n") };
    let all = changes(vec![
        ("a b/\"ä\".txt", change(Some("1\n2\n3\n4\n5\n6\n7\n8\n9\nold"), "1\n2\n3\n4\n5\n6\n7\n8\n9\nnew\n")),
        ("bin", change(Some("a\0"), "b\0")),
        ("same", change(Some("x"), "x")),
        ("x/made", made),
    ]);
    insta::assert_snapshot!(String::from_utf8(all.diff()).unwrap(), @r#"
    --- "a/a b/\"\303\244\".txt"
    +++ "b/a b/\"\303\244\".txt"
    @@ -7,4 +7,4 @@
     7
     8
     9
    -old
    \ No newline at end of file
    +new
    Binary files a/bin and b/bin differ
    diff --git a/x/made b/x/made
    new file mode 100755
    --- /dev/null
    +++ b/x/made
    @@ -0,0 +1 @@
    +#!/bin/sh
    "#);
}

#[test]
fn a_diff_has_the_bytes_of_the_files() {
    let all = changes(vec![("a b", Change { before: Some(b"\xe9\nold".to_vec()), ..change(None, "new\n") })]);
    // A tab ends a name with white space.
    assert_eq!(
        all.diff(),
        b"--- a/a b\t\n+++ b/a b\t\n@@ -1,2 +1 @@\n-\xe9\n-old\n\\ No newline at end of file\n+new\n"
    );
}

#[test]
fn a_hard_link_is_broken_and_the_mode_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, tree) = (folder.path().join("cache"), folder.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(&cache, "old").unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(&cache, tree.join("f")).unwrap();
    changes(vec![("f", change(Some("old"), "new")), ("deep/er/g", change(None, "g"))]).apply(&tree).unwrap();
    assert_eq!(fs::read_to_string(&cache).unwrap(), "old");
    assert_eq!(fs::read_to_string(tree.join("f")).unwrap(), "new");
    let metadata = fs::metadata(tree.join("f")).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.nlink()), (0o755, 1));
    assert_eq!(fs::metadata(tree.join("deep/er/g")).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(crate::tree::walk(&tree).unwrap().len(), 4);
}

#[test]
fn one_that_cannot_be_written_leaves_all_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a"), "a").unwrap();
    fs::write(root.join("victim"), "kept").unwrap();
    symlink("victim", root.join("link")).unwrap();
    fs::create_dir(root.join("real")).unwrap();
    symlink("real", root.join("folder")).unwrap();
    let before = crate::tree::walk(root).unwrap();
    for (path, wrong) in [
        ("z", change(None, "")),
        ("link", change(Some("kept"), "x")),
        ("victim", change(Some("other"), "x")),
        ("victim", change(None, "x")),
        ("folder/x", change(None, "x")),
        ("../x", change(None, "x")),
    ] {
        let wrong = if path == "z" { Change { before: Some(Vec::new()), ..wrong } } else { wrong };
        let wrong = if path == "z" { Change { executable: Some(true), ..wrong } } else { wrong };
        let all = changes(vec![("a", change(Some("a"), "b")), ("made/x", change(None, "x")), (path, wrong)]);
        all.apply(root).unwrap_err();
        assert_eq!(crate::tree::walk(root).unwrap(), before, "{path}");
        assert_eq!(fs::read(root.join("a")).unwrap(), b"a");
        assert_eq!(fs::read(root.join("victim")).unwrap(), b"kept");
    }
}

proptest! {
    #[test]
    fn edits_equal_a_naive_replacement(text in "[ab]{0,40}", old in "[ab]{1,3}", new in "[abc]{0,3}") {
        let mut edits: Vec<Edit> = text.match_indices(&old).map(|(at, _)| edit(at..at + old.len(), &new, 0)).collect();
        edits.reverse();
        let change = Change::edited(text.clone().into_bytes(), edits).unwrap();
        prop_assert_eq!(change.after.bytes, text.replace(&old, &new).into_bytes());
    }
}
