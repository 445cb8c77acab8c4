//! What a `[[substitute]]` table says becomes a rule.

use std::collections::BTreeSet;
use std::io;

use super::literal::Literal;
use super::pattern::Pattern;
use super::structured::Structured;
use super::template::{NAMES, Template, UnknownName};
use super::variables::Variables;
use super::whole::Whole;
use crate::lock::names;
use crate::recipe::{Format, Mode, Scalar, SubstituteRecipe};

/// One rule, ready to be followed.
#[derive(Debug)]
pub(super) struct Rule {
    /// What messages call it.
    pub(super) label: String,
    /// The package whose files it is about.
    pub(super) package: Option<String>,
    /// Its entries of `files`.
    pub(super) files: Vec<String>,
    pub(super) mode: Mode,
    pub(super) count: Option<u64>,
    pub(super) binary: bool,
    pub(super) kind: Kind,
}

/// The kinds of rules, each in a file of its own.
#[derive(Debug)]
pub(super) enum Kind {
    Literal(Literal),
    Pattern(Pattern),
    Variables(Variables),
    Shebangs,
    Whole(Whole),
    Structured(Structured),
}

impl Kind {
    /// The inputs whose folders its new texts name.
    pub(super) fn inputs(&self) -> BTreeSet<String> {
        let texts: Vec<&Template> = match self {
            Self::Literal(rule) => vec![&rule.with],
            Self::Pattern(rule) => vec![&rule.with],
            Self::Variables(rule) => rule.texts().collect(),
            Self::Shebangs => Vec::new(),
            Self::Whole(rule) => vec![&rule.contents],
            Self::Structured(rule) => rule.text.iter().collect(),
        };
        texts.into_iter().flat_map(Template::inputs).map(str::to_owned).collect()
    }
}

/// A table that no rule can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: expected {expected}, found `{found}`")]
pub struct RuleError {
    /// The key.
    pub key: &'static str,
    /// What would be right.
    pub expected: String,
    /// What it says.
    pub found: String,
    /// The line to write instead.
    pub hint: Option<String>,
}

impl RuleError {
    pub(super) fn new(key: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { key, expected: expected.into(), found: found.into(), hint: None }
    }
}

/// Reads a file of the project, by the path that the recipe says.
pub(super) type ReadSource<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

/// Why there is no rule.
pub(super) enum NoRule {
    Wrong(RuleError),
    Source(io::Error),
}

impl From<RuleError> for NoRule {
    fn from(error: RuleError) -> Self {
        Self::Wrong(error)
    }
}

/// Which keys say the kind, and which others go with each.
const KINDS: [(&str, &[&str]); 7] = [
    ("replace", &["with", "mode", "count", "binary", "literal"]),
    ("pattern", &["with", "mode", "count", "binary", "literal"]),
    ("variables", &["mode", "unknown", "literal"]),
    ("shebangs", &["mode"]),
    ("contents", &["mode", "new", "executable", "literal"]),
    ("source", &["mode", "new", "executable"]),
    ("at", &["with", "was", "format", "mode", "literal"]),
];

/// Makes the rule with the number `number`, counted from one.
pub(super) fn compile(said: &SubstituteRecipe, number: usize, read: ReadSource<'_>) -> Result<Rule, NoRule> {
    let kind = kind(said)?;
    let mode = said.mode;
    if said.count.is_some() && mode != Mode::Fail {
        return Err(RuleError::new("count", "no `mode` beside it: the rule must match just so often", "both").into());
    }
    let package = said
        .package
        .as_deref()
        .map(|name| names::normalize(name).ok_or_else(|| RuleError::new("package", "a package name", name)));
    let package = package.transpose()?;
    let files = files(said, package.is_some())?;
    let wanted = said.binary;
    let rule = |label: String, kind| Rule {
        label: format!("rule {number} ({label})"),
        package,
        files,
        mode,
        count: said.count,
        binary: wanted,
        kind,
    };
    Ok(match kind {
        "replace" => {
            let old = said.replace.as_deref().unwrap_or_default();
            let with = template(said, "with", text(said)?, &BTreeSet::new())?;
            rule(format!("replace {}", short(old)), Kind::Literal(Literal::new(old, with)?))
        }
        "pattern" => {
            let pattern = said.pattern.as_deref().unwrap_or_default();
            let regex = Pattern::regex(pattern)?;
            let with = template(said, "with", text(said)?, &Pattern::groups(&regex)?)?;
            rule(format!("pattern {}", short(pattern)), Kind::Pattern(Pattern::new(regex, with)))
        }
        "variables" => {
            let value = |value: &str| template(said, "variables", value, &BTreeSet::new());
            rule("variables".to_owned(), Kind::Variables(Variables::new(&said.variables, said.unknown, &value)?))
        }
        "shebangs" => rule("shebangs".to_owned(), Kind::Shebangs),
        "contents" => {
            let contents = template(said, "contents", said.contents.as_deref().unwrap_or_default(), &BTreeSet::new())?;
            let label = format!("contents of {}", short(&said.files.join(", ")));
            rule(label, Kind::Whole(Whole { contents, new: said.new, executable: said.executable }))
        }
        "source" => {
            let source = said.source.as_deref().unwrap_or_default();
            relative("source", source)?;
            let contents = Template::bytes(read(source).map_err(NoRule::Source)?);
            let kind = Kind::Whole(Whole { contents, new: said.new, executable: said.executable });
            rule(format!("source {}", short(source)), kind)
        }
        _ => {
            let with = said.with.clone().ok_or_else(|| RuleError::new("with", "the new value", ""))?;
            let text = match &with {
                Scalar::Text(text) => Some(template(said, "with", text, &BTreeSet::new())?),
                _ => None,
            };
            let format = format(said)?;
            let at = said.at.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let value = Structured { at: said.at.clone(), with, text, was: said.was.clone(), format };
            rule(format!("at [{at}]"), Kind::Structured(value))
        }
    })
}

