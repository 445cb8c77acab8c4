//! `akb plan`: what a build would install.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use akb::lock::names::normalize;
use akb::lock::uv::UvLock;
use akb::plan::{Choice, Plan, Project, Roots, Selection, plan};
use akb::request::{Arch, Libc, Platform, PythonVersion, Target};

use crate::context::Context;
use crate::failure::Failure;

/// glibc level of the default platform: what most wheels are built for.
const GLIBC: Libc = Libc::Glibc(2, 28);

/// Show which file of each locked package fits a Python and a platform
///
/// Reads uv.lock and pyproject.toml of DIR and nothing else: no network, no Python, not this machine. With
/// `--format tsv` it prints name, version, kind (wheel, sdist, git, path, directory, editable, virtual), file
/// name and hash, separated by tabs and sorted by name, with a dash where there is none.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Folder that holds uv.lock
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Columns to read, and a sum
    Table,
    /// Name, version, kind, file, hash, separated by tabs
    Tsv,
    /// The plan as data
    Json,
}

/// Options that say what to build for.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct TargetArgs {
    /// Python to choose for, such as 3.14 or 3.14.2 [default: .python-version, or the only one that the
    /// project allows]
    #[arg(long, value_name = "X.Y[.Z]", help_heading = "Target")]
    pub(crate) python: Option<PythonVersion>,
    #[expect(clippy::doc_markdown, reason = "help texts are not Markdown")]
    /// Machine and C library to choose for, such as x86_64-manylinux_2_42 or aarch64-musllinux_1_2 [default:
    /// this machine's architecture with manylinux_2_28]
    #[arg(long, value_name = "PLATFORM", help_heading = "Target")]
    pub(crate) platform: Option<Platform>,
}

/// Options that say what of the lock is wanted.
#[derive(clap::Args, Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct SelectionArgs {
    /// Start from this member of the workspace instead of the project in DIR; repeatable
    #[arg(long = "package", value_name = "NAME", value_parser = name, help_heading = "Selection")]
    packages: Vec<String>,
    /// Start from all members of the workspace
    #[arg(long, conflicts_with = "packages", help_heading = "Selection")]
    all_packages: bool,
    /// Add an extra of the project; repeatable
    #[arg(long = "extra", value_name = "NAME", value_parser = name, help_heading = "Selection")]
    extras: Vec<String>,
    /// Add all extras of the project
    #[arg(long, help_heading = "Selection")]
    all_extras: bool,
    /// With --all-extras: but not this one; repeatable
    #[arg(long = "no-extra", value_name = "NAME", value_parser = name, help_heading = "Selection")]
    no_extras: Vec<String>,
    /// Add a dependency group, such as dev; repeatable. None is added unasked
    #[arg(long = "group", value_name = "NAME", value_parser = name, help_heading = "Selection")]
    groups: Vec<String>,
    /// Add all dependency groups
    #[arg(long, help_heading = "Selection")]
    all_groups: bool,
    /// Add the groups that `uv sync` adds unasked: default-groups under [tool.uv], or dev
    #[arg(long, help_heading = "Selection")]
    default_groups: bool,
    /// Leave a dependency group out; repeatable
    #[arg(long = "no-group", value_name = "NAME", value_parser = name, help_heading = "Selection")]
    no_groups: Vec<String>,
    /// The same as --no-group dev
    #[arg(long, help_heading = "Selection")]
    no_dev: bool,
    /// Add no groups unasked: how akb always does, for those who are used to uv
    #[arg(long, conflicts_with = "default_groups", help_heading = "Selection")]
    no_default_groups: bool,
    /// Only this dependency group, without the project and what it needs; repeatable
    #[arg(long = "only-group", value_name = "NAME", value_parser = name, help_heading = "Selection")]
    only_groups: Vec<String>,
    /// All but the members of the workspace, as `uv sync --no-install-workspace` does
    #[arg(long, help_heading = "Selection")]
    deps_only: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let (lock, project) = akb::lock::open(&args.folder)?;
    let target = args.target.resolve(&args.folder, &lock, &project)?;
    let plan = plan(&lock, &project, &target, &args.selection.selection())?;
    let text = match args.format {
        Format::Table => table(&plan),
        Format::Tsv => tsv(&plan),
        Format::Json => json(&plan)?,
    };
    cx.print(&text);
    Ok(())
}

