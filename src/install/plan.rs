//! Where every file of every wheel goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::collide::{self, Collision};
use super::error::InstallError;
use super::layout::Layout;
use super::record::{self, Row};
use super::wheel::Wheel;
use crate::digest::Sha256;
use crate::request::PythonVersion;
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

impl SitePlan {
    /// Makes the site a virtual environment (PEP 405) of the interpreter `python`, an absolute path outside.
    pub fn refer_to(&mut self, python: &Path, version: PythonVersion) {
        for target in self.links.values_mut() {
            *target = python.to_string_lossy().into_owned();
        }
        let home = python.parent().unwrap_or(Path::new("/")).display();
        let text = format!("home = {home}\ninclude-system-site-packages = false\nversion = {version}\n");
        let placed = Placed {
            package: "akb".to_owned(),
            sha256: Sha256::of(text.as_bytes()),
            size: text.len() as u64,
            content: Content::Bytes(text.into_bytes()),
            executable: false,
        };
        self.files.insert(PYVENV.to_owned(), placed);
    }

    /// Leaves the interpreter out: only what comes from wheels is written.
    pub fn without_interpreter(&mut self) {
        self.links.clear();
        self.files.remove(PYVENV);
    }
}

const PYVENV: &str = "pyvenv.cfg";

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
            if differ(&claims)
                && let Some((key, name)) = winner(self.layout, winners, &path)
            {
                unused.remove(key);
                claims = self.decide(&path, key, name, claims)?;
            }
            if differ(&claims) {
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
        let told = wheels.iter().flat_map(|wheel| wheel.warnings.iter().cloned()).collect();
        Ok(self.finish(files, &unused, told))
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

    fn finish(self, files: BTreeMap<String, Placed>, unused: &BTreeSet<&str>, mut warnings: Vec<String>) -> SitePlan {
        warnings.extend(
            unused.iter().map(|path| format!("the recipe names a winner of {path}, but nothing collides there")),
        );
        for group in collide::differing_in_case(files.keys().map(String::as_str)) {
            warnings.push(format!("only their case tells these apart: {}", group.join(", ")));
        }
        SitePlan { layout: self.layout.clone(), files, links: self.links, warnings, notes: self.notes }
    }
}

