//! `akb wheel`: one source distribution or folder becomes a wheel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use akb::digest::Sha256;
use akb::inputs::debian::{self, Use, Wish};
use akb::inputs::{Inputs, host};
use akb::recipe::Provider;
use akb::request::{Arch, PythonVersion};
use akb::unpack::{self, Limits};
use akb::wheel::{self, Job, Native, Requirement, Workshop};

use crate::context::{Context, absolute};
use crate::failure::Failure;
use crate::tools::{SourceArgs, Workbench};

/// Build a wheel from a source distribution or a source folder, in a sandbox
///
/// The build sees Python, compilers and libraries of the inputs, the given build requirements, its own sources and
/// nothing else: no network, no home folder. The same sources, requirements and inputs give the same bytes on every
/// machine. Prints the hash and the path of the wheel.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A source distribution (.tar.gz, .zip, …) or a folder with a pyproject.toml or setup.py
    source: PathBuf,
    /// A wheel that the build needs; repeatable. All are needed, those that others need too
    #[arg(short, long = "require", value_name = "WHEEL")]
    requires: Vec<PathBuf>,
    /// Print what the project wants to be built with, and build nothing
    #[arg(long)]
    show_requires: bool,
    /// Python to build for, such as 3.14
    #[arg(long, value_name = "X.Y")]
    python: PythonVersion,
    /// A Debian package that the build needs, such as libxml2-dev; repeatable
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// A flag for the C compiler, after the interpreter's own; repeatable
    #[arg(long = "cflag", value_name = "FLAG", allow_hyphen_values = true)]
    cflags: Vec<String>,
    /// Where the wheel is put
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let workbench = args.sources.open(cx, false)?;
    let tools = workbench.tools();
    let unpacked = tempfile::tempdir_in(tools.cache.root())
        .map_err(|error| Failure::io("make a folder in", tools.cache.root(), &error))?;
    let job = args.job(unpacked.path())?;
    let inputs = args.inputs(&workbench, cx)?;
    let workshop = Workshop { inputs: &inputs, settings: &cx.settings, cache: tools.cache, reporter: cx.reporter() };
    if args.show_requires {
        let mut all = wheel::build_system(&job.source)?.requires;
        all.extend(wheel::requires(&job, &BTreeMap::new(), workshop)?);
        cx.print(&(all.join("\n") + "\n"));
        return Ok(());
    }
    for built in wheel::build_all(&[job], BTreeMap::new(), workshop)?.into_values() {
        let to = absolute(&args.out)?.join(&built.file);
        std::fs::create_dir_all(&args.out).map_err(|error| Failure::io("create", &args.out, &error))?;
        std::fs::copy(&built.wheel, &to).map_err(|error| Failure::io("write", &to, &error))?;
        cx.print(&format!("{}  {}\n", built.sha256.hex(), to.display()));
    }
    Ok(())
}

impl Args {
    fn job(&self, unpacked: &Path) -> Result<Job, Failure> {
        let source = absolute(&self.source)?;
        let (source, identity, without): (_, _, &'static [&'static str]) = if source.is_dir() {
            let identity = wheel::identity(&source)?;
            (source, identity, &wheel::NOT_SOURCES)
        } else {
            let (folder, identity) =
                (unpack::sdist(&source, &unpacked.join("files"), &Limits::default())?, hash(&source)?);
            (folder, identity, &[])
        };
        let id = wheel::id_of(&source)?.ok_or_else(|| {
            Failure::usage(
                format!("{} says no name: it has no PKG-INFO and no [project] in a pyproject.toml", source.display()),
                "make a source distribution of it first (`python -m build --sdist`), and name that",
            )
        })?;
        let requires = self.requires.iter().map(|path| requirement(path)).collect::<Result<_, _>>()?;
        let native = Native { cflags: self.cflags.clone(), ..Native::default() };
        Ok(Job { id, source, subdirectory: None, without, identity, requires, native })
    }

    fn inputs(&self, workbench: &Workbench<'_>, cx: &Context) -> Result<Inputs, Failure> {
        let (tools, python) = (workbench.tools(), self.python);
        if let Some(inputs) = self.sources.prefixes(python, true, cx)? {
            return Ok(inputs);
        }
        if self.sources.provider() == Some(Provider::Host) {
            let wish = host::Wish { python, program: None, path: tools.host_path, compiles: true };
            return Ok(host::choose(&wish)?);
        }
        let arch = Arch::host()
            .ok_or_else(|| Failure::usage("Debian has no packages for this machine", "use --inputs host"))?;
        let suite = self.sources.suite().map(str::to_owned);
        let wish = Wish { suite, packages: self.packages.clone(), arch, python, compiles: true };
        let found = debian::resolve(&wish, &tools.archive, &tools.trust)?;
        let wanted = Use { suite: found.suite, arch, python };
        Ok(debian::realise(&found.pins, &wanted, &tools.archive, cx.settings.jobs.get())?)
    }
}

fn requirement(path: &Path) -> Result<Requirement, Failure> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Requirement::Wheel { file, path: absolute(path)?, sha256: hash(path)? })
}

fn hash(path: &Path) -> Result<Sha256, Failure> {
    let hashed = std::fs::File::open(path).and_then(Sha256::of_reader);
    Ok(hashed.map_err(|error| Failure::io("read", path, &error))?.0)
}
