//! One job, from the cache or anew.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use pep440_rs::Version;
use serde::{Deserialize, Serialize};

use super::backend::{self, Answer, Call, Request, Room};
use super::environment::{self, Member};
use super::error::At as _;
use super::{Built, Failed, Id, Job, Requirement, WheelError, Workshop, flags, key, progress, project, source};
use crate::digest::Sha256;
use crate::lock::names::WheelName;
use crate::report::{Event, Stage};
use crate::sandbox::Outcome;
use crate::tree::{self, Kind};

/// What a job may take of the machine. It changes when things happen, never what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Compilers at once.
    pub(super) parallel: usize,
    /// How much it stands back behind others, as in `nice`.
    pub(super) nice: u8,
}

/// What the cache holds beside a wheel.
#[derive(Serialize, Deserialize)]
struct Record {
    file: String,
    sha256: Sha256,
    cpu_milliseconds: u64,
    peak_memory: u64,
}

const RECORD: &str = "built.json";
const REQUIRES: &str = "requires.json";
/// Folder of a build that is under way, inside the folder that it makes.
const SCRATCH: &str = ".scratch";

/// The wheel of `job`, whose requirements are in `built` if they are jobs.
pub(super) fn build(
    job: &Job,
    built: &BTreeMap<Id, Built>,
    workshop: Workshop<'_>,
    share: Share,
) -> Result<Built, WheelError> {
    let members = members(job, built)?;
    let key = key::key("build", job, &hashes(&members), workshop.inputs);
    let mut cached = true;
    let folder = workshop.cache.build_folder("wheels", &key, |folder| {
        cached = false;
        make(job, &members, workshop, share, folder)
    })?;
    let path = folder.join(RECORD);
    let record = fs::read(&path).at("read", &path)?;
    let record: Record = serde_json::from_slice(&record).map_err(io::Error::from).at("read", &path)?;
    let wheel = folder.join(&record.file);
    let (sha256, _) = fs::File::open(&wheel).and_then(Sha256::of_reader).at("read", &wheel)?;
    if sha256 != record.sha256 {
        let source = io::Error::other(format!("expected {}, found {sha256}; remove its folder", record.sha256));
        return Err(WheelError::Io { action: "use", path: wheel, source });
    }
    let Record { file, cpu_milliseconds, peak_memory, .. } = record;
    Ok(Built { wheel, file, sha256, cached, cpu: Duration::from_millis(cpu_milliseconds), peak_memory })
}

/// See [`super::requires`].
pub(super) fn requires(
    job: &Job,
    built: &BTreeMap<Id, Built>,
    workshop: Workshop<'_>,
) -> Result<Vec<String>, WheelError> {
    let members = members(job, built)?;
    let key = key::key("requires", job, &hashes(&members), workshop.inputs);
    let folder = workshop.cache.build_folder("requires", &key, |folder| {
        let share = Share { parallel: 1, nice: 0 };
        in_scratch(folder, |scratch| {
            let (answer, _, _) = call("requires", job, &members, workshop, share, scratch)?;
            let path = folder.join(REQUIRES);
            let requires = answer.requires.unwrap_or_default();
            fs::write(&path, serde_json::to_vec(&requires).unwrap_or_default()).at("write", &path)
        })
    })?;
    let path = folder.join(REQUIRES);
    let text = fs::read(&path).at("read", &path)?;
    serde_json::from_slice(&text).map_err(io::Error::from).at("read", &path)
}

fn members(job: &Job, built: &BTreeMap<Id, Built>) -> Result<Vec<Member>, WheelError> {
    let member = |requirement: &Requirement| match requirement {
        Requirement::Wheel { file, path, sha256 } => {
            Ok(Member { file: file.clone(), path: path.clone(), sha256: *sha256 })
        }
        Requirement::Built(id) => match built.get(id) {
            Some(built) => Ok(Member { file: built.file.clone(), path: built.wheel.clone(), sha256: built.sha256 }),
            None => Err(WheelError::Unknown { package: job.id.clone(), requirement: id.clone() }),
        },
    };
    job.requires.iter().map(member).collect()
}

fn hashes(members: &[Member]) -> Vec<key::Member> {
    members.iter().map(|member| (member.file.clone(), member.sha256)).collect()
}

