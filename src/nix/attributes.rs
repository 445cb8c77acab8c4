//! What a derivation tells its builder: attributes in the environment, in files (`passAsFile`), or in one JSON file
//! (`__structuredAttrs`).
//!
//! In the environment a list is its elements with spaces between them, `true` is `1`, and `false` and `null` are
//! empty. Structured attributes keep their types (Nix manual, "Advanced Attributes").

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::explain::{ExitCode, Explain};

/// The file of structured attributes in the build folder.
const JSON: &str = ".attrs.json";

/// Attributes of one derivation.
pub struct Attributes<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// With `__structuredAttrs`.
    json: Option<BTreeMap<String, Value>>,
    /// The build folder, writable, gone afterwards.
    pub top: PathBuf,
}

/// An attribute that is not there, or not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum AttributeError {
    /// Not run by Nix.
    #[error("NIX_BUILD_TOP is not set: this is not a Nix build")]
    NotNix,
    /// The JSON file cannot be read.
    #[error("cannot read the structured attributes in `{}`: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has to be there.
    #[error("the derivation has no attribute `{name}`: {purpose}")]
    Missing {
        /// The attribute.
        name: &'static str,
        /// What it says.
        purpose: &'static str,
        /// How it is written.
        example: &'static str,
    },
    /// It is something else.
    #[error("the attribute `{name}` is `{found}`; expected {expected}")]
    Wrong {
        /// The attribute.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
}

