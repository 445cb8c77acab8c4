//! An unpacked wheel that agrees with its own record.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use pep440_rs::Version;

use super::direct_url::DirectUrl;
use super::entry_points::{self, EntryPoint};
use super::error::InstallError;
use super::headers::Headers;
use super::names::{of_folder, unsafe_path};
use super::record;
use crate::lock::names::{WheelName, normalize};
use crate::unpack::Entry;

/// An unpacked wheel whose files are exactly those that its `RECORD` lists.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// The wheel's file name.
    pub filename: String,
    /// Normalised name of the package.
    pub name: String,
    /// Version as its metadata spell it.
    pub version: String,
    /// Whether the files belong to purelib; akb's trees have one folder for purelib and platlib.
    pub root_is_purelib: bool,
    /// Scripts that it wants in `bin/`.
    pub entry_points: Vec<EntryPoint>,
    /// Where it came from, if no index gave it. Set it before `plan`.
    pub direct_url: Option<DirectUrl>,
    /// Where it departs from the specification in a way that has one meaning; [`write`](super::write()) tells them.
    pub warnings: Vec<String>,
    /// The folder with the files.
    pub(super) root: PathBuf,
    /// Name of the `.dist-info` folder.
    pub(super) dist_info: String,
    /// Name of the `.data` folder, if there is one.
    pub(super) data: Option<String>,
    /// All files, sorted by path.
    pub(super) files: Vec<Entry>,
}

impl Wheel {
    /// Checks the wheel `filename` that was unpacked into the folder `unpacked` as `entries`: format version, one
    /// `.dist-info` that is its own, name and version, and `RECORD` against every file.
    ///
    /// Every file must be listed once with a hash of SHA-256 or better that it has, and nothing else may be
    /// listed; only `RECORD` itself and its signatures need no row.
    pub fn open(unpacked: &Path, filename: &str, mut entries: Vec<Entry>) -> Result<Self, InstallError> {
        let named = WheelName::parse(filename)
            .map_err(|error| InstallError::FileName { wheel: filename.to_owned(), reason: error.to_string() })?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let unpacked = Unpacked { root: unpacked, wheel: filename, files: entries };
        unpacked.check_paths()?;
        let dist_info = unpacked.dist_info(&named)?;
        let data = unpacked.data(&named)?;
        let root_is_purelib = unpacked.format(&dist_info)?;
        let version = unpacked.identity(&dist_info, &named)?;
        let warnings = unpacked.check_record(&dist_info)?;
        let entry_points = unpacked.entry_points(&dist_info)?;
        Ok(Self {
            filename: filename.to_owned(),
            name: named.name,
            version,
            root_is_purelib,
            entry_points,
            direct_url: None,
            warnings,
            root: unpacked.root.to_owned(),
            dist_info,
            data,
            files: unpacked.files,
        })
    }
}

/// What is checked.
struct Unpacked<'a> {
    root: &'a Path,
    wheel: &'a str,
    files: Vec<Entry>,
}

