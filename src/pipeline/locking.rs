//! The sidecar lock: read and held against the project, or made anew.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::gather::{InputSource, compiles, host_inputs};
use super::subject::read;
use super::wheels::{Local, Yard, git_tree, local_sources};
use super::{Locked, Order, PipelineError, Project, Tools, files, staged};
use crate::digest::Sha256;
use crate::explain::Explain;
use crate::fetch::{self, Want};
use crate::index::{IndexClient, IndexError};
use crate::inputs::{Inputs, debian};
use crate::lock::make::{self, Sources, Subject};
use crate::lock::metadata;
use crate::lock::resolve::{self, Choice, Failed, Offer, Requires, World};
use crate::lock::sidecar::{Content, InputPins, Locked as Entry, Reference, Sidecar};
use crate::lock::uv::UvLock;
use crate::plan::{self, FileId, Origin, Package, Plan};
use crate::recipe::Provider;
use crate::report::Stage;
use crate::request::{Arch, Libc, Platform, PythonVersion, Target};
use crate::wheel::{self, Workshop};

/// How a lock is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// Build requirements and pins of the lock that is there stay where they fit.
    Keep,
    /// Everything is taken anew.
    Upgrade,
}

/// The lock that a build goes by: the one that is there if it fits, else one that is made and written.
pub(super) fn open_or_make(order: &Order, tools: &Tools<'_>) -> Result<Locked, PipelineError> {
    let project = Project::open(order)?;
    let Some(sidecar) = project.sidecar.clone() else {
        if order.locked {
            return Err(PipelineError::NotLocked { path: project.sidecar_path });
        }
        tools.reporter.note(format!("`{}` does not exist: it is made now", project.sidecar_path.display()));
        return make_and_write(project, Locking::Keep, tools);
    };
    let plan = match plan_of(&project, &sidecar) {
        Ok(plan) => plan,
        Err(PipelineError::Drift(drift)) if !order.locked && project.uv.is_some() => {
            tools.reporter.warn(format!("{drift}: it is made anew"), None);
            return make_and_write(project, Locking::Keep, tools);
        }
        Err(error) => return Err(error),
    };
    staged(tools.reporter, Stage::Plan, None, || {
        let built = sidecar.packages.iter().filter(|entry| entry.build.is_some()).count();
        let target = &sidecar.target;
        let count = plan.packages.len();
        let summary = format!("{count} packages, {built} from source, Python {} on {}", target.python, target.platform);
        Ok::<_, PipelineError>(((), summary))
    })?;
    Ok(Locked { project, plan, sidecar, recorded: None })
}

/// The plan that a sidecar lock holds for.
pub(super) fn plan_of(project: &Project, sidecar: &Sidecar) -> Result<Plan, PipelineError> {
    let Some((lock, uv_project)) = &project.uv else { return Ok(sidecar.plan()?) };
    let wanted = Target { python: project.python.unwrap_or(sidecar.target.python), ..sidecar.target.clone() };
    let target = if wanted.python.short() == sidecar.target.python.short() { sidecar.target.clone() } else { wanted };
    let plan = plan::plan(lock, uv_project, &target, &project.selection)?;
    let applied = project.recipe.apply(plan, &project.names())?;
    let plan = applied.complete(|pending| {
        sidecar.origin_of(pending).ok_or_else(|| {
            let missing = crate::lock::sidecar::Difference {
                name: pending.name.clone(),
                locked: None,
                planned: Some(pending.version.clone()),
            };
            PipelineError::Drift(crate::lock::sidecar::Drift::Packages(vec![missing]))
        })
    })?;
    sidecar.check_against(&plan, Some(project.source))?;
    if plan.packages.is_empty() {
        return Err(PipelineError::Nothing { python: target.python });
    }
    Ok(plan)
}

/// Whether the lock of `order` still fits; nothing is fetched and nothing is written.
pub fn check_lock(order: &Order) -> Result<(Sidecar, PathBuf), PipelineError> {
    let project = Project::open(order)?;
    let Some(sidecar) = project.sidecar.clone() else {
        return Err(PipelineError::NotLocked { path: project.sidecar_path });
    };
    plan_of(&project, &sidecar)?;
    Ok((sidecar, project.sidecar_path))
}

