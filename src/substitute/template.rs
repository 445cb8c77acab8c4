//! `{name}` in a new text.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::error::Reason;
use crate::edit::Text;
use crate::install::Layout;
use crate::recipe::nearest;
use crate::request::PythonVersion;

/// Names that every template may use, and what they mean.
pub const NAMES: [(&str, &str); 6] = [
    ("prefix", "the folder of the tree"),
    ("site", "its site-packages"),
    ("runtime", "its runtime folder"),
    ("python", "its interpreter, bin/python"),
    ("version", "the version of Python, such as 3.14"),
    ("up", "the way from the file's folder to the top of the tree, such as ../../.."),
];

/// How the name of an input begins.
const INPUT: &str = "inputs.";

/// What the names stand for.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    /// The folder in which the tree will run, without a slash at its end.
    pub(super) prefix: &'a str,
    /// Its interpreter, where it has one.
    pub(super) python: Option<PythonVersion>,
    /// The folders of inputs that stay where they are, by name: `{inputs.NAME}`.
    pub(super) inputs: &'a BTreeMap<String, PathBuf>,
    /// Whether the tree will be placed elsewhere, and `prefix` changed in it by then.
    pub(super) canonical: bool,
}

/// A text with names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Name(String),
    Group(String),
}

/// A name that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnknownName {
    pub(super) name: String,
    pub(super) meant: Option<String>,
}

impl Template {
    /// A text without names.
    pub(super) fn literal(text: &str) -> Self {
        Self::bytes(text.as_bytes().to_vec())
    }

    /// Bytes as they are.
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self(vec![Piece::Text(bytes)])
    }

    /// Whether the tree's own folder is in it.
    pub(super) fn names_prefix(&self) -> bool {
        let fixed = |name: &str| matches!(name, "version" | "up") || name.starts_with(INPUT);
        self.0.iter().any(|piece| matches!(piece, Piece::Name(name) if !fixed(name)))
    }

    /// The inputs whose folders it names.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => name.strip_prefix(INPUT),
            Piece::Text(_) | Piece::Group(_) => None,
        })
    }

    /// Reads `{name}`; braces around anything but a name are just braces. `groups` are the names of what a
    /// pattern captures.
    pub(super) fn parse(text: &str, groups: &BTreeSet<String>) -> Result<Self, UnknownName> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, after) = (&rest[..start], &rest[start + 1..]);
            plain.push_str(before);
            match after.split_once('}').filter(|(name, _)| is_name(name)) {
                Some((name, tail)) => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain).into_bytes()));
                    pieces.push(piece(name, groups)?);
                    rest = tail;
                }
                None => {
                    plain.push('{');
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain.into_bytes()));
        Ok(Self(pieces))
    }

    /// The text for the file at `path` in the tree; `group` gives what a pattern captured.
    pub(super) fn render(
        &self,
        path: &Path,
        values: &Values<'_>,
        group: &dyn Fn(&str) -> Vec<u8>,
    ) -> Result<Text, Reason> {
        let mut text = Text::default();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push(plain),
                Piece::Group(name) => text.push(&group(name)),
                Piece::Name(name) => values.push(name, path, &mut text)?,
            }
        }
        if !text.prefixes.is_empty() && values.canonical {
            movable(path)?;
        }
        Ok(text)
    }
}