impl Unpacked<'_> {
    fn wheel(&self) -> String {
        self.wheel.to_owned()
    }

    fn check_paths(&self) -> Result<(), InstallError> {
        let wrong = |path: &str, reason| InstallError::Path { wheel: self.wheel(), path: path.to_owned(), reason };
        for (index, file) in self.files.iter().enumerate() {
            if let Some(reason) = unsafe_path(&file.path) {
                return Err(wrong(&file.path, reason));
            }
            if index > 0 && self.files[index - 1].path == file.path {
                return Err(wrong(&file.path, "is there twice"));
            }
        }
        Ok(())
    }

    /// Folders at the top whose names end in `suffix`.
    fn folders(&self, suffix: &str) -> Vec<String> {
        let tops = self.files.iter().filter_map(|file| file.path.split_once('/')).map(|(top, _)| top);
        let mut folders: Vec<String> = tops.filter(|top| top.ends_with(suffix)).map(str::to_owned).collect();
        folders.dedup();
        folders
    }

    /// Two folders would be two packages, or one that is spread over two spellings of its name: installers
    /// disagree about which counts.
    fn dist_info(&self, named: &WheelName) -> Result<String, InstallError> {
        let found = self.folders(".dist-info");
        match &found[..] {
            [only] if is_of(only, ".dist-info", named) => Ok(only.clone()),
            _ => Err(InstallError::DistInfo {
                wheel: self.wheel(),
                expected: format!("{}-{}", named.name.replace('-', "_"), named.version),
                found,
            }),
        }
    }

    /// A folder that only looks like `.data` (`plots.data`) is a folder of the package.
    fn data(&self, named: &WheelName) -> Result<Option<String>, InstallError> {
        let found: Vec<String> = self
            .folders(".data")
            .into_iter()
            .filter(|folder| of_folder(&folder[..folder.len() - 5]).is_some())
            .collect();
        match &found[..] {
            [] => Ok(None),
            [only] if is_of(only, ".data", named) => Ok(Some(only.clone())),
            _ => Err(InstallError::Metadata {
                wheel: self.wheel(),
                file: found.join(", "),
                problem: "is not the one data folder of this package and version".to_owned(),
            }),
        }
    }

    /// Checks `WHEEL`; gives `Root-Is-Purelib`.
    fn format(&self, dist_info: &str) -> Result<bool, InstallError> {
        let file = format!("{dist_info}/WHEEL");
        let text = self.text(&file)?.ok_or_else(|| self.missing(&file))?;
        let version = self.field(&file, &text, "Wheel-Version")?;
        let parts: Option<(u32, u32)> =
            version.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        if parts.is_none_or(|(major, _)| major != 1) {
            return Err(InstallError::WheelVersion { wheel: self.wheel(), found: version });
        }
        match self.field(&file, &text, "Root-Is-Purelib")?.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(self.metadata(&file, format!("has Root-Is-Purelib: {other}, expected true or false"))),
        }
    }

    /// Checks name and version of `METADATA` against the file name; gives the version as it is spelt.
    fn identity(&self, dist_info: &str, named: &WheelName) -> Result<String, InstallError> {
        let file = format!("{dist_info}/METADATA");
        let text = self.text(&file)?.ok_or_else(|| self.missing(&file))?;
        let wrong = |field, expected: String, found: String| {
            Err(InstallError::Identity { wheel: self.wheel(), field, expected, found })
        };
        let name = self.field(&file, &text, "Name")?;
        if normalize(&name).as_ref() != Some(&named.name) {
            return wrong("Name", named.name.clone(), name);
        }
        let version = self.field(&file, &text, "Version")?;
        if Version::from_str(&version).as_ref() != Ok(&named.version) {
            return wrong("Version", named.version.to_string(), version);
        }
        Ok(version)
    }

    /// Checks `RECORD`; gives what should be told of it.
    fn check_record(&self, dist_info: &str) -> Result<Vec<String>, InstallError> {
        let file = format!("{dist_info}/RECORD");
        let text = self.text(&file)?.ok_or_else(|| self.missing(&file))?;
        let rows = record::parse(&text)
            .map_err(|(line, problem)| self.metadata(&file, format!("has a line {line} that {problem}")))?;
        let files: BTreeMap<&str, record::Found<'_>> = self
            .files
            .iter()
            .map(|file| (file.path.as_str(), record::Found { sha256: &file.sha256, size: file.size }))
            .collect();
        let read = |path: &str| fs::read(self.root.join(path));
        let problems = record::disagreements(&rows, &files, dist_info, &read);
        if !problems.is_empty() {
            return Err(InstallError::Record { wheel: self.wheel(), problems });
        }
        let hexadecimal = record::in_hexadecimal(&rows);
        let told = format!("{}: {hexadecimal} hashes in RECORD are hexadecimal, not base64; they hold", self.wheel);
        Ok(if hexadecimal > 0 { vec![told] } else { Vec::new() })
    }

    fn entry_points(&self, dist_info: &str) -> Result<Vec<EntryPoint>, InstallError> {
        let text = self.text(&format!("{dist_info}/entry_points.txt"))?.unwrap_or_default();
        entry_points::parse(&text).map_err(|(name, problem)| InstallError::EntryPoint {
            wheel: self.wheel(),
            name,
            problem,
        })
    }

    /// The text of a metadata file; `None` where there is no such file.
    fn text(&self, file: &str) -> Result<Option<String>, InstallError> {
        const LARGEST: u64 = 64 << 20;
        let Ok(index) = self.files.binary_search_by(|entry| entry.path.as_str().cmp(file)) else { return Ok(None) };
        if self.files[index].size > LARGEST {
            return Err(self.metadata(file, format!("is larger than {LARGEST} bytes")));
        }
        let path = self.root.join(file);
        let bytes = fs::read(&path).map_err(|source| InstallError::Read { path, source })?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            // Descriptions of old packages are in any encoding; the fields that count are not.
            Err(error) if file.ends_with("/METADATA") => {
                Ok(Some(String::from_utf8_lossy(error.as_bytes()).into_owned()))
            }
            Err(_) => Err(self.metadata(file, "is not UTF-8".to_owned())),
        }
    }

    /// A header field that must be there once.
    fn field(&self, file: &str, text: &str, name: &str) -> Result<String, InstallError> {
        let headers = Headers::parse(text)
            .map_err(|line| self.metadata(file, format!("has a line {line} that is no header field")))?;
        match headers.one(name) {
            Ok(Some(value)) => Ok(value.to_owned()),
            Ok(None) => Err(self.metadata(file, format!("has no field {name}"))),
            Err(()) => Err(self.metadata(file, format!("has the field {name} more than once"))),
        }
    }

    fn metadata(&self, file: &str, problem: String) -> InstallError {
        InstallError::Metadata { wheel: self.wheel(), file: file.to_owned(), problem }
    }

    fn missing(&self, file: &str) -> InstallError {
        InstallError::Missing { wheel: self.wheel(), file: file.to_owned() }
    }
}

