//! Rules and a tree become edits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::place;
use super::files::{Entry, Files};
use super::nearest::Search;
use super::rule::{Kind as RuleKind, Rule};
use super::template::Values;
use super::{Cx, Failure, File, Found, Job, LARGEST, Plan, Reason, RuleReport, Rules, SubstituteError};
use crate::digest::Sha256;
use crate::edit::{Change, Edit, Text};
use crate::install::record::{self, Row};
use crate::place::{SPOTS, texts};
use crate::recipe::Mode;
use crate::tree::Kind;

/// Matches that a message names.
const PLACES: usize = 5;

/// Bytes that are searched for nearest lines: of one rule, and of all together. A thousand rules for a site that is
/// not there need not each be searched for in all of it.
const SEARCHED: usize = 64 << 20;
const SEARCHED_IN_ALL: usize = 512 << 20;

pub(super) fn plan(rules: &Rules, job: &Job<'_>, jobs: NonZeroUsize) -> Result<Plan, SubstituteError> {
    let files = Files::open(job)?;
    let programs = files.programs();
    let values = Values { prefix: job.prefix, python: job.python, inputs: job.inputs, canonical: job.canonical() };
    let cx = Cx { values, programs: &programs };
    let mut planner = Planner {
        rules: &rules.rules,
        files: &files,
        cx: &cx,
        searched: 0,
        failures: Vec::new(),
        plan: Plan::default(),
    };
    let entries = planner.entries();
    let looked = planner.look(&entries, jobs)?;
    planner.judge(&entries, &looked)?;
    planner.collect(looked);
    planner.create(job)?;
    planner.list_texts(job);
    if job.canonical() && files.has(Path::new(SPOTS)) && !planner.plan.changes.0.is_empty() {
        planner.fail(0, Reason::Again);
    }
    let Planner { mut failures, mut plan, .. } = planner;
    if failures.is_empty() {
        plan.report.files = plan.changes.summaries();
        return Ok(plan);
    }
    failures.sort_by_key(|(rule, _)| *rule);
    Err(SubstituteError::Rules { failures: failures.into_iter().map(|(_, failure)| failure).collect() })
}

/// What every rule finds in one file, by the rule's index.
struct Looked {
    bytes: Vec<u8>,
    found: BTreeMap<usize, Found>,
}

/// By the index of the file.
type Seen = BTreeMap<usize, Looked>;

struct Planner<'a> {
    rules: &'a [Rule],
    files: &'a Files<'a>,
    cx: &'a Cx<'a>,
    /// Bytes that were searched for nearest lines.
    searched: usize,
    /// With the index of the rule, by which they are sorted.
    failures: Vec<(usize, Failure)>,
    plan: Plan,
}