/// Makes the lock of `order` and writes it; what `akb lock` does.
pub fn lock(order: &Order, how: Locking, tools: &Tools<'_>) -> Result<(Sidecar, PathBuf), PipelineError> {
    let locked = make_and_write(Project::open(order)?, how, tools)?;
    Ok((locked.sidecar, locked.project.sidecar_path))
}

fn make_and_write(project: Project, how: Locking, tools: &Tools<'_>) -> Result<Locked, PipelineError> {
    let (plan, mut sidecar) = staged(tools.reporter, Stage::Lock, None, || {
        let (plan, sidecar) = make_lock(&project, how, tools)?;
        let summary = format!("{} packages, {} more to build them", sidecar.packages.len(), sidecar.builds.len());
        Ok::<_, PipelineError>(((plan, sidecar), summary))
    })?;
    // A git source belongs to the fetch output and is no file; local sources are not fetched.
    if !sidecar.packages.iter().any(|entry| matches!(entry.content, Content::Git { .. })) {
        sidecar.fetch_hash = Some(files::fetched(Some(&plan), &sidecar, tools)?.hash);
    }
    sidecar.inputs_hash = files::input_files(&sidecar, tools)?.map(|files| files.hash);
    write(&project.sidecar_path, &sidecar.to_toml())?;
    Ok(Locked { recorded: Some(project.sidecar_path.clone()), project, plan, sidecar })
}

fn fetch_files(wants: &[Want], tools: &Tools<'_>) -> Result<BTreeMap<Sha256, PathBuf>, PipelineError> {
    Ok(fetch::fetch(wants, tools.net, tools.indexes, tools.cache, tools.settings.offline, tools.reporter)?)
}

/// Takes new pins of the input packages, since the archive no longer has `gone`; all else of the lock stays.
pub(super) fn refresh_inputs(
    locked: Locked,
    gone: &[debian::Pin],
    order: &Order,
    tools: &Tools<'_>,
) -> Result<Locked, PipelineError> {
    let names: Vec<String> = gone.iter().map(|pin| format!("{} {}", pin.package, pin.version)).collect();
    let few = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(4);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    tools.reporter.warn(
        format!("the archive no longer has {few}{rest}: input packages are resolved anew, and the hash may be another"),
        Some(format!(
            "the new pins are written to {}; keep that file to build the same again",
            locked.project.sidecar_path.display()
        )),
    );
    let Locked { project, plan, mut sidecar, .. } = locked;
    let compiles = compiles(&sidecar);
    let python = order.python.unwrap_or(sidecar.target.python);
    let (pins, target) = debian_pins(&project, python, compiles, tools)?;
    sidecar.target.python = target.python;
    sidecar.inputs = Some(pins);
    sidecar.inputs_hash = files::input_files(&sidecar, tools)?.map(|files| files.hash);
    write(&project.sidecar_path, &sidecar.to_toml())?;
    Ok(Locked { recorded: Some(project.sidecar_path.clone()), project, plan, sidecar })
}

fn debian_pins(
    project: &Project,
    python: PythonVersion,
    compiles: bool,
    tools: &Tools<'_>,
) -> Result<(InputPins, Target), PipelineError> {
    let wish = wish(project, python, compiles)?;
    let resolved = debian::resolve(&wish, &tools.archive, &tools.trust)?;
    let wanted = debian::Use { suite: resolved.suite.clone(), arch: wish.arch, python };
    let target = debian::target(&resolved.pins, &wanted)?;
    Ok((InputPins { provider: Provider::Debian, suite: resolved.suite, packages: resolved.pins }, target))
}

/// What is wanted of a Debian archive.
fn wish(project: &Project, python: PythonVersion, compiles: bool) -> Result<debian::Wish, PipelineError> {
    let arch = Arch::host().ok_or(PipelineError::Machine { machine: std::env::consts::ARCH })?;
    let (suite, packages) = (project.suite.clone(), project.recipe.input_packages());
    Ok(debian::Wish { suite, packages, arch, python, compiles })
}

