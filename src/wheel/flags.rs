//! Compiler flags and variables of a build.
//!
//! setuptools takes CFLAGS of the environment *in place of* the interpreter's own, which hold -O2 and -DNDEBUG. So what
//! akb gives it are the interpreter's own flags, then [`ALWAYS`], then those of the recipe. Other backends add CFLAGS
//! to flags of their own, and get only the latter two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::backend::{Call, Request, Room};
use super::error::At as _;
use super::source::EPOCH;
use super::{Native, WheelError, Workshop, backend};
use crate::inputs::{Inputs, Runtime};

/// No debug information: `-g` of Debian's flags doubles the time of the assembler and the size of the result, and
/// is the main carrier of build paths. No path in `__FILE__` either; [`c_flags`] completes the maps.
pub(super) const ALWAYS: [&str; 3] = ["-g0", "-ffile-prefix-map=SOURCE=.", "-ffile-prefix-map=ENV=."];

/// Backends that have flags of their own. What is not here is, or wraps, setuptools.
const OTHER_BACKENDS: [&str; 11] = [
    "flit_core",
    "hatchling",
    "maturin",
    "mesonpy",
    "pdm",
    "poetry",
    "py_build_cmake",
    "scikit_build_core",
    "sipbuild",
    "uv_build",
    "whey",
];

/// Variables of the recipe that are added to akb's instead of replacing them.
const ADDED: [&str; 4] = ["CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS"];

/// What a build is told by its environment, but for how much it may do at once.
///
/// `own` are the interpreter's CFLAGS, `source` is the project's folder in the sandbox.
pub(super) fn variables(
    inputs: &Inputs,
    native: &Native,
    own: &str,
    backend: &str,
    source: &str,
) -> BTreeMap<String, String> {
    let mut all = fixed(inputs);
    let c_flags = c_flags(own, &native.cflags, backend, source);
    all.insert("CXXFLAGS".into(), c_flags.clone());
    all.insert("CFLAGS".into(), c_flags);
    for (name, flags) in [("CPPFLAGS", &native.cppflags), ("LDFLAGS", &native.ldflags)] {
        if !flags.is_empty() {
            merge(&mut all, name, &flags.join(" "));
        }
    }
    for (name, value) in &native.env {
        merge(&mut all, name, value);
    }
    all
}

/// Adds flags to those that are there; any other value takes the place of the one before.
fn merge(all: &mut BTreeMap<String, String>, name: &str, value: &str) {
    let value = match all.get(name) {
        Some(before) if ADDED.contains(&name) && !before.is_empty() => format!("{before} {value}"),
        _ => value.to_owned(),
    };
    all.insert(name.to_owned(), value);
}

/// The interpreter's own CFLAGS, asked for once for these inputs.
pub(super) fn own(workshop: Workshop<'_>) -> Result<String, WheelError> {
    let Workshop { inputs, cache, .. } = workshop;
    let key = inputs.identity.hex();
    if let Some(flags) = cache.text("cflags", &key) {
        return Ok(flags);
    }
    let flags = ask(workshop)?;
    cache.put_text("cflags", &key, &flags)?;
    Ok(flags)
}

fn ask(workshop: Workshop<'_>) -> Result<String, WheelError> {
    let Workshop { inputs, cache, .. } = workshop;
    let scratch = tempfile::tempdir_in(cache.root()).at("create a folder in", cache.root())?;
    let room = Room::new(scratch.path(), 1, inputs)?;
    let call = Call { inputs, room: &room, env: fixed(inputs), folder: "", parallel: 1 };
    let request = Request {
        action: "flags",
        nice: 0,
        source: "/",
        backend: "",
        backend_path: &[],
        config_settings: BTreeMap::new(),
    };
    let package = || inputs.python.display().to_string();
    let (outcome, answer) =
        call.run(&request, &mut |_| {}).map_err(|source| WheelError::Sandbox { package: package(), source })?;
    let flags = answer.flags.and_then(|mut flags| match flags.remove("CFLAGS") {
        Some(serde_json::Value::String(flags)) => Some(flags),
        _ => None,
    });
    flags.ok_or_else(|| WheelError::Interpreter {
        python: inputs.python.clone(),
        message: format!("it ended with status {}", outcome.status),
        output: outcome.output,
    })
}

