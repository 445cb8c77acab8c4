//! `akb strip`: programs and libraries without what only debuggers need.

use std::fmt::Write as _;
use std::path::PathBuf;

use akb::strip::{self, Options};

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Remove debug information from programs and libraries
///
/// What `strip --strip-debug` does, for whole trees and without changing a byte that is loaded. Object files, archives
/// and what is not understood are left alone (see them with -v). RECORD is kept true. Strip before relinking; a file
/// that akb relinked before is undone, stripped and relinked again.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Folders and files
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Keep what is removed in files for debuggers below this folder, and note their names in the stripped files
    #[arg(long, value_name = "DIR")]
    debug: Option<PathBuf>,
    /// Remove all symbols that linking at run time does not need, too (`strip --strip-unneeded`)
    #[arg(long)]
    symbols: bool,
    /// Set build ids to zero: they depend on what is removed
    #[arg(long)]
    build_id: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let options = Options { symbols: args.symbols, build_id: args.build_id };
    let debug = args.debug.as_deref().map(absolute).transpose()?;
    for path in &args.paths {
        let path = absolute(path)?;
        let report = strip::tree(&path, options, debug.as_deref(), cx.settings.jobs, cx.reporter())?;
        if cx.json {
            cx.print(&format!("{}\n", serde_json::json!(report)));
            continue;
        }
        let mut text = String::new();
        let (changed, files, left) = (report.changed.len(), report.files, report.left.len());
        let _ = write!(text, "{}: {changed} files changed, {} bytes less", path.display(), report.saved);
        let _ = writeln!(text, " ({files} ELF files, {left} left alone, {} files for debuggers)", report.debug.len());
        cx.print(&text);
    }
    Ok(())
}