/// Builds the wheel into `folder`.
fn make(job: &Job, members: &[Member], workshop: Workshop<'_>, share: Share, folder: &Path) -> Result<(), WheelError> {
    in_scratch(folder, |scratch| {
        let (answer, outcome, room) = call("build", job, members, workshop, share, scratch)?;
        let file = made(job, &room.out, answer.wheel.as_deref())?;
        let (from, to) = (room.out.join(&file), folder.join(&file));
        fs::rename(&from, &to).at("move", &from)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o444)).at("change", &to)?;
        let (sha256, _) = fs::File::open(&to).and_then(Sha256::of_reader).at("read", &to)?;
        let cpu_milliseconds = u64::try_from(outcome.cpu.as_millis()).unwrap_or(u64::MAX);
        let record = Record { file, sha256, cpu_milliseconds, peak_memory: outcome.peak_memory };
        let path = folder.join(RECORD);
        fs::write(&path, serde_json::to_vec(&record).unwrap_or_default()).at("write", &path)
    })
}

/// Runs `work` in a scratch folder below `folder`, which is gone afterwards.
fn in_scratch(folder: &Path, work: impl FnOnce(&Path) -> Result<(), WheelError>) -> Result<(), WheelError> {
    let scratch = folder.join(SCRATCH);
    fs::create_dir(&scratch).at("create", &scratch)?;
    work(&scratch)?;
    remove(&scratch)
}

/// Removes what a build left, folders without write permission included.
fn remove(folder: &Path) -> Result<(), WheelError> {
    if fs::remove_dir_all(folder).is_ok() {
        return Ok(());
    }
    for node in tree::walk(folder)?.iter().filter(|node| node.kind == Kind::Dir) {
        let path = folder.join(&node.path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).at("change", &path)?;
    }
    fs::remove_dir_all(folder).at("remove", folder)
}

/// Sets the room up, calls one hook, keeps the log.
fn call(
    action: &'static str,
    job: &Job,
    members: &[Member],
    workshop: Workshop<'_>,
    share: Share,
    scratch: &Path,
) -> Result<(Answer, Outcome, Room), WheelError> {
    let Workshop { inputs, reporter, .. } = workshop;
    let folder = job.id.folder()?;
    let own = flags::own(workshop)?;
    let room = Room::new(scratch, share.parallel, inputs)?;
    source::copy(&job.source, &room.source, job.without)?;
    environment::make(&job.id, members, inputs, &scratch.join("unpacked"), &room.env)?;
    let project = project_folder(job, &room.source)?;
    let system = project::build_system(&project)?;
    let mut project_path = backend::source_path(&folder);
    if let Some(subdirectory) = &job.subdirectory {
        project_path = format!("{project_path}/{subdirectory}");
    }
    let env = flags::variables(inputs, &job.native, &own, &system.build_backend, &backend::source_path(&folder));
    let request = Request {
        action,
        nice: share.nice,
        source: &project_path,
        backend: &system.build_backend,
        backend_path: &system.backend_path,
        config_settings: settings(job),
    };
    let item = job.id.to_string();
    let mut now = String::new();
    let mut on_line = |line: &str| {
        reporter.event(&Event::Output { item: &item, line });
        if let Some(doing) = progress::doing(line).filter(|doing| *doing != now) {
            doing.clone_into(&mut now);
            reporter.event(&Event::ItemProgress { stage: Stage::Compile, item: &item, done: None, doing: Some(doing) });
        }
    };
    let call = Call { inputs, room: &room, env, folder: &folder, parallel: share.parallel };
    let result = call.run(&request, &mut on_line);
    let written = match &result {
        Ok((outcome, _)) => Some(outcome.output.as_str()),
        Err(error) => crate::explain::Explain::output(error),
    };
    let log = write_log(workshop, &folder, action, written.unwrap_or_default())?;
    let (outcome, answer) = result.map_err(|source| WheelError::Sandbox { package: item.clone(), source })?;
    if outcome.status != 0 || answer.error.is_some() {
        let cause = backend::cause(&outcome, &answer);
        let (package, runtime) = (job.id.clone(), inputs.runtime);
        let failed = Failed { package, cause, runtime, output: outcome.output, log };
        return Err(WheelError::Failed(Box::new(failed)));
    }
    Ok((answer, outcome, room))
}

