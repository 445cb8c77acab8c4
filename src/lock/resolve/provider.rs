//! The resolver's side of pubgrub: a graph of names that is fetched while it is searched.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use pep440_rs::Version;
use pep508_rs::ExtraName;
use pubgrub::{Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError, Ranges};

use super::candidates::{Candidate, Candidates, candidates};
use super::requirement::Wanted;
use super::{Chosen, Requires, Resolution, ResolveError, Setting, World, conflict};

/// Steps after which the search is given up; real ones take some hundred.
const MOST_STEPS: u32 = 50_000;

/// A name of the graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node {
    /// What is built; it stands for the build environment.
    Root(String),
    /// A package.
    Package(String),
    /// A package's extra: its requirements, on top of the package itself.
    Extra(String, ExtraName),
}

impl Node {
    /// The package, if it is one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Root(_) => None,
            Self::Package(name) | Self::Extra(name, _) => Some(name),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(package) => write!(f, "the build of {package}"),
            Self::Package(name) => f.write_str(name),
            Self::Extra(name, extra) => write!(f, "{name}[{extra}]"),
        }
    }
}

/// What a node needs.
type Edges = BTreeMap<Node, Ranges<Version>>;

fn available(edges: Edges) -> Dependencies<Node, Ranges<Version>, String> {
    Dependencies::Available(edges.into_iter().collect())
}

pub(super) struct Provider<'a> {
    setting: Setting<'a>,
    roots: Vec<Wanted>,
    known: RefCell<BTreeMap<String, Rc<Candidates>>>,
    notes: RefCell<Vec<String>>,
    steps: Cell<u32>,
}

pub(super) fn solve(world: &World<'_>, package: &str, requirements: &[String]) -> Result<Resolution, ResolveError> {
    let wrong = |error| ResolveError::Requirement { package: package.to_owned(), error };
    let roots = requirements.iter().map(|text| Wanted::parse(text)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let provider = Provider {
        setting: Setting::new(world, package),
        roots,
        known: RefCell::default(),
        notes: RefCell::default(),
        steps: Cell::new(0),
    };
    match pubgrub::resolve(&provider, Node::Root(package.to_owned()), no_version()) {
        Ok(selected) => {
            provider.resolution(selected.iter().map(|(node, version)| (node.clone(), version.clone())).collect())
        }
        Err(PubGrubError::NoSolution(error)) => {
            let explanation = conflict::explain(error, &provider);
            Err(ResolveError::Conflict { package: package.to_owned(), explanation })
        }
        Err(
            PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorInShouldCancel(source),
        ) => Err(source),
    }
}

/// The version of the root, which has none.
fn no_version() -> Version {
    Version::new([0])
}

impl Provider<'_> {
    fn resolution(&self, selected: BTreeMap<Node, Version>) -> Result<Resolution, ResolveError> {
        let mut packages = BTreeMap::new();
        let mut notes = self.notes.take();
        for (node, version) in selected {
            let Node::Package(name) = node else { continue };
            let known = self.known(&name)?;
            let Some(candidate) = known.versions.get(&version) else { continue };
            let own = self.setting.world.own.contains_key(&name);
            if let Some(preferred) = known.preferred.as_ref().filter(|preferred| own && **preferred != version) {
                notes.push(format!(
                    "{} is built with {name} {version}: the locked {preferred} does not fit its requirements",
                    self.setting.package
                ));
            }
            packages.insert(name, Chosen { version, choice: candidate.choice.clone() });
        }
        notes.sort();
        notes.dedup();
        Ok(Resolution { packages, notes })
    }

    /// What the index has of `name` that cannot be used here, in a sentence.
    pub(super) fn refused(&self, name: &str) -> Option<String> {
        let known = self.known.borrow().get(name).cloned()?;
        if known.refused.is_empty() && known.versions.is_empty() {
            return Some(format!("The index has no project {name}."));
        }
        let parts: Vec<String> = known.refused.iter().map(|(reason, files)| format!("{files} {reason}")).collect();
        (!parts.is_empty()).then(|| format!("Files of {name} that were left out: {}.", parts.join(", ")))
    }

    fn known(&self, name: &str) -> Result<Rc<Candidates>, ResolveError> {
        if let Some(known) = self.known.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let world = self.setting.world;
        let own = world.own.get(name);
        if own.is_some_and(|own| own.version.is_none()) {
            return Err(ResolveError::DynamicOwn { package: self.setting.package.to_owned(), name: name.to_owned() });
        }
        let offers = match own {
            Some(own) if !own.from_index => Vec::new(),
            _ => world.source.offers(name).map_err(ResolveError::Source)?,
        };
        if world.exclude_newer.is_some() && offers.iter().any(|offer| offer.uploaded.is_none()) {
            let note =
                format!("the index does not say when files of {name} were uploaded: exclude-newer is not applied");
            self.notes.borrow_mut().push(note);
        }
        let known = Rc::new(candidates(&self.setting, name, offers, own));
        self.known.borrow_mut().insert(name.to_owned(), Rc::clone(&known));
        Ok(known)
    }

    /// The edges of `wanted`, those that count under `extra`.
    fn edges<'w>(
        &self,
        wanted: impl IntoIterator<Item = &'w Wanted>,
        extra: Option<&ExtraName>,
    ) -> Result<Edges, ResolveError> {
        let environment = &self.setting.environment;
        let mut edges = Edges::new();
        let mut add = |node: Node, versions: &Ranges<Version>| {
            let all = edges.entry(node).or_insert_with(Ranges::full);
            *all = all.intersection(versions);
        };
        for wanted in wanted {
            let without = wanted.marker.evaluate(environment, &[]);
            let counts = match extra {
                None => without,
                Some(extra) => !without && wanted.marker.evaluate(environment, std::slice::from_ref(extra)),
            };
            if !counts {
                continue;
            }
            if wanted.address && !self.setting.world.own.contains_key(&wanted.name) {
                let package = self.setting.package.to_owned();
                return Err(ResolveError::Address { package, requirement: wanted.name.clone() });
            }
            add(Node::Package(wanted.name.clone()), &wanted.versions);
            for extra in &wanted.extras {
                add(Node::Extra(wanted.name.clone(), extra.clone()), &wanted.versions);
            }
        }
        Ok(edges)
    }

    /// Yanked files count where a requirement of the root names exactly their version (PEP 592).
    fn is_offered(&self, name: &str, version: &Version, candidate: &Candidate) -> bool {
        let asked = |wanted: &Wanted| wanted.name == name && wanted.exact.as_ref() == Some(version);
        !candidate.yanked
            || self.setting.world.preferred.get(name).is_some_and(|text| *text == version.to_string())
            || self.roots.iter().any(asked)
    }
}

