//! What `pyproject.toml` and `uv.toml` say that bears on a plan and is not in the lock.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use pep440_rs::VersionSpecifiers;
use serde::Deserialize;

use crate::explain::{ExitCode, Explain};
use crate::lock::names::normalize;

/// Longest file that is read, in bytes.
const LONGEST: usize = 16 << 20;

/// A project as far as a plan needs it. The default is a folder without `pyproject.toml`.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Normalised name (PEP 621).
    pub name: Option<String>,
    /// Normalised names of its extras.
    pub extras: BTreeSet<String>,
    /// Normalised names of its dependency groups (PEP 735).
    pub groups: BTreeSet<String>,
    /// Pythons that it runs on.
    pub requires_python: Option<VersionSpecifiers>,
    /// Groups that `uv sync` installs unasked (`tool.uv.default-groups`).
    pub default_groups: DefaultGroups,
    /// Packages whose wheels may not be used.
    pub no_binary: Rule,
    /// Packages whose sources may not be built.
    pub no_build: Rule,
}

/// Groups that uv installs unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultGroups {
    /// All that there are.
    All,
    /// These, by normalised name.
    Named(BTreeSet<String>),
}

impl Default for DefaultGroups {
    fn default() -> Self {
        Self::Named(BTreeSet::from(["dev".to_owned()]))
    }
}

/// A rule for all packages or for some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// For all.
    pub all: bool,
    /// For these, by normalised name.
    pub packages: BTreeSet<String>,
}

impl Rule {
    /// Whether the rule holds for a package.
    pub fn covers(&self, name: &str) -> bool {
        self.all || self.packages.contains(name)
    }
}

/// A project file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct ProjectError {
    /// The file.
    pub path: String,
    /// What is wrong with it, and where.
    pub reason: String,
}

impl Explain for ProjectError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    project: Option<WireProject>,
    #[serde(default)]
    dependency_groups: toml::Table,
    #[serde(default)]
    tool: WireTool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireProject {
    name: Option<String>,
    requires_python: Option<String>,
    #[serde(default)]
    optional_dependencies: toml::Table,
}

#[derive(Deserialize, Default)]
struct WireTool {
    #[serde(default)]
    uv: WireUv,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct WireUv {
    default_groups: Option<WireGroups>,
    #[serde(default)]
    no_binary: bool,
    #[serde(default)]
    no_binary_package: Vec<String>,
    #[serde(default)]
    no_build: bool,
    #[serde(default)]
    no_build_package: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireGroups {
    Word(String),
    List(Vec<String>),
}

impl Project {
    /// Reads the text of a `pyproject.toml`, and of the `uv.toml` beside it, whose build rules replace those
    /// of `[tool.uv]` as they do in uv. Paths are only for messages.
    pub fn parse(pyproject: Option<(&str, &str)>, uv: Option<(&str, &str)>) -> Result<Self, ProjectError> {
        let mut project = Self::default();
        if let Some((text, path)) = pyproject {
            let wrong = |reason| ProjectError { path: path.to_owned(), reason };
            let wire: Wire = read(text).map_err(wrong)?;
            project.groups = names(wire.dependency_groups.keys()).map_err(wrong)?;
            if let Some(wire) = wire.project {
                project.extras = names(wire.optional_dependencies.keys()).map_err(wrong)?;
                project.name = wire.name.as_deref().map(name).transpose().map_err(wrong)?;
                let specifiers = wire.requires_python.as_deref().map(VersionSpecifiers::from_str).transpose();
                project.requires_python =
                    specifiers.map_err(|error| wrong(format!("project.requires-python: {error}")))?;
            }
            project.read_groups(wire.tool.uv.default_groups.as_ref()).map_err(wrong)?;
            project.read_rules(&wire.tool.uv).map_err(wrong)?;
        }
        if let Some((text, path)) = uv {
            let wrong = |reason| ProjectError { path: path.to_owned(), reason };
            project.read_rules(&read(text).map_err(wrong)?).map_err(wrong)?;
        }
        Ok(project)
    }

    fn read_groups(&mut self, groups: Option<&WireGroups>) -> Result<(), String> {
        self.default_groups = match groups {
            None => return Ok(()),
            Some(WireGroups::Word(word)) if word == "all" => DefaultGroups::All,
            Some(WireGroups::Word(word)) => {
                return Err(format!("tool.uv.default-groups: expected `all` or a list, found `{word}`"));
            }
            Some(WireGroups::List(list)) => DefaultGroups::Named(names(list)?),
        };
        Ok(())
    }

    fn read_rules(&mut self, wire: &WireUv) -> Result<(), String> {
        self.no_binary = Rule { all: wire.no_binary, packages: names(&wire.no_binary_package)? };
        self.no_build = Rule { all: wire.no_build, packages: names(&wire.no_build_package)? };
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    toml::from_str(text).map_err(|error| error.to_string())
}

fn names<'a>(list: impl IntoIterator<Item = &'a String>) -> Result<BTreeSet<String>, String> {
    list.into_iter().map(|text| name(text)).collect()
}

fn name(text: &str) -> Result<String, String> {
    normalize(text).ok_or_else(|| format!("`{text}` is not a valid name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pyproject: &str, uv: Option<&str>) -> Result<Project, ProjectError> {
        Project::parse(Some((pyproject, "pyproject.toml")), uv.map(|text| (text, "uv.toml")))
    }

    #[test]
    fn reads_what_bears_on_a_plan() {
        let text = r#"
            [project]
            name = "My_App"
            requires-python = ">=3.12"
            [project.optional-dependencies]
            Fast = []
            [dependency-groups]
            Test_All = ["pytest", { include-group = "x" }]
            [tool.uv]
            default-groups = ["Dev", "docs"]
            no-binary-package = ["LXML"]
            no-build = true
        "#;
        let project = parse(text, None).unwrap();
        assert_eq!(project.name.as_deref(), Some("my-app"));
        assert_eq!((project.extras, project.groups), (["fast".into()].into(), ["test-all".into()].into()));
        assert_eq!(project.requires_python.unwrap().to_string(), ">=3.12");
        assert_eq!(project.default_groups, DefaultGroups::Named(["dev".into(), "docs".into()].into()));
        assert!(project.no_binary.covers("lxml") && !project.no_binary.covers("xmlsec"));
        assert!(project.no_build.covers("anything"));
    }

    #[test]
    fn rules_of_uv_toml_replace_those_of_pyproject() {
        let project = parse("[tool.uv]\nno-binary = true", Some("no-build-package = ['a']")).unwrap();
        assert_eq!(project.no_binary, Rule::default());
        assert!(project.no_build.covers("a"));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for text in [
            "[project]\nname = '-'",
            "[project]\nrequires-python = 'new'",
            "[tool.uv]\ndefault-groups = 'some'",
            "[tool.uv]\nno-binary-package = ['a b']",
            "project",
        ] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }
}
