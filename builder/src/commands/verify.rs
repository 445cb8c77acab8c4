//! `akb verify`: reads a finished tree again.

use std::fmt::Write as _;
use std::path::PathBuf;

use akb::explain::ExitCode;
use akb::verify::{self, Options};

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Read a finished tree again and say what is wrong with it
///
/// Checks the canonical hash, every file against RECORD, needed sonames and symbol versions of every ELF file,
/// references to build folders, the requirements of every package, and that every top-level module can be
/// imported where nothing but the tree is to be seen. Ends with status 6 if it finds something.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A folder that `akb build` made
    #[arg(default_value = "result")]
    tree: PathBuf,
    /// Import no modules (for machines without user namespaces)
    #[arg(long)]
    no_imports: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let tree = absolute(&args.tree)?;
    let options = Options { imports: !args.no_imports, jobs: cx.settings.jobs };
    let report = verify::verify(&tree, options, cx.reporter())?;
    if cx.json {
        cx.print(&format!("{}\n", serde_json::json!(report)));
    } else {
        let mut text = String::new();
        for (check, looked) in &report.looked {
            let wrong = report.findings.iter().filter(|finding| finding.check == *check).count();
            let verdict = if wrong == 0 { "ok".to_owned() } else { format!("{wrong} wrong") };
            let _ = writeln!(text, "{:>12}  {verdict:<8} {looked}", check.to_string());
        }
        for finding in &report.findings {
            let _ = writeln!(text, "{:>12}  {}: {}", finding.check.to_string(), finding.subject, finding.problem);
        }
        cx.print(&text);
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    Err(Failure {
        message: format!("{} things are wrong with `{}`", report.findings.len(), tree.display()),
        hint: Some(
            "build it again with `akb build`; what stays wrong then belongs into the recipe or a bug report".into(),
        ),
        output: None,
        code: ExitCode::Finding,
    })
}