/// Whether a file may say where the tree is: not if bytecode is made from it, because that names a hash of its
/// source, and its constants.
pub(super) fn movable(path: &Path) -> Result<(), Reason> {
    let compiled = path.extension().is_some_and(|extension| extension == "py")
        && (path.starts_with("lib") || path.starts_with(crate::runtime::FOLDER));
    if compiled {
        return Err(Reason::PrefixInSource { path: path.to_owned() });
    }
    if path.to_str().is_none_or(|path| path.chars().any(char::is_control)) {
        return Err(Reason::Unlistable { path: path.to_owned() });
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn piece(name: &str, groups: &BTreeSet<String>) -> Result<Piece, UnknownName> {
    if groups.contains(name) {
        return Ok(Piece::Group(name.to_owned()));
    }
    let input = name.strip_prefix(INPUT).is_some_and(|input| !input.is_empty());
    if input || NAMES.iter().any(|(known, _)| *known == name) {
        return Ok(Piece::Name(name.to_owned()));
    }
    let known = NAMES.iter().map(|(known, _)| *known).chain(groups.iter().map(String::as_str));
    Err(UnknownName { name: name.to_owned(), meant: nearest::nearest(name, known).map(str::to_owned) })
}

impl Values<'_> {
    fn push(&self, name: &str, path: &Path, text: &mut Text) -> Result<(), Reason> {
        let python = || self.python.ok_or(Reason::NoPython { name: name.to_owned() });
        let inside = match name {
            "prefix" => String::new(),
            "runtime" => format!("/{}", crate::runtime::FOLDER),
            "python" => "/bin/python".to_owned(),
            "site" => format!("/{}", Layout::canonical(python()?).site_packages()),
            "version" => {
                text.push(python()?.short().as_bytes());
                return Ok(());
            }
            "up" => {
                text.push(up(path).as_bytes());
                return Ok(());
            }
            other => {
                let input = other.strip_prefix(INPUT).unwrap_or(other);
                let known = || self.inputs.keys().cloned().collect();
                let folder = self.inputs.get(input);
                let folder = folder.ok_or_else(|| Reason::NoInput { name: input.to_owned(), known: known() })?;
                text.push(folder.as_os_str().as_bytes());
                return Ok(());
            }
        };
        text.push_prefix(self.prefix.as_bytes());
        text.push(inside.as_bytes());
        Ok(())
    }
}

/// The way from the folder of `path` to the top: `..` for every folder, `.` at the top itself.
fn up(path: &Path) -> String {
    let folders = path.components().count().saturating_sub(1);
    if folders == 0 { ".".to_owned() } else { vec![".."; folders].join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, path: &str, canonical: bool) -> Result<Text, Reason> {
        let inputs = BTreeMap::from([("xmlsec".to_owned(), "/inputs/xmlsec-1.3".into())]);
        let values = Values { prefix: "/akb", python: "3.14.2".parse().ok(), inputs: &inputs, canonical };
        let groups = BTreeSet::from(["1".to_owned(), "word".to_owned()]);
        let template = Template::parse(text, &groups).unwrap();
        template.render(Path::new(path), &values, &|name| name.to_uppercase().into_bytes())
    }

    #[test]
    fn names_become_values_and_other_braces_stay() {
        for (text, expected) in [
            ("{runtime}/bin/x", "/akb/runtime/bin/x"),
            ("{site}:{python}:{version}", "/akb/lib/python3.14/site-packages:/akb/bin/python:3.14"),
            ("{inputs.xmlsec}/bin", "/inputs/xmlsec-1.3/bin"),
            ("{up}/bin", "../../bin"),
            ("{word}{1}", "WORD1"),
            ("{} { prefix } ${x{prefix}} {{prefix}}", "{} { prefix } ${x/akb} {/akb}"),
            ("{", "{"),
        ] {
            assert_eq!(render(text, "a/b/c.txt", true).unwrap().bytes, expected.as_bytes(), "{text}");
        }
        assert_eq!(render("a{prefix}b{runtime}", "c.txt", true).unwrap().prefixes, [1, 6]);
        assert_eq!(render("{up}", "c.txt", true).unwrap().bytes, b".");
    }

    #[test]
    fn unknown_names_are_errors() {
        let unknown = Template::parse("{prefx}", &BTreeSet::new()).unwrap_err();
        assert_eq!((unknown.name.as_str(), unknown.meant.as_deref()), ("prefx", Some("prefix")));
        assert!(Template::parse("{HOME}", &BTreeSet::new()).is_err());
        let reason = render("{inputs.other}", "a", true).unwrap_err();
        assert!(matches!(reason, Reason::NoInput { known, .. } if known == ["xmlsec"]));
    }

    #[test]
    fn compiled_sources_cannot_say_where_the_tree_is() {
        let source = "lib/python3.14/site-packages/a.py";
        assert!(matches!(render("{prefix}", source, true), Err(Reason::PrefixInSource { .. })));
        assert!(render("{prefix}", source, false).is_ok());
        assert!(render("{up}{inputs.xmlsec}", source, true).is_ok());
        assert!(render("{prefix}", "bin/a.py", true).is_ok());
        assert!(matches!(render("{prefix}", "bin/a\nb", true), Err(Reason::Unlistable { .. })));
    }
}
