//! Which job runs when. What comes out does not depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::build::{self, Share};
use super::{Built, Id, Job, Requirement, WheelError, Workshop, source};
use crate::report::{Event, Stage};
use crate::request::Settings;

/// Memory in bytes that one compiler is reckoned to need. The largest file of lxml takes 688 MB of gcc 16 at -O2.
const PER_COMPILER: u64 = 800 << 20;

/// How far a job stands back that is not on the longest chain.
const ASIDE: u8 = 10;

/// See [`super::build_all`].
pub(super) fn build_all(
    jobs: &[Job],
    there: BTreeMap<Id, Built>,
    workshop: Workshop<'_>,
) -> Result<BTreeMap<Id, Built>, WheelError> {
    let order = order(jobs, &there)?;
    let (packages, parallel) = split(workshop.settings);
    let longest = order.iter().map(|ranked| ranked.chain).max().unwrap_or(0);
    let share = |ranked: &Ranked| Share { parallel, nice: if ranked.through == longest { 0 } else { ASIDE } };
    let queue = order.into_iter().map(|ranked| (&jobs[ranked.job], share(&ranked))).collect();
    let board = Board { state: Mutex::new(State { queue, built: there, ..State::default() }), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..packages.min(jobs.len()) {
            scope.spawn(|| board.work(workshop));
        }
    });
    let State { built, mut failed, .. } = board.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failed.pop_first() {
        Some((_, error)) => Err(error),
        None => Ok(built),
    }
}

/// Packages at once, and compilers in each, for the processors and the memory that there are.
///
/// More compilers than processors may run: one package's last file must not keep the others waiting.
fn split(settings: &Settings) -> (usize, usize) {
    let jobs = settings.jobs.get();
    let compilers = usize::try_from(settings.memory / PER_COMPILER).unwrap_or(usize::MAX).max(1);
    let packages = jobs.min(compilers);
    (packages, (compilers / packages).clamp(1, jobs))
}

/// A job's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ranked {
    job: usize,
    /// Weight of the heaviest chain of jobs that starts with it: what must still run once it starts.
    chain: u64,
    /// Weight of the heaviest chain that goes through it.
    through: u64,
}

/// Jobs, heaviest chain first; equal ones by name.
fn order(jobs: &[Job], there: &BTreeMap<Id, Built>) -> Result<Vec<Ranked>, WheelError> {
    let mut places = BTreeMap::new();
    for (place, job) in jobs.iter().enumerate() {
        if places.insert(&job.id, place).is_some() {
            return Err(WheelError::Twice { package: job.id.clone() });
        }
    }
    let sorted = topological(jobs, &places, there)?;
    // One is added, so that a job without sources of C still counts.
    let weights: Vec<u64> =
        jobs.iter().map(|job| Ok(source::weight(&job.source)?.saturating_add(1))).collect::<Result<_, WheelError>>()?;
    let mut below = vec![0_u64; jobs.len()];
    let mut above = vec![0_u64; jobs.len()];
    for &job in &sorted {
        let chain = above[job].saturating_add(weights[job]);
        for &dependent in &dependents(jobs, &places, job) {
            above[dependent] = above[dependent].max(chain);
        }
    }
    for &job in sorted.iter().rev() {
        let most = dependents(jobs, &places, job)
            .iter()
            .map(|dependent| below[*dependent].saturating_add(weights[*dependent]))
            .max();
        below[job] = most.unwrap_or(0);
    }
    let mut order: Vec<Ranked> = (0..jobs.len())
        .map(|job| {
            let chain = weights[job].saturating_add(below[job]);
            Ranked { job, chain, through: chain.saturating_add(above[job]) }
        })
        .collect();
    order.sort_by(|a, b| b.chain.cmp(&a.chain).then_with(|| jobs[a.job].id.cmp(&jobs[b.job].id)));
    Ok(order)
}

fn needs(job: &Job) -> impl Iterator<Item = &Id> {
    job.requires.iter().filter_map(|requirement| match requirement {
        Requirement::Built(id) => Some(id),
        Requirement::Wheel { .. } => None,
    })
}

fn dependents(jobs: &[Job], places: &BTreeMap<&Id, usize>, of: usize) -> Vec<usize> {
    let id = &jobs[of].id;
    places.values().copied().filter(|place| needs(&jobs[*place]).any(|need| need == id)).collect()
}

/// Jobs after those that they need.
fn topological(
    jobs: &[Job],
    places: &BTreeMap<&Id, usize>,
    there: &BTreeMap<Id, Built>,
) -> Result<Vec<usize>, WheelError> {
    for job in jobs {
        if let Some(requirement) = needs(job).find(|need| !places.contains_key(need) && !there.contains_key(need)) {
            return Err(WheelError::Unknown { package: job.id.clone(), requirement: requirement.clone() });
        }
    }
    let mut sorted = Vec::new();
    let mut done = BTreeSet::new();
    let mut left: Vec<usize> = places.values().copied().collect();
    while !left.is_empty() {
        let (ready, rest): (Vec<usize>, Vec<usize>) = left
            .iter()
            .partition(|place| needs(&jobs[**place]).all(|need| done.contains(need) || there.contains_key(need)));
        if ready.is_empty() {
            return Err(WheelError::Cycle { packages: rest.into_iter().map(|place| jobs[place].id.clone()).collect() });
        }
        done.extend(ready.iter().map(|place| &jobs[*place].id));
        sorted.extend(ready);
        left = rest;
    }
    Ok(sorted)
}

