//! Imports every top-level module with the tree's own interpreter, in a sandbox that shows the tree and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use rayon::prelude::*;

use super::{Check, Finding, Report, Site, VerifyError};
use crate::inputs::View;
use crate::install::record;
use crate::place::Receipt;
use crate::report::{Event, Reporter, Stage};
use crate::sandbox::{self, Spec};

/// Time for one batch of modules.
const TIME: Duration = Duration::from_mins(10);

const SHIM: &str = include_str!("../../python-shim/imports.py");

pub(super) fn check(
    site: &Site,
    receipt: &Receipt,
    jobs: NonZeroUsize,
    reporter: &dyn Reporter,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let modules = modules(site)?;
    let wanted: Vec<&String> = modules.iter().filter(|module| !receipt.skip_import.contains_key(*module)).collect();
    // Neighbours in the alphabet share dependencies, so long runs are imported once.
    let batch = wanted.len().div_ceil(jobs.get()).max(1);
    let failed: Vec<BTreeMap<String, String>> = wanted
        .par_chunks(batch)
        .map(|names| attempt(site, names, &receipt.outside, reporter))
        .collect::<Result<_, _>>()?;
    report.findings.extend(failed.into_iter().flatten().map(|(module, error)| Finding {
        check: Check::Imports,
        subject: module,
        problem: error,
    }));
    let skipped = modules.len() - wanted.len();
    let mut looked = format!("{} top-level modules", wanted.len());
    if skipped > 0 {
        looked.push_str(&format!(", {skipped} left out by the recipe"));
    }
    report.looked.insert(Check::Imports, looked);
    Ok(())
}

/// The names that `import` takes, of all packages.
fn modules(site: &Site) -> Result<BTreeSet<String>, VerifyError> {
    let mut modules = BTreeSet::new();
    for dist in &site.dists {
        let text = site.read(&dist.join("RECORD"))?;
        let Ok(rows) = record::parse(&String::from_utf8_lossy(&text)) else { continue };
        modules.extend(rows.iter().filter_map(|row| module(&row.path)));
    }
    Ok(modules)
}

/// The top-level module that a file belongs to: a package with `__init__`, a module, an extension module.
fn module(path: &str) -> Option<String> {
    let (name, rest) = match path.split_once('/') {
        Some((package, rest)) => (package, Some(rest)),
        None => (path, None),
    };
    let stem = match rest {
        Some(rest) if rest == "__init__.py" || rest.starts_with("__init__.") && rest.ends_with(".so") => name,
        Some(_) => return None,
        None => match name.strip_suffix(".py") {
            Some(stem) => stem,
            None => name.strip_suffix(".so").map(|stem| stem.split('.').next().unwrap_or(stem))?,
        },
    };
    let mut letters = stem.chars();
    let first = letters.next()?;
    let identifier =
        (first.is_alphabetic() || first == '_') && letters.all(|letter| letter.is_alphanumeric() || letter == '_');
    // `__main__`-like names run programs.
    (identifier && !(stem.starts_with("__") && stem.ends_with("__"))).then(|| stem.to_owned())
}

fn attempt(
    site: &Site,
    names: &[&String],
    outside: &[PathBuf],
    reporter: &dyn Reporter,
) -> Result<BTreeMap<String, String>, VerifyError> {
    let shim = tempfile::Builder::new()
        .prefix("akb-imports-")
        .suffix(".py")
        .tempfile()
        .and_then(|file| std::fs::write(file.path(), SHIM).map(|()| file))
        .map_err(|source| VerifyError::Io { path: PathBuf::from("imports.py"), source })?;
    let answer =
        tempfile::NamedTempFile::new().map_err(|source| VerifyError::Io { path: PathBuf::from("answer"), source })?;
    let prefix = site.tree.clone();
    let python = prefix.join("bin/python");
    // The tree lies in one of these, if it is an output of a Nix build.
    let outside = outside.iter().map(|folder| View::Bind { from: folder.clone(), at: folder.clone() });
    let inside = !outside.clone().any(|view| prefix.starts_with(view.at()));
    let own = inside.then(|| View::Bind { from: site.tree.clone(), at: prefix });
    let shim_at = View::Bind { from: shim.path().to_owned(), at: PathBuf::from("/akb-imports.py") };
    let spec = Spec {
        view: outside.chain(own).chain([shim_at]).collect(),
        writable: vec![(answer.path().to_owned(), PathBuf::from("/akb-answer"))],
        env: environment(),
        cwd: PathBuf::from("/tmp"),
        argv: vec![python.display().to_string(), "-B".into(), "/akb-imports.py".into(), "/akb-answer".into()],
        stdin: serde_json::to_vec(names).unwrap_or_default(),
        time_limit: TIME,
    };
    let outcome = sandbox::run(&spec, &mut |_, line| reporter.event(&Event::Output { item: "imports", line }))?;
    let text = std::fs::read(answer.path()).unwrap_or_default();
    reporter.event(&Event::ItemFinished {
        stage: Stage::Verify,
        item: names.first().map_or("", |name| name),
        cached: false,
    });
    serde_json::from_slice(&text).map_err(|_| VerifyError::Interpreter {
        tree: site.tree.clone(),
        status: outcome.status,
        output: outcome.output,
    })
}

fn environment() -> BTreeMap<String, String> {
    let pairs =
        [("HOME", "/tmp"), ("LC_ALL", "C.UTF-8"), ("PATH", "/nonexistent"), ("PYTHONHASHSEED", "0"), ("TZ", "UTC")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_what_import_takes() {
        let names =
            ["lxml/__init__.py", "six.py", "_cffi_backend.cpython-314-x86_64-linux-gnu.so", "uvloop/__init__.py"];
        let found: Vec<_> = names.iter().filter_map(|name| module(name)).collect();
        assert_eq!(found, ["lxml", "six", "_cffi_backend", "uvloop"]);
        for name in ["lxml/etree.so", "../../../bin/x.py", "a-b.py", "x.dist-info/RECORD", "__main__.py", "foo.pth"] {
            assert_eq!(module(name), None, "{name}");
        }
    }
}
