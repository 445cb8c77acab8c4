//! Unified diffs.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use similar::TextDiff;

use super::{Change, is_binary};

/// Appends the diff of one file.
pub(super) fn write(out: &mut Vec<u8>, path: &Path, change: &Change) {
    let before = change.before.as_deref();
    let (old, new) = (name("a/", path), name("b/", path));
    let old_header = if before.is_some() { old.as_str() } else { "/dev/null" };
    let mode = if change.executable == Some(true) { "100755" } else { "100644" };
    // Writing to memory cannot fail.
    if before.is_none() {
        let _ = writeln!(out, "diff --git {old} {new}\nnew file mode {mode}");
    } else if let Some(executable) = change.executable {
        let was = if executable { "100644" } else { "100755" };
        let _ = writeln!(out, "diff --git {old} {new}\nold mode {was}\nnew mode {mode}");
    }
    let before = before.unwrap_or_default();
    if is_binary(before) || is_binary(&change.after.bytes) {
        let _ = writeln!(out, "Binary files {old_header} and {new} differ");
        return;
    }
    // Only a line feed ends a line, as `patch` sees it.
    let lines = |bytes| <[u8]>::split_inclusive(bytes, |byte| *byte == b'\n').collect::<Vec<&[u8]>>();
    let (before, after) = (lines(before), lines(&change.after.bytes));
    let diff = TextDiff::configure().newline_terminated(true).diff_slices(&before, &after);
    // All hunks at once would be written as text, which these bytes may not be.
    for (index, hunk) in diff.unified_diff().iter_hunks().enumerate() {
        if index == 0 {
            // `patch` takes a name up to white space, unless a tab ends it.
            let end = |name: &str| if name.contains(' ') && !name.starts_with('"') { "\t" } else { "" };
            let _ = writeln!(out, "--- {old_header}{}\n+++ {new}{}", end(old_header), end(&new));
        }
        let _ = hunk.to_writer(&mut *out);
    }
}

/// A name as git quotes it: control characters and quotes escaped, in quotes if there are any.
fn name(side: &str, path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
    let odd = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\') || *byte >= 0x80;
    if !bytes.iter().any(odd) {
        return format!("{side}{}", String::from_utf8_lossy(bytes));
    }
    let quoted: String = bytes
        .iter()
        .map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(*byte)),
            byte if odd(byte) => format!("\\{byte:03o}"),
            byte => char::from(*byte).to_string(),
        })
        .collect();
    format!("\"{side}{quoted}\"")
}
