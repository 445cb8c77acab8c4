//! `akb why`: what keeps a store path alive.

use std::path::PathBuf;

use akb::nix::store::{self, Store};
use akb::nix::why;

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Show what a result of Nix keeps alive, and why
///
/// Finds references by reading files, as Nix does, and needs no database: any store's folder will do. With a second
/// path, shows the shortest chain to it: which file names which path where, and how to be rid of it. Without one, lists
/// the whole closure, sizes in bytes, and who keeps each path.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A store path, or a link to one
    #[arg(default_value = "result")]
    result: PathBuf,
    /// A store path, its hash, or its name, which may be a glob such as 'gcc-*'
    path: Option<String>,
    /// Where the store is: its folder, or the folder of a private store [default: the folder that paths name]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// What paths of the store begin with
    #[arg(long, value_name = "DIR", default_value = store::DEFAULT)]
    prefix: PathBuf,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let store = match &args.store {
        Some(folder) => Store::at(&args.prefix, &absolute(folder)?),
        None => Store { prefix: args.prefix.clone(), folder: args.prefix.clone() },
    };
    let root = why::resolve(&absolute(&args.result)?, &store)?;
    let closure = why::closure(&root, &store, cx.settings.jobs)?;
    let Some(text) = &args.path else {
        cx.print(&if cx.json { format!("{}\n", serde_json::json!(closure)) } else { closure.table(&store) });
        return Ok(());
    };
    let found = closure.find(text, &store)?;
    let chain = found.and_then(|path| closure.chain(path));
    cx.print(&match (cx.json, found) {
        (true, _) => format!(
            "{}\n",
            serde_json::json!({ "chain": chain, "edges": chain.as_ref().map(|chain| edges(&closure, chain)) })
        ),
        (false, Some(path)) => closure.explain(path, &store),
        (false, None) => format!("{} does not keep {text} alive\n", store.path(&root).display()),
    });
    Ok(())
}

/// Where each path of a chain names the next.
fn edges(closure: &why::Closure, chain: &[store::StorePath]) -> Vec<serde_json::Value> {
    let edge = |pair: &[store::StorePath]| {
        let [from, to] = pair else { return None };
        let found = closure.members.get(from)?.references.get(to)?;
        Some(serde_json::json!({ "from": from, "to": to, "found": found }))
    };
    chain.windows(2).filter_map(edge).collect()
}
