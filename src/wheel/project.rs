//! What a project says about how it is built: `[build-system]` of its `pyproject.toml` (PEP 517, PEP 518).

use std::path::Path;

use serde::Deserialize;

use super::{Id, WheelError};
use crate::lock::names::normalize;

/// More bytes than any `pyproject.toml` has.
const LONGEST: u64 = 8 << 20;

/// `[build-system]`, with the defaults that the specification names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildSystem {
    /// Static build requirements (PEP 508).
    pub requires: Vec<String>,
    /// `module` or `module:object`.
    #[serde(default = "legacy")]
    pub build_backend: String,
    /// Folders of an in-tree backend, relative to the project.
    #[serde(default)]
    pub backend_path: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyProject {
    build_system: Option<BuildSystem>,
    project: Option<Project>,
}

/// `[project]`, of which only a name is needed (PEP 621).
#[derive(Deserialize)]
struct Project {
    name: String,
    version: Option<String>,
}

fn legacy() -> String {
    "setuptools.build_meta:__legacy__".to_owned()
}

impl Default for BuildSystem {
    /// That of a project that says nothing: setuptools, `setup.py`.
    fn default() -> Self {
        Self { requires: vec!["setuptools>=40.8.0".to_owned()], build_backend: legacy(), backend_path: vec![] }
    }
}

/// Reads the build system of the project in `folder`.
pub fn build_system(folder: &Path) -> Result<BuildSystem, WheelError> {
    let path = folder.join("pyproject.toml");
    let wrong = |message: &str| WheelError::Project { path: path.clone(), message: message.to_owned() };
    let Some(text) = read(&path)? else {
        return if folder.join("setup.py").is_file() {
            Ok(BuildSystem::default())
        } else {
            Err(wrong("there is neither a pyproject.toml nor a setup.py"))
        };
    };
    let project: PyProject = toml::from_str(&text).map_err(|error| wrong(error.message()))?;
    let system = project.build_system.unwrap_or_default();
    if system.build_backend.trim().is_empty() {
        return Err(wrong("its build-backend is empty"));
    }
    Ok(system)
}

/// What the project in `folder` says it is: by the `PKG-INFO` of a source distribution, else by `pyproject.toml`.
/// `None` where only a build tells.
pub fn id_of(folder: &Path) -> Result<Option<Id>, WheelError> {
    let id = |name: &str, version: Option<String>| Some(Id { name: normalize(name.trim())?, version });
    if let Some(text) = read(&folder.join("PKG-INFO"))? {
        let headers = text.lines().take_while(|line| !line.trim().is_empty());
        let field = |name: &str| headers.clone().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let version = field("Version").map(|version| version.trim().to_owned());
        return Ok(field("Name").and_then(|name| id(name, version)));
    }
    let project =
        read(&folder.join("pyproject.toml"))?.and_then(|text| toml::from_str::<PyProject>(&text).ok()?.project);
    Ok(project.and_then(|project| id(&project.name, project.version)))
}

/// The text of a file; `None` where there is none. A link could lead out of the sources, so it is refused.
fn read(path: &Path) -> Result<Option<String>, WheelError> {
    let wrong = |message: String| WheelError::Project { path: path.to_owned(), message };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
        Ok(metadata) if !metadata.is_file() => return Err(wrong("it is not a regular file".to_owned())),
        Ok(metadata) if metadata.len() > LONGEST => return Err(wrong(format!("it is larger than {LONGEST} bytes"))),
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pyproject: Option<&str>, setup: bool) -> Result<BuildSystem, WheelError> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(text) = pyproject {
            std::fs::write(folder.path().join("pyproject.toml"), text).unwrap();
        }
        if setup {
            std::fs::write(folder.path().join("setup.py"), "").unwrap();
        }
        build_system(folder.path())
    }

    #[test]
    fn what_is_not_said_is_setuptools() {
        for pyproject in [None, Some(""), Some("[project]\nname = 'x'\n[tool.setuptools]\n")] {
            assert_eq!(read(pyproject, true).unwrap(), BuildSystem::default());
        }
        let system = read(Some("[build-system]\nrequires = ['Cython>=3', 'setuptools']"), false).unwrap();
        assert_eq!(system.requires, ["Cython>=3", "setuptools"]);
        assert_eq!(system.build_backend, "setuptools.build_meta:__legacy__");
    }

    #[test]
    fn what_is_said_is_taken() {
        let text = "[build-system]\nrequires = []\nbuild-backend = 'local:api.v1'\nbackend-path = ['.', 'tools']\n";
        let system = read(Some(text), false).unwrap();
        assert_eq!((system.build_backend.as_str(), system.backend_path.len()), ("local:api.v1", 2));
    }

    #[test]
    fn a_project_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(id_of(folder.path()).unwrap(), None);
        write("pyproject.toml", "[project]\nname = 'Foo.Bar'\ndynamic = ['version']\n");
        assert_eq!(id_of(folder.path()).unwrap(), Some(Id { name: "foo-bar".into(), version: None }));
        write("PKG-INFO", "Metadata-Version: 2.1\nName: foo_bar\nVersion: 1.5\n\nName: other\n");
        assert_eq!(id_of(folder.path()).unwrap(), Some(Id { name: "foo-bar".into(), version: Some("1.5".into()) }));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for text in ["[build-system", "[build-system]", "[build-system]\nrequires = 'x'", "build-system = 1"] {
            assert!(matches!(read(Some(text), true), Err(WheelError::Project { .. })), "{text}");
        }
        assert!(read(None, false).unwrap_err().to_string().contains("neither a pyproject.toml nor a setup.py"));
    }
}
