//! Where every file of every wheel goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::collide::{self, Collision};
use super::error::InstallError;
use super::layout::Layout;
use super::record::{self, Row};
use super::wheel::Wheel;
use crate::digest::Sha256;
use crate::unpack::Entry;

/// A site, ready to be written: every file and link by its path in the tree.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// Where things are.
    pub layout: Layout,
    /// Files by their path in the tree.
    pub files: BTreeMap<String, Placed>,
    /// Symbolic links by their path in the tree, and their texts.
    pub links: BTreeMap<String, String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Remarks for `-v`.
    pub notes: Vec<String>,
}

/// One file of a site.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The package that it comes from; the first of several that have the same content; `akb` for its own.
    pub package: String,
    /// What is in it.
    pub content: Content,
    /// Whether it can be executed.
    pub executable: bool,
    /// Hash of the content.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// What is in a file of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A copy of an unpacked file.
    Copy(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// The folders that may be in `.data`.
const SCHEMES: &str = "purelib, platlib, headers, scripts, data";

/// Files of `.dist-info` that only the installer writes, or that its rewritten `RECORD` makes untrue.
const OF_INSTALLER: [&str; 6] = ["RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"];

/// Maps every file of `wheels` to its place, makes scripts and records, and finds what collides.
///
/// `winners` names the package whose file is taken where several have different ones, by path: that of the
/// tree, or below site-packages. Equal files are shared. All collisions are reported at once.
pub fn plan(wheels: &[Wheel], layout: &Layout, winners: &BTreeMap<String, String>) -> Result<SitePlan, InstallError> {
    let mut wheels: Vec<&Wheel> = wheels.iter().collect();
    wheels.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = wheels.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let versions = [pair[0].version.clone(), pair[1].version.clone()];
        return Err(InstallError::Twice { package: pair[0].name.clone(), versions });
    }
    let mut site = Site { layout, links: layout.links(), claims: BTreeMap::new(), notes: Vec::new() };
    for wheel in &wheels {
        site.add(wheel)?;
    }
    site.settle(&wheels, winners)
}

/// All that packages want to put somewhere.
struct Site<'a> {
    layout: &'a Layout,
    links: BTreeMap<String, String>,
    claims: BTreeMap<String, Vec<Placed>>,
    notes: Vec<String>,
}

