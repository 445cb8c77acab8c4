//! Wheels for tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::record::{self, Row};
use super::{InstallError, Layout, Wheel};
use crate::digest::Sha256;
use crate::unpack::Entry;

/// An unpacked wheel in the making; sound until a test breaks it.
pub(super) struct TestWheel {
    filename: String,
    pub(super) dist_info: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    executable: Vec<String>,
    record: Option<String>,
}

impl TestWheel {
    pub(super) fn new(name: &str, version: &str) -> Self {
        let dist_info = format!("{name}-{version}.dist-info");
        let files = BTreeMap::from([
            (format!("{dist_info}/WHEEL"), b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_vec()),
            (
                format!("{dist_info}/METADATA"),
                format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n").into_bytes(),
            ),
            (format!("{dist_info}/RECORD"), Vec::new()),
        ]);
        let filename = format!("{name}-{version}-py3-none-any.whl");
        Self { filename, dist_info, files, executable: Vec::new(), record: None }
    }

    pub(super) fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.to_owned(), content.as_ref().to_vec());
        self
    }

    /// A file of `.dist-info`.
    pub(super) fn info(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = format!("{}/{name}", self.dist_info);
        self.file(&path, content)
    }

    pub(super) fn executable(mut self, path: &str) -> Self {
        self.executable.push(path.to_owned());
        self
    }

    pub(super) fn filename(mut self, filename: &str) -> Self {
        filename.clone_into(&mut self.filename);
        self
    }

    /// Replaces the right record.
    pub(super) fn record(mut self, text: &str) -> Self {
        self.record = Some(text.to_owned());
        self
    }

    /// The record that agrees with the files.
    pub(super) fn right_record(&self) -> String {
        let own = format!("{}/RECORD", self.dist_info);
        let row = |(path, bytes): (&String, &Vec<u8>)| {
            if *path == own {
                Row::bare(path.clone())
            } else {
                Row::of(path.clone(), &Sha256::of(bytes), bytes.len() as u64)
            }
        };
        record::format(self.files.iter().map(row).collect())
    }

    pub(super) fn open(mut self, folder: &Path) -> Result<Wheel, InstallError> {
        let record = self.record.clone().unwrap_or_else(|| self.right_record());
        if let Some(file) = self.files.get_mut(&format!("{}/RECORD", self.dist_info)) {
            *file = record.into_bytes();
        }
        let mut entries = Vec::new();
        for (path, bytes) in &self.files {
            let target = folder.join(path);
            // Hostile paths are only named, never written.
            if super::names::unsafe_path(path).is_none() {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(&target, bytes).unwrap();
            }
            let (sha256, size) = (Sha256::of(bytes), bytes.len() as u64);
            entries.push(Entry { path: path.clone(), size, executable: self.executable.contains(path), sha256 });
        }
        Wheel::open(folder, &self.filename, entries)
    }
}

/// Opens all; their folders live as long as the first of the pair.
pub(super) fn open_all(wheels: Vec<TestWheel>) -> (TempDir, Vec<Wheel>) {
    let folder = tempfile::tempdir().unwrap();
    let open = |(index, wheel): (usize, TestWheel)| wheel.open(&folder.path().join(index.to_string())).unwrap();
    let wheels = wheels.into_iter().enumerate().map(open).collect();
    (folder, wheels)
}

pub(super) fn layout() -> Layout {
    Layout::canonical("3.14.8".parse().unwrap())
}
