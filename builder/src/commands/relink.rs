//! `akb relink`: a folder with packages gets the libraries, and the interpreter, that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use akb::inputs::{Inputs, debian, host};
use akb::install::{self, Layout};
use akb::relink::{self, Job, RelinkReport};
use akb::request::{Arch, PythonVersion};
use akb::runtime;

use crate::context::{Context, absolute};
use crate::failure::Failure;
use crate::tools::SourceArgs;

/// Make a folder with installed packages run on its own: with its interpreter and every library that it needs
///
/// Python and its standard library go to DIR/runtime, unless they are there; the libraries that programs and
/// extension modules need are copied to DIR/runtime/lib, and interpreter and search path of every ELF file are set so
/// that nothing of the host is loaded. Packages are looked for in DIR/lib/pythonX.Y/site-packages. All that is
/// missing is reported at once, before a file is edited.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The folder; it is changed
    #[arg(value_name = "DIR")]
    tree: PathBuf,
    /// Debian packages with libraries, in addition to those of Python
    packages: Vec<String>,
    /// Python, such as 3.14
    #[arg(long, value_name = "X.Y")]
    python: PythonVersion,
    /// Where the folder will lie when it is used; at most 220 bytes long [default: where it is]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// A library that a package opens by name at run time, as PACKAGE=SONAME; repeatable
    #[arg(long, value_name = "PACKAGE=SONAME", value_parser = opened)]
    dlopen: Vec<(String, String)>,
    /// A library that may be missing, as SONAME or `FILE:SONAME` with * and ?; repeatable
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let tree = absolute(&args.tree)?;
    let prefix = args.prefix.clone().unwrap_or_else(|| tree.clone());
    let inputs = inputs(args, cx)?;
    if !tree.join(runtime::FOLDER).join("bin").is_dir() {
        runtime::copy(&inputs, &tree)?;
    }
    let layout = Layout::canonical(args.python);
    let site = layout.site_packages();
    let mut dlopen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (package, soname) in &args.dlopen {
        dlopen.entry(package.clone()).or_default().push(soname.clone());
    }
    let site = Path::new(&site);
    let job = Job { tree: &tree, prefix: &prefix, site, inputs: &inputs, dlopen: &dlopen, ignore: &args.ignore };
    let report = relink::relink(&job, cx.settings.jobs, cx.reporter())?;
    let changed: BTreeSet<String> = report.changed.iter().map(|path| path.display().to_string()).collect();
    install::refresh_records(&tree, &layout, &changed, cx.settings.jobs)?;
    cx.print(&summary(&report));
    Ok(())
}

fn inputs(args: &Args, cx: &Context) -> Result<Inputs, Failure> {
    let workbench = args.sources.open(cx, false)?;
    let tools = workbench.tools();
    if let Some(inputs) = args.sources.prefixes(args.python, false, cx)? {
        return Ok(inputs);
    }
    if args.sources.wants_host() {
        return Ok(host::inputs(args.python, &tools.host_path)?);
    }
    let arch =
        Arch::host().ok_or_else(|| Failure::usage("Debian has no packages for this machine", "use --inputs host"))?;
    let suite = args.sources.suite().map(str::to_owned);
    let python = args.python;
    let wish = debian::Wish { suite, packages: args.packages.clone(), arch, python, compiles: false };
    let found = debian::resolve(&wish, &tools.archive, &tools.trust)?;
    let wanted = debian::Use { suite: found.suite, arch, python };
    Ok(debian::realise(&found.pins, &wanted, &tools.archive, cx.settings.jobs.get())?)
}

/// One line a copy, then the numbers.
fn summary(report: &RelinkReport) -> String {
    let mut text = String::new();
    for (name, from) in &report.copied {
        let _ = writeln!(text, "{name}\t{}", from.display());
    }
    let (files, changed, copied) = (report.files, report.changed.len(), report.copied.len());
    let _ = writeln!(text, "{files} ELF files: {changed} changed, {copied} copied ({} bytes)", report.bytes);
    text
}

fn opened(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(package, soname)| !package.is_empty() && !soname.is_empty());
    let (package, soname) = parts.ok_or("expected PACKAGE=SONAME, such as python-kadmin-rs=libkadm5clnt_mit.so")?;
    Ok((package.to_owned(), soname.to_owned()))
}
