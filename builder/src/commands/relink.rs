//! `akb relink`: the programs and libraries of a folder get the libraries, and the interpreter, that they need.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use akb::explain::ExitCode;
use akb::inputs::{Inputs, debian, host};
use akb::relink::{self, Job, Linker, Prefixes, Premises, RelinkError, RelinkReport, Remedy, Rules, Supply};
use akb::request::{Arch, PythonVersion};
use akb::runtime;
use serde_json::Value;

use crate::context::{Context, absolute};
use crate::failure::Failure;
use crate::tools::SourceArgs;

/// Make the programs and libraries of a folder find the libraries that they need
///
/// With `--inputs PREFIX`, any folder will do: libraries are looked for in the folder itself and below the prefixes, and
/// referred to where they are. Programs get the prefixes' dynamic linker, if they have one.
///
/// With Debian's or the host's inputs, a folder with installed packages is made to run on its own: Python and its
/// standard library go to DIR/runtime, unless they are there; the libraries that programs and extension modules need
/// are copied to DIR/runtime/lib, and nothing of the host is loaded. Packages are looked for in
/// DIR/lib/pythonX.Y/site-packages.
///
/// All that is missing is reported at once, before a file is edited. Search paths name only what answers a need.
/// FILES is a package, a pattern of file names, or, with a slash, of paths.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are flags")]
pub(crate) struct Args {
    /// The folder; it is changed
    #[arg(value_name = "DIR")]
    tree: PathBuf,
    /// Debian packages with libraries, in addition to those of Python
    packages: Vec<String>,
    /// Python, such as 3.14; needed unless `--inputs PREFIX` is given
    #[arg(long, value_name = "X.Y")]
    python: Option<PythonVersion>,
    /// Where the folder will lie when it is used; at most 220 bytes long [default: where it is]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// With `--inputs PREFIX`: the dynamic linker of programs [default: the first that the prefixes hold]
    #[arg(long, value_name = "FILE")]
    interpreter: Option<PathBuf>,
    /// A library that files open by name at run time; repeatable
    #[arg(long, value_name = "FILES=SONAME", value_parser = pair)]
    dlopen: Vec<(String, String)>,
    /// A library that may be missing and is never taken from the inputs, as SONAME or `FILES:SONAME` with * and ?;
    /// repeatable
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// A library that may be missing; written alike, repeatable
    #[arg(long, value_name = "PATTERN")]
    optional: Vec<String>,
    /// A folder that ends the search path of files, such as `$ORIGIN/../lib`; repeatable
    #[arg(long, value_name = "FILES=DIR", value_parser = pair)]
    runpath: Vec<(String, String)>,
    /// Name the C library's folder in search paths even if the dynamic linker knows it
    #[arg(long)]
    keep_libc: bool,
    /// Leave the hashes and sizes of changed files in RECORD as they are: faster, since no file is read whole
    #[arg(long)]
    no_records: bool,
    /// Change nothing: say what would be done, and what is missing
    #[arg(long)]
    dry_run: bool,
    /// Change nothing: say what is wrong with the folder as it is, unused entries of search paths too
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Write everything that was decided to a file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let tree = absolute(&args.tree)?;
    let prefix = args.prefix.clone().unwrap_or_else(|| tree.clone());
    let rules = rules(args);
    let prefixes = args.sources.folders().map(absolute).collect::<Result<Vec<_>, _>>()?;
    if !prefixes.is_empty() || args.check || args.interpreter.is_some() {
        let interpreter = args.interpreter.as_deref().map(absolute).transpose()?;
        let found = Prefixes::new(&prefixes, interpreter)?;
        let supply = found.supply();
        if args.check {
            return check(&tree, &prefix, &rules, &supply, &prefixes, cx);
        }
        let job = Job { tree: &tree, prefix: &prefix, supply, rules: &rules, in_place: true };
        return relink(args, &job, Remedy::Prefixes, cx);
    }
    let python = args.python.ok_or_else(|| {
        Failure::usage("which Python?", "name it with --python 3.14, or name folders with libraries: --inputs PREFIX")
    })?;
    let inputs = inputs(args, python, cx)?;
    if !args.dry_run && !tree.join(runtime::FOLDER).join("bin").is_dir() {
        runtime::copy(&inputs, &tree)?;
    }
    let job = Job { tree: &tree, prefix: &prefix, supply: Supply::of(&inputs), rules: &rules, in_place: true };
    let remedy = if args.sources.wants_host() { Remedy::Machine } else { Remedy::Packages };
    relink(args, &job, remedy, cx)
}

