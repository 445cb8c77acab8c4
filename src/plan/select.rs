//! Which packages of a lock hold for a target: a walk from the chosen projects along the edges whose markers
//! are true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pep508_rs::{ExtraName, MarkerEnvironment};

use super::Project;
use super::error::PlanError;
use crate::lock::markers::{self, Marker};
use crate::lock::project::DefaultGroups;
use crate::lock::uv::{ConflictItem, Dependency, LockedPackage, Part, Requirement, Source, UvLock};
use crate::request::Target;

/// How often the set of active extras may change before the lock counts as contradictory.
const ROUNDS: usize = 64;

/// What of a lock is wanted. The default is the project itself: no extras, no dependency groups.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The projects to start from.
    pub roots: Roots,
    /// Their extras.
    pub extras: Choice,
    /// Their dependency groups (PEP 735).
    pub groups: Choice,
    /// The groups that `uv sync` installs unasked too.
    pub default_groups: bool,
    /// Only groups: neither the projects nor what they need themselves.
    pub only_groups: bool,
    /// All but the members of the workspace.
    pub deps_only: bool,
}

/// The projects to start from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The project in the lock's folder; where there is none, all members of the workspace.
    #[default]
    Default,
    /// Members of the workspace by normalised name.
    Named(BTreeSet<String>),
    /// All members of the workspace.
    All,
}

/// Some of the names that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// All of them.
    pub all: bool,
    /// These, by normalised name.
    pub names: BTreeSet<String>,
    /// But not these.
    pub except: BTreeSet<String>,
}

impl Choice {
    fn takes(&self, name: &str) -> bool {
        (self.all || self.names.contains(name)) && !self.except.contains(name)
    }
}

/// The packages of `lock` that hold, one of a name, sorted by it. `exact` is `target` with the patch level
/// that markers see.
pub(super) fn select<'a>(
    lock: &'a UvLock,
    project: &Project,
    target: &Target,
    exact: &Target,
    selection: &Selection,
) -> Result<Vec<&'a LockedPackage>, PlanError> {
    let environment = markers::environment(exact);
    let holds = |marker: &Marker| marker.holds(&environment, &[]);
    if !lock.supported.is_empty() && !lock.supported.iter().any(holds) {
        let supported = lock.supported.iter().map(|marker| marker.text().to_owned()).collect();
        return Err(PlanError::Environment { supported, target: describe(target) });
    }
    let walk = Walk::new(lock, project, environment, selection)?;
    let reached = walk.settle()?;
    let mut by_name: BTreeMap<&str, Vec<&LockedPackage>> = BTreeMap::new();
    for package in &reached.packages {
        let package = &lock.packages[*package];
        by_name.entry(&package.name).or_default().push(package);
    }
    if let Some((name, packages)) = by_name.iter().find(|(_, packages)| packages.len() > 1) {
        return Err(PlanError::Several {
            name: (*name).to_owned(),
            versions: packages.iter().map(|p| spell(p)).collect(),
        });
    }
    let member = |package: &LockedPackage| selection.deps_only && lock.members.contains(&package.name);
    let chosen: Vec<_> = by_name.into_values().flatten().filter(|package| !member(package)).collect();
    let nothing = chosen.iter().all(|package| matches!(package.source, Source::Virtual(_)));
    if nothing && !reached.excluded.is_empty() {
        return Err(PlanError::Nothing { target: describe(target), excluded: reached.excluded.into_iter().collect() });
    }
    Ok(chosen)
}

fn spell(package: &LockedPackage) -> String {
    let version = package.version.as_deref().unwrap_or("a dynamic version");
    match &package.source {
        Source::Registry(_) => version.to_owned(),
        Source::Git(git) => format!("{version} from {}", git.repository),
        Source::Url { url, .. } => format!("{version} from {url}"),
        Source::Path(path) | Source::Directory(path) | Source::Editable(path) | Source::Virtual(path) => {
            format!("{version} from {path}")
        }
    }
}

fn describe(target: &Target) -> String {
    format!("Python {} on {}", target.python, target.platform)
}

/// All that the walk needs, worked out once.
struct Walk<'a> {
    lock: &'a UvLock,
    environment: MarkerEnvironment,
    /// Where it starts: packages, and extras of them.
    starts: Vec<(usize, Option<&'a str>)>,
    /// Edges that start at no package: groups of the chosen projects.
    edges: Vec<&'a Dependency>,
    /// What is active from the start.
    active: BTreeSet<ConflictItem>,
}

