//! `akb inputs`: Debian packages, resolved, pinned and unpacked.

use akb::inputs::debian::{self, Pin, Use, Wish};
use akb::request::{Arch, PythonVersion};

use crate::context::Context;
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
    if args.unpack {
        let wanted = Use { suite: found.suite, arch, python };
        let inputs = debian::realise(&found.pins, &wanted, &tools.archive, cx.settings.jobs.get())?;
        for place in ["/usr", "/etc"].iter().filter_map(|place| inputs.locate(place.as_ref())) {
            text += &place.display().to_string();
            text.push('\n');
        }
    }
    cx.print(&text);
    Ok(())
}

fn row(pin: &Pin) -> String {
    let Pin { package, version, architecture, file, size, sha256 } = pin;
    format!("{package}\t{version}\t{architecture}\t{file}\t{size}\t{sha256}\n")
}
