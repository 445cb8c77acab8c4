//! Makes a sidecar lock: a plan, and for everything in it that is source, the packages that build it.
//!
//! The index is behind [`resolve::Source`], sources and their hooks are behind [`Sources`]: what is written depends
//! on their answers alone.

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::Version;

use super::resolve::{self, Choice, Failed, Own, Resolution, ResolveError, World};
use super::sidecar::{Content, InputPins, LocalKind, Locked, Reference, Sidecar};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::plan::{FileId, Origin, Package, Plan};
use crate::recipe::Recipe;
use crate::report::{Event, Reporter, Stage};

mod nar;
mod pending;
#[cfg(test)]
mod tests;

pub use nar::flat_hash;
pub use pending::complete;

/// What making a lock asks of sources.
pub trait Sources {
    /// The size in bytes of a file whose index does not say it.
    ///
    /// # Errors
    /// The file cannot be had.
    fn size(&self, name: &str, file: &FileId) -> Result<u64, Failed>;

    /// The NAR hash of the tree of a git package, checked out without `.git`.
    ///
    /// # Errors
    /// The repository cannot be had.
    fn tree(&self, package: &Package) -> Result<Sha256, Failed>;

    /// `build-system.requires` of a source, or the defaults where it says nothing.
    ///
    /// # Errors
    /// The source cannot be had or read.
    fn static_requires(&self, subject: &Subject<'_>) -> Result<Vec<String>, Failed>;

    /// What its backend asks for beyond that (PEP 517, `get_requires_for_build_wheel`), in an environment of
    /// exactly `subject.locked.build`. `entries` has every entry that this environment needs, all the way down.
    ///
    /// # Errors
    /// The environment cannot be made, or the hook failed.
    fn dynamic_requires(
        &self,
        subject: &Subject<'_>,
        entries: &BTreeMap<Reference, Locked>,
    ) -> Result<Vec<String>, Failed>;
}

/// A source whose build requirements are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name, version, content; its build environment as far as it is known.
    pub locked: &'a Locked,
    /// The plan's package, where it is one: it says where git and local sources are. Files of an index have none.
    pub package: Option<&'a Package>,
}

/// What a lock is made from.
pub struct Request<'a> {
    /// With the recipe applied, complete.
    pub plan: &'a Plan,
    /// Extra build requirements are in it.
    pub recipe: &'a Recipe,
    /// [`super::sidecar::source_digest`] of both.
    pub source: Sha256,
    /// Versions that `uv.lock` has beyond the plan, by name: preferred.
    pub also_locked: &'a BTreeMap<String, String>,
    /// The lock that is there: its build requirements are kept where they fit. `None` upgrades them.
    pub previous: Option<&'a Sidecar>,
    /// `exclude-newer` of the lock.
    pub exclude_newer: Option<&'a str>,
    /// Pinned input packages.
    pub inputs: Option<InputPins>,
}

/// A lock that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Requirements that cannot be met.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Packages that build each other.
    #[error("{} cannot be built: each needs the next to be built", chain(.0))]
    Cycle(
        /// From the first to itself.
        Vec<Reference>,
    ),
    /// A source, or its hook, failed.
    #[error("build requirements of {package}: {error}")]
    Source {
        /// What is built.
        package: String,
        /// Why.
        error: Failed,
    },
    /// The index does not have what the recipe says.
    #[error("the index has no {wanted} for Python {python} on {platform}")]
    NotOffered {
        /// Name, version and what of it.
        wanted: String,
        /// Normalised name.
        name: String,
        /// The target's.
        python: String,
        /// The target's.
        platform: String,
        /// Versions that it has, newest first.
        offered: Vec<String>,
    },
    /// Two files of one name.
    #[error("{first} and {second} are different files of the same name, `{file}`")]
    SameFile {
        /// One entry.
        first: Reference,
        /// The other.
        second: Reference,
        /// The name.
        file: String,
    },
}

fn chain(cycle: &[Reference]) -> String {
    cycle.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ")
}

impl Explain for MakeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Resolve(error) => error.hint(),
            Self::Cycle(cycle) => cycle.last().map(|last| {
                format!("take a version of {0} that has a wheel: [package.…] build-requires = [\"{0}==…\"]", last.name)
            }),
            Self::Source { error, .. } => error.hint(),
            Self::NotOffered { name, offered, .. } if !offered.is_empty() => {
                Some(format!("versions of {name} that fit: {}", offered.join(", ")))
            }
            Self::NotOffered { name, .. } => Some(format!("say which in akb.toml: [package.{name}] version = \"…\"")),
            Self::SameFile { .. } => Some("give one of them another version".to_owned()),
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Resolve(error) => error.output(),
            Self::Source { error, .. } => error.output(),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Resolve(error) => error.exit_code(),
            Self::Source { error, .. } => error.exit_code(),
            _ => ExitCode::Failed,
        }
    }
}