fn c_flags(own: &str, extra: &[String], backend: &str, source: &str) -> String {
    let module = backend.split([':', '.']).next().unwrap_or_default();
    let own = if OTHER_BACKENDS.contains(&module) { "" } else { own };
    let always = ALWAYS.map(|flag| flag.replace("SOURCE", source).replace("ENV", backend::ENV));
    let all = own.split_whitespace().map(str::to_owned).chain(always).chain(extra.iter().cloned());
    all.collect::<Vec<_>>().join(" ")
}

fn fixed(inputs: &Inputs) -> BTreeMap<String, String> {
    let mut path = vec![PathBuf::from(backend::ENV).join("bin")];
    if !inputs.tools.is_empty() {
        path.push(backend::TOOLS.into());
    }
    path.extend(inputs.path.iter().cloned());
    let libraries: Vec<PathBuf> = inputs.libraries.iter().filter(|folder| !is_default(folder)).cloned().collect();
    // Tools of other origin than the libraries would load these, too, and break.
    let loaded = if inputs.runtime == Runtime::Copied { libraries.clone() } else { Vec::new() };
    let lists = [
        ("PATH", &path),
        ("CPATH", &inputs.include),
        ("LIBRARY_PATH", &libraries),
        ("LD_LIBRARY_PATH", &loaded),
        ("PKG_CONFIG_PATH", &inputs.pkg_config),
    ];
    let lists =
        lists.into_iter().filter(|(_, folders)| !folders.is_empty()).map(|(name, folders)| (name, join(folders)));
    let texts = [
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONNOUSERSITE", "1"),
        ("PYTHONUNBUFFERED", "1"),
        // Deterministic archives: no times, no owners.
        ("ARFLAGS", "rcsD"),
        ("DIST_EXTRA_CONFIG", backend::DISTUTILS_CONFIG),
    ];
    let texts = texts.into_iter().map(|(name, value)| (name, value.to_owned()));
    let epoch = [("SOURCE_DATE_EPOCH", EPOCH.to_string())];
    let own = inputs.env.iter().map(|(name, value)| (name.as_str(), value.clone()));
    texts.chain(lists).chain(epoch).chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn join(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.to_string_lossy()).collect::<Vec<_>>().join(":")
}

/// Whether linker and loader look there by themselves.
fn is_default(folder: &Path) -> bool {
    let Ok(below) = folder.strip_prefix("/usr").or_else(|_| folder.strip_prefix("/")) else { return false };
    let parts: Vec<_> = below.iter().filter_map(|part| part.to_str()).collect();
    matches!(parts[..], ["lib" | "lib64"]) || matches!(parts[..], ["lib", triple] if triple.contains("-linux-gnu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_added_never_replaced() {
        let flags = c_flags("-DNDEBUG -g -O2", &["-include".into(), "x.h".into()], "setuptools.build_meta", "/src");
        assert_eq!(
            flags,
            "-DNDEBUG -g -O2 -g0 -ffile-prefix-map=/src=. -ffile-prefix-map=/akb/build/env=. -include x.h"
        );
        let flags = c_flags("-DNDEBUG -g -O2", &[], "scikit_build_core.build", "/src");
        assert!(flags.starts_with("-g0 "), "{flags}");
    }

    #[test]
    fn default_folders_need_no_variable() {
        for folder in ["/lib", "/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"] {
            assert!(is_default(Path::new(folder)), "{folder}");
        }
        for folder in ["/usr/lib/postgresql", "/opt/lib", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu/mit-krb5"] {
            assert!(!is_default(Path::new(folder)), "{folder}");
        }
    }
}
