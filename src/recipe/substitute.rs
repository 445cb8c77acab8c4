//! `[[substitute]]`: files of the site that become something else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One `[[substitute]]` table. Exactly one of `replace`, `pattern`, `variables`, `shebangs`, `contents`, `source`
/// and `at` says what kind of rule it is; `substitute::Rule` knows which keys go with which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the table")]
pub struct SubstituteRecipe {
    /// Only files of this package; `files` then is relative to site-packages. Normalised (PEP 503) when it is read.
    pub package: Option<String>,
    /// Paths in the tree: `*` and `?` stand for anything but `/`, `**` for anything. Each must find a file.
    pub files: Vec<String>,
    /// The text to replace.
    pub replace: Option<String>,
    /// The regular expression whose matches are replaced.
    pub pattern: Option<String>,
    /// Values for `@NAME@`.
    pub variables: BTreeMap<String, String>,
    /// Whether `#!` lines become those of the tree's own programs.
    pub shebangs: bool,
    /// The whole new text of a file.
    pub contents: Option<String>,
    /// A file of the project, relative to the recipe's folder, that takes the file's place as it is.
    pub source: Option<String>,
    /// Where a value is in a JSON, YAML or TOML file: keys, and numbers counted from zero.
    pub at: Vec<Key>,
    /// What comes in its place.
    pub with: Option<Scalar>,
    /// With `at`: what the value is now.
    pub was: Option<Scalar>,
    /// With `at`: how the file is written, where its name does not say so.
    pub format: Option<Format>,
    /// What happens where nothing matches.
    pub mode: Mode,
    /// With `replace` and `pattern`: exactly this many matches, over all files of the rule.
    pub count: Option<u64>,
    /// Whether binary files may change, by replacements of equal length.
    pub binary: bool,
    /// Whether `{name}` in the new text means just that.
    pub literal: bool,
    /// With `variables`: what happens to `@NAME@` of other names.
    pub unknown: Unknown,
    /// With `contents` and `source`: whether the file is a new one.
    pub new: bool,
    /// With `contents` and `source`: whether the file may be executed. An existing one keeps its mode if not said.
    pub executable: Option<bool>,
}

/// What happens where a rule matches nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The build ends.
    #[default]
    Fail,
    /// It is said, and the build goes on.
    Warn,
    /// Nothing.
    Quiet,
}

/// What happens to `@NAME@` of a name that the rule does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// It stays.
    #[default]
    Leave,
    /// The build ends.
    Fail,
}

/// How a structured file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2, one document.
    Yaml,
    /// TOML 1.1.
    Toml,
}

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// An item of a list, counted from zero.
    Index(usize),
    /// A key of a table.
    Name(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// A value that is neither list nor table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(Decimal),
    /// A text.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(Decimal(value)) => f.write_str(value),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}

/// A finite number with a point, as the shortest text that is read as the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(pub String);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.parse().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if value.is_finite() {
            let text = format!("{value:?}");
            // With a point and a sign, so that it is a number in YAML 1.1, too.
            Ok(Self(match text.split_once('e') {
                Some((mantissa, exponent)) => {
                    let point = if mantissa.contains('.') { "" } else { ".0" };
                    let sign = if exponent.starts_with('-') { "" } else { "+" };
                    format!("{mantissa}{point}e{sign}{exponent}")
                }
                None => text,
            }))
        } else {
            Err(serde::de::Error::custom("expected a finite number"))
        }
    }
}
