//! Debian packages: `control` as text, `data` as files.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::compression::Compression;
use super::error::{Fault, Reason, UnpackError};
use super::folder::Folder;
use super::limits::{Budget, Limits};
use super::tar::{self, Policy};
use super::{Entry, ar};

/// What a Debian package says and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The text of its `control` file: one paragraph of RFC 822 fields.
    pub text: String,
    /// Its files as they lie in the folder, sorted by path; `Entry::path` has no `./` before it.
    pub files: Vec<Entry>,
}

/// Bytes that a `control` file and the member `debian-binary` may have.
const TEXT: u64 = 1 << 20;

/// Unpacks the package at `archive` into `dest` under [`Policy::debian`]; maintainer scripts are not looked at.
///
/// `dest` may have other packages in it, and several packages may be unpacked into it at once: a file that another
/// package brought is refused. On an error all that this call made is removed.
pub fn deb(archive: &Path, dest: &Path, limits: &Limits) -> Result<Control, UnpackError> {
    let work = || {
        let mut folder = Folder::open(dest)?;
        let text = unpack(archive, &mut folder, limits)?;
        Ok(Control { text, files: folder.finish()? })
    };
    work().map_err(|fault: Fault| fault.in_archive(archive))
}

/// Unpacks into `folder`; the text of the `control` file.
pub(super) fn unpack(archive: &Path, folder: &mut Folder, limits: &Limits) -> Result<String, Fault> {
    let file = File::open(archive).map_err(Fault::Read)?;
    let packed = file.metadata().map_err(Fault::Read)?.len();
    let mut reader = BufReader::with_capacity(128 << 10, file);
    ar::start(&mut reader)?;
    let version = member(
        &mut reader,
        |name| name == "debian-binary",
        |_, content| {
            let mut text = String::new();
            content.take(TEXT).read_to_string(&mut text)?;
            Ok(text)
        },
    )?;
    if !version.starts_with("2.") {
        return Err(Reason::Unsupported(format!("version `{}` of the format", version.trim().escape_debug())).into());
    }
    let text = member(
        &mut reader,
        |name| name.starts_with("control.tar"),
        |name, content| {
            let mut budget = Budget::new(limits, Some(packed));
            control(compression(name)?.reader(content)?, &mut budget)
        },
    )?;
    member(
        &mut reader,
        |name| name.starts_with("data.tar"),
        |name, content| {
            let mut budget = Budget::new(limits, Some(packed));
            tar::unpack(compression(name)?.reader(content)?, folder, &Policy::debian(), &mut budget)
        },
    )?;
    if ar::next(&mut reader)?.is_some() {
        return Err(Reason::StrayBytes { found: "a member behind `data.tar`".to_owned() }.into());
    }
    Ok(text)
}

/// The next member of the container, which `expected` must take and `read` reads to its end.
fn member<R: Read, T>(
    reader: &mut BufReader<R>,
    expected: impl Fn(&str) -> bool,
    read: impl FnOnce(&str, &mut io::Take<&mut BufReader<R>>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let header = ar::next(reader)?.ok_or(Reason::Truncated)?;
    if !expected(&header.name) {
        return Err(Fault::from(Reason::Malformed("no place in a Debian package".to_owned())).at(&header.name));
    }
    let mut content = reader.take(header.size);
    let value = read(&header.name, &mut content).map_err(|fault| fault.at(&header.name))?;
    if content.limit() > 0 {
        return Err(Fault::from(Reason::Truncated).at(&header.name));
    }
    ar::pad(reader, header.size)?;
    Ok(value)
}

fn compression(name: &str) -> Result<Compression, Reason> {
    match Compression::of_tar(name) {
        Some(("control" | "data", compression)) => Ok(compression),
        _ => Err(Reason::Unsupported(format!("the compression of `{name}`"))),
    }
}

/// The text of the one file that is called `control`.
fn control(content: impl Read, budget: &mut Budget<'_>) -> Result<String, Fault> {
    let mut text = None;
    tar::each(content, &Policy::debian(), budget, |member, path, content| {
        if path != "control" {
            return Ok(());
        }
        if text.is_some() {
            return Err(Fault::from(Reason::Duplicate).at(path));
        }
        let mut bytes = Vec::new();
        if member.size > TEXT {
            return Err(Fault::from(Reason::FileTooLarge { size: member.size, limit: TEXT }).at(path));
        }
        content.read_to_end(&mut bytes)?;
        text = Some(String::from_utf8(bytes).map_err(|_| Reason::NotUtf8)?);
        Ok(())
    })?;
    text.ok_or_else(|| Reason::Malformed("no `control` file".to_owned()).into())
}