/// Relinks, or says what would be done.
fn relink(args: &Args, job: &Job<'_>, remedy: Remedy, cx: &Context) -> Result<(), Failure> {
    let (jobs, reporter) = (cx.settings.jobs, cx.reporter());
    let done = if args.dry_run {
        relink::plan(job, jobs, reporter).and_then(|report| {
            if report.missing.is_empty() { Ok(report) } else { Err(RelinkError::Missing { report: Box::new(report) }) }
        })
    } else {
        relink::relink(job, jobs, reporter)
    };
    let report = match &done {
        Ok(report) => Some(report),
        Err(RelinkError::Missing { report }) => Some(&**report),
        Err(_) => None,
    };
    let told = report.map_or(Ok(()), |report| tell(report, args, cx));
    match done {
        Ok(report) if args.dry_run || args.no_records => drop(report),
        Ok(report) => relink::refresh_records(job.tree, &report, jobs)?,
        Err(RelinkError::Missing { report }) => {
            let hint = Some(remedy.hint(&report.missing));
            return Err(Failure { hint, ..RelinkError::Missing { report }.into() });
        }
        Err(error) => return Err(error.into()),
    }
    told
}

/// Prints what was done, and writes it where it is to be written.
fn tell(report: &RelinkReport, args: &Args, cx: &Context) -> Result<(), Failure> {
    if let Some(path) = &args.report {
        let text = format!("{:#}\n", json(serde_json::to_value(report))?);
        std::fs::write(path, text).map_err(|error| Failure::io("write", path, &error))?;
    }
    cx.print(&if cx.json { format!("{}\n", json(serde_json::to_value(report))?) } else { summary(report, args) });
    Ok(())
}

/// As JSON, whose texts are UTF-8.
fn json(found: serde_json::Result<Value>) -> Result<Value, Failure> {
    found.map_err(|error| Failure {
        message: format!("cannot say it as JSON: {error}"),
        hint: Some("leave --json and --report out, or rename files whose names are not UTF-8".to_owned()),
        output: None,
        code: ExitCode::Failed,
    })
}

fn rules(args: &Args) -> Rules {
    let table = |pairs: &[(String, String)]| {
        let mut table: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (files, value) in pairs {
            table.entry(files.clone()).or_default().push(value.clone());
        }
        table
    };
    Rules {
        dlopen: table(&args.dlopen),
        ignore: args.ignore.clone(),
        optional: args.optional.clone(),
        runpath: table(&args.runpath),
        keep_libc: args.keep_libc,
    }
}

fn check(
    tree: &Path,
    prefix: &Path,
    rules: &Rules,
    supply: &Supply<'_>,
    outside: &[PathBuf],
    cx: &Context,
) -> Result<(), Failure> {
    let own = akb::tree::list(&tree.join(relink::LIBDIR)).unwrap_or_default();
    let has_own = own.iter().any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld")));
    let linker = match supply.interpreters {
        [path] => Linker::At(path),
        [_, ..] => {
            return Err(Failure::usage("the folders hold several dynamic linkers", "name one: --interpreter FILE"));
        }
        [] if has_own => Linker::Own,
        [] => Linker::Any,
    };
    let premises = Premises { prefix, rules, linker, outside };
    let outcome = relink::check(tree, &premises, cx.settings.jobs)?;
    let mut text = String::new();
    for finding in &outcome.findings {
        let _ = writeln!(text, "{}: {}", finding.path.display(), finding.problem);
    }
    let _ = writeln!(text, "{} ELF files, {} findings", outcome.files, outcome.findings.len());
    if cx.json {
        text = format!(
            "{}\n",
            serde_json::json!({ "files": outcome.files, "findings": json(serde_json::to_value(&outcome.findings))? })
        );
    }
    cx.print(&text);
    if outcome.findings.is_empty() {
        return Ok(());
    }
    Err(Failure {
        message: format!("{} things are wrong with `{}`", outcome.findings.len(), tree.display()),
        hint: Some("relink it: akb relink, with the folders of its libraries as --inputs PREFIX".to_owned()),
        output: None,
        code: ExitCode::Finding,
    })
}