/// Where a walk came to.
struct Reached {
    packages: BTreeSet<usize>,
    /// Extras that were asked for on the way.
    extras: BTreeSet<ConflictItem>,
    /// Packages whose marker was false.
    excluded: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn new(
        lock: &'a UvLock,
        project: &Project,
        environment: MarkerEnvironment,
        selection: &Selection,
    ) -> Result<Self, PlanError> {
        let roots = roots(lock, &selection.roots)?;
        let groups = groups(lock, project, selection, &roots)?;
        known_extras(lock, project, &selection.extras, &roots)?;
        let mut walk = Self { lock, environment, starts: Vec::new(), edges: Vec::new(), active: BTreeSet::new() };
        for root in roots {
            walk.start(root, selection, &groups);
        }
        // What belongs to no member: the requirements of a script, the groups of a root that is no project.
        let requirements = (!selection.only_groups).then_some(&lock.requirements);
        let grouped = lock.groups.iter().filter(|(group, _)| groups.takes(group)).map(|(_, list)| list);
        for requirement in requirements.into_iter().chain(grouped).flatten() {
            walk.require(requirement)?;
        }
        Ok(walk)
    }

    fn start(&mut self, root: usize, selection: &Selection, groups: &Choice) {
        let package = &self.lock.packages[root];
        let item = |part| ConflictItem { package: package.name.clone(), part };
        if !selection.only_groups {
            self.active.insert(item(Part::Project));
            self.starts.push((root, None));
            for extra in package.extras.keys().filter(|extra| selection.extras.takes(extra)) {
                self.active.insert(item(Part::Extra(extra.clone())));
                self.starts.push((root, Some(extra)));
            }
        }
        for (group, dependencies) in package.groups.iter().filter(|(group, _)| groups.takes(group)) {
            self.active.insert(item(Part::Group(group.clone())));
            self.edges.extend(dependencies);
        }
    }

    fn require(&mut self, requirement: &'a Requirement) -> Result<(), PlanError> {
        let holds = |marker: &Marker| marker.holds(&self.environment, &[]);
        if !requirement.marker.as_ref().is_none_or(holds) {
            return Ok(());
        }
        let fits = |package: &LockedPackage| {
            package.name == requirement.name && (package.forks.is_empty() || package.forks.iter().any(holds))
        };
        let found: Vec<usize> =
            (0..self.lock.packages.len()).filter(|index| fits(&self.lock.packages[*index])).collect();
        let name = requirement.name.clone();
        match found[..] {
            [package] => {
                self.starts.push((package, None));
                for extra in &requirement.extras {
                    self.active.insert(ConflictItem { package: name.clone(), part: Part::Extra(extra.clone()) });
                    self.starts.push((package, Some(extra)));
                }
                Ok(())
            }
            [] => Err(PlanError::Missing { name }),
            _ => {
                let versions = found.iter().map(|package| spell(&self.lock.packages[*package])).collect();
                Err(PlanError::Several { name, versions })
            }
        }
    }

    /// Walks until the active extras are those that the walk itself asks for. Conflict markers depend on
    /// them, and they on where the markers lead.
    fn settle(&self) -> Result<Reached, PlanError> {
        let mut active = self.active.clone();
        for _ in 0..ROUNDS {
            let reached = self.walk(&active);
            let next = self.active.union(&reached.extras).cloned().collect();
            if self.lock.conflicts.is_empty() || next == active {
                self.check(&active)?;
                return Ok(reached);
            }
            active = next;
        }
        Err(PlanError::Unsettled)
    }

    fn check(&self, active: &BTreeSet<ConflictItem>) -> Result<(), PlanError> {
        for set in &self.lock.conflicts {
            let items: BTreeSet<_> = set.iter().filter(|item| active.contains(item)).collect();
            if items.len() > 1 {
                return Err(PlanError::Conflict { items: items.into_iter().map(ToString::to_string).collect() });
            }
        }
        Ok(())
    }

    fn walk(&self, active: &BTreeSet<ConflictItem>) -> Reached {
        let mut reached = Reached { packages: BTreeSet::new(), extras: BTreeSet::new(), excluded: BTreeSet::new() };
        let known: Vec<ExtraName> = self.encode(active.iter());
        let mut queue: VecDeque<_> = self.starts.iter().copied().collect();
        let mut seen: BTreeSet<_> = self.starts.iter().copied().collect();
        let mut edges: Vec<&Dependency> = self.edges.clone();
        loop {
            for edge in edges {
                let name = &self.lock.packages[edge.package].name;
                let own = edge
                    .extras
                    .iter()
                    .map(|extra| ConflictItem { package: name.clone(), part: Part::Extra(extra.clone()) });
                let own: Vec<_> = own.collect();
                if !self.holds(edge, &known, &own) {
                    reached.excluded.insert(excluded(name, edge));
                    continue;
                }
                reached.extras.extend(own);
                let ends = std::iter::once(None).chain(edge.extras.iter().map(|extra| Some(extra.as_str())));
                queue.extend(ends.map(|extra| (edge.package, extra)).filter(|end| seen.insert(*end)));
            }
            let Some((package, extra)) = queue.pop_front() else { return reached };
            reached.packages.insert(package);
            let package = &self.lock.packages[package];
            let list = extra.map_or(Some(&package.dependencies), |extra| package.extras.get(extra));
            edges = list.into_iter().flatten().collect();
        }
    }