/// Where the project is in a copy of its sources; never outside, whatever links there are.
fn project_folder(job: &Job, source: &Path) -> Result<PathBuf, WheelError> {
    let Some(subdirectory) = &job.subdirectory else { return Ok(source.to_owned()) };
    let path = source.join(subdirectory);
    let inside = fs::canonicalize(&path).at("find", &path)?.starts_with(fs::canonicalize(source).at("find", source)?);
    if inside { Ok(path) } else { Err(WheelError::Project { path, message: "it is outside the sources".to_owned() }) }
}

/// PEP 517 leaves the values open; backends expect a text, or several under one name.
fn settings(job: &Job) -> BTreeMap<&str, serde_json::Value> {
    let value = |values: &Vec<String>| match &values[..] {
        [one] => serde_json::Value::from(one.as_str()),
        several => several.iter().map(String::as_str).collect(),
    };
    job.native.config_settings.iter().map(|(name, values)| (name.as_str(), value(values))).collect()
}

fn write_log(workshop: Workshop<'_>, folder: &str, action: &str, text: &str) -> Result<PathBuf, WheelError> {
    let logs = workshop.cache.root().join("logs");
    fs::create_dir_all(&logs).at("create", &logs)?;
    let suffix = if action == "build" { String::new() } else { format!(".{action}") };
    let path = logs.join(format!("{folder}{suffix}.log"));
    let temp = tempfile::NamedTempFile::new_in(&logs).at("create a file in", &logs)?;
    fs::write(temp.path(), text).at("write", temp.path())?;
    temp.persist(&path).map_err(|error| error.error).at("write", &path)?;
    Ok(path)
}

/// The name of the one wheel in `out`, if it is the wheel of `job`.
fn made(job: &Job, out: &Path, answered: Option<&str>) -> Result<String, WheelError> {
    let expected = format!("one wheel of {}", job.id);
    let wrong = |found: String| WheelError::Wheel { package: job.id.clone(), expected: expected.clone(), found };
    let mut wheels = Vec::new();
    for path in tree::list(out)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if Path::new(name).extension().is_some_and(|suffix| suffix == "whl") {
            match tree::kind(&path)? {
                Kind::File { .. } => wheels.push(name.to_owned()),
                Kind::Dir | Kind::Link { .. } => return Err(wrong(format!("{name}, which is no file"))),
            }
        }
    }
    let [file] = &wheels[..] else { return Err(wrong(format!("{} wheels: {}", wheels.len(), wheels.join(", ")))) };
    if answered != Some(file) {
        return Err(wrong(format!("{file}, while the backend speaks of {}", answered.unwrap_or("none"))));
    }
    let name = WheelName::parse(file).map_err(|error| wrong(error.to_string()))?;
    let version = job.id.version.as_deref().map(Version::from_str).transpose();
    let version = version.map_err(|error| wrong(error.to_string()))?;
    if name.name != job.id.name || version.is_some_and(|version| version != name.version) {
        return Err(wrong(file.clone()));
    }
    Ok(file.clone())
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;

    fn out(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn only_the_wheel_that_was_asked_for_is_taken() {
        let job = job("foo-bar", "1.0", Path::new("/"));
        let file = "Foo_Bar-1.0.0-py3-none-any.whl";
        assert_eq!(made(&job, out(&[file, "answer.json"]).path(), Some(file)).unwrap(), file);
        for (names, answered) in [
            (vec![], None),
            (vec![file], None),
            (vec![file], Some("other-1.0-py3-none-any.whl")),
            (vec![file, "other-1.0-py3-none-any.whl"], Some(file)),
            (vec!["foo_bar-1.1-py3-none-any.whl"], Some("foo_bar-1.1-py3-none-any.whl")),
            (vec!["foo-1.0-py3-none-any.whl"], Some("foo-1.0-py3-none-any.whl")),
        ] {
            assert!(matches!(made(&job, out(&names).path(), answered), Err(WheelError::Wheel { .. })), "{names:?}");
        }
    }

    #[test]
    fn a_link_is_no_wheel() {
        let file = "foo_bar-1.0-py3-none-any.whl";
        let out = out(&[]);
        std::os::unix::fs::symlink("/etc/hostname", out.path().join(file)).unwrap();
        assert!(made(&job("foo-bar", "1.0", Path::new("/")), out.path(), Some(file)).is_err());
    }
}
