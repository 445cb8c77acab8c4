//! Tar archives: what may be in one, and how it lands in a folder.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::error::{Fault, Reason, refuse, shown};
use super::folder::Folder;
use super::limits::{Budget, Limits};
use super::members::{Alike, Kind, Members};
use super::name::{self, Style};
use super::{Entry, UnpackError};
use header::Type;
use strict::{Member, Strict};

mod header;
mod pax;
mod strict;

/// What a kind of tar archive may have in it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Links must stay in the top folder, which all members share. Otherwise their text is kept as it is.
    inner_links: bool,
    /// Names and link texts are Unix's alone: a backslash is a character like any other.
    unix: bool,
    /// Names that collide.
    alike: Alike,
    /// Files with set-id bits are taken, without the bits.
    drop_set_id: bool,
    /// Folders at the top that are links elsewhere, and where members below them go.
    merged: &'static [(&'static str, &'static str)],
}

impl Policy {
    /// Debian's `data.tar`. Links are text (`usr/bin/awk` points to `/etc/alternatives/awk`) and are never
    /// followed. Members below the merged folders (`lib`, `bin`, ...) go to where `/usr`-merged systems have them,
    /// in whatever order packages are unpacked.
    pub fn debian() -> Self {
        Self {
            inner_links: false,
            unix: true,
            alike: Alike::Bytes,
            drop_set_id: true,
            merged: &[
                ("bin", "usr/bin"),
                ("sbin", "usr/sbin"),
                ("lib", "usr/lib"),
                ("lib32", "usr/lib32"),
                ("lib64", "usr/lib64"),
                ("libx32", "usr/libx32"),
                ("libo32", "usr/libo32"),
            ],
        }
    }

    /// A source distribution: one top folder, links only inside it. Names may differ by case alone, for real
    /// packages (reportlab 5.1.0) have such.
    pub fn sdist() -> Self {
        Self { inner_links: true, unix: false, alike: Alike::Composition, drop_set_id: false, merged: &[] }
    }

    fn place(&self, name: &str) -> String {
        let (top, rest) = name.split_once('/').map_or((name, None), |(top, rest)| (top, Some(rest)));
        match (self.merged.iter().find(|(from, _)| *from == top), rest) {
            (Some((_, to)), Some(rest)) => format!("{to}/{rest}"),
            _ => name.to_owned(),
        }
    }
}

/// Unpacks the tar stream `content` (of `archive`, which only messages name) into `dest`, which may have the
/// contents of other archives in it: a name that is there already is refused, unless both are folders or the same link.
/// On an error all that this call made is removed.
pub fn tar_tree(
    archive: &Path,
    content: impl Read,
    dest: &Path,
    policy: &Policy,
    limits: &Limits,
) -> Result<Vec<Entry>, UnpackError> {
    let work = || {
        let mut folder = Folder::open(dest)?;
        unpack(content, &mut folder, policy, &mut Budget::new(limits, None))?;
        folder.finish()
    };
    work().map_err(|fault: Fault| fault.in_archive(archive))
}

/// Whether a bare tar archive may start so.
pub(super) fn is_start(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(header::is_header)
}

/// Unpacks into `folder`; the name of the top folder of the first member.
pub(super) fn unpack(
    content: impl Read,
    folder: &mut Folder,
    policy: &Policy,
    budget: &mut Budget<'_>,
) -> Result<Option<String>, Fault> {
    let mut sink = Sink { folder, policy, members: Members::new(policy.alike), top: None };
    each(content, policy, budget, |member, path, content| {
        sink.member(member, path, content).map_err(|fault| fault.at(path))
    })?;
    Ok(sink.top)
}

/// Calls `visit` with each member, its checked name and its content. The `tar` crate reads what
/// [`Strict`] lets pass, and both must see the same.
pub(super) fn each(
    content: impl Read,
    policy: &Policy,
    budget: &mut Budget<'_>,
    mut visit: impl FnMut(&Member, &str, &mut dyn Read) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let limits = budget.limits;
    let strict = Strict::new(content, budget);
    let seen = strict.seen();
    let fault = |error: io::Error| seen.borrow_mut().fault.take().unwrap_or_else(|| error.into());
    let mut archive = tar::Archive::new(strict);
    for entry in archive.entries().map_err(fault)? {
        let mut entry = entry.map_err(fault)?;
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let member = seen.borrow_mut().members.pop_front();
        let member = member.ok_or_else(|| disagreement("the next member", "none".into(), "one".into()))?;
        compare(&member, &entry)?;
        let style = Style { dot_slash: true, unix: policy.unix };
        let label = shown(&member.name);
        let path = name::check(&member.name, style, limits).or_else(|reason| refuse(&label, reason))?;
        let path = policy.place(&path);
        let done = visit(&member, &path, &mut entry);
        // What the preflight found in the padding is the better message.
        if let Some(fault) = seen.borrow_mut().fault.take() {
            return Err(fault);
        }
        done?;
    }
    Ok(())
}