impl DependencyProvider for Provider<'_> {
    type P = Node;
    type V = Version;
    type VS = Ranges<Version>;
    type Priority = (u32, Reverse<Node>);
    type M = String;
    type Err = ResolveError;

    /// Names that clashed before first, else by name: the same on every run.
    fn prioritize(&self, node: &Node, _: &Ranges<Version>, conflicts: &PackageResolutionStatistics) -> Self::Priority {
        (conflicts.conflict_count(), Reverse(node.clone()))
    }

    fn choose_version(&self, node: &Node, range: &Ranges<Version>) -> Result<Option<Version>, ResolveError> {
        let Some(name) = node.name() else { return Ok(Some(no_version())) };
        let known = self.known(name)?;
        let fits = |version: &&Version| range.contains(version);
        if let Some(version) =
            known.preferred.as_ref().filter(fits).filter(|version| known.versions.contains_key(version))
        {
            return Ok(Some(version.clone()));
        }
        let offered = known.versions.iter().filter(|(version, candidate)| self.is_offered(name, version, candidate));
        let fitting: Vec<&Version> = offered.map(|(version, _)| version).filter(fits).collect();
        let release = fitting.iter().rev().find(|version| !version.any_prerelease());
        Ok(release.or(fitting.last()).map(|version| (*version).clone()))
    }

    fn get_dependencies(
        &self,
        node: &Node,
        version: &Version,
    ) -> Result<Dependencies<Node, Ranges<Version>, String>, ResolveError> {
        let (name, extra) = match node {
            Node::Root(_) => return self.edges(&self.roots, None).map(available),
            Node::Package(name) => (name, None),
            Node::Extra(name, extra) => (name, Some(extra)),
        };
        let known = self.known(name)?;
        let Some(candidate) = known.versions.get(version) else {
            return Ok(Dependencies::Unavailable("the index no longer has it".to_owned()));
        };
        let requires =
            match self.setting.world.source.requires(name, &candidate.choice).map_err(ResolveError::Source)? {
                Requires::Known(requires) => requires,
                Requires::Unusable(reason) => return Ok(Dependencies::Unavailable(reason)),
            };
        let wanted = match requires.iter().map(|text| Wanted::parse(text)).collect::<Result<Vec<_>, _>>() {
            Ok(wanted) => wanted,
            Err(error) => return Ok(Dependencies::Unavailable(error.to_string())),
        };
        let mut edges = self.edges(&wanted, extra)?;
        if extra.is_some() {
            let package = edges.entry(Node::Package(name.clone())).or_insert_with(Ranges::full);
            *package = package.intersection(&Ranges::singleton(version.clone()));
        }
        match edges.remove(node) {
            Some(versions) if !versions.contains(version) => {
                Ok(Dependencies::Unavailable(format!("{name} {version} excludes itself")))
            }
            _ => Ok(available(edges)),
        }
    }

    fn should_cancel(&self) -> Result<(), ResolveError> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MOST_STEPS {
            return Err(ResolveError::TooHard { package: self.setting.package.to_owned(), steps: MOST_STEPS });
        }
        Ok(())
    }
}