    /// Whether an edge holds. The extras that it asks for itself are active if it does.
    fn holds(&self, edge: &Dependency, known: &[ExtraName], own: &[ConflictItem]) -> bool {
        let Some(marker) = &edge.marker else { return true };
        if own.is_empty() || known.is_empty() {
            return marker.holds(&self.environment, known);
        }
        let all: Vec<_> = known.iter().cloned().chain(self.encode(own.iter())).collect();
        marker.holds(&self.environment, &all)
    }

    /// The names under which conflict markers know what is active; none where the lock has no conflicts.
    fn encode<'b>(&self, items: impl Iterator<Item = &'b ConflictItem>) -> Vec<ExtraName> {
        if self.lock.conflicts.is_empty() {
            return Vec::new();
        }
        items.filter_map(|item| item.encoded().parse().ok()).collect()
    }
}

fn excluded(name: &str, edge: &Dependency) -> String {
    format!("`{name}; {}`", edge.marker.as_ref().map_or("", Marker::text))
}

fn roots(lock: &UvLock, roots: &Roots) -> Result<Vec<usize>, PlanError> {
    let place = |name: &String| {
        let mut found = (0..lock.packages.len()).filter(|index| lock.packages[*index].name == *name);
        match (found.next(), found.next()) {
            (Some(package), None) => Ok(package),
            (None, _) => Err(PlanError::Missing { name: name.clone() }),
            (Some(first), Some(second)) => {
                let versions = [first, second].map(|package| spell(&lock.packages[package])).into();
                Err(PlanError::Several { name: name.clone(), versions })
            }
        }
    };
    let known = || lock.members.iter().cloned().collect();
    match (roots, lock.root()) {
        (Roots::Default, Some(root)) => Ok(vec![place(&root.name)?]),
        (Roots::Default | Roots::All, _) => lock.members.iter().map(place).collect(),
        (Roots::Named(names), _) => {
            if let Some(name) = names.iter().find(|name| !lock.members.contains(*name)) {
                return Err(PlanError::Unknown { kind: "workspace member", name: name.clone(), known: known() });
            }
            names.iter().map(place).collect()
        }
    }
}

/// The groups that are wanted, those included that uv installs unasked if so selected.
fn groups(lock: &UvLock, project: &Project, selection: &Selection, roots: &[usize]) -> Result<Choice, PlanError> {
    let of_roots = roots.iter().flat_map(|root| lock.packages[*root].groups.keys());
    let known = of_roots.chain(lock.groups.keys()).chain(own(lock, project, roots, &project.groups)).collect();
    check_known("dependency group", &selection.groups, &known)?;
    let mut groups = selection.groups.clone();
    if selection.default_groups {
        match &project.default_groups {
            DefaultGroups::All => groups.all = true,
            DefaultGroups::Named(names) => groups.names.extend(names.iter().cloned()),
        }
    }
    Ok(groups)
}

fn known_extras(lock: &UvLock, project: &Project, extras: &Choice, roots: &[usize]) -> Result<(), PlanError> {
    let of_roots = roots.iter().flat_map(|root| lock.packages[*root].extras.keys());
    check_known("extra", extras, &of_roots.chain(own(lock, project, roots, &project.extras)).collect())
}

/// Names that the project's own file defines, if the project is a root: a lock may leave out those of extras
/// and groups that need nothing.
fn own<'a>(
    lock: &UvLock,
    project: &Project,
    roots: &[usize],
    names: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a String> {
    let root = roots.iter().any(|root| Some(&lock.packages[*root].name) == project.name.as_ref());
    root.then_some(names).into_iter().flatten()
}

fn check_known(kind: &'static str, choice: &Choice, known: &BTreeSet<&String>) -> Result<(), PlanError> {
    match choice.names.iter().find(|name| !known.contains(name)) {
        Some(name) => {
            let known = known.iter().map(ToString::to_string).collect();
            Err(PlanError::Unknown { kind, name: name.clone(), known })
        }
        None => Ok(()),
    }
}