impl Planner<'_> {
    fn fail(&mut self, rule: usize, reason: Reason) {
        self.failures.push((rule, Failure { rule: self.rules[rule].label.clone(), reason }));
    }

    /// Fails, warns or keeps quiet, as the rule says.
    fn miss(&mut self, rule: usize, reason: Reason) {
        match self.rules[rule].mode {
            Mode::Fail => self.fail(rule, reason),
            Mode::Warn => self.plan.report.warnings.push(format!("{}: {reason}", self.rules[rule].label)),
            Mode::Quiet => {}
        }
    }

    /// The entries of every rule that finds its files.
    fn entries(&mut self) -> Vec<Vec<Entry>> {
        let mut all = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.iter().enumerate() {
            let mut entries = Vec::new();
            if !is_new(rule) {
                for entry in self.files.entries(rule) {
                    match entry {
                        Ok(entry) => entries.push(entry),
                        Err(reason @ (Reason::NoFile { .. } | Reason::NoPackage { .. })) => self.miss(index, reason),
                        Err(reason) => self.fail(index, reason),
                    }
                }
            }
            all.push(entries);
        }
        all
    }

    /// Reads every file once and follows all of its rules.
    fn look(&mut self, entries: &[Vec<Entry>], jobs: NonZeroUsize) -> Result<Seen, SubstituteError> {
        let mut wanted: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (rule, entries) in entries.iter().enumerate() {
            for file in entries.iter().flat_map(|entry| &entry.files) {
                wanted.entry(*file).or_default().insert(rule);
            }
        }
        let one = |(file, rules): (usize, BTreeSet<usize>)| self.look_at(file, &rules).map(|looked| (file, looked));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build();
        let looked: Vec<_> = match pool {
            Ok(pool) => pool.install(|| wanted.into_par_iter().map(one).collect::<Result<_, SubstituteError>>())?,
            // Without threads it takes longer, no more.
            Err(_) => wanted.into_iter().map(one).collect::<Result<_, SubstituteError>>()?,
        };
        let mut all = BTreeMap::new();
        for (file, outcome) in looked {
            match outcome {
                Ok((looked, reasons)) => {
                    for (rule, reason) in reasons {
                        self.fail(rule, reason);
                    }
                    all.insert(file, looked);
                }
                Err((rule, reason)) => self.fail(rule, reason),
            }
        }
        Ok(all)
    }

    #[expect(clippy::type_complexity, reason = "used once, a line above")]
    fn look_at(
        &self,
        file: usize,
        rules: &BTreeSet<usize>,
    ) -> Result<Result<(Looked, Vec<(usize, Reason)>), (usize, Reason)>, SubstituteError> {
        let node = self.files.node(file);
        let bytes = match self.files.read(&node.path)? {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Err((rules.first().copied().unwrap_or_default(), reason))),
        };
        let executable = matches!(node.kind, Kind::File { executable: true, .. });
        let seen = File { path: &node.path, bytes: &bytes, executable };
        let mut found = BTreeMap::new();
        let mut reasons = Vec::new();
        for rule in rules {
            match self.rules[*rule].find(&seen, self.cx) {
                Ok(here) => drop(found.insert(*rule, here)),
                Err(reason) => reasons.push((*rule, reason)),
            }
        }
        // Files without an edit are read again if a nearest line is wanted, and not kept until then.
        let edited = found.values().any(|found| !found.edits.is_empty() || found.executable.is_some());
        let bytes = if edited { bytes } else { Vec::new() };
        Ok(Ok((Looked { bytes, found }, reasons)))
    }

    /// Whether every rule matches in every entry, and as often as it says.
    fn judge(&mut self, entries: &[Vec<Entry>], looked: &Seen) -> Result<(), SubstituteError> {
        for (index, rule) in self.rules.iter().enumerate() {
            let found = |file: &usize| looked.get(file).and_then(|looked| looked.found.get(&index));
            for entry in &entries[index] {
                // A rule that failed in a file of the entry has said so.
                if entry.files.iter().any(|file| found(file).is_none()) {
                    continue;
                }
                for (thing, name) in rule.things().into_iter().enumerate() {
                    if entry.files.iter().filter_map(found).any(|found| found.matched[thing] > 0) {
                        continue;
                    }
                    let missing = entry.files.iter().filter_map(found).find_map(|found| found.missing.clone());
                    let reason = match missing {
                        Some(missing) => missing,
                        None if rule.mode == Mode::Quiet => continue,
                        None => self.no_match(rule, entry, name)?,
                    };
                    self.miss(index, reason);
                }
            }
            let files: BTreeSet<usize> = entries[index].iter().flat_map(|entry| entry.files.iter().copied()).collect();
            let matches = |file: &usize| found(file).map_or(0, |found| found.matched.iter().sum());
            let total: u64 = files.iter().map(matches).sum();
            let matching = files.iter().filter(|file| matches(file) > 0);
            let report = RuleReport { rule: rule.label.clone(), matches: total, files: matching.count() };
            self.plan.report.rules.push(report);
            self.plan.report.notes.extend(files.iter().filter_map(found).flat_map(|found| found.notes.clone()));
            if let Some(expected) = rule.count.filter(|expected| *expected != total && total > 0) {
                let places = files.iter().flat_map(|file| self.places(*file, index, looked)).take(PLACES).collect();
                self.fail(index, Reason::Count { expected, found: total, places });
            }
        }
        Ok(())
    }

    fn places(&self, file: usize, rule: usize, looked: &Seen) -> Vec<String> {
        let Some((looked, found)) = looked.get(&file).and_then(|looked| Some((looked, looked.found.get(&rule)?)))
        else {
            return Vec::new();
        };
        let path = &self.files.node(file).path;
        found.edits.iter().take(PLACES).map(|(range, _)| place(path, &looked.bytes, range.start)).collect()
    }

    fn no_match(&mut self, rule: &Rule, entry: &Entry, wanted: String) -> Result<Reason, SubstituteError> {
        let mut search = rule.like(&wanted).and_then(|like| Search::new(&like));
        let mut searched = 0;
        let mut all = true;
        for file in &entry.files {
            let Some(search) = &mut search else { break };
            if searched >= SEARCHED || self.searched >= SEARCHED_IN_ALL {
                all = false;
                break;
            }
            let path = &self.files.node(*file).path;
            if let Ok(bytes) = self.files.read(path)?
                && !crate::edit::is_binary(&bytes)
            {
                searched += bytes.len();
                self.searched += bytes.len();
                search.look(path, &bytes);
            }
        }
        let nearest = search.and_then(Search::found);
        Ok(Reason::NoMatch { wanted, pattern: entry.pattern.clone(), files: entry.files.len(), nearest, all })
    }

    /// The edits of all rules, file by file.
    fn collect(&mut self, looked: Seen) {
        for (file, Looked { bytes, found }) in looked {
            let path = self.files.node(file).path.clone();
            let mut edits = Vec::new();
            let mut executable = None;
            let mut size = bytes.len() as u64;
            for (by, found) in found {
                executable = executable.or(found.executable);
                for (range, with) in found.edits {
                    size = size.saturating_add(with.bytes.len() as u64);
                    edits.push(Edit { range, with, by });
                }
            }
            if edits.is_empty() && executable.is_none() {
                continue;
            }
            if let Some(edit) = edits.first()
                && let Some(bytecode) = self.files.unchecked(&path)
            {
                self.fail(edit.by, Reason::Unchecked { path, bytecode });
                continue;
            }
            if size > LARGEST {
                self.fail(edits[0].by, Reason::TooLarge { path, expected: LARGEST });
                continue;
            }
            let lines = bytes.clone();
            match Change::edited(bytes, edits) {
                Ok(change) => drop(self.plan.changes.0.insert(path, Change { executable, ..change })),
                Err(overlap) => {
                    let other = self.rules[overlap.first].label.clone();
                    let place = place(&path, &lines, overlap.offset);
                    self.fail(overlap.second, Reason::Conflict { other, place });
                }
            }
        }
    }

    /// New files, and their rows in RECORD.
    fn create(&mut self, job: &Job<'_>) -> Result<(), SubstituteError> {
        let mut rows: BTreeMap<PathBuf, Vec<Row>> = BTreeMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let RuleKind::Whole(whole) = &rule.kind else { continue };
            if !whole.new {
                continue;
            }
            for entry in &rule.files {
                let path = PathBuf::from(self.files.in_tree(rule, entry));
                if let Err(reason) = self.files.check_new(&path, rule) {
                    self.fail(index, reason);
                    continue;
                }
                let mut made = self.plan.changes.0.iter().filter(|(_, change)| change.before.is_none());
                if let Some((other, _)) = made.find(|(other, _)| is_within(&path, other)) {
                    let reason = Reason::Occupied { path: other.clone() };
                    self.fail(index, reason);
                    continue;
                }
                let file = File { path: &path, bytes: &[], executable: false };
                let contents = match whole.find(&file, self.cx) {
                    Ok(mut found) => found.edits.pop().map(|(_, text)| text).unwrap_or_default(),
                    Err(reason) => {
                        self.fail(index, reason);
                        continue;
                    }
                };
                if let Some(record) = self.files.record(rule) {
                    let size = contents.bytes.len() as u64;
                    rows.entry(record.to_owned()).or_default().push(Row::of(
                        entry.clone(),
                        &Sha256::of(&contents.bytes),
                        size,
                    ));
                }
                let made = Change { before: None, after: contents, executable: Some(whole.executable == Some(true)) };
                self.plan.changes.0.insert(path, made);
                let report = &mut self.plan.report.rules[index];
                report.matches += 1;
                report.files += 1;
            }
        }
        for (path, fresh) in rows {
            let place = job.tree.join(&path);
            let before = fs::read(&place).map_err(|source| SubstituteError::Read { path: place, source })?;
            let old = std::str::from_utf8(&before).ok().and_then(|text| record::parse(text).ok()).unwrap_or_default();
            let text = record::format(old.into_iter().chain(fresh).collect());
            let after = Text::from(text.into_bytes());
            self.plan.changes.0.insert(path, Change { before: Some(before), after, executable: None });
        }
        Ok(())
    }

    /// The list of files that say where the tree is, which `place` changes.
    fn list_texts(&mut self, job: &Job<'_>) {
        if !job.canonical() {
            return;
        }
        let texts = self.plan.changes.0.iter().filter(|(_, change)| !change.after.prefixes.is_empty());
        let texts: BTreeMap<PathBuf, Vec<usize>> =
            texts.map(|(path, change)| (path.clone(), change.after.prefixes.clone())).collect();
        if texts.is_empty() {
            return;
        }
        let list = Path::new(SPOTS).to_owned();
        let after = Text::from(texts::format(&texts));
        self.plan.changes.0.insert(list, Change { before: None, after, executable: None });
    }
}

/// Whether one of two paths is the other, or a folder above it.
fn is_within(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn is_new(rule: &Rule) -> bool {
    matches!(&rule.kind, RuleKind::Whole(whole) if whole.new)
}