fn make_lock(project: &Project, how: Locking, tools: &Tools<'_>) -> Result<(Plan, Sidecar), PipelineError> {
    let Some((lock, uv_project)) = &project.uv else {
        return upgrade_known(project, tools);
    };
    let python = project.python.ok_or(PipelineError::NoPython)?;
    // Before anything is fetched for a Python that the project forbids.
    let arch = Arch::host().ok_or(PipelineError::Machine { machine: std::env::consts::ARCH })?;
    let platform = Platform { arch, libc: Libc::Glibc(2, 17) };
    plan::allowed(lock, uv_project, &Target { python, platform })?;
    let (mut pins, target) = input_pins(project, python, false, how, tools)?;
    let client = IndexClient::new(tools.net, tools.indexes, tools.cache, tools.settings.offline);
    let index = Index { client: &client, lock, tools };
    let plan = plan::plan(lock, uv_project, &target, &project.selection)?;
    if plan.packages.is_empty() {
        return Err(PipelineError::Nothing { python });
    }
    let own = make::own(&plan);
    let versions = project.versions();
    let world = World { source: &index, target: &target, own: &own, preferred: &versions, exclude_newer: None };
    let plan = make::complete(project.recipe.apply(plan, &project.names())?, &world)?;
    if plan.packages.iter().any(is_source) {
        pins = input_pins(project, python, true, how, tools)?.0;
    }
    let request = make::Request {
        plan: &plan,
        recipe: &project.recipe,
        source: project.source,
        also_locked: &versions,
        previous: project.sidecar.as_ref().filter(|_| how == Locking::Keep),
        exclude_newer: None,
        inputs: pins.clone(),
    };
    let locals = local_sources(&plan.packages, &project.folder)?;
    let hooks = Hooks { project, plan: &plan, pins, locals, target: &target, tools, inputs: OnceCell::new() };
    let sidecar = make::make(&request, &index, &hooks, tools.reporter)?;
    Ok((plan, sidecar))
}

/// A known release keeps its files; only the input packages can be taken anew.
fn upgrade_known(project: &Project, tools: &Tools<'_>) -> Result<(Plan, Sidecar), PipelineError> {
    let Some(mut sidecar) = project.sidecar.clone() else { return Err(PipelineError::NoPython) };
    let (pins, target) = debian_pins(project, sidecar.target.python, compiles(&sidecar), tools)?;
    sidecar.target.python = target.python;
    sidecar.inputs = Some(pins);
    Ok((sidecar.plan()?, sidecar))
}

fn is_source(package: &Package) -> bool {
    match &package.origin {
        Origin::Wheel(_) | Origin::Virtual { .. } => false,
        Origin::Path { path, .. } => !path.ends_with(".whl"),
        _ => true,
    }
}

/// Pins (none for the host's inputs) and the target that they make.
fn input_pins(
    project: &Project,
    python: PythonVersion,
    compiles: bool,
    how: Locking,
    tools: &Tools<'_>,
) -> Result<(Option<InputPins>, Target), PipelineError> {
    if project.provider == Provider::Host {
        let inputs = host_inputs(python, tools)?;
        return Ok((None, inputs.target));
    }
    if let (Some(sidecar), Locking::Keep) = (&project.sidecar, how)
        && let Some(pins) = &sidecar.inputs
        && sidecar.target.python.short() == python.short()
        && covers(pins, &wish(project, python, compiles)?)
    {
        return Ok((Some(pins.clone()), sidecar.target.clone()));
    }
    let (pins, target) = debian_pins(project, python, compiles, tools)?;
    Ok((Some(pins), target))
}

/// Whether pins have all that is wanted, so that they need not be taken anew.
fn covers(pins: &InputPins, wish: &debian::Wish) -> bool {
    wish.suite.as_ref().is_none_or(|suite| *suite == pins.suite) && debian::covers(wish, &pins.packages)
}

/// The index, as the resolver sees it.
struct Index<'a> {
    client: &'a IndexClient<'a>,
    lock: &'a UvLock,
    tools: &'a Tools<'a>,
}

fn boxed(error: impl Explain + Send + Sync + 'static) -> Failed {
    Box::new(error)
}