impl Site<'_> {
    fn add(&mut self, wheel: &Wheel) -> Result<(), InstallError> {
        let scripts: BTreeSet<&str> = wheel.entry_points.iter().map(|script| script.name.as_str()).collect();
        let stems = sources(wheel);
        for entry in &wheel.files {
            if is_of_installer(wheel, &entry.path) {
                continue;
            }
            if stale_bytecode(&stems, &entry.path) {
                self.notes.push(format!("{}: bytecode in the wheel is left out: {}", wheel.name, entry.path));
                continue;
            }
            let (place, script) = place(wheel, self.layout, &entry.path)?;
            // A wrapper in `.data/scripts` names another machine's Python; the entry point replaces it.
            if script && place.strip_prefix("bin/").is_some_and(|name| scripts.contains(name)) {
                self.notes.push(format!("{}: entry point replaces the script {place}", wheel.name));
                continue;
            }
            if starts_with_python(&place, self.layout) {
                self.notes.push(format!("{}: runs at every start of Python: {place}", wheel.name));
            }
            let placed = if script { self.script(wheel, entry)? } else { copy(wheel, entry, entry.executable) };
            self.claim(place, placed);
        }
        self.add_generated(wheel);
        Ok(())
    }

    /// Entry points, `INSTALLER`, `direct_url.json`.
    fn add_generated(&mut self, wheel: &Wheel) {
        let interpreter = self.layout.interpreter();
        for script in &wheel.entry_points {
            let text = script.script(&interpreter);
            self.claim(format!("bin/{}", script.name), generated(&wheel.name, text.into_bytes(), true));
        }
        let dist_info = format!("{}/{}", self.layout.site_packages(), wheel.dist_info);
        self.claim(format!("{dist_info}/INSTALLER"), generated(&wheel.name, b"akb\n".to_vec(), false));
        if let Some(url) = &wheel.direct_url {
            self.claim(format!("{dist_info}/direct_url.json"), generated(&wheel.name, url.json().into_bytes(), false));
        }
    }

    fn claim(&mut self, place: String, placed: Placed) {
        self.claims.entry(place).or_default().push(placed);
    }

    /// A file of `.data/scripts`: executable, and run by the tree's Python if it says `#!python`.
    fn script(&self, wheel: &Wheel, entry: &Entry) -> Result<Placed, InstallError> {
        let path = wheel.root.join(&entry.path);
        let bytes = fs::read(&path).map_err(|source| InstallError::Read { path, source })?;
        Ok(match with_interpreter(&bytes, &self.layout.interpreter()) {
            Some(bytes) => generated(&wheel.name, bytes, true),
            None => copy(wheel, entry, true),
        })
    }

    /// Decides every path, or says all that collides.
    fn settle(mut self, wheels: &[&Wheel], winners: &BTreeMap<String, String>) -> Result<SitePlan, InstallError> {
        let records: BTreeMap<String, &str> = wheels
            .iter()
            .map(|wheel| (format!("{}/{}/RECORD", self.layout.site_packages(), wheel.dist_info), wheel.name.as_str()))
            .collect();
        let mut collisions = Vec::new();
        let mut files = BTreeMap::new();
        let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        let mut unused: BTreeSet<&str> = winners.keys().map(String::as_str).collect();
        for (path, mut claims) in std::mem::take(&mut self.claims) {
            if records.contains_key(&path) || collide::reserved(self.layout, &self.links, &path) {
                let package = claims.swap_remove(0).package;
                collisions.push(Collision::Reserved { path, package });
                continue;
            }
            if claims.iter().any(|claim| claim.sha256 != claims[0].sha256) {
                if let Some((key, name)) = winner(self.layout, winners, &path) {
                    unused.remove(key);
                    claims = self.decide(&path, key, name, claims)?;
                }
            }
            if claims.iter().any(|claim| claim.sha256 != claims[0].sha256) {
                let packages = claims.into_iter().map(|claim| claim.package).collect();
                collisions.push(Collision::Content { path, packages });
                continue;
            }
            if claims.len() > 1 {
                let packages: Vec<&str> = claims.iter().map(|claim| claim.package.as_str()).collect();
                self.notes.push(format!("{path} is the same in {}", packages.join(", ")));
            }
            for claim in &claims {
                let row = Row::of(self.layout.record_path(&path), &claim.sha256, claim.size);
                rows.entry(claim.package.clone()).or_default().push(row);
            }
            let executable = claims.iter().any(|claim| claim.executable);
            let first = claims.swap_remove(0);
            files.insert(path, Placed { executable, ..first });
        }
        for (path, package) in &records {
            let mut rows = rows.remove(*package).unwrap_or_default();
            rows.push(Row::bare(self.layout.record_path(path)));
            files.insert(path.clone(), generated(package, record::format(rows).into_bytes(), false));
        }
        let owners = files.iter().map(|(path, file)| (path.clone(), file.package.clone())).collect();
        collisions.extend(collide::files_and_folders(&owners));
        if !collisions.is_empty() {
            return Err(InstallError::Collisions { collisions: collide::sorted(collisions) });
        }
        files.insert("pyvenv.cfg".to_owned(), generated("akb", self.layout.pyvenv_cfg().into_bytes(), false));
        Ok(self.finish(files, &unused))
    }

    /// The claims of the winner.
    fn decide(&mut self, path: &str, key: &str, name: &str, claims: Vec<Placed>) -> Result<Vec<Placed>, InstallError> {
        let claimants: Vec<String> = claims.iter().map(|claim| claim.package.clone()).collect();
        let won: Vec<Placed> = claims.into_iter().filter(|claim| claim.package == name).collect();
        if won.is_empty() {
            return Err(InstallError::Winner { path: key.to_owned(), winner: name.to_owned(), claimants });
        }
        self.notes.push(format!("{path} is that of {name}, of {}", claimants.join(", ")));
        Ok(won)
    }

    fn finish(self, files: BTreeMap<String, Placed>, unused: &BTreeSet<&str>) -> SitePlan {
        let mut warnings: Vec<String> = unused
            .iter()
            .map(|path| format!("the recipe names a winner of {path}, but nothing collides there"))
            .collect();
        for group in collide::differing_in_case(files.keys().map(String::as_str)) {
            warnings.push(format!("only their case tells these apart: {}", group.join(", ")));
        }
        SitePlan { layout: self.layout.clone(), files, links: self.links, warnings, notes: self.notes }
    }
}

