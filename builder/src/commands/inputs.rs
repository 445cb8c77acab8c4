//! `akb inputs`: Debian packages, resolved, pinned and unpacked.

use std::path::{Path, PathBuf};

use akb::inputs::Inputs;
use akb::inputs::debian::relocate::{self, Outputs, Place};
use akb::inputs::debian::{self, Pin, Use, Wish};
use akb::request::{Arch, PythonVersion};

use crate::context::{Context, absolute};
use crate::failure::Failure;
use crate::tools::SourceArgs;

/// Show the Debian packages that Python, compilers and libraries would come from
///
/// Resolves the given packages, Python and all that they depend on against the archive's signed index and prints
/// package, version, architecture, path, size and hash, tab separated and sorted by package. A package that others
/// depend on and nothing needs is left out by a minus before its name (after `--`): akb inputs -- libltdl-dev
/// -automake
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Packages, by name or as Debian writes relations, such as "libxml2-dev (>= 2.14)"
    packages: Vec<String>,
    /// Python, such as 3.14
    #[arg(long, value_name = "X.Y")]
    python: PythonVersion,
    /// Take a C compiler, Python's headers, pkg-config and a shell with its tools as well
    #[arg(long)]
    compiler: bool,
    /// Unpack them in the cache too, and print where the sandbox's folders are
    #[arg(long)]
    unpack: bool,
    /// Make them run from a folder of their own, with no /usr: Python, shared libraries and their data go here (to be
    /// used with --dev)
    #[arg(long, value_name = "DIR", requires = "dev")]
    prefix: Option<PathBuf>,
    /// Where compilers, headers and everything else that is needed to build goes, which refers to --prefix
    #[arg(long, value_name = "DIR", requires = "prefix")]
    dev: Option<PathBuf>,
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let arch = Arch::host()
        .ok_or_else(|| Failure::usage("Debian has no packages for this machine", "use --inputs host with akb build"))?;
    let workbench = args.sources.open(cx, false)?;
    let tools = workbench.tools();
    let (python, compiles) = (args.python, args.compiler);
    let suite = args.sources.suite().map(str::to_owned);
    let wish = Wish { suite, packages: args.packages.clone(), arch, python, compiles };
    let found = debian::resolve(&wish, &tools.archive, &tools.trust)?;
    let mut text: String = found.pins.iter().map(row).collect();
    if args.unpack || args.prefix.is_some() {
        let wanted = Use { suite: found.suite, arch, python };
        let inputs = debian::realise(&found.pins, &wanted, &tools.archive, cx.settings.jobs.get())?;
        if let (Some(prefix), Some(dev)) = (&args.prefix, &args.dev) {
            return install(&inputs, &absolute(prefix)?, &absolute(dev)?, cx);
        }
        for place in ["/usr", "/etc"].iter().filter_map(|place| inputs.locate(place.as_ref())) {
            text += &place.display().to_string();
            text.push('\n');
        }
    }
    cx.print(&text);
    Ok(())
}

/// Makes both folders beside their places, so that none is ever there by half, and tells what still says `/usr`.
fn install(inputs: &Inputs, prefix: &Path, dev: &Path, cx: &Context) -> Result<(), Failure> {
    let usr = inputs.locate("/usr".as_ref());
    let tree = usr.as_deref().and_then(Path::parent).ok_or_else(|| Failure::usage("the packages have no /usr", ""))?;
    let (runtime, runtime_beside) = beside(prefix)?;
    let (dev, dev_beside) = beside(dev)?;
    let out = Outputs { runtime, dev };
    let done = relocate::relocate(tree, &out, &inputs.target, cx.settings.jobs.get(), cx.reporter())?;
    relocate::bytecode(inputs, &out.runtime, cx.settings.jobs, cx.reporter())?;
    for (folder, place) in [(runtime_beside, &out.runtime), (dev_beside, &out.dev)] {
        let to = &place.finally_at;
        std::fs::rename(&place.write_to, to).map_err(|error| Failure::io("write", to, &error))?;
        drop(folder);
    }
    let mut text = String::new();
    for (name, folder, written) in
        [("runtime", &out.runtime.finally_at, done.runtime), ("dev", &out.dev.finally_at, done.dev)]
    {
        let relocate::Written { files, links, bytes } = written;
        text += &format!("{name}\t{}\t{files} files\t{links} links\t{bytes} bytes\n", folder.display());
    }
    for left in &done.leftovers {
        let reason = left.reason.unwrap_or("for no known reason");
        text += &format!("/usr\t{}\t{}\t{reason}\n", left.path, left.count);
    }
    cx.print(&text);
    Ok(())
}

/// A place that is made in a temporary folder beside it.
fn beside(path: &Path) -> Result<(Place, tempfile::TempDir), Failure> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(|error| Failure::io("write", parent, &error))?;
    let folder = tempfile::Builder::new().prefix(".akb-").tempdir_in(parent);
    let folder = folder.map_err(|error| Failure::io("write", parent, &error))?;
    Ok((Place { write_to: folder.path().join("made"), finally_at: path.to_owned() }, folder))
}

fn row(pin: &Pin) -> String {
    let Pin { package, version, architecture, file, size, sha256 } = pin;
    format!("{package}\t{version}\t{architecture}\t{file}\t{size}\t{sha256}\n")
}