impl resolve::Source for Index<'_> {
    fn offers(&self, name: &str) -> Result<Vec<Offer>, Failed> {
        match self.client.listing(name) {
            Ok(listing) => Ok(listing
                .files
                .iter()
                .map(|file| Offer {
                    file: file.name.clone(),
                    sha256: file.sha256,
                    size: file.size,
                    requires_python: file.requires_python.clone(),
                    yanked: file.yanked.is_some(),
                    // PEP 700's upload time is not read: `exclude-newer` only says what `uv lock` may choose.
                    uploaded: None,
                })
                .collect()),
            Err(IndexError::NoProject { .. }) => Ok(Vec::new()),
            Err(error) => Err(boxed(error)),
        }
    }

    fn requires(&self, name: &str, choice: &Choice) -> Result<Requires, Failed> {
        match choice {
            Choice::Own(version) => Ok(Requires::Known(self.locked_requires(name, version))),
            Choice::File(file) => {
                let listing = self.client.listing(name).map_err(boxed)?;
                let Ok(Some(listed)) = listing.find(file) else {
                    return Ok(Requires::Unusable(format!("{} is no longer on its page", file.name)));
                };
                if !crate::lock::is_wheel(&file.name) {
                    return self.sdist_requires(name, file).map_err(boxed);
                }
                match self.client.metadata(listed, self.tools.reporter) {
                    Ok(text) => Ok(Requires::Known(metadata::requires_dist(&text))),
                    Err(error @ IndexError::Metadata { .. }) => Ok(Requires::Unusable(error.to_string())),
                    Err(error) => Err(boxed(error)),
                }
            }
        }
    }
}

impl Index<'_> {
    /// What a source distribution requires, as far as it says so without being built.
    fn sdist_requires(&self, name: &str, file: &FileId) -> Result<Requires, PipelineError> {
        let want = Want { file: file.clone(), project: name.to_owned(), url: None, index: None };
        let files = fetch_files(&[want], self.tools)?;
        let path = files.get(&file.sha256).ok_or_else(|| PipelineError::NoSource { name: name.to_owned() })?;
        let folder = super::wheels::sdist(path, &file.name, &file.sha256, self.tools.cache)?;
        Ok(metadata::sdist_requires(&folder))
    }

    /// What `uv.lock` says that one of its packages needs.
    fn locked_requires(&self, name: &str, version: &str) -> Vec<String> {
        let found = self
            .lock
            .packages
            .iter()
            .find(|package| package.name == name && package.version.as_deref() == Some(version));
        let dependencies = found.map(|package| package.dependencies.as_slice()).unwrap_or_default();
        let text = |dependency: &crate::lock::uv::Dependency| {
            let mut text = self.lock.packages[dependency.package].name.clone();
            if !dependency.extras.is_empty() {
                text.push_str(&format!("[{}]", dependency.extras.iter().cloned().collect::<Vec<_>>().join(",")));
            }
            if let Some(marker) = &dependency.marker {
                text.push_str(&format!(" ; {}", marker.text()));
            }
            text
        };
        dependencies.iter().map(text).collect()
    }
}

/// Sources and their hooks.
struct Hooks<'a> {
    project: &'a Project,
    plan: &'a Plan,
    pins: Option<InputPins>,
    locals: BTreeMap<String, Local>,
    target: &'a Target,
    tools: &'a Tools<'a>,
    inputs: OnceCell<Inputs>,
}