/// What is known of a build that is under way.
#[derive(Default)]
struct State<'a> {
    /// Not started, in order.
    queue: Vec<(&'a Job, Share)>,
    running: BTreeSet<Id>,
    built: BTreeMap<Id, Built>,
    failed: BTreeMap<Id, WheelError>,
}

/// Where workers take jobs and leave results.
struct Board<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
}

impl<'a> Board<'a> {
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, workshop: Workshop<'_>) {
        while let Some((job, share, built)) = self.take() {
            let item = job.id.to_string();
            let stage = Stage::Compile;
            workshop.reporter.event(&Event::ItemStarted { stage, item: &item, size: None });
            let result = build::build(job, &built, workshop, share);
            if let Ok(built) = &result {
                workshop.reporter.event(&Event::ItemFinished { stage, item: &item, cached: built.cached });
            }
            let waiting = self.leave(job.id.clone(), result);
            if !waiting.is_empty() {
                let names: Vec<String> = waiting.iter().map(Id::to_string).collect();
                let message = format!("{item} failed; waiting for what is being built: {}", names.join(", "));
                workshop.reporter.warn(message, None);
            }
        }
    }

    /// The next job whose requirements are built. `None` when there is nothing left to start.
    fn take(&self) -> Option<(&'a Job, Share, BTreeMap<Id, Built>)> {
        let mut state = self.lock();
        loop {
            if !state.failed.is_empty() || state.queue.is_empty() {
                return None;
            }
            let ready = |(job, _): &(&Job, Share)| needs(job).all(|need| state.built.contains_key(need));
            if let Some(place) = state.queue.iter().position(ready) {
                let (job, share) = state.queue.remove(place);
                state.running.insert(job.id.clone());
                return Some((job, share, state.built.clone()));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Keeps a result; after a failure, what still runs.
    fn leave(&self, id: Id, result: Result<Built, WheelError>) -> Vec<Id> {
        let mut state = self.lock();
        state.running.remove(&id);
        let failed = result.is_err();
        match result {
            Ok(built) => drop(state.built.insert(id, built)),
            Err(error) => drop(state.failed.insert(id, error)),
        }
        self.changed.notify_all();
        if failed { state.running.iter().cloned().collect() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::NonZeroUsize;

    use super::super::tests::job;
    use super::*;

    fn jobs(specs: &[(&str, usize, &[&str])]) -> (tempfile::TempDir, Vec<Job>) {
        let root = tempfile::tempdir().unwrap();
        let make = |(name, size, needs): &(&str, usize, &[&str])| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("x.c"), vec![b' '; *size]).unwrap();
            let mut job = job(name, "1", &folder);
            job.requires = needs
                .iter()
                .map(|need| Requirement::Built(Id { name: (*need).into(), version: Some("1".into()) }))
                .collect();
            job
        };
        let jobs = specs.iter().map(make).collect();
        (root, jobs)
    }

    #[test]
    fn the_heaviest_chain_goes_first() {
        let (_root, jobs) =
            jobs(&[("psycopg-c", 30, &[]), ("xmlsec", 5, &["lxml"]), ("lxml", 90, &[]), ("gssapi", 40, &[])]);
        let order = order(&jobs, &BTreeMap::new()).unwrap();
        let names: Vec<&str> = order.iter().map(|ranked| jobs[ranked.job].id.name.as_str()).collect();
        assert_eq!(names, ["lxml", "gssapi", "psycopg-c", "xmlsec"]);
        let through: Vec<u64> = order.iter().map(|ranked| ranked.through).collect();
        assert_eq!(through, [97, 41, 31, 97]);
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        let (_a, cycle) = jobs(&[("a", 1, &["b"]), ("b", 1, &["a"]), ("c", 1, &[])]);
        assert!(matches!(order(&cycle, &BTreeMap::new()), Err(WheelError::Cycle { packages }) if packages.len() == 2));
        let (_b, unknown) = jobs(&[("a", 1, &["b"])]);
        assert!(matches!(order(&unknown, &BTreeMap::new()), Err(WheelError::Unknown { .. })));
        let (_c, mut twice) = jobs(&[("a", 1, &[])]);
        twice.extend(twice.clone());
        assert!(matches!(order(&twice, &BTreeMap::new()), Err(WheelError::Twice { .. })));
    }

    #[test]
    fn memory_bounds_the_compilers() {
        let split = |jobs: usize, gigabytes: u64| {
            split(&Settings {
                jobs: NonZeroUsize::new(jobs).unwrap(),
                memory: gigabytes << 30,
                cache: "/".into(),
                offline: false,
            })
        };
        assert_eq!(split(1, 64), (1, 1));
        assert_eq!(split(2, 16), (2, 2));
        assert_eq!(split(2, 2), (2, 1));
        assert_eq!(split(8, 0), (1, 1));
        assert_eq!(split(16, 24), (16, 1));
        assert_eq!(split(16, 64), (16, 5));
    }
}
