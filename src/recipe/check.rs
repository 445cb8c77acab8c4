//! Values that the types cannot refuse.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;

use super::{PackageRecipe, Recipe, RecipeError};
use crate::inputs::debian::relation;
use crate::lock::names;
use crate::lock::resolve::requirement;
use crate::substitute;

/// Variables that akb sets itself, and what to write in the recipe instead.
const OWN_VARIABLES: [(&str, Option<&str>); 12] = [
    ("CFLAGS", Some("cflags = [\"…\"], which adds to the interpreter's own flags instead of replacing them")),
    ("CXXFLAGS", Some("cflags = [\"…\"], which adds to the interpreter's own flags instead of replacing them")),
    ("CPPFLAGS", Some("cppflags = [\"…\"]")),
    ("LDFLAGS", Some("ldflags = [\"…\"]")),
    ("LDSHARED", Some("ldflags = [\"…\"]")),
    ("PATH", Some("inputs = [\"…\"], the packages that hold the programs")),
    ("PKG_CONFIG_PATH", Some("inputs = [\"…\"], the packages that hold the .pc files")),
    ("HOME", None),
    ("PYTHONPATH", Some("build-requires = [\"…\"]")),
    ("PYTHONHASHSEED", None),
    ("SOURCE_DATE_EPOCH", None),
    ("LD_PRELOAD", None),
];

/// Normalises names and refuses what no build can follow.
pub(super) fn check(mut recipe: Recipe, path: &Path) -> Result<Recipe, RecipeError> {
    let cx = Checker { path };
    let mut packages = BTreeMap::new();
    for (name, package) in std::mem::take(&mut recipe.package) {
        let normal = cx.name(&format!("package.{name}"), &name)?;
        cx.package(&normal, &package)?;
        if packages.insert(normal.clone(), package).is_some() {
            return Err(cx.combination(&normal, "is said twice, in two spellings of the name"));
        }
    }
    recipe.package = packages;
    for (file, winner) in &mut recipe.install.winners {
        let key = format!("install.winners.\"{file}\"");
        cx.relative(&key, file)?;
        *winner = cx.name(&key, winner)?;
    }
    if let Some(package) = &mut recipe.project.package {
        *package = cx.name("project.package", package)?;
    }
    for (key, names) in [("project.extras", &mut recipe.project.extras), ("project.groups", &mut recipe.project.groups)]
    {
        for name in names {
            *name = cx.name(key, name)?;
        }
    }
    cx.relations("inputs.packages", &recipe.inputs.packages)?;
    cx.words("relink.ignore", &recipe.relink.ignore)?;
    cx.words("relink.optional", &recipe.relink.optional)?;
    for (files, folders) in &recipe.relink.runpath {
        cx.folders(&format!("relink.runpath.\"{files}\""), folders)?;
    }
    cx.words("verify.skip-import", &recipe.verify.skip_import)?;
    for (index, rule) in recipe.substitute.iter().enumerate() {
        substitute::check(rule, index + 1).map_err(|error| RecipeError::Value {
            path: path.to_owned(),
            key: format!("substitute {}: {}", index + 1, error.key),
            expected: error.expected,
            found: error.found,
            hint: error.hint,
        })?;
    }
    if let Some(suite) = &recipe.inputs.suite {
        cx.words("inputs.suite", std::slice::from_ref(suite))?;
    }
    Ok(recipe)
}

struct Checker<'a> {
    path: &'a Path,
}