impl Sources for Hooks<'_> {
    fn size(&self, name: &str, file: &FileId) -> Result<u64, Failed> {
        let want = self.want(name, file);
        let files = fetch_files(&[want], self.tools).map_err(boxed)?;
        let path = files.get(&file.sha256).cloned().unwrap_or_default();
        fs::metadata(&path)
            .map(|metadata| metadata.len())
            .map_err(|source| boxed(PipelineError::Io { doing: "read", path, source }))
    }

    fn tree(&self, package: &Package) -> Result<Sha256, Failed> {
        git_tree(package, self.tools).map(|(_, identity)| identity).map_err(boxed)
    }

    fn static_requires(&self, subject: &Subject<'_>) -> Result<Vec<String>, Failed> {
        let entries: BTreeMap<Reference, Entry> = BTreeMap::new();
        let work = || {
            let files = self.files([subject.locked])?;
            let find = |reference: &Reference| entries.get(reference).cloned();
            let (folder, _, subdirectory) = self.yard(&find, &files).source(subject.locked)?;
            let folder = subdirectory.map_or(folder.clone(), |inside| folder.join(inside));
            Ok::<_, PipelineError>(wheel::build_system(&folder)?.requires)
        };
        work().map_err(boxed)
    }

    fn dynamic_requires(
        &self,
        subject: &Subject<'_>,
        entries: &BTreeMap<Reference, Entry>,
    ) -> Result<Vec<String>, Failed> {
        let work = || {
            let needed = needed(subject.locked, entries);
            let files = self.files(needed.iter().copied().chain([subject.locked]))?;
            let find = |reference: &Reference| entries.get(reference).cloned();
            let yard = self.yard(&find, &files);
            let inputs = self.inputs()?;
            let workshop = Workshop {
                inputs,
                settings: self.tools.settings,
                cache: self.tools.cache,
                reporter: self.tools.reporter,
            };
            let sources = needed.iter().filter(|entry| entry.build.is_some());
            let jobs = sources.map(|entry| yard.job(entry)).collect::<Result<Vec<_>, PipelineError>>()?;
            let built = wheel::build_all(&jobs, BTreeMap::new(), workshop)?;
            Ok::<_, PipelineError>(wheel::requires(&yard.job(subject.locked)?, &built, workshop)?)
        };
        work().map_err(boxed)
    }
}

/// All entries of a build environment, and of those that build them.
fn needed<'a>(locked: &Entry, entries: &'a BTreeMap<Reference, Entry>) -> Vec<&'a Entry> {
    let mut seen = BTreeMap::new();
    let mut next: Vec<&Reference> = locked.build.iter().flatten().collect();
    while let Some(reference) = next.pop() {
        if let Some((reference, entry)) = entries.get_key_value(reference)
            && seen.insert(reference, entry).is_none()
        {
            next.extend(entry.build.iter().flatten());
        }
    }
    seen.into_values().collect()
}

impl Hooks<'_> {
    fn yard<'y>(
        &'y self,
        find: &'y dyn Fn(&Reference) -> Option<Entry>,
        files: &'y BTreeMap<Sha256, PathBuf>,
    ) -> Yard<'y> {
        Yard {
            find,
            packages: &self.plan.packages,
            recipe: &self.project.recipe,
            locals: &self.locals,
            files,
            tools: self.tools,
        }
    }

    /// The plan's want for a file, which has addresses, or one that goes by the name alone.
    fn want(&self, name: &str, file: &FileId) -> Want {
        let planned = self.plan.packages.iter().filter(|package| package.name == name).find_map(Want::of);
        planned.filter(|want| want.file.sha256 == file.sha256).unwrap_or_else(|| Want {
            file: file.clone(),
            project: name.to_owned(),
            url: None,
            index: None,
        })
    }

    fn files<'e>(
        &self,
        entries: impl IntoIterator<Item = &'e Entry>,
    ) -> Result<BTreeMap<Sha256, PathBuf>, PipelineError> {
        let wants: Vec<Want> = entries
            .into_iter()
            .filter_map(|entry| match &entry.content {
                Content::Wheel(file) | Content::Sdist { file, .. } => Some(self.want(&entry.name, file)),
                _ => None,
            })
            .collect();
        fetch_files(&wants, self.tools)
    }

    fn inputs(&self) -> Result<&Inputs, PipelineError> {
        if let Some(inputs) = self.inputs.get() {
            return Ok(inputs);
        }
        let source = match &self.pins {
            Some(pins) => InputSource::Debian {
                pins: pins.packages.clone(),
                wanted: debian::Use {
                    suite: pins.suite.clone(),
                    arch: self.target.platform.arch,
                    python: self.target.python,
                },
            },
            None => InputSource::Given(Box::new(host_inputs(self.target.python, self.tools)?)),
        };
        let inputs = source.realise(self.tools)?;
        Ok(self.inputs.get_or_init(|| inputs))
    }
}

/// Writes a lock beside, then gives it its name.
fn write(path: &Path, text: &str) -> Result<(), PipelineError> {
    if read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let failed = |source| PipelineError::Io { doing: "write", path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::Builder::new().prefix(".akb.lock.").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
