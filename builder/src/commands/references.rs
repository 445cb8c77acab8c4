//! `akb references`: what a tree names, and how to be rid of it.

use std::path::PathBuf;

use akb::nix::store::{self, Store};
use akb::references::{self, Filter, Needles, Policy, ReferencesError};

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Find paths in the files, file names and links of a tree, or overwrite them
///
/// One pass for any number of paths, also inside archives and in UTF-16. Each hit is told with file, offset and what
/// stands there: a line of text, a section of an ELF file, an entry of its RUNPATH, bytecode, an archive's member.
/// Ends with status 6 if something is found that is not allowed.
///
/// With --replace, hits are overwritten with as many bytes: of store paths the hash, of others letters and digits.
/// Hashes in bytecode and RECORD are kept true. Nothing is changed if one hit cannot be overwritten.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A folder or file
    tree: PathBuf,
    /// A text to look for, such as the path of an input or of a build folder; may be repeated
    #[arg(short, long, value_name = "TEXT")]
    find: Vec<String>,
    /// Look for paths of a Nix store: all that have the form of one, and the hashes of what is there now. A private
    /// store's folder will do
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = store::DEFAULT)]
    store: Option<PathBuf>,
    /// What may be named: a glob for the whole path or its last component; may be repeated
    #[arg(long, value_name = "GLOB")]
    allow: Vec<String>,
    /// Files that may name anything: a glob for the path in the tree; may be repeated
    #[arg(long, value_name = "GLOB")]
    allow_in: Vec<String>,
    /// What may not be named, whatever is allowed; alone, everything else may be
    #[arg(long, value_name = "GLOB")]
    deny: Vec<String>,
    /// Overwrite what is not allowed
    #[arg(long)]
    replace: bool,
    /// What letters and digits are overwritten with
    #[arg(long, value_name = "CHARACTER", default_value = "e", requires = "replace")]
    filler: char,
    /// Overwrite #! lines, ELF interpreters and libraries needed by path, too: the programs will not start before they
    /// are relinked
    #[arg(long, requires = "replace")]
    functional: bool,
    /// Overwrite targets of links, too: they will lead nowhere
    #[arg(long, requires = "replace")]
    links: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let tree = absolute(&args.tree)?;
    let needles = needles(args)?;
    let (allow, allow_in, deny) = (args.allow.clone(), args.allow_in.clone(), args.deny.clone());
    let filter = Filter { allow, allow_in, deny };
    if args.replace {
        let filler = u8::try_from(args.filler).map_err(|_| Failure::usage("the filler is not ASCII", "--filler e"))?;
        let policy = Policy { filter, filler, functional: args.functional, links: args.links };
        let replaced = references::replace(&tree, &needles, &policy, cx.settings.jobs, cx.reporter())?;
        cx.print(&if cx.json {
            format!("{}\n", serde_json::json!(replaced))
        } else {
            // Where the tree is a file, its path in it is empty.
            let shown = |path: &PathBuf| if path.as_os_str().is_empty() { tree.clone() } else { path.clone() };
            replaced.changed.iter().map(|path| format!("{}\n", shown(path).display())).collect()
        });
        return Ok(());
    }
    let scan = references::scan(&tree, &needles, cx.settings.jobs)?;
    for unread in &scan.unread {
        cx.reporter().warn(unread.to_string(), None);
    }
    cx.print(&if cx.json { format!("{}\n", serde_json::json!(scan)) } else { references::table(&scan.found) });
    let forbidden = scan.found.iter().filter(|found| filter.forbids(found)).count();
    match scan.forbid(&tree, &filter) {
        Ok(_) => Ok(()),
        Err(error @ ReferencesError::Left { .. }) => {
            let message = format!("{forbidden} forbidden references in `{}`", tree.display());
            Err(Failure { message, ..error.into() })
        }
        Err(error) => Err(error.into()),
    }
}

fn needles(args: &Args) -> Result<Needles, Failure> {
    let mut needles = args.find.iter().fold(Needles::default(), |needles, text| needles.literal(text.as_str()));
    if let Some(folder) = &args.store {
        let store = Store::of_folder(&absolute(folder)?);
        let known = if store.folder.is_dir() { store.list()? } else { Vec::new() };
        needles = needles.pattern(store.pattern()).words(store.words(&known));
    }
    if needles.is_empty() {
        let hint = format!("say what: --find PATH, or --store for paths of {}", store::DEFAULT);
        return Err(Failure::usage("nothing to look for", hint));
    }
    Ok(needles)
}