/// Makes the lock of a request. Its `fetch_hash` is `None`: [`flat_hash`] gives it once the files are there.
///
/// # Errors
/// The first package, by name, whose build requirements cannot be found.
pub fn make(
    request: &Request<'_>,
    index: &dyn resolve::Source,
    sources: &dyn Sources,
    reporter: &dyn Reporter,
) -> Result<Sidecar, MakeError> {
    let own = own(request.plan);
    let mut maker = Maker { request, index, sources, reporter, own: &own, entries: BTreeMap::new(), open: Vec::new() };
    let mut packages = Vec::new();
    for package in &request.plan.packages {
        packages.push(maker.package(package)?);
    }
    let installed: BTreeSet<&Reference> = packages.iter().collect();
    maker.forget_unused(&packages);
    let (packages, builds) =
        maker.entries.into_iter().partition::<Vec<_>, _>(|(reference, _)| installed.contains(reference));
    let entries = |entries: Vec<(Reference, Locked)>| entries.into_iter().map(|(_, locked)| locked).collect();
    let sidecar = Sidecar {
        source: request.source,
        target: request.plan.target.clone(),
        fetch_hash: None,
        inputs_hash: None,
        packages: entries(packages),
        builds: entries(builds),
        inputs: request.inputs.clone(),
    };
    one_file_of_a_name(&sidecar)?;
    Ok(sidecar)
}

/// The project's own packages, as the resolver sees them.
pub fn own(plan: &Plan) -> BTreeMap<String, Own> {
    let own = |package: &Package| {
        let from_index = match &package.origin {
            Origin::Wheel(remote) | Origin::Sdist(remote) => remote.index.is_some() || remote.url.is_none(),
            Origin::Virtual { .. } => return None,
            _ => false,
        };
        Some((package.name.clone(), Own { version: package.version.clone(), from_index }))
    };
    plan.packages.iter().filter_map(own).collect()
}

fn one_file_of_a_name(sidecar: &Sidecar) -> Result<(), MakeError> {
    let mut names = BTreeMap::new();
    for locked in sidecar.packages.iter().chain(&sidecar.builds) {
        let Some(file) = locked.content.file() else { continue };
        if let Some(first) = names.insert(file.name.to_lowercase(), locked.reference()) {
            return Err(MakeError::SameFile { first, second: locked.reference(), file: file.name.clone() });
        }
    }
    Ok(())
}

struct Maker<'a> {
    request: &'a Request<'a>,
    index: &'a dyn resolve::Source,
    sources: &'a dyn Sources,
    reporter: &'a dyn Reporter,
    own: &'a BTreeMap<String, Own>,
    /// Finished entries.
    entries: BTreeMap<Reference, Locked>,
    /// What is being worked on: each needs the next to be built.
    open: Vec<Reference>,
}

