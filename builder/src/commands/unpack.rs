//! `akb unpack`: what is in an archive, read strictly.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use akb::unpack::{self, Limits};

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Unpack a wheel, a source distribution or a Debian package, or say why it cannot be trusted
///
/// Every name, header, size and checksum of the archive is read twice. What could leave the folder, or means two
/// things to two readers, is refused with the name of the member and the reason (exit code 3), and nothing is
/// written.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A .whl, .deb, .tar.gz, .tgz, .tar.bz2, .tar.xz, .tar.zst, .tar or .zip file
    archive: PathBuf,
    /// A folder that does not exist or is empty [default: the file's name without its ending]
    dest: Option<PathBuf>,
    /// Print the sha256, size and name of every file, and keep nothing
    #[arg(long, conflicts_with = "dest")]
    list: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let archive = absolute(&args.archive)?;
    let limits = Limits::default();
    if args.list {
        let folder = tempfile::tempdir().map_err(|error| Failure::io("make a folder in", Path::new("/tmp"), &error))?;
        let mut text = String::new();
        for entry in unpack::any(&archive, &folder.path().join("tree"), &limits)? {
            let _ = writeln!(text, "{}  {:>10}  {}", entry.sha256.hex(), entry.size, entry.path);
        }
        cx.print(&text);
        return Ok(());
    }
    let dest = args.dest.clone().or_else(|| default_dest(&args.archive)).ok_or_else(|| {
        Failure::usage(
            format!("{} is no wheel, source distribution or Debian package by its name", args.archive.display()),
            "name a .whl, .deb, .tar.gz, .tar.bz2, .tar.xz, .tar.zst, .tar or .zip file",
        )
    })?;
    let files = unpack::any(&archive, &absolute(&dest)?, &limits)?;
    let size: u64 = files.iter().map(|entry| entry.size).sum();
    cx.print(&format!("{} files, {size} bytes  {}\n", files.len(), dest.display()));
    Ok(())
}

/// The name without its ending, in the working folder.
fn default_dest(archive: &Path) -> Option<PathBuf> {
    const ENDS: [&str; 9] = [".whl", ".deb", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar", ".zip"];
    let name = archive.file_name()?.to_str()?;
    ENDS.iter().find_map(|end| name.strip_suffix(end)).filter(|name| !name.is_empty()).map(PathBuf::from)
}
