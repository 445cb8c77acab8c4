//! ZIP archives (APPNOTE.TXT 6.3): how one lands in a folder.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive};
use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::error::{Fault, Reason, shown};
use super::folder::Folder;
use super::limits::{Budget, Limits};
use super::members::{Alike, Kind, Members};
use super::name::{self, Style};
use directory::{Central, Method};

mod directory;
mod extra;
mod local;

/// What kind of package the archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// No links, and no names that are one on other file systems: a wheel is the same everywhere.
    Wheel,
    /// Links inside the one top folder.
    Sdist,
}

/// What a member is, by its name and its Unix mode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    File { executable: bool },
    Folder,
    Link,
}

/// Unpacks `archive` into `folder`; the name of the top folder of the first member.
pub(super) fn unpack(
    archive: &Path,
    folder: &mut Folder,
    policy: Policy,
    limits: &Limits,
) -> Result<Option<String>, Fault> {
    let file = File::open(archive).map_err(Fault::Read)?;
    let length = file.metadata().map_err(Fault::Read)?.len();
    let directory = directory::read(&file, length, limits)?;
    local::check(&file, &directory)?;
    let mut budget = Budget::new(limits, Some(length));
    let alike = if policy == Policy::Wheel { Alike::Case } else { Alike::Composition };
    let mut members = Members::new(alike);
    let mut top = None;
    let mut planned = Vec::with_capacity(directory.members.len());
    for member in &directory.members {
        let path = plan(member, policy, &mut budget, &mut members, &mut top)?;
        planned.push(path);
    }
    let mut reader = open(file, &directory)?;
    for (index, (member, (path, kind))) in directory.members.iter().zip(&planned).enumerate() {
        write(&mut reader, index, member, path, *kind, folder).map_err(|fault| fault.at(path))?;
    }
    Ok(top)
}

/// Checks all that the directory says about a member, before anything is written.
fn plan(
    member: &Central,
    policy: Policy,
    budget: &mut Budget<'_>,
    members: &mut Members,
    top: &mut Option<String>,
) -> Result<(String, Type), Fault> {
    let label = shown(&member.name);
    let mut check = || -> Result<(String, Type), Fault> {
        budget.member()?;
        let style = Style { dot_slash: false, unix: false };
        let path = name::check(&member.name, style, budget.limits)?;
        if !member.is_utf8() && !path.is_ascii() {
            return Err(Reason::UnknownEncoding.into());
        }
        let kind = kind(member, policy)?;
        budget.file(&path, member.size)?;
        members.add(
            &path,
            match kind {
                Type::File { .. } => Kind::File,
                Type::Folder => Kind::Folder,
                Type::Link => Kind::Link,
            },
        )?;
        if policy == Policy::Sdist {
            check_top(&path, kind, top)?;
        }
        Ok((path, kind))
    };
    check().map_err(|fault| fault.at(&label))
}

fn kind(member: &Central, policy: Policy) -> Result<Type, Reason> {
    let is_folder = member.name.ends_with(b"/");
    let mode = member.external >> 16;
    match (mode & 0o170_000, is_folder) {
        (0 | 0o040_000, true) if member.size == 0 => Ok(Type::Folder),
        (0 | 0o040_000, true) => Err(Reason::Malformed("content though it is a folder".to_owned())),
        (0 | 0o100_000, false) if mode & 0o6000 != 0 => Err(Reason::SetId),
        // As installers have it: only a mode that says "regular file" can say "executable".
        (file @ (0 | 0o100_000), false) => Ok(Type::File { executable: file != 0 && mode & 0o111 != 0 }),
        (0o120_000, false) if policy == Policy::Sdist => Ok(Type::Link),
        (0o120_000, _) => Err(Reason::LinkInWheel),
        (0o020_000, _) => Err(Reason::Special { found: "character device" }),
        (0o060_000, _) => Err(Reason::Special { found: "block device" }),
        (0o010_000, _) => Err(Reason::Special { found: "named pipe" }),
        (0o140_000, _) => Err(Reason::Special { found: "socket" }),
        (found, _) => Err(Reason::Malformed(format!("the mode {found:o}, which does not go with its name"))),
    }
}