/// The `tar` crate is a second reader of every header.
fn compare<R: Read>(member: &Member, entry: &tar::Entry<'_, R>) -> Result<(), Fault> {
    let label = shown(&member.name);
    let same = |what, one: &[u8], two: &[u8]| {
        if one == two { Ok(()) } else { refuse(&label, reason(what, shown(one), shown(two))) }
    };
    same("the name", &member.name, &entry.path_bytes())?;
    same("the link", &member.link, entry.link_name_bytes().as_deref().unwrap_or_default())?;
    same("the size", member.size.to_string().as_bytes(), entry.size().to_string().as_bytes())?;
    same("the type", &[member.kind.flag()], &[entry.header().entry_type().as_byte()].map(Type::normal))
}

fn reason(what: &'static str, one: String, two: String) -> Reason {
    Reason::disagreement(what, ("the preflight", one), ("the tar reader", two))
}

fn disagreement(what: &'static str, one: String, two: String) -> Fault {
    reason(what, one, two).into()
}

/// Where members go.
struct Sink<'a> {
    folder: &'a mut Folder,
    policy: &'a Policy,
    members: Members,
    top: Option<String>,
}

impl Sink<'_> {
    fn member(&mut self, member: &Member, path: &str, content: &mut dyn Read) -> Result<(), Fault> {
        if path.is_empty() {
            return if member.kind == Type::Folder { Ok(()) } else { Err(Reason::EmptyName.into()) };
        }
        self.check_top(member, path)?;
        match member.kind {
            Type::Folder => {
                if self.is_merged(path) {
                    return self.folder.folder(self.policy.place(&format!("{path}/")).trim_end_matches('/'));
                }
                self.members.add(path, Kind::Folder)?;
                self.folder.folder(path)
            }
            Type::File => {
                if member.set_id && !self.policy.drop_set_id {
                    return Err(Reason::SetId.into());
                }
                self.members.add(path, Kind::File)?;
                self.folder.file(path, member.size, member.executable, content)
            }
            Type::Link => {
                self.check_link(path, &member.link)?;
                self.members.add(path, Kind::Link)?;
                self.folder.link(path, PathBuf::from(OsString::from_vec(member.link.clone())));
                Ok(())
            }
            Type::HardLink => {
                let target = self.hard_link_target(member)?;
                self.members.add(path, Kind::File)?;
                self.folder.hard_link(path, &target)
            }
        }
    }

    fn is_merged(&self, path: &str) -> bool {
        self.policy.merged.iter().any(|(from, _)| *from == path)
    }

    /// Source distributions have all in one folder.
    fn check_top(&mut self, member: &Member, path: &str) -> Result<(), Fault> {
        let (top, below) = path.split_once('/').map_or((path, false), |(top, _)| (top, true));
        let known = self.top.get_or_insert_with(|| top.to_owned());
        if self.policy.inner_links && (known != top || (!below && member.kind != Type::Folder)) {
            return Err(Reason::OutsideTop { top: known.clone() }.into());
        }
        Ok(())
    }

    fn check_link(&self, path: &str, target: &[u8]) -> Result<(), Reason> {
        if self.policy.inner_links {
            name::check_inner_link(path, target)
        } else if target.is_empty() || target.contains(&0) || target.len() > 4095 {
            Err(Reason::BadLink)
        } else {
            Ok(())
        }
    }

    fn hard_link_target(&self, member: &Member) -> Result<String, Reason> {
        let wrong = || Reason::HardLink { target: shown(&member.link) };
        let style = Style { dot_slash: true, unix: self.policy.unix };
        let target = name::check(&member.link, style, &Limits::default()).map_err(|_| wrong())?;
        let target = self.policy.place(&target);
        if self.members.kind(&target) == Some(Kind::File) { Ok(target) } else { Err(wrong()) }
    }
}