impl Checker<'_> {
    fn package(&self, name: &str, package: &PackageRecipe) -> Result<(), RecipeError> {
        self.source(name, package)?;
        let key = |key: &str| format!("package.{name}.{key}");
        for requirement in &package.build_requires {
            if let Err(error) = requirement::check(requirement) {
                let expected = "a requirement such as \"setuptools>=80\"";
                let hint = Some(error.to_string());
                return Err(self.value(&key("build-requires"), expected, requirement, hint));
            }
        }
        for (flags, list) in
            [("cflags", &package.cflags), ("cppflags", &package.cppflags), ("ldflags", &package.ldflags)]
        {
            for flag in list {
                if flag.is_empty() || flag.contains(|c: char| c.is_whitespace() || c.is_control()) {
                    let hint = format!("write each flag as an item of its own: {flags} = [\"-DA\", \"-DB\"]");
                    return Err(self.value(&key(flags), "one flag without spaces", flag, Some(hint)));
                }
            }
        }
        self.environment(name, package)?;
        self.relations(&key("inputs"), &package.inputs)?;
        self.words(&key("dlopen"), &package.dlopen)
    }

    /// The keys that say where a package comes from.
    fn source(&self, name: &str, package: &PackageRecipe) -> Result<(), RecipeError> {
        let sources = [package.version.is_some(), package.git.is_some(), package.path.is_some()];
        if sources.iter().filter(|said| **said).count() > 1 {
            return Err(self.combination(name, "`version`, `git` and `path` exclude each other"));
        }
        for (said, key, needs, has) in [
            (package.file.is_some(), "file", "version", package.version.is_some()),
            (package.sha256.is_some(), "sha256", "file", package.file.is_some()),
            (package.rev.is_some(), "rev", "git", package.git.is_some()),
            (package.subdirectory.is_some(), "subdirectory", "git", package.git.is_some()),
            (package.git.is_some(), "git", "rev", package.rev.is_some()),
        ] {
            if said && !has {
                return Err(self.combination(name, &format!("`{key}` needs `{needs}`")));
            }
        }
        let key = |key: &str| format!("package.{name}.{key}");
        if let Some(version) = &package.version
            && pep440_rs::Version::from_str(version).is_err()
        {
            let hint = Some("a replacement is one exact version, such as version = \"1.3.16\"".to_owned());
            return Err(self.value(&key("version"), "a version (PEP 440)", version, hint));
        }
        if let Some(rev) = &package.rev
            && !((rev.len() == 40 || rev.len() == 64) && rev.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            let hint = Some("`git ls-remote REPOSITORY` prints the commits that branches and tags name".to_owned());
            return Err(self.value(&key("rev"), "the full object name of a commit, 40 hexadecimal digits", rev, hint));
        }
        if let Some(file) = &package.file
            && (file.is_empty() || file.contains(['/', '\\', '\0']))
        {
            return Err(self.value(&key("file"), "a file name without folder", file, None));
        }
        package.subdirectory.as_ref().map_or(Ok(()), |folder| self.relative(&key("subdirectory"), folder))
    }

    fn environment(&self, name: &str, package: &PackageRecipe) -> Result<(), RecipeError> {
        for (variable, value) in &package.env {
            let key = format!("package.{name}.env.{variable}");
            if variable.is_empty() || variable.contains(['=', '\0']) || value.contains('\0') {
                return Err(self.value(&key, "a variable name and value without NUL and `=`", variable, None));
            }
            if let Some((_, instead)) = OWN_VARIABLES.iter().find(|(own, _)| own == variable) {
                let hint = instead.map(|instead| format!("in [package.{name}] write {instead}"));
                return Err(self.value(&key, "a variable that akb does not set itself", variable, hint));
            }
        }
        Ok(())
    }

    fn name(&self, key: &str, name: &str) -> Result<String, RecipeError> {
        names::normalize(name)
            .ok_or_else(|| self.value(key, "a package name (letters, digits, `-`, `_`, `.`)", name, None))
    }

    fn words(&self, key: &str, words: &[String]) -> Result<(), RecipeError> {
        let odd = |word: &&String| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control());
        words.iter().find(odd).map_or(Ok(()), |word| Err(self.value(key, "a name without spaces", word, None)))
    }

    /// Entries of a search path.
    fn folders(&self, key: &str, folders: &[String]) -> Result<(), RecipeError> {
        let own = |folder: &str| {
            let rest = folder.strip_prefix("$ORIGIN");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || folder.starts_with('/')
        };
        let odd = |folder: &&String| !own(folder) || folder.contains([':', '\0']);
        let expected = "a folder such as $ORIGIN/../lib, or an absolute one";
        folders.iter().find(odd).map_or(Ok(()), |folder| Err(self.value(key, expected, folder, None)))
    }

    /// Wishes of the archive: a relation, or one with `-` before it.
    fn relations(&self, key: &str, relations: &[String]) -> Result<(), RecipeError> {
        let odd =
            |wish: &&String| !relation::parse(wish.strip_prefix('-').unwrap_or(wish)).is_ok_and(|all| all.len() == 1);
        let expected = "an input package such as libxml2-dev, gcc (>= 4:16) or, to leave one out, -perl";
        relations.iter().find(odd).map_or(Ok(()), |wish| Err(self.value(key, expected, wish, None)))
    }

    fn relative(&self, key: &str, path: &str) -> Result<(), RecipeError> {
        let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains(['\\', '\0']);
        if path.split('/').any(odd) {
            return Err(self.value(key, "a relative path without `.` and `..`", path, None));
        }
        Ok(())
    }

    fn value(&self, key: &str, expected: &str, found: &str, hint: Option<String>) -> RecipeError {
        RecipeError::Value {
            path: self.path.to_owned(),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            hint,
        }
    }

    fn combination(&self, package: &str, message: &str) -> RecipeError {
        RecipeError::Combination {
            path: self.path.to_owned(),
            package: package.to_owned(),
            message: message.to_owned(),
        }
    }
}