impl Explain for AttributeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotNix => Some("`akb nix-build` is for derivations (builder = ./akb); use `akb build` here".into()),
            Self::Missing { example, .. } => Some(format!("write in the derivation: {example}")),
            Self::Json { .. } | Self::Wrong { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl<'a> Attributes<'a> {
    /// Whether the environment `env` is that of a derivation's builder.
    pub fn are_there(env: &dyn Fn(&str) -> Option<String>) -> bool {
        let Some(top) = env("NIX_BUILD_TOP") else { return false };
        env("out").is_some() || env("outputs").is_some() || Path::new(&top).join(JSON).is_file()
    }

    /// Reads them. `env` gives a variable; an empty one is the same as none.
    pub fn read(env: &'a dyn Fn(&str) -> Option<String>) -> Result<Self, AttributeError> {
        let top = env("NIX_BUILD_TOP").map(PathBuf::from).ok_or(AttributeError::NotNix)?;
        // Nix 2.8 names a file outside the sandbox; the one in the build folder is always there.
        let named = env("NIX_ATTRS_JSON_FILE").map(PathBuf::from).filter(|path| path.is_file());
        let path = named.unwrap_or_else(|| top.join(JSON));
        let json = match fs::read(&path) {
            Ok(text) => Some(
                serde_json::from_slice(&text)
                    .map_err(|error| AttributeError::Json { path: path.clone(), source: error.into() })?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(AttributeError::Json { path, source }),
        };
        Ok(Self { env, json, top })
    }

    /// A variable that Nix itself sets or lets through, not an attribute.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// A text. Empty counts as absent, as in the environment.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, AttributeError> {
        let text = match &self.json {
            Some(json) => match json.get(name) {
                None | Some(Value::Null | Value::Bool(false)) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Bool(true)) => Some("1".to_owned()),
                Some(Value::Number(number)) => Some(number.to_string()),
                Some(other) => return Err(wrong(name, other.to_string(), "a text")),
            },
            None => self.plain(name)?,
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// A list of texts; one text is a list of its words.
    pub fn list(&self, name: &'static str) -> Result<Vec<String>, AttributeError> {
        if let Some(Value::Array(values)) = self.json.as_ref().and_then(|json| json.get(name)) {
            let text = |value: &Value| match value {
                Value::String(text) => Ok(text.clone()),
                other => Err(wrong(name, other.to_string(), "a list of texts")),
            };
            return values.iter().map(text).collect();
        }
        Ok(self.text(name)?.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
    }

    /// A list of paths.
    pub fn paths(&self, name: &'static str) -> Result<Vec<PathBuf>, AttributeError> {
        Ok(self.list(name)?.into_iter().map(PathBuf::from).collect())
    }

    /// A truth value; `default` where there is none. An attribute that is there and false says no.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, AttributeError> {
        match &self.json {
            Some(json) => match json.get(name) {
                None | Some(Value::Null) => Ok(default),
                Some(Value::Bool(value)) => Ok(*value),
                Some(other) => Err(wrong(name, other.to_string(), "true or false")),
            },
            // The environment cannot tell false from absent: say `"0"` or `"false"` there.
            None => match self.plain(name)?.as_deref() {
                None | Some("") => Ok(default),
                Some("1" | "true") => Ok(true),
                Some("0" | "false") => Ok(false),
                Some(other) => Err(wrong(name, other.to_owned(), "`1` or `0`")),
            },
        }
    }

    /// Names and texts: an attribute set of texts, or words `NAME=TEXT`.
    pub fn map(&self, name: &'static str) -> Result<BTreeMap<String, String>, AttributeError> {
        if let Some(Value::Object(values)) = self.json.as_ref().and_then(|json| json.get(name)) {
            let text = |(key, value): (&String, &Value)| match value {
                Value::String(text) => Ok((key.clone(), text.clone())),
                other => Err(wrong(name, other.to_string(), "a set of texts")),
            };
            return values.iter().map(text).collect();
        }
        let pair = |word: String| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(wrong(name, word, "words of the form NAME=TEXT")),
        };
        self.list(name)?.into_iter().map(pair).collect()
    }

    /// Where the output `name` goes; `None` where the derivation has no such output.
    pub fn output(&self, name: &'static str) -> Result<Option<PathBuf>, AttributeError> {
        let Some(json) = &self.json else {
            let outputs = (self.env)("outputs").unwrap_or_else(|| "out".to_owned());
            let named = outputs.split_whitespace().any(|output| output == name);
            return Ok(named.then(|| (self.env)(name)).flatten().map(PathBuf::from));
        };
        match json.get("outputs") {
            Some(Value::Object(outputs)) => Ok(outputs.get(name).and_then(Value::as_str).map(PathBuf::from)),
            _ => Err(wrong("outputs", "something else".to_owned(), "a set of paths")),
        }
    }

    /// The output `out`, which every derivation of akb's has.
    pub fn out(&self) -> Result<PathBuf, AttributeError> {
        self.output("out")?.ok_or(AttributeError::Missing {
            name: "out",
            purpose: "akb writes its result to an output of this name",
            example: "outputs = [ \"out\" ];",
        })
    }

    /// Whether the result has a known hash, so that Nix allows the network.
    pub fn is_fixed_output(&self) -> Result<bool, AttributeError> {
        Ok(self.text("outputHash")?.is_some() || self.text("outputHashMode")?.is_some())
    }

    /// How many processors may be used: `NIX_BUILD_CORES`, where 0 means `all`.
    pub fn cores(&self, all: NonZeroUsize) -> NonZeroUsize {
        let said = (self.env)("NIX_BUILD_CORES").and_then(|text| text.trim().parse().ok());
        said.and_then(NonZeroUsize::new).unwrap_or(all)
    }

    /// The folder of all store paths.
    pub fn store(&self) -> PathBuf {
        PathBuf::from((self.env)("NIX_STORE").unwrap_or_else(|| "/nix/store".to_owned()))
    }

    fn plain(&self, name: &'static str) -> Result<Option<String>, AttributeError> {
        if let Some(text) = (self.env)(name) {
            return Ok(Some(text));
        }
        let in_files = (self.env)("passAsFile").unwrap_or_default();
        if !in_files.split_whitespace().any(|listed| listed == name) {
            return Ok(None);
        }
        let Some(path) = (self.env)(&format!("{name}Path")) else { return Ok(None) };
        fs::read_to_string(&path).map(Some).map_err(|error| wrong(name, format!("{path}: {error}"), "a readable file"))
    }
}

fn wrong(name: &'static str, found: String, expected: &str) -> AttributeError {
    AttributeError::Wrong { name, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        move |name: &str| map.get(name).filter(|value| !value.is_empty()).cloned()
    }

    #[test]
    fn the_three_ways_say_the_same() {
        let top = tempfile::tempdir().unwrap();
        let at = top.path().display().to_string();
        let plain = environment(&[
            ("NIX_BUILD_TOP", at.clone()),
            ("stage", "wheel".into()),
            ("files", "/a /b".into()),
            ("bytecode", "0".into()),
            ("sources", "x=/x y=/y".into()),
            ("outputs", "out dev".into()),
            ("out", "/s/o".into()),
            ("dev", "/s/d".into()),
        ]);
        let file = top.path().join("stage");
        fs::write(&file, "wheel").unwrap();
        fs::write(top.path().join("files"), "/a\n/b").unwrap();
        let as_file = environment(&[
            ("NIX_BUILD_TOP", at.clone()),
            ("passAsFile", "stage files".into()),
            ("stagePath", file.display().to_string()),
            ("filesPath", top.path().join("files").display().to_string()),
            ("bytecode", "false".into()),
            ("sources", "x=/x y=/y".into()),
            ("outputs", "out dev".into()),
            ("out", "/s/o".into()),
            ("dev", "/s/d".into()),
        ]);
        let structured = tempfile::tempdir().unwrap();
        fs::write(
            structured.path().join(JSON),
            r#"{"stage":"wheel","files":["/a","/b"],"bytecode":false,"sources":{"x":"/x","y":"/y"},
                "outputs":{"out":"/s/o","dev":"/s/d"}}"#,
        )
        .unwrap();
        // Nix 2.8 names a file that is not there.
        let structured = environment(&[
            ("NIX_BUILD_TOP", structured.path().display().to_string()),
            ("NIX_ATTRS_JSON_FILE", "/nowhere/.attrs.json".into()),
        ]);
        for env in [&plain as &dyn Fn(&str) -> Option<String>, &as_file, &structured] {
            assert!(Attributes::are_there(env));
            let attributes = Attributes::read(env).unwrap();
            assert_eq!(attributes.text("stage").unwrap().as_deref(), Some("wheel"));
            assert_eq!(attributes.paths("files").unwrap(), [PathBuf::from("/a"), PathBuf::from("/b")]);
            assert!(!attributes.flag("bytecode", true).unwrap());
            assert!(attributes.flag("verify", true).unwrap());
            assert_eq!(attributes.map("sources").unwrap()["y"], "/y");
            assert_eq!(attributes.out().unwrap(), Path::new("/s/o"));
            assert_eq!(attributes.output("dev").unwrap(), Some("/s/d".into()));
            assert_eq!(attributes.output("debug").unwrap(), None);
            assert_eq!(attributes.text("nothing").unwrap(), None);
        }
    }

    #[test]
    fn no_derivation_is_no_derivation() {
        let env = environment(&[("out", "/o".into())]);
        assert!(!Attributes::are_there(&env));
        assert!(matches!(Attributes::read(&env), Err(AttributeError::NotNix)));
    }

    #[test]
    fn zero_cores_are_all() {
        let top = tempfile::tempdir().unwrap();
        for (said, cores) in [("0", 8), ("3", 3), ("", 8), ("x", 8)] {
            let env =
                environment(&[("NIX_BUILD_TOP", top.path().display().to_string()), ("NIX_BUILD_CORES", said.into())]);
            let all = NonZeroUsize::new(8).unwrap();
            assert_eq!(Attributes::read(&env).unwrap().cores(all).get(), cores, "{said}");
        }
    }

    #[test]
    fn wrong_types_are_named() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join(JSON), r#"{"stage":["a"],"files":[1],"bytecode":"yes","outputs":{}}"#).unwrap();
        let env = environment(&[("NIX_BUILD_TOP", top.path().display().to_string())]);
        let attributes = Attributes::read(&env).unwrap();
        let message = attributes.text("stage").unwrap_err().to_string();
        assert_eq!(message, r#"the attribute `stage` is `["a"]`; expected a text"#);
        assert!(attributes.list("files").is_err());
        assert!(attributes.flag("bytecode", true).is_err());
        assert!(matches!(attributes.out(), Err(AttributeError::Missing { name: "out", .. })));
    }
}
