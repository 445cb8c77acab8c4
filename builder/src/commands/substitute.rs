//! `akb substitute`: the rules of a recipe, or of the command line, followed in files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use akb::install::{self, Layout};
use akb::recipe::{Mode, Recipe};
use akb::request::PythonVersion;
use akb::substitute::in_place::{self, Step};
use akb::substitute::{Job, Plan, Rules, plan};
use akb::{place, tree};
use clap::{Arg, ArgAction, ArgMatches};

use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Replace text in files, and fail where there is nothing to replace
///
/// With --rules, follows every [[substitute]] of a recipe in TREE and brings RECORD up to date. Without, replaces
/// text in each FILE as nixpkgs' substituteInPlace does: the options are followed in their order, each sees what the
/// one before it made.
///
/// All edits are found before one is written. If something does not match, nothing is written, and the nearest line is
/// shown. Files are written anew beside their place, so that a hard link to one is never written through.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The folder in which the rules are followed, or the files
    #[arg(required = true, value_name = "TREE or FILE")]
    paths: Vec<PathBuf>,
    /// Follow the rules of this recipe: an akb.toml, or a pyproject.toml with [tool.akb]
    #[arg(long, value_name = "RECIPE")]
    rules: Option<PathBuf>,
    /// With --rules: what {prefix} means, where TREE will lie when it is used [default: where it is]
    #[arg(long, value_name = "DIR", requires = "rules")]
    prefix: Option<PathBuf>,
    /// With --rules: what {inputs.NAME} means; repeatable
    #[arg(long, value_name = "NAME=DIR", requires = "rules", value_parser = named)]
    input: Vec<(String, PathBuf)>,
    /// Write nothing; print what would change as a unified diff
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    steps: Steps,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let (root, plan, python) = match &args.rules {
        Some(rules) => in_tree(args, rules, cx)?,
        None => (PathBuf::from("/"), in_place::plan(&files(&args.paths)?, &args.steps.resolve(cx)?)?, None),
    };
    for warning in &plan.report.warnings {
        cx.reporter().warn(warning.clone(), None);
    }
    for note in &plan.report.notes {
        cx.reporter().note(note.clone());
    }
    if !args.dry_run {
        plan.apply(&root)?;
        if let Some(python) = python {
            install::refresh_records(&root, &Layout::canonical(python), &plan.changed(), cx.settings.jobs)?;
        }
    }
    let diff = args.dry_run.then(|| plan.changes.diff());
    match (cx.json, diff) {
        (true, diff) => {
            let diff = diff.map(|diff| String::from_utf8_lossy(&diff).into_owned());
            cx.print(&format!("{}\n", serde_json::json!({ "report": plan.report, "diff": diff })));
        }
        (false, Some(diff)) => cx.print_bytes(&diff),
        (false, None) => cx.print(&summary(&plan)),
    }
    Ok(())
}

/// Plans the rules of a recipe in the one tree that was named.
fn in_tree(args: &Args, rules: &Path, cx: &Context) -> Result<(PathBuf, Plan, Option<PythonVersion>), Failure> {
    let [tree] = args.paths.as_slice() else {
        return Err(Failure::usage("--rules takes one folder", "run the command once for each"));
    };
    if !args.steps.0.is_empty() {
        return Err(Failure::usage("--rules goes with no other rules", "write them into the recipe"));
    }
    let tree = absolute(tree)?;
    let prefix = match (&args.prefix, place::receipt(&tree)) {
        (None, Ok(receipt)) if args.dry_run => receipt.prefix,
        (_, Ok(_)) if !args.dry_run => {
            return Err(Failure::usage(
                format!("`{}` is a finished tree: its bytes are its identity", tree.display()),
                "write the rules into akb.toml and run `akb build`; --dry-run shows what they would do",
            ));
        }
        (Some(prefix), _) => prefix.clone(),
        (None, _) => tree.clone(),
    };
    let prefix = prefix.to_str().ok_or_else(|| Failure::usage("the prefix is not UTF-8", "name another one"))?;
    let text = fs::read_to_string(rules).map_err(|error| Failure::io("read", rules, &error))?;
    let recipe = Recipe::parse(&text, rules)?;
    let folder = absolute(rules)?;
    let rules = Rules::open(&recipe.substitute, folder.parent().unwrap_or(Path::new("/")))?;
    let python = python(&tree)?;
    let inputs: BTreeMap<String, PathBuf> = args.input.iter().cloned().collect();
    let job = Job { tree: &tree, prefix: prefix.trim_end_matches('/'), python, inputs: &inputs };
    let plan = plan(&rules, &job, cx.settings.jobs)?;
    Ok((tree, plan, python))
}