fn differ(claims: &[Placed]) -> bool {
    claims.iter().any(|claim| claim.sha256 != claims[0].sha256)
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
    let is_bytecode = Path::new(path).extension().is_some_and(|suffix| suffix == "pyc");
    let Some((folder, name)) = path.rsplit_once('/').filter(|_| is_bytecode) else { return false };
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
    let is_pth = Path::new(name).extension().is_some_and(|suffix| suffix == "pth");
    (is_pth && !name.contains('/')) || matches!(module, "sitecustomize" | "usercustomize")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::testing::{TestWheel, layout, open_all};

    const SITE: &str = "lib/python3.14/site-packages";

    fn made(wheels: Vec<TestWheel>) -> Result<SitePlan, InstallError> {
        made_with(wheels, &[])
    }

    fn made_with(wheels: Vec<TestWheel>, winners: &[(&str, &str)]) -> Result<SitePlan, InstallError> {
        let (_folder, wheels) = open_all(wheels);
        let winners = winners.iter().map(|(path, name)| ((*path).to_owned(), (*name).to_owned())).collect();
        plan(&wheels, &layout(), &winners)
    }

    fn collisions(result: Result<SitePlan, InstallError>) -> Vec<Collision> {
        match result {
            Err(InstallError::Collisions { collisions }) => collisions,
            other => panic!("{other:?}"),
        }
    }

    fn text(plan: &SitePlan, path: &str) -> String {
        match &plan.files[path].content {
            Content::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Content::Copy(from) => panic!("{path} is a copy of {}", from.display()),
        }
    }

    #[test]
    fn every_scheme_has_its_place() {
        let wheel = TestWheel::new("Gr.Let", "1")
            .file("greenlet/__init__.py", "")
            .file("Gr.Let-1.data/purelib/pure.py", "")
            .file("Gr.Let-1.data/platlib/plat.py", "")
            .file("Gr.Let-1.data/headers/sub/g.h", "")
            .file("Gr.Let-1.data/scripts/tool", "#!python -E\nprint()\n")
            .file("Gr.Let-1.data/scripts/elf", b"\x7fELF\0")
            .file("Gr.Let-1.data/data/etc/conf", "")
            .info("entry_points.txt", "[gui_scripts]\nwin = greenlet:main\n")
            .executable("greenlet/__init__.py");
        let plan = made(vec![wheel]).unwrap();
        let shown: Vec<String> = plan
            .files
            .iter()
            .map(|(path, file)| format!("{} {path}", if file.executable { "x" } else { "-" }))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        x bin/elf
        x bin/tool
        x bin/win
        - etc/conf
        - include/site/python3.14/gr-let/sub/g.h
        - lib/python3.14/site-packages/Gr.Let-1.dist-info/INSTALLER
        - lib/python3.14/site-packages/Gr.Let-1.dist-info/METADATA
        - lib/python3.14/site-packages/Gr.Let-1.dist-info/RECORD
        - lib/python3.14/site-packages/Gr.Let-1.dist-info/WHEEL
        - lib/python3.14/site-packages/Gr.Let-1.dist-info/entry_points.txt
        x lib/python3.14/site-packages/greenlet/__init__.py
        - lib/python3.14/site-packages/plat.py
        - lib/python3.14/site-packages/pure.py
        - pyvenv.cfg
        ");
        assert_eq!(text(&plan, "bin/tool"), "#!/akb/bin/python -E\nprint()\n");
        assert!(matches!(plan.files["bin/elf"].content, Content::Copy(_)));
        insta::assert_snapshot!(text(&plan, &format!("{SITE}/Gr.Let-1.dist-info/RECORD")), @r"
        ../../../bin/elf,sha256=jXDsOi8_g5UpE9ICNGRLvexh-bZsJPlM7teUAlK_LLQ,5
        ../../../bin/tool,sha256=tDDB0FnT5vQO2Mo8OISRLNL5ndCuRma6pt0fKV4bknY,29
        ../../../bin/win,sha256=pDy5P1BWpEogxs_uR_7u_nkNB765dszLEPO8qd0pISQ,206
        ../../../etc/conf,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
        ../../../include/site/python3.14/gr-let/sub/g.h,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
        Gr.Let-1.dist-info/INSTALLER,sha256=ZAOLU9piqUoaAWTLEqyp3efMb6A0eCls7KLri_Wz03I,4
        Gr.Let-1.dist-info/METADATA,sha256=-CDtwmfMqrpCdq65G5mp4v5SywfN5OVl9qJegCJlsnc,46
        Gr.Let-1.dist-info/RECORD,,
        Gr.Let-1.dist-info/WHEEL,sha256=JCVX9z8V-js2aV5qmQR2E3fiCs-Yu3vPO91cCBmO1JM,59
        Gr.Let-1.dist-info/entry_points.txt,sha256=lsN6ha_IU22XStPBLeJM2SsR5U0O-xmVv7akwS_WoRs,34
        greenlet/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
        plat.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
        pure.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
        ");
    }

    #[test]
    fn unknown_schemes_are_refused() {
        for path in ["a-1.data/other/x", "a-1.data/x"] {
            assert!(
                matches!(made(vec![TestWheel::new("a", "1").file(path, "")]), Err(InstallError::Scheme { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn only_placeholders_of_python_are_replaced() {
        let replaced = |script: &str| {
            with_interpreter(script.as_bytes(), "/akb/bin/python").map(|bytes| String::from_utf8(bytes).unwrap())
        };
        for (script, expected) in [
            ("#!python\nx", "#!/akb/bin/python\nx"),
            ("#!pythonw\nx", "#!/akb/bin/python\nx"),
            ("#!python\r\nx", "#!/akb/bin/python\nx"),
            ("#!python3 -s\nx", "#!/akb/bin/python -s\nx"),
            ("#!python", "#!/akb/bin/python"),
        ] {
            assert_eq!(replaced(script).as_deref(), Some(expected), "{script:?}");
        }
        for script in ["#!/usr/bin/env python\n", "#!pythonista\n", "", "#!/bin/sh\n", "# python"] {
            assert_eq!(replaced(script), None, "{script:?}");
        }
    }

    #[test]
    fn all_collisions_are_reported_at_once() {
        let a = TestWheel::new("a", "1")
            .file("docs/Makefile", "a")
            .file("thing", "file")
            .file("a-1.data/data/pyvenv.cfg", "home = /tmp\n")
            .file("a-1.data/data/lib", "not a folder")
            .file("a-1.data/scripts/python3", "#!python\n")
            .file("a-1.data/data/runtime/lib/libc.so.6", "");
        let b = TestWheel::new("b", "1")
            .file("docs/Makefile", "b")
            .file("thing/x", "folder")
            .file("b-1.data/data/akb-receipt.json", "{}")
            .file(&format!("b-1.data/data/{SITE}/a-1.dist-info/RECORD"), "")
            .file(&format!("b-1.data/data/{SITE}/a-1.dist-info/INSTALLER"), "")
            .info("entry_points.txt", "[console_scripts]\npython = b:main\n");
        let error = made(vec![b, a]).unwrap_err();
        insta::assert_snapshot!(error.to_string(), @r"
        files collide:
          akb-receipt.json: from b, but this path is akb's own
          bin/python: from b, but this path is akb's own
          bin/python3: from a, but this path is akb's own
          lib: from a, but this path is akb's own
          lib/python3.14/site-packages/a-1.dist-info/INSTALLER: different contents from a and b
          lib/python3.14/site-packages/a-1.dist-info/RECORD: from b, but this path is akb's own
          lib/python3.14/site-packages/docs/Makefile: different contents from a and b
          lib/python3.14/site-packages/thing: a file of a and a folder of b
          pyvenv.cfg: from a, but this path is akb's own
          runtime/lib/libc.so.6: from a, but this path is akb's own
        ");
        insta::assert_snapshot!(crate::explain::Explain::hint(&error).unwrap(), @r#"
        name the winner of each in akb.toml:
        [install.winners]
        "docs/Makefile" = "a"
        "#);
    }

    #[test]
    fn a_file_cannot_be_a_folder_of_others_nor_of_links() {
        let below = TestWheel::new("a", "1").file("a-1.data/data/bin/python/x", "");
        assert!(matches!(&collisions(made(vec![below]))[..], [Collision::Reserved { .. }]));
        let include = TestWheel::new("a", "1").file("a-1.data/data/include", "").file("a-1.data/headers/a.h", "");
        assert!(
            matches!(&collisions(made(vec![include]))[..], [Collision::FileAndFolder { path, .. }] if path == "include")
        );
    }

    #[test]
    fn equal_files_are_shared() {
        let wheel = |name| TestWheel::new(name, "1").file("ns/__init__.py", "same").file("ns/x.py", "");
        let plan = made(vec![wheel("b"), wheel("a").executable("ns/x.py")]).unwrap();
        assert_eq!(plan.files[&format!("{SITE}/ns/x.py")].package, "a");
        assert!(plan.files[&format!("{SITE}/ns/x.py")].executable);
        for name in ["a", "b"] {
            assert!(text(&plan, &format!("{SITE}/{name}-1.dist-info/RECORD")).contains("\nns/__init__.py,sha256="));
        }
        assert!(plan.notes.iter().any(|note| note.contains("ns/__init__.py is the same in a, b")));
    }

    #[test]
    fn the_recipe_names_the_winner() {
        let wheels =
            || vec![TestWheel::new("a", "1").file("docs/M", "a"), TestWheel::new("b", "1").file("docs/M", "b")];
        let path = format!("{SITE}/docs/M");
        for key in ["docs/M", &path] {
            let plan = made_with(wheels(), &[(key, "b")]).unwrap();
            assert_eq!(plan.files[&path].package, "b");
            assert!(text(&plan, &format!("{SITE}/b-1.dist-info/RECORD")).contains("docs/M,"));
            assert!(!text(&plan, &format!("{SITE}/a-1.dist-info/RECORD")).contains("docs/M,"));
        }
        let error = made_with(wheels(), &[("docs/M", "c")]).unwrap_err();
        insta::assert_snapshot!(error.to_string(), @r"winner of `docs/M` is c, but only a, b have the file");
        let plan = made_with(vec![TestWheel::new("a", "1")], &[("docs/M", "a")]).unwrap();
        assert_eq!(plan.warnings, ["the recipe names a winner of docs/M, but nothing collides there"]);
    }

    #[test]
    fn scripts_of_two_packages_collide_unless_equal() {
        let wheel = |name, object| {
            TestWheel::new(name, "1").info("entry_points.txt", format!("[console_scripts]\ntool = {object}\n"))
        };
        assert!(made(vec![wheel("a", "x:y"), wheel("b", "x:y")]).is_ok());
        let found = collisions(made(vec![wheel("a", "x:y"), wheel("b", "x:z")]));
        assert_eq!(found, [Collision::Content { path: "bin/tool".into(), packages: vec!["a".into(), "b".into()] }]);
        let plan = made_with(vec![wheel("a", "x:y"), wheel("b", "x:z")], &[("bin/tool", "b")]).unwrap();
        assert!(text(&plan, "bin/tool").contains("import z"));
    }

    #[test]
    fn an_entry_point_replaces_a_wrapper_of_its_name() {
        let wheel = TestWheel::new("a", "1")
            .file("a-1.data/scripts/tool", "#!python\nold")
            .info("entry_points.txt", "[console_scripts]\ntool = a:main\n");
        assert!(text(&made(vec![wheel]).unwrap(), "bin/tool").contains("from a import main"));
    }

    #[test]
    fn what_only_an_installer_may_write_is_not_taken() {
        let wheel = TestWheel::new("a", "1")
            .info("INSTALLER", "evil")
            .info("direct_url.json", "{}")
            .info("REQUESTED", "")
            .info("RECORD.jws", "{}")
            .info("licenses/LICENSE", "MIT");
        let plan = made(vec![wheel]).unwrap();
        insta::assert_snapshot!(text(&plan, &format!("{SITE}/a-1.dist-info/RECORD")), @r"
        a-1.dist-info/INSTALLER,sha256=ZAOLU9piqUoaAWTLEqyp3efMb6A0eCls7KLri_Wz03I,4
        a-1.dist-info/METADATA,sha256=qcfEMyfP3JOn04nzsIxpXA7rx2Y1A-xvUh0Ddo8QfXU,41
        a-1.dist-info/RECORD,,
        a-1.dist-info/WHEEL,sha256=JCVX9z8V-js2aV5qmQR2E3fiCs-Yu3vPO91cCBmO1JM,59
        a-1.dist-info/licenses/LICENSE,sha256=5dz_6Da27IpY5JJBm1UOZfuMvcMIUDl55drLM6x-o7c,3
        ");
        assert_eq!(text(&plan, &format!("{SITE}/a-1.dist-info/INSTALLER")), "akb\n");
    }

    #[test]
    fn shipped_bytecode_is_taken_only_without_its_source() {
        let wheel = TestWheel::new("a", "1")
            .file("m.py", "")
            .file("__pycache__/m.cpython-314.pyc", "stale")
            .file("p/n.py", "")
            .file("p/__pycache__/n.cpython-314.opt-1.pyc", "stale")
            .file("p/__pycache__/gone.cpython-314.pyc", "kept")
            .file("p/sourceless.pyc", "kept");
        let plan = made(vec![wheel]).unwrap();
        let kept: Vec<&String> = plan.files.keys().filter(|path| path.ends_with(".pyc")).collect();
        assert_eq!(kept, [&format!("{SITE}/p/__pycache__/gone.cpython-314.pyc"), &format!("{SITE}/p/sourceless.pyc")]);
    }

    #[test]
    fn what_runs_at_start_and_case_are_told() {
        let wheel = TestWheel::new("a", "1").file("a.pth", "import os").file("Mod/x.py", "").file("mod/y.py", "");
        let plan = made(vec![wheel.file("sitecustomize.py", "").file("mod/b.pth", "")]).unwrap();
        assert_eq!(plan.warnings, [format!("only their case tells these apart: {SITE}/Mod, {SITE}/mod")]);
        assert_eq!(plan.notes.iter().filter(|note| note.contains("runs at every start")).count(), 2);
    }

    #[test]
    fn a_package_cannot_come_twice() {
        let twice = vec![TestWheel::new("a.b", "1"), TestWheel::new("A_B", "2")];
        assert!(matches!(made(twice), Err(InstallError::Twice { package, .. }) if package == "a-b"));
    }
}