/// The one key that says the kind, with no key beside it that goes with others only.
fn kind(said: &SubstituteRecipe) -> Result<&'static str, RuleError> {
    let here = |key: &str| match key {
        "replace" => said.replace.is_some(),
        "pattern" => said.pattern.is_some(),
        "variables" => !said.variables.is_empty(),
        "shebangs" => said.shebangs,
        "contents" => said.contents.is_some(),
        "source" => said.source.is_some(),
        "at" => !said.at.is_empty(),
        "with" => said.with.is_some(),
        "was" => said.was.is_some(),
        "format" => said.format.is_some(),
        "count" => said.count.is_some(),
        "binary" => said.binary,
        "literal" => said.literal,
        "unknown" => said.unknown != crate::recipe::Unknown::default(),
        "new" => said.new,
        "executable" => said.executable.is_some(),
        _ => false,
    };
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).filter(|kind| here(kind)).collect();
    let [kind] = kinds.as_slice() else {
        let all: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(RuleError::new("kind", format!("exactly one of {}", all.join(", ")), kinds.join(", ")));
    };
    let Some((kind, allowed)) = KINDS.iter().find(|(known, _)| known == kind) else {
        return Err(RuleError::new("kind", "a kind", *kind));
    };
    const OTHERS: [&str; 9] = ["with", "was", "format", "count", "binary", "literal", "unknown", "new", "executable"];
    match OTHERS.into_iter().find(|key| here(key) && !allowed.contains(key)) {
        Some(other) => Err(RuleError::new(other, format!("none beside `{kind}`"), other)),
        None => Ok(kind),
    }
}

fn files(said: &SubstituteRecipe, package: bool) -> Result<Vec<String>, RuleError> {
    if said.files.is_empty() {
        return if package && !said.new {
            Ok(vec!["**".to_owned()])
        } else {
            Err(RuleError::new("files", "at least one path in the tree, such as \"bin/*\"", "[]"))
        };
    }
    for file in &said.files {
        relative("files", file)?;
        if said.new && file.contains(['*', '?']) {
            return Err(RuleError::new("files", "the path of a new file", file));
        }
    }
    Ok(said.files.clone())
}

fn relative(key: &'static str, path: &str) -> Result<(), RuleError> {
    let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
    if path.split('/').any(odd) {
        return Err(RuleError::new(key, "a relative path without `.` and `..`", path));
    }
    Ok(())
}

/// `with`, which must be a text.
fn text(said: &SubstituteRecipe) -> Result<&str, RuleError> {
    match &said.with {
        Some(Scalar::Text(text)) => Ok(text),
        Some(other) => Err(RuleError {
            hint: Some(format!("write with = \"{other}\"")),
            ..RuleError::new("with", "a text", other.to_string())
        }),
        None => Err(RuleError {
            hint: Some("write with = \"\" to take the text out".to_owned()),
            ..RuleError::new("with", "the new text", "")
        }),
    }
}

fn template(
    said: &SubstituteRecipe,
    key: &'static str,
    text: &str,
    groups: &BTreeSet<String>,
) -> Result<Template, RuleError> {
    if said.literal {
        return Ok(Template::literal(text));
    }
    let template = Template::parse(text, groups).map_err(|UnknownName { name, meant }| RuleError {
        hint: Some(match meant {
            Some(meant) => format!("did you mean {{{meant}}}? If it is meant as it stands, write literal = true"),
            None => format!("if {{{name}}} is meant as it stands, write literal = true in the rule"),
        }),
        ..RuleError::new(key, names_known(groups), format!("{{{name}}}"))
    })?;
    if said.binary && template.names_prefix() {
        return Err(RuleError::new(key, "a text of a fixed length in binary files", text));
    }
    Ok(template)
}

fn names_known(groups: &BTreeSet<String>) -> String {
    let known = NAMES.iter().map(|(name, _)| *name).chain(groups.iter().map(String::as_str));
    format!("one of {} or {{inputs.NAME}}", known.map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", "))
}

/// The format that is said, or that every name in `files` says.
fn format(said: &SubstituteRecipe) -> Result<Format, RuleError> {
    let files = &said.files;
    let of_name = |file: &String| match file.rsplit_once('.')?.1 {
        "json" => Some(Format::Json),
        "yaml" | "yml" => Some(Format::Yaml),
        "toml" => Some(Format::Toml),
        _ => None,
    };
    let first = said.format.or_else(|| files.first().and_then(of_name));
    let first = first.filter(|first| said.format.is_some() || files.iter().all(|file| of_name(file) == Some(*first)));
    first.ok_or_else(|| RuleError {
        hint: Some("write format = \"json\", \"yaml\" or \"toml\"".to_owned()),
        ..RuleError::new("files", "names that all end with .json, .yaml or .toml", files.join(", "))
    })
}

/// A text in quotes, its end cut off if it is long.
pub(super) fn short(text: &str) -> String {
    const SHOWN: usize = 48;
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
