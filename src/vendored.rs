//! Releases whose lock and recipe are compiled in: `akb build authentik-deps@2026.2.0` needs no file at all.
//!
//! The data are in `vendor-hashes/`; each lock is what `akb lock` made of the release's own `uv.lock` and the recipe
//! beside it.

use std::path::{Path, PathBuf};

use crate::explain::{ExitCode, Explain};
use crate::lock::sidecar::{Sidecar, SidecarError};
use crate::recipe::{Recipe, RecipeError, nearest};

/// Texts that are compiled in.
struct Text {
    name: &'static str,
    lock: &'static str,
    recipe: &'static str,
}

macro_rules! release {
    ($name:literal, $file:literal) => {
        Text {
            name: $name,
            lock: include_str!(concat!("../vendor-hashes/", $file, ".lock")),
            recipe: include_str!(concat!("../vendor-hashes/", $file, ".toml")),
        }
    };
}

/// All of them, newest first.
const RELEASES: [Text; 2] = [
    release!("authentik-deps@2026.2.0", "authentik-2026.2.0"),
    release!("authentik-deps@2025.12.4", "authentik-2025.12.4"),
];

/// A known release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The name under which it is known.
    pub name: String,
    /// Its lock: everything that a build needs, without addresses.
    pub sidecar: Sidecar,
    /// Its recipe.
    pub recipe: Recipe,
}

/// A name that no release has.
#[derive(Debug, thiserror::Error)]
pub enum UnknownRelease {
    /// No release has this name.
    #[error("no lock of `{name}` is compiled in; known are {}", .known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names, the most similar first.
        known: Vec<&'static str>,
    },
    /// The compiled-in lock is not readable: this binary was put together wrongly.
    #[error("the compiled-in lock of `{name}`: {error}")]
    Lock {
        /// The release.
        name: &'static str,
        /// What is wrong.
        error: Box<SidecarError>,
    },
    /// The compiled-in recipe is not readable: this binary was put together wrongly.
    #[error("the compiled-in recipe of `{name}`: {error}")]
    Recipe {
        /// The release.
        name: &'static str,
        /// What is wrong.
        error: Box<RecipeError>,
    },
}

impl Explain for UnknownRelease {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name, known } => {
                let near = nearest::nearest(name, known.iter().copied());
                Some(near.map_or_else(
                    || "to build a folder that has a uv.lock, name it as a path: `akb build ./DIR`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ))
            }
            Self::Lock { .. } | Self::Recipe { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// The names of all releases, newest first.
pub fn names() -> impl Iterator<Item = &'static str> {
    RELEASES.iter().map(|release| release.name)
}

/// The release of this name, such as `authentik-deps@2026.2.0`.
///
/// # Errors
/// Names that are not known: the error lists those that are.
pub fn find(name: &str) -> Result<Release, UnknownRelease> {
    let Some(text) = RELEASES.iter().find(|release| release.name == name) else {
        return Err(UnknownRelease::Unknown { name: name.to_owned(), known: nearest::by_distance(name, names()) });
    };
    let path = |ending: &str| PathBuf::from(format!("{}.{ending}", text.name));
    let lock = |error| UnknownRelease::Lock { name: text.name, error: Box::new(error) };
    let recipe = |error| UnknownRelease::Recipe { name: text.name, error: Box::new(error) };
    Ok(Release {
        name: text.name.to_owned(),
        sidecar: Sidecar::parse(text.lock, &path("lock")).map_err(lock)?,
        recipe: Recipe::parse(text.recipe, Path::new(&path("toml"))).map_err(recipe)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_whole() {
        for name in names() {
            let release = find(name).unwrap();
            let plan = release.sidecar.plan().unwrap();
            assert_eq!(release.sidecar.check_against(&plan, None), Ok(()), "{name}");
            assert!(plan.packages.iter().all(|package| package.version.is_some()), "{name}");
            let named = release.recipe.package.keys().chain(release.recipe.install.winners.values());
            for package in named {
                assert!(release.sidecar.package(package).is_some(), "{name}: the recipe names {package}");
            }
            let inputs = release.sidecar.inputs.as_ref().unwrap();
            let is_pinned = |wish: &str| inputs.packages.iter().any(|pin| pin.package == wish);
            for wish in release.recipe.input_packages() {
                match wish.strip_prefix('-') {
                    Some(left_out) => assert!(!is_pinned(left_out), "{name}: {left_out}"),
                    None => assert!(is_pinned(&wish), "{name}: {wish}"),
                }
            }
            for (package, said) in &release.recipe.package {
                let locked = release.sidecar.package(package).unwrap();
                assert!(
                    said.version.as_ref().is_none_or(|version| locked.version.as_ref() == Some(version)),
                    "{package}"
                );
            }
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = find("authentik-deps@2025.12.5").unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"no lock of `authentik-deps@2025.12.5` is compiled in; known are authentik-deps@2025.12.4, authentik-deps@2026.2.0");
        assert_eq!(error.hint().unwrap(), "did you mean `authentik-deps@2025.12.4`?");
        assert!(find("zzz").unwrap_err().hint().unwrap().contains("akb build ./DIR"));
    }
}