impl Maker<'_> {
    fn package(&mut self, package: &Package) -> Result<Reference, MakeError> {
        let reference = Reference { name: package.name.clone(), version: package.version.clone() };
        if self.entries.contains_key(&reference) {
            return Ok(reference);
        }
        let content = match &package.origin {
            Origin::Wheel(remote) => Content::Wheel(self.sized(&package.name, &remote.file)?),
            Origin::Sdist(remote) => Content::Sdist {
                file: self.sized(&package.name, &remote.file)?,
                subdirectory: remote.subdirectory.clone(),
            },
            Origin::Git { revision, subdirectory, .. } => Content::Git {
                revision: revision.clone(),
                tree: self.sources.tree(package).map_err(|error| failed(&reference, error))?,
                subdirectory: subdirectory.clone(),
            },
            Origin::Path { .. } => Content::Local { kind: LocalKind::Path },
            Origin::Directory { .. } => Content::Local { kind: LocalKind::Directory },
            Origin::Editable { .. } => Content::Local { kind: LocalKind::Editable },
            Origin::Virtual { .. } => Content::Local { kind: LocalKind::Virtual },
        };
        let is_built = match &package.origin {
            Origin::Wheel(_) | Origin::Virtual { .. } => false,
            Origin::Path { path, .. } => !super::is_wheel(path),
            _ => true,
        };
        let locked = Locked { name: package.name.clone(), version: package.version.clone(), content, build: None };
        self.entry(locked, is_built, Some(package))
    }

    /// Finishes an entry, of a package of the plan or of a file of the index.
    fn entry(&mut self, mut locked: Locked, is_built: bool, package: Option<&Package>) -> Result<Reference, MakeError> {
        let reference = locked.reference();
        if is_built {
            if let Some(start) = self.open.iter().position(|open| *open == reference) {
                let cycle = self.open[start..].iter().chain([&reference]);
                return Err(MakeError::Cycle(cycle.cloned().collect()));
            }
            self.open.push(reference.clone());
            self.environment(&mut locked, package)?;
            self.open.pop();
        }
        self.entries.insert(reference.clone(), locked);
        Ok(reference)
    }

    /// Finds the build environment of `locked`: what it says, what the recipe adds, then what its backend asks
    /// for when it sees that.
    fn environment(&mut self, locked: &mut Locked, package: Option<&Package>) -> Result<(), MakeError> {
        let reference = locked.reference();
        let item = reference.to_string();
        self.reporter.event(&Event::ItemStarted { stage: Stage::Lock, item: &item, size: None });
        let wrong = |error| failed(&reference, error);
        let subject = Subject { locked, package };
        let mut requirements = self.sources.static_requires(&subject).map_err(wrong)?;
        if let Some(said) = self.request.recipe.package(&locked.name) {
            requirements.extend(said.build_requires.iter().cloned());
        }
        locked.build = Some(self.resolved(&reference, &requirements)?);
        let subject = Subject { locked, package };
        let dynamic = self.sources.dynamic_requires(&subject, &self.entries).map_err(wrong)?;
        if !dynamic.is_empty() {
            requirements.extend(dynamic);
            locked.build = Some(self.resolved(&reference, &requirements)?);
        }
        self.reporter.event(&Event::ItemFinished { stage: Stage::Lock, item: &item, cached: false });
        Ok(())
    }

    /// A resolution, with entries for all that is in it.
    fn resolved(&mut self, reference: &Reference, requirements: &[String]) -> Result<Vec<Reference>, MakeError> {
        let preferred = self.preferred(reference);
        let world = World {
            source: self.index,
            target: &self.request.plan.target,
            own: self.own,
            preferred: &preferred,
            exclude_newer: self.request.exclude_newer,
        };
        let Resolution { packages, notes } = resolve::resolve(&world, &reference.name, requirements)?;
        for note in notes {
            self.reporter.note(note);
        }
        let mut build = Vec::with_capacity(packages.len());
        for (name, chosen) in packages {
            build.push(match chosen.choice {
                Choice::Own(_) => {
                    let request = self.request;
                    let own = request.plan.packages.iter().find(|package| package.name == name);
                    match own {
                        Some(package) => self.package(package)?,
                        None => continue,
                    }
                }
                Choice::File(file) => self.offered(name, &chosen.version, &file)?,
            });
        }
        build.sort();
        Ok(build)
    }

    fn offered(&mut self, name: String, version: &Version, file: &FileId) -> Result<Reference, MakeError> {
        let reference = Reference { name: name.clone(), version: Some(version.to_string()) };
        if self.entries.contains_key(&reference) {
            return Ok(reference);
        }
        let file = self.sized(&name, file)?;
        let is_wheel = super::is_wheel(&file.name);
        let content = if is_wheel { Content::Wheel(file) } else { Content::Sdist { file, subdirectory: None } };
        let locked = Locked { name, version: reference.version.clone(), content, build: None };
        self.entry(locked, !is_wheel, None)
    }

    /// Drops what a first resolution chose and the second, with the dynamic requirements, did not.
    fn forget_unused(&mut self, installed: &[Reference]) {
        let mut used = BTreeSet::new();
        let mut next: Vec<&Reference> = installed.iter().collect();
        while let Some(reference) = next.pop() {
            if used.insert(reference.clone()) {
                next.extend(self.entries.get(reference).and_then(|locked| locked.build.as_ref()).into_iter().flatten());
            }
        }
        self.entries.retain(|reference, _| used.contains(reference));
    }

    /// What is preferred for one environment: what the previous lock built it with, else what `uv.lock` has.
    fn preferred(&self, reference: &Reference) -> BTreeMap<String, String> {
        let mut preferred = BTreeMap::new();
        if let Some(build) = self.request.previous.and_then(|lock| lock.find(reference)?.build.as_deref()) {
            let versions = build.iter().filter_map(|entry| Some((entry.name.clone(), entry.version.clone()?)));
            preferred.extend(versions);
        }
        preferred.extend(self.request.also_locked.iter().map(|(name, version)| (name.clone(), version.clone())));
        preferred
    }

    fn sized(&self, name: &str, file: &FileId) -> Result<FileId, MakeError> {
        let size = match file.size {
            Some(size) => size,
            None => {
                self.sources.size(name, file).map_err(|error| MakeError::Source { package: name.to_owned(), error })?
            }
        };
        Ok(FileId { size: Some(size), ..file.clone() })
    }
}

fn failed(reference: &Reference, error: Failed) -> MakeError {
    MakeError::Source { package: reference.to_string(), error }
}