impl TargetArgs {
    /// The target, with what is not given taken from the project in `folder`.
    pub(crate) fn resolve(&self, folder: &Path, lock: &UvLock, project: &Project) -> Result<Target, Failure> {
        let python = match self.python {
            Some(python) => python,
            None => default_python(folder, lock, project)?,
        };
        let host = || Arch::host().map(|arch| Platform { arch, libc: GLIBC });
        let platform = self
            .platform
            .or_else(host)
            .ok_or_else(|| Failure::usage("no platform to choose for", "name one: --platform x86_64-manylinux_2_28"))?;
        Ok(Target { python, platform })
    }
}

/// What `.python-version` says, else the one minor version that lock and project allow.
fn default_python(folder: &Path, lock: &UvLock, project: &Project) -> Result<PythonVersion, Failure> {
    let path = folder.join(".python-version");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        return line
            .unwrap_or_default()
            .parse()
            .map_err(|error| Failure::usage(format!("`{}`: {error}", path.display()), "name a Python: --python 3.14"));
    }
    akb::plan::only_python(lock, project).ok_or_else(|| {
        let message = format!("the project runs on several Pythons ({}), and none was named", lock.requires_python);
        Failure::usage(message, "name one: --python 3.14")
    })
}

impl SelectionArgs {
    /// What the options select.
    pub(crate) fn selection(&self) -> Selection {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let roots = match (self.all_packages, &self.packages[..]) {
            (true, _) => Roots::All,
            (false, []) => Roots::Default,
            (false, names) => Roots::Named(set(names)),
        };
        let mut groups = Choice { all: self.all_groups, names: set(&self.groups), except: set(&self.no_groups) };
        groups.names.extend(self.only_groups.iter().cloned());
        groups.except.extend(self.no_dev.then(|| "dev".to_owned()));
        Selection {
            roots,
            extras: Choice { all: self.all_extras, names: set(&self.extras), except: set(&self.no_extras) },
            groups,
            default_groups: self.default_groups,
            only_groups: !self.only_groups.is_empty(),
            deps_only: self.deps_only,
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    normalize(text).ok_or_else(|| "not a valid name".to_owned())
}

/// Name, version, kind, file name and hash of each package.
fn rows(plan: &Plan) -> impl Iterator<Item = [String; 5]> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    plan.packages.iter().map(move |package| {
        let (file, hash) = package.file();
        let hash = hash.map(|hash| hash.to_string());
        [
            package.name.clone(),
            or_dash(package.version.as_deref()),
            package.origin.kind().to_owned(),
            or_dash(file),
            or_dash(hash.as_deref()),
        ]
    })
}

fn tsv(plan: &Plan) -> String {
    rows(plan).map(|row| row.join("\t") + "\n").collect()
}

fn json(plan: &Plan) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(plan);
    text.map(|text| text + "\n").map_err(|error| Failure::usage(format!("cannot write JSON: {error}"), "report this"))
}

fn table(plan: &Plan) -> String {
    let rows: Vec<_> = rows(plan).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, version, kind) = (width(0), width(1), width(2));
    let mut text = String::new();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        let _ = writeln!(text, "{:name$}  {:version$}  {:kind$}  {}", row[0], row[1], row[2], row[3]);
        *kinds.entry(&row[2]).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let (python, platform) = (plan.target.python, plan.target.platform);
    let _ = writeln!(text, "{} packages for Python {python} on {platform}: {}", rows.len(), kinds.join(", "));
    text
}
