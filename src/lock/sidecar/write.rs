//! Sidecar lock to text: one table per entry, keys in a fixed order, so that a diff shows what changed.

use std::fmt::Write as _;

use super::{Content, Locked, Sidecar, VERSION};

const HEADER: &str = "\
# Made by `akb lock`; do not edit.
# What a build of this project may take: files by name, size and hash. No address.
";

pub(super) fn write(sidecar: &Sidecar) -> String {
    let mut out = Writer(HEADER.to_owned());
    out.line(format_args!("version = {VERSION}"));
    out.line(format_args!("source = \"{}\"", sidecar.source));
    if let Some(hash) = sidecar.fetch_hash {
        out.line(format_args!("fetch-hash = \"{}\"", hash.sri()));
    }
    if let Some(hash) = sidecar.inputs_hash {
        out.line(format_args!("inputs-hash = \"{}\"", hash.sri()));
    }
    out.line(format_args!("\n[target]"));
    out.line(format_args!("python = \"{}\"", sidecar.target.python));
    out.line(format_args!("platform = \"{}\"", sidecar.target.platform));
    let sorted = |entries: &[Locked]| {
        let mut entries = entries.to_vec();
        entries.sort_by_key(Locked::reference);
        entries
    };
    for locked in sorted(&sidecar.packages) {
        out.locked("package", &locked);
    }
    for locked in sorted(&sidecar.builds) {
        out.locked("build", &locked);
    }
    if let Some(inputs) = &sidecar.inputs {
        out.line(format_args!("\n[inputs]"));
        out.line(format_args!("provider = \"{}\"", inputs.provider));
        out.text("suite", &inputs.suite);
        let mut pins = inputs.packages.clone();
        pins.sort();
        for pin in pins {
            out.line(format_args!("\n[[inputs.package]]"));
            out.text("name", &pin.package);
            out.text("version", &pin.version);
            out.text("architecture", &pin.architecture);
            out.file(&pin.file, Some(pin.size), &pin.sha256.hex());
        }
    }
    out.0
}

struct Writer(String);

impl Writer {
    fn locked(&mut self, table: &str, locked: &Locked) {
        self.line(format_args!("\n[[{table}]]"));
        self.text("name", &locked.name);
        if let Some(version) = &locked.version {
            self.text("version", version);
        }
        self.text("kind", locked.content.kind());
        if let Some(file) = locked.content.file() {
            self.file(&file.name, file.size, &file.sha256.hex());
        }
        let subdirectory = match &locked.content {
            Content::Git { revision, tree, subdirectory } => {
                self.text("revision", revision);
                self.text("tree", &tree.sri());
                subdirectory
            }
            Content::Sdist { subdirectory, .. } => subdirectory,
            Content::Wheel(_) | Content::Local { .. } => &None,
        };
        if let Some(folder) = subdirectory {
            self.text("subdirectory", folder);
        }
        match locked.build.as_deref() {
            None => {}
            Some([]) => self.line(format_args!("build = []")),
            Some(build) => {
                let mut build: Vec<String> = build.iter().map(ToString::to_string).collect();
                build.sort();
                self.line(format_args!("build = ["));
                for reference in build {
                    self.line(format_args!("    {},", quoted(&reference)));
                }
                self.line(format_args!("]"));
            }
        }
    }

    fn file(&mut self, name: &str, size: Option<u64>, sha256: &str) {
        self.text("file", name);
        if let Some(size) = size {
            self.line(format_args!("size = {size}"));
        }
        self.text("sha256", sha256);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {}", quoted(value)));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes every write.
        let _ = writeln!(self.0, "{line}");
    }
}

/// A TOML basic string.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
