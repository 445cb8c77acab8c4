//! `akb fetch`: the files of a lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use akb::digest::Sha256;
use akb::fetch::{self, Want};
use akb::lock::make::fetch_hash;
use akb::lock::sidecar::Sidecar;
use akb::pipeline::Project;
use akb::plan::plan;

use crate::context::{Context, absolute};
use crate::failure::Failure;
use crate::tools::SubjectArgs;

/// Fetch every file that a lock names, and check it
///
/// Finds wheels and source distributions by file name and hash through the indexes, keeps them in the cache, and
/// prints the NAR hash of the folder of them all, which akb.lock holds too. A later build with --offline needs no
/// network for them. What is there already is not asked for; what broke off goes on where it stopped.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Also copy the files into this new folder
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let order = args.subject.order(Path::new("result"), true, true)?;
    let project = Project::open(&order)?;
    let sidecar = project.sidecar.as_ref().ok_or_else(|| {
        let message = format!("there is no {}", project.sidecar_path.display());
        Failure::usage(message, format!("make it: akb lock {}", project.folder.display()))
    })?;
    let wants = wants(&project, sidecar)?;
    let bench = args.subject.open(cx, false)?;
    let tools = bench.tools();
    let files = fetch::fetch(&wants, tools.net, tools.indexes, tools.cache, cx.settings.offline, cx.reporter())?;
    let named = sidecar.files().into_iter();
    let named = named.filter_map(|(name, file)| Some((name.to_owned(), files.get(&file.sha256)?.clone())));
    let named: BTreeMap<String, PathBuf> = named.collect();
    let hash = fetch_hash(&named).map_err(|error| Failure::io("read", tools.cache.root(), &error))?;
    if let Some(out) = &args.out {
        fetch::copy(&named, &absolute(out)?)?;
    }
    cx.print(&format!("{} files  {}\n", named.len(), hash.sri()));
    Ok(())
}

/// The files of the sidecar lock, with the addresses that `uv.lock` names.
fn wants(project: &Project, sidecar: &Sidecar) -> Result<Vec<Want>, Failure> {
    let mut wants: BTreeMap<Sha256, Want> = BTreeMap::new();
    for entry in sidecar.packages.iter().chain(&sidecar.builds) {
        if let Some(file) = entry.content.file() {
            let want = Want { file: file.clone(), project: entry.name.clone(), url: None, index: None };
            wants.insert(file.sha256, want);
        }
    }
    if let Some((lock, uv)) = &project.uv {
        let plan = plan(lock, uv, &sidecar.target, &project.selection)?;
        for want in plan.packages.iter().filter_map(Want::of) {
            wants.entry(want.file.sha256).and_modify(|known| *known = want);
        }
    }
    Ok(wants.into_values().collect())
}