/// Whether `folder` is `NAME-VERSION` and `suffix` of the wheel, in any spelling of both.
fn is_of(folder: &str, suffix: &str, named: &WheelName) -> bool {
    let parsed = folder.strip_suffix(suffix).and_then(of_folder);
    parsed.is_some_and(|(name, version)| name == named.name && version == named.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::testing::TestWheel;

    fn open(wheel: TestWheel) -> Result<Wheel, InstallError> {
        wheel.open(tempfile::tempdir().unwrap().path())
    }

    fn format(text: &str) -> Result<Wheel, InstallError> {
        open(TestWheel::new("a", "1").info("WHEEL", text))
    }

    fn metadata(text: &str) -> Result<Wheel, InstallError> {
        open(TestWheel::new("a", "1").info("METADATA", text))
    }

    #[test]
    fn knows_the_format_versions() {
        assert!(format("Wheel-Version: 1.0\nRoot-Is-Purelib: true\n").unwrap().root_is_purelib);
        assert!(!format("wheel-version: 1.9\r\nROOT-IS-PURELIB: False\r\n").unwrap().root_is_purelib);
        for version in ["2.0", "0.1", "1", "x.y", "10.0"] {
            let error = format(&format!("Wheel-Version: {version}\nRoot-Is-Purelib: true\n")).unwrap_err();
            assert!(matches!(error, InstallError::WheelVersion { .. }), "{version}");
        }
        for text in
            ["Root-Is-Purelib: true\n", "Wheel-Version: 1.0\n", "Wheel-Version: 1.0\nRoot-Is-Purelib: maybe\n", "x\n"]
        {
            assert!(matches!(format(text), Err(InstallError::Metadata { .. })), "{text}");
        }
        assert!(format("Wheel-Version: 1.0\nWheel-Version: 1.1\nRoot-Is-Purelib: true\n").is_err());
    }

    #[test]
    fn name_and_version_are_those_of_the_file() {
        assert_eq!(metadata("Name: A\nVersion: 1.0\n\nName: b\n").unwrap().version, "1.0");
        for text in
            ["Name: b\nVersion: 1\n", "Name: a\nVersion: 2\n", "Name: a\nVersion: one\n", "Name: \nVersion: 1\n"]
        {
            assert!(matches!(metadata(text), Err(InstallError::Identity { .. })), "{text}");
        }
        for text in ["Version: 1\n", "Name: a\n", "Name: a\nName: a\nVersion: 1\n"] {
            assert!(matches!(metadata(text), Err(InstallError::Metadata { .. })), "{text}");
        }
        assert!(metadata("Name: a\nVersion: 1\n\n\u{fffd}").is_ok());
    }

    #[test]
    fn metadata_in_other_encodings_are_read() {
        assert!(open(TestWheel::new("a", "1").info("METADATA", b"Name: a\nVersion: 1\nAuthor: J\xf6rg\n")).is_ok());
        let wheel =
            open(TestWheel::new("a", "1").info("WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nX: \xf6\n"));
        assert!(matches!(wheel, Err(InstallError::Metadata { .. })));
    }

    #[test]
    fn there_is_one_dist_info_and_it_is_its_own() {
        let spelt = TestWheel::new("Foo.Bar", "1.0").filename("foo_bar-1.0.0-py3-none-any.whl");
        assert_eq!(open(spelt).unwrap().dist_info, "Foo.Bar-1.0.dist-info");
        let vendored =
            TestWheel::new("a", "1").file("a/_vendor/b-2.dist-info/METADATA", "Name: b").file("a/c.dist-info/x", "");
        assert!(open(vendored).is_ok());
        for wheel in [
            TestWheel::new("a", "1").filename("b-1-py3-none-any.whl"),
            TestWheel::new("a", "1").filename("a-2-py3-none-any.whl"),
            TestWheel::new("a", "1").file("b-2.dist-info/METADATA", "Name: b"),
            TestWheel::new("a", "1").file("A-1.dist-info/entry_points.txt", ""),
        ] {
            assert!(matches!(open(wheel), Err(InstallError::DistInfo { .. })));
        }
    }

    #[test]
    fn files_that_every_wheel_has_must_be_there() {
        for name in ["WHEEL", "METADATA", "RECORD"] {
            let mut wheel = TestWheel::new("a", "1").file("a.py", "");
            wheel.files.remove(&format!("a-1.dist-info/{name}"));
            assert!(matches!(open(wheel), Err(InstallError::Missing { file, .. }) if file.ends_with(name)), "{name}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in ["../a.py", "/a.py", "a/../../b", "a\\b", "a\nb", "a//b"] {
            let wheel = TestWheel::new("a", "1").file(path, "");
            assert!(matches!(open(wheel), Err(InstallError::Path { .. })), "{path:?}");
        }
        assert!(matches!(open(TestWheel::new("a", "1").filename("a.zip")), Err(InstallError::FileName { .. })));
    }

    #[test]
    fn data_folders_of_others_are_refused() {
        assert_eq!(
            open(TestWheel::new("a", "1").file("A-1.0.data/data/x", "")).unwrap().data.as_deref(),
            Some("A-1.0.data")
        );
        assert_eq!(open(TestWheel::new("a", "1").file("plots.data/x", "")).unwrap().data, None);
        for paths in [["b-1.data/data/x", "a.py"], ["a-1.data/data/x", "A-1.data/data/y"]] {
            let wheel = paths.iter().fold(TestWheel::new("a", "1"), |wheel, path| wheel.file(path, ""));
            assert!(matches!(open(wheel), Err(InstallError::Metadata { .. })), "{paths:?}");
        }
    }

    #[test]
    fn entry_points_that_escape_are_refused() {
        let wheel = TestWheel::new("a", "1").info("entry_points.txt", "[console_scripts]\n../../../x = a:b\n");
        assert!(matches!(open(wheel), Err(InstallError::EntryPoint { name, .. }) if name == "../../../x"));
    }
}