/// The Python of a tree, by the one folder that it has for packages.
fn python(tree: &Path) -> Result<Option<PythonVersion>, Failure> {
    let lib = tree.join("lib");
    let folders = if lib.is_dir() { tree::list(&lib)? } else { Vec::new() };
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.strip_prefix("python")?.parse().ok();
    let found: Vec<PythonVersion> =
        folders.iter().filter(|folder| folder.join("site-packages").is_dir()).filter_map(version).collect();
    Ok(if let [only] = found.as_slice() { Some(*only) } else { None })
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    paths.iter().map(|path| absolute(path)).collect()
}

/// One line a file, then the number of matches.
fn summary(plan: &Plan) -> String {
    let mut text = String::new();
    for file in &plan.report.files {
        let before = file.before.map_or("new".to_owned(), |bytes| format!("{bytes}"));
        let _ = writeln!(text, "{}\t{before} -> {} bytes", file.path.display(), file.after);
    }
    let matches: u64 = plan.report.rules.iter().map(|rule| rule.matches).sum();
    let _ = writeln!(text, "{matches} matches, {} files changed", plan.report.files.len());
    text
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(name, folder)| !name.is_empty() && folder.starts_with('/'));
    let (name, folder) = parts.ok_or("expected NAME=DIR with an absolute folder")?;
    Ok((name.to_owned(), folder.into()))
}

/// Replacements in the order of the command line, which clap keeps apart by option.
#[derive(Clone, Debug)]
struct Steps(Vec<Said>);

#[derive(Clone, Debug)]
enum Said {
    Step(Step),
    /// A variable whose value is in the environment.
    Environment(OsString),
}

/// Options with their values, and what they do.
const OPTIONS: [(&str, &[&str], &str); 6] = [
    ("replace-fail", &["OLD", "NEW"], "Replace every OLD by NEW; fail if a file has none"),
    ("replace-warn", &["OLD", "NEW"], "Replace every OLD by NEW; warn if a file has none"),
    ("replace-quiet", &["OLD", "NEW"], "Replace every OLD by NEW, if there are any"),
    ("replace", &["OLD", "NEW"], "The same as --replace-warn (old)"),
    ("subst-var-by", &["NAME", "VALUE"], "Replace every @NAME@ by VALUE, if there are any"),
    ("subst-var", &["NAME"], "Replace every @NAME@ by the value of the environment variable NAME"),
];

impl Steps {
    /// With the values of the variables that were named, and no others.
    fn resolve(&self, cx: &Context) -> Result<Vec<Step>, Failure> {
        if self.0.is_empty() {
            return Err(Failure::usage("nothing is to be replaced", "add --replace-fail OLD NEW, or --rules akb.toml"));
        }
        let step = |said: &Said| match said {
            Said::Step(Step::Replace { old, .. }) if old.is_empty() => {
                Err(Failure::usage("the text to replace is empty", "name a text that is in the file"))
            }
            Said::Step(step) => Ok(step.clone()),
            Said::Environment(name) => match cx.env_bytes(name) {
                Some(value) => Ok(Step::Variable { name: name.clone().into_vec(), value: value.into_vec() }),
                None => Err(Failure::usage(
                    format!("the environment variable {} is not set", name.display()),
                    format!("set it, or write --subst-var-by {} VALUE", name.display()),
                )),
            },
        };
        self.0.iter().map(step).collect()
    }
}

impl clap::Args for Steps {
    fn augment_args(command: clap::Command) -> clap::Command {
        OPTIONS.iter().fold(command, |command, (name, values, help)| {
            let option = Arg::new(*name).long(*name).num_args(values.len()).value_names(*values).help(*help);
            let option = option.action(ArgAction::Append).allow_hyphen_values(true);
            let option = option.value_parser(clap::value_parser!(OsString));
            command.arg(option.hide(*name == "replace").help_heading("Replacements in files"))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut steps = BTreeMap::new();
        for (name, values, _) in OPTIONS {
            let indices: Vec<usize> = matches.indices_of(name).into_iter().flatten().collect();
            let said: Vec<&OsString> = matches.get_many(name).into_iter().flatten().collect();
            for (index, said) in indices.chunks(values.len()).zip(said.chunks(values.len())) {
                steps.insert(index[0], said_by(name, said));
            }
        }
        Ok(Self(steps.into_values().collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn said_by(option: &str, values: &[&OsString]) -> Said {
    let bytes = |value: &OsString| value.clone().into_vec();
    let mode = match option {
        "replace-fail" => Mode::Fail,
        "replace-quiet" => Mode::Quiet,
        _ => Mode::Warn,
    };
    match values {
        [name] => Said::Environment((*name).clone()),
        [name, value, ..] if option == "subst-var-by" => {
            Said::Step(Step::Variable { name: bytes(name), value: bytes(value) })
        }
        [old, new, ..] => Said::Step(Step::Replace { mode, old: bytes(old), new: bytes(new) }),
        [] => Said::Environment(OsString::new()),
    }
}
