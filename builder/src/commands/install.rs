//! `akb install`: wheels become a site.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use akb::install::{self, Layout, SitePlan, Wheel};
use akb::request::PythonVersion;
use akb::tree;
use akb::unpack::{self, Limits};

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Install wheels into a new folder, or show where each of their files would go
///
/// Every wheel is checked against its own RECORD first. Files that collide are found before anything is written,
/// and all of them are told at once (exit code 2); --winner decides. The folder gets site-packages, scripts and
/// bin/python as in a finished build, but neither the interpreter behind them nor bytecode: akb build adds these.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Wheel files
    #[arg(required = true)]
    wheels: Vec<PathBuf>,
    /// Python that they are installed for, such as 3.14
    #[arg(long, value_name = "X.Y")]
    python: PythonVersion,
    /// A folder that does not exist or is empty
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    into: Option<PathBuf>,
    /// Print path, package, size and hash of every file, tab separated, and write nothing
    #[arg(long, conflicts_with = "into")]
    list: bool,
    /// Package whose file is taken where several have different ones; repeatable
    #[arg(long = "winner", value_name = "PATH=PACKAGE", value_parser = winner)]
    winners: Vec<(String, String)>,
    /// Absolute path that scripts name as the top of the tree
    #[arg(long, value_name = "PATH", default_value = Layout::CANONICAL)]
    prefix: String,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let into = args.into.as_deref().map(absolute).transpose()?;
    if let Some(into) = into.as_deref().filter(|into| tree::list(into).is_ok_and(|found| !found.is_empty())) {
        return Err(Failure::usage(format!("{} is not empty", into.display()), "name another folder with --into"));
    }
    // Beside the folder, so that a finished tree is renamed and never half there.
    let beside = into.as_deref().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_owned);
    fs::create_dir_all(&beside).map_err(|error| Failure::io("make", &beside, &error))?;
    let work = tempfile::Builder::new().prefix(".akb-install-").tempdir_in(&beside);
    let work = work.map_err(|error| Failure::io("make a folder in", &beside, &error))?;
    let mut wheels = Vec::new();
    for (number, file) in args.wheels.iter().enumerate() {
        wheels.push(open(&absolute(file)?, &work.path().join(number.to_string()))?);
    }
    let layout = Layout { python: args.python, prefix: args.prefix.clone() };
    let plan = install::plan(&wheels, &layout, &args.winners.iter().cloned().collect())?;
    let Some(into) = into else {
        cx.print(&listing(&plan));
        return Ok(());
    };
    let tree = work.path().join("tree");
    install::write(&plan, &tree, install::Files::Copied, cx.settings.jobs, cx.reporter())?;
    // Renaming over an empty folder is allowed, over any other an error.
    fs::rename(&tree, &into).map_err(|error| Failure::io("put the tree at", &into, &error))?;
    cx.print(&format!("{} packages, {} files  {}\n", wheels.len(), plan.files.len(), into.display()));
    Ok(())
}

fn open(file: &Path, folder: &Path) -> Result<Wheel, Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let entries = unpack::wheel(file, folder, &Limits::default())?;
    Ok(Wheel::open(folder, name, entries)?)
}

fn listing(plan: &SitePlan) -> String {
    let mut text = String::new();
    for (path, file) in &plan.files {
        let _ = writeln!(text, "{path}\t{}\t{}\t{}", file.package, file.size, file.sha256);
    }
    text
}

fn winner(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(path, package)| !path.is_empty() && !package.is_empty());
    let (path, package) = parts.ok_or("expected PATH=PACKAGE, such as docs/Makefile=pyrad")?;
    let package = akb::lock::names::normalize(package).ok_or_else(|| format!("`{package}` is no name of a package"))?;
    Ok((path.to_owned(), package))
}