fn check_top(path: &str, kind: Type, top: &mut Option<String>) -> Result<(), Reason> {
    let (first, below) = path.split_once('/').map_or((path, false), |(first, _)| (first, true));
    let known = top.get_or_insert_with(|| first.to_owned());
    if known != first || (!below && kind != Type::Folder) {
        return Err(Reason::OutsideTop { top: known.clone() });
    }
    Ok(())
}

/// The `zip` crate is a second reader of the directory.
fn open(file: File, directory: &directory::Directory) -> Result<ZipArchive<BufReader<File>>, Fault> {
    let reader = ZipArchive::new(BufReader::new(file)).map_err(fault)?;
    let same = reader.len() == directory.members.len()
        && reader.central_directory_start() == directory.start
        && reader.offset() == 0;
    if !same {
        let (one, two) = (directory.members.len().to_string(), reader.len().to_string());
        return Err(disagreement("the directory", one, two).into());
    }
    Ok(reader)
}

fn write(
    reader: &mut ZipArchive<BufReader<File>>,
    index: usize,
    member: &Central,
    path: &str,
    kind: Type,
    folder: &mut Folder,
) -> Result<(), Fault> {
    let raw = reader.by_index_raw(index).map_err(fault)?;
    let method = if raw.compression() == CompressionMethod::Stored { Method::Stored } else { Method::Deflated };
    let seen = (raw.name_raw(), raw.header_start(), raw.compressed_size(), raw.size(), raw.crc32(), method);
    let known = (&*member.name, member.offset, member.compressed, member.size, member.crc, member.method);
    if seen != known {
        return Err(disagreement("the member", format!("{known:?}"), format!("{seen:?}")).into());
    }
    if kind == Type::Folder {
        folder.folder(path)?;
    }
    // Old writers say "deflated" of folders and give them no bytes.
    let method = if member.compressed == 0 { Method::Stored } else { member.method };
    let mut content = Content::new(raw, method);
    match kind {
        Type::Folder => {
            io::copy(&mut content, &mut io::sink())?;
        }
        Type::File { executable } => folder.file(path, member.size, executable, &mut content)?,
        Type::Link => {
            let mut target = Vec::new();
            (&mut content).take(4096).read_to_end(&mut target)?;
            name::check_inner_link(path, &target)?;
            let target = String::from_utf8(target).map_err(|_| Reason::BadLink)?;
            folder.link(path, target.into());
        }
    }
    Ok(content.finish(member)?)
}

/// The content of a member, decompressed and summed up.
struct Content<R> {
    source: Source<R>,
    crc: Crc,
}

enum Source<R> {
    Stored(R),
    Deflated(DeflateDecoder<BufReader<R>>),
}

impl<R: Read> Content<R> {
    fn new(raw: R, method: Method) -> Self {
        let source = match method {
            Method::Stored => Source::Stored(raw),
            Method::Deflated => Source::Deflated(DeflateDecoder::new(BufReader::new(raw))),
        };
        Self { source, crc: Crc::new() }
    }

    /// After all was read: whether it was what the directory says.
    fn finish(self, member: &Central) -> Result<(), Reason> {
        if let Source::Deflated(decoder) = &self.source
            && decoder.total_in() != member.compressed
        {
            let found = format!("{} bytes behind its compressed data", member.compressed - decoder.total_in());
            return Err(Reason::StrayBytes { found });
        }
        let size = u64::from(self.crc.amount());
        if size != member.size & u64::from(u32::MAX) {
            return Err(Reason::Corrupt { what: format!("it has {size} bytes, expected {}", member.size) });
        }
        if self.crc.sum() != member.crc {
            let what = format!("its CRC-32 is {:08x}, expected {:08x}", self.crc.sum(), member.crc);
            return Err(Reason::Corrupt { what });
        }
        Ok(())
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.source {
            Source::Stored(reader) => reader.read(into),
            Source::Deflated(reader) => reader.read(into),
        }?;
        self.crc.update(&into[..count]);
        Ok(count)
    }
}

fn fault(error: ZipError) -> Fault {
    match error {
        ZipError::Io(error) => error.into(),
        error => Reason::Corrupt { what: error.to_string() }.into(),
    }
}

fn disagreement(what: &'static str, one: String, two: String) -> Reason {
    Reason::disagreement(what, ("the preflight", one), ("the zip reader", two))
}