fn inputs(args: &Args, python: PythonVersion, cx: &Context) -> Result<Inputs, Failure> {
    let workbench = args.sources.open(cx, false)?;
    let tools = workbench.tools();
    if args.sources.wants_host() {
        return Ok(host::inputs(python, &tools.host_path)?);
    }
    let arch =
        Arch::host().ok_or_else(|| Failure::usage("Debian has no packages for this machine", "use --inputs host"))?;
    let suite = args.sources.suite().map(str::to_owned);
    let wish = debian::Wish { suite, packages: args.packages.clone(), arch, python, compiles: false };
    let found = debian::resolve(&wish, &tools.archive, &tools.trust)?;
    let wanted = debian::Use { suite: found.suite, arch, python };
    Ok(debian::realise(&found.pins, &wanted, &tools.archive, cx.settings.jobs.get())?)
}

/// What was dropped from search paths, and from whose.
fn dropped(report: &RelinkReport) -> BTreeMap<String, Vec<&Path>> {
    let mut dropped: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
    for (path, entries) in report.dropped() {
        dropped.entry(entries.join(":")).or_default().push(path);
    }
    dropped
}

/// The first of some files, and how many more there are.
fn some(files: &[&Path]) -> String {
    match files {
        [] => String::new(),
        [file] => file.display().to_string(),
        [file, others @ ..] => format!("{} and {} more", file.display(), others.len()),
    }
}

/// A line for each copy, what was dropped, what may be missing and what was left alone, then the numbers.
fn summary(report: &RelinkReport, args: &Args) -> String {
    let mut text = String::new();
    for (name, from) in &report.copied {
        let _ = writeln!(text, "{name}\t{}", from.display());
    }
    for (dropped, files) in dropped(report) {
        let _ = writeln!(text, "{}: dropped {dropped}, which answers no need", some(&files));
    }
    for problem in relink::problems(&report.ignored) {
        let _ = writeln!(text, "{problem}: ignored");
    }
    let mut skipped: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for (path, reason) in &report.skipped {
        skipped.entry(reason).or_default().push(path);
    }
    for (reason, files) in skipped {
        let _ = writeln!(text, "{}: left as it is: {reason}", some(&files));
    }
    let (files, changed, copied) = (report.files, report.changed.len(), report.copied.len());
    let verb = if args.dry_run || !report.missing.is_empty() { "would change" } else { "changed" };
    let _ = writeln!(text, "{files} ELF files: {changed} {verb}, {copied} copied ({} bytes)", report.bytes);
    text
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(files, value)| !files.is_empty() && !value.is_empty());
    let (files, value) = parts.ok_or("expected FILES=VALUE, such as python-kadmin-rs=libkadm5clnt_mit.so")?;
    Ok((files.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use akb::relink::Linked;

    use super::*;

    #[test]
    fn tells_once_what_was_dropped_from_many() {
        let linked = |text: &str| Linked { dropped: vec![text.to_owned()], ..Linked::default() };
        let linked = [("a.so", "/build"), ("b.so", "/build"), ("c.so", "/opt"), ("d.so", "/build")]
            .map(|(path, text)| (PathBuf::from(path), linked(text)));
        let report = RelinkReport { linked: linked.into(), ..RelinkReport::default() };
        let lines: Vec<String> =
            dropped(&report).iter().map(|(text, files)| format!("{} {text}", some(files))).collect();
        assert_eq!(lines, ["a.so and 2 more /build", "c.so /opt"]);
    }
}