/// The recipe's line for `path`: its key and the winner.
fn winner<'a>(layout: &Layout, winners: &'a BTreeMap<String, String>, path: &str) -> Option<(&'a str, &'a str)> {
    let below = layout.record_path(path);
    let found = winners.get_key_value(path).or_else(|| winners.get_key_value(&below));
    found.map(|(key, name)| (key.as_str(), name.as_str()))
}

/// The place of a wheel's file, and whether it is a script.
fn place(wheel: &Wheel, layout: &Layout, path: &str) -> Result<(String, bool), InstallError> {
    let site = layout.site_packages();
    let data =
        wheel.data.as_ref().and_then(|data| path.strip_prefix(data.as_str())).and_then(|rest| rest.strip_prefix('/'));
    let Some(below) = data else { return Ok((format!("{site}/{path}"), false)) };
    let unknown = || InstallError::Scheme { wheel: wheel.filename.clone(), path: path.to_owned(), schemes: SCHEMES };
    let (scheme, rest) = below.split_once('/').ok_or_else(unknown)?;
    Ok(match scheme {
        "purelib" | "platlib" => (format!("{site}/{rest}"), false),
        "headers" => (format!("{}/{rest}", layout.headers(&wheel.name)), false),
        "scripts" => (format!("bin/{rest}"), true),
        "data" => (rest.to_owned(), false),
        _ => return Err(unknown()),
    })
}

fn is_of_installer(wheel: &Wheel, path: &str) -> bool {
    let name = path.strip_prefix(&wheel.dist_info).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| OF_INSTALLER.contains(&name))
}

/// Sources of a wheel without their suffix.
fn sources(wheel: &Wheel) -> BTreeSet<&str> {
    wheel.files.iter().filter_map(|file| file.path.strip_suffix(".py")).collect()
}

/// Whether `path` is bytecode of a source of the same wheel. Its validity would rest on a time or on trust;
/// akb compiles the source itself.
fn stale_bytecode(sources: &BTreeSet<&str>, path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/').filter(|_| path.ends_with(".pyc")) else { return false };
    let stem = name.split('.').next().unwrap_or(name);
    match folder.rsplit_once('/') {
        Some((parent, "__pycache__")) => sources.contains(format!("{parent}/{stem}").as_str()),
        None if folder == "__pycache__" => sources.contains(stem),
        _ => false,
    }
}

/// Whether Python runs the file by itself at start.
fn starts_with_python(place: &str, layout: &Layout) -> bool {
    let Some(name) = place.strip_prefix(&layout.site_packages()).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    let module = name.split(['/', '.']).next().unwrap_or(name);
    (name.ends_with(".pth") && !name.contains('/')) || matches!(module, "sitecustomize" | "usercustomize")
}

fn copy(wheel: &Wheel, entry: &Entry, executable: bool) -> Placed {
    Placed {
        package: wheel.name.clone(),
        content: Content::Copy(wheel.root.join(&entry.path)),
        executable,
        sha256: entry.sha256,
        size: entry.size,
    }
}

fn generated(package: &str, bytes: Vec<u8>, executable: bool) -> Placed {
    let (sha256, size) = (Sha256::of(&bytes), bytes.len() as u64);
    Placed { package: package.to_owned(), content: Content::Bytes(bytes), executable, sha256, size }
}

/// `script` with its `#!python` or `#!pythonw` replaced by `interpreter`, arguments kept. `None` where it starts
/// otherwise.
fn with_interpreter(script: &[u8], interpreter: &str) -> Option<Vec<u8>> {
    let rest = script.strip_prefix(b"#!python")?;
    let rest = rest.strip_prefix(b"w").unwrap_or(rest);
    let version = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (arguments, body) = (rest.get(version..line)?, &rest[line..]);
    if !arguments.is_empty() && !arguments[0].is_ascii_whitespace() {
        return None;
    }
    Some([b"#!", interpreter.as_bytes(), arguments.trim_ascii_end(), body].concat())
}
