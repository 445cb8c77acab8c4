//! `#!` lines that name the tree's own programs.

use std::collections::BTreeSet;
use std::path::Path;

use super::template::{Values, movable};
use super::{Cx, File, Found};
use crate::edit::Text;

/// `shebangs = true`: a first line that names Python, by any path or through `env`, names the tree's Python; one
/// that names another program of which the tree has one of its own, names that. Other lines stay.
pub(super) fn find(file: &File<'_>, cx: &Cx<'_>) -> Found {
    let Some(rest) = file.bytes.strip_prefix(b"#!") else { return Found::nothing(1) };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(program) = std::str::from_utf8(line).ok().and_then(program) else {
        let line = String::from_utf8_lossy(line).trim().to_owned();
        let note = format!("{} stays with #!{line}: akb does not know which program it starts", file.path.display());
        return Found { notes: vec![note], ..Found::nothing(1) };
    };
    let wanted = own(program.name, &cx.values, cx.programs);
    // A script that has the name of its interpreter is not it.
    let wanted = wanted.filter(|own| Path::new(own) != file.path);
    let Some(own) = wanted else {
        let mut found = Found::nothing(1);
        found.notes.push(format!("{} stays with {}: the tree has none", file.path.display(), program.name));
        return found;
    };
    let mut text = Text::default();
    text.push_prefix(cx.values.prefix.as_bytes());
    text.push(format!("/{own}").as_bytes());
    let here = &line[program.start..program.end];
    if here == text.bytes && program.start == 0 {
        return Found { matched: vec![1], ..Found::default() };
    }
    if cx.values.canonical
        && let Err(reason) = movable(file.path)
    {
        let mut found = Found::nothing(1);
        found.notes.push(format!("a #! line stays: {reason}"));
        return found;
    }
    // From the first byte behind `#!`: white space and `env` go too.
    Found::one(vec![(2..2 + program.end, text)])
}

/// The program that a line names.
#[derive(Debug, PartialEq, Eq)]
struct Program<'a> {
    /// The last part of its path.
    name: &'a str,
    /// Where it is in the line behind `#!`.
    start: usize,
    end: usize,
}

/// `None` where the line cannot be taken apart for sure: variables and options of `env`.
fn program(line: &str) -> Option<Program<'_>> {
    let mut words = words(line);
    let (first, start) = words.next()?;
    let mut found = (first, start);
    if base(first) == "env" {
        found = words.next()?;
        if found.0 == "-S" {
            found = words.next()?;
        }
        if found.0.starts_with('-') || found.0.contains('=') {
            return None;
        }
    }
    Some(Program { name: base(found.0), start: found.1, end: found.1 + found.0.len() })
}

/// Words with where they begin.
fn words(line: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut offset = 0;
    line.split([' ', '\t', '\r']).filter_map(move |word| {
        let start = offset;
        offset += word.len() + 1;
        (!word.is_empty()).then_some((word, start))
    })
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The tree's own program of that name, from its top.
fn own(name: &str, values: &Values<'_>, programs: &BTreeSet<String>) -> Option<String> {
    if let Some(python) = values.python {
        let names = ["python".to_owned(), format!("python{}", python.major), format!("python{}", python.short())];
        // A tree that is not finished gets it later.
        let python = "bin/python";
        if names.iter().any(|known| known == name) && (values.canonical || programs.contains(python)) {
            return Some(python.to_owned());
        }
    }
    ["bin", "runtime/bin"].into_iter().map(|folder| format!("{folder}/{name}")).find(|path| programs.contains(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        for (line, expected) in [
            ("/usr/bin/env python3", Some(("python3", 13, 20))),
            (" /usr/bin/python3.14 -u", Some(("python3.14", 1, 20))),
            ("/usr/bin/env -S python3 -u", Some(("python3", 16, 23))),
            ("/bin/sh\r", Some(("sh", 0, 7))),
            ("/usr/bin/env -i python3", None),
            ("/usr/bin/env A=1 python3", None),
            ("", None),
        ] {
            let found = program(line).map(|program| (program.name, program.start, program.end));
            assert_eq!(found, expected, "{line}");
        }
    }
}
