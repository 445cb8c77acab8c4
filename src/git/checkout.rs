//! The tree of a commit as files.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use gix_hash::ObjectId;
use gix_object::tree::EntryKind;
use gix_object::{CommitRefIter, Kind, TreeRefIter};

use super::GitError;

/// Limits of one tree: entries, bytes, folders inside each other.
const MOST_ENTRIES: usize = 1_000_000;
const MOST_BYTES: u64 = 8 << 30;
const DEEPEST: usize = 128;
/// Links that are followed on one way, as the kernel does.
const MOST_LINKS: usize = 40;

/// Writes the files of `commit` into the empty folder `into`.
pub(super) fn checkout(bundle: &gix_pack::Bundle, commit: ObjectId, into: &Path) -> Result<(), GitError> {
    let mut checkout = Checkout {
        bundle,
        commit,
        into,
        inflate: gix_zlib::Inflate::default(),
        links: BTreeMap::new(),
        entries: 0,
        bytes: 0,
    };
    let data = checkout.object(commit, Kind::Commit)?;
    let root = CommitRefIter::from_bytes(&data, gix_hash::Kind::Sha1)
        .tree_id()
        .map_err(|error| checkout.objects(format!("the commit cannot be read: {error}")))?;
    checkout.folder(root, Path::new(""), 0)?;
    checkout.check_links()
}

struct Checkout<'a> {
    bundle: &'a gix_pack::Bundle,
    commit: ObjectId,
    into: &'a Path,
    inflate: gix_zlib::Inflate,
    links: BTreeMap<PathBuf, String>,
    entries: usize,
    bytes: u64,
}

impl Checkout<'_> {
    /// The bytes of an object. The index names each by the hash that was computed from them.
    fn object(&mut self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, GitError> {
        let mut data = Vec::new();
        let found = self.bundle.find(&id, &mut data, &mut self.inflate, &mut gix_pack::cache::Never);
        let is = match found {
            Ok(Some((object, _))) => object.kind,
            Ok(None) => return Err(self.objects(format!("{kind} {id} is missing"))),
            Err(error) => return Err(self.objects(format!("{kind} {id} cannot be read: {error}"))),
        };
        if is == kind { Ok(data) } else { Err(self.objects(format!("{id} is a {is} where a {kind} is expected"))) }
    }

    fn folder(&mut self, tree: ObjectId, at: &Path, depth: usize) -> Result<(), GitError> {
        if depth > DEEPEST {
            return Err(self.entry(at, format!("more than {DEEPEST} folders lie inside each other")));
        }
        let data = self.object(tree, Kind::Tree)?;
        for entry in TreeRefIter::from_bytes(&data, gix_hash::Kind::Sha1) {
            let entry = entry.map_err(|error| self.objects(format!("tree {tree} cannot be read: {error}")))?;
            let name = self.name(at, entry.filename)?;
            let path = at.join(name);
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(self.entry(&path, format!("there are more than {MOST_ENTRIES} files")));
            }
            let id = entry.oid.to_owned();
            match entry.mode.kind() {
                EntryKind::Tree => {
                    fs::create_dir(self.into.join(&path)).map_err(|error| self.write_error(&path, &error))?;
                    self.folder(id, &path, depth + 1)?;
                }
                EntryKind::Blob => self.file(id, &path, 0o644)?,
                EntryKind::BlobExecutable => self.file(id, &path, 0o755)?,
                EntryKind::Link => self.link(id, &path)?,
                EntryKind::Commit => return Err(self.entry(&path, "it is a submodule, which is not fetched".into())),
            }
        }
        Ok(())
    }

    fn file(&mut self, blob: ObjectId, path: &Path, mode: u32) -> Result<(), GitError> {
        let data = self.object(blob, Kind::Blob)?;
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        if self.bytes > MOST_BYTES {
            return Err(self.entry(path, format!("the files are larger than {MOST_BYTES} bytes")));
        }
        // `create_new` refuses a name that comes twice, and never writes through a link.
        let written = File::create_new(self.into.join(path)).and_then(|mut file| {
            file.write_all(&data)?;
            file.set_permissions(Permissions::from_mode(mode))
        });
        written.map_err(|error| self.write_error(path, &error))
    }

    fn link(&mut self, blob: ObjectId, path: &Path) -> Result<(), GitError> {
        let data = self.object(blob, Kind::Blob)?;
        let target = std::str::from_utf8(&data).ok().filter(|target| !target.is_empty() && !target.contains('\0'));
        let target = target.ok_or_else(|| self.entry(path, "its target is not a path".into()))?;
        symlink(target, self.into.join(path)).map_err(|error| self.write_error(path, &error))?;
        self.links.insert(path.to_owned(), target.to_owned());
        Ok(())
    }

    /// Links may lead out of the folder through each other, so they are followed when all are known.
    fn check_links(&self) -> Result<(), GitError> {
        for (path, target) in &self.links {
            if !stays_inside(&self.links, path) {
                return Err(self.entry(path, format!("it is a link to `{target}`, which leaves the folder")));
            }
        }
        Ok(())
    }

    /// A name that is safe to write; what git itself would refuse is refused.
    fn name<'n>(&self, at: &Path, name: &'n [u8]) -> Result<&'n str, GitError> {
        let text = std::str::from_utf8(name).ok();
        let text = text.ok_or_else(|| self.entry(at, format!("`{}` is not UTF-8", String::from_utf8_lossy(name))))?;
        let odd = text.is_empty() || matches!(text, "." | "..") || text.contains(['/', '\0']);
        let git = text.eq_ignore_ascii_case(".git") || text.eq_ignore_ascii_case("git~1");
        if odd || git || text.chars().any(char::is_control) {
            return Err(self.entry(&at.join(text.escape_default().to_string()), "it is not the name of a file".into()));
        }
        Ok(text)
    }

    fn objects(&self, reason: String) -> GitError {
        GitError::Objects { revision: self.commit.to_string(), reason }
    }

    fn entry(&self, path: &Path, reason: String) -> GitError {
        GitError::Entry { revision: self.commit.to_string(), path: path.display().to_string(), reason }
    }

    fn write_error(&self, path: &Path, error: &std::io::Error) -> GitError {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return self.entry(path, "its name comes twice".into());
        }
        crate::net::NetError::local(&path.display().to_string(), error).into()
    }
}

/// Whether the link at `path` ends below the top, followed through all others, whether or not its end exists.
fn stays_inside(links: &BTreeMap<PathBuf, String>, path: &Path) -> bool {
    let mut here = PathBuf::new();
    let mut ahead = vec![path.to_owned()];
    let mut followed = 0;
    while let Some(next) = ahead.pop() {
        let mut components = next.components();
        let Some(component) = components.next() else { continue };
        ahead.push(components.as_path().to_owned());
        match component {
            Component::Normal(name) => here.push(name),
            Component::CurDir => {}
            Component::ParentDir if here.pop() => {}
            _ => return false,
        }
        if let Some(target) = links.get(&here) {
            followed += 1;
            if followed > MOST_LINKS {
                // The kernel gives up here too: the link leads nowhere.
                return true;
            }
            here.pop();
            ahead.push(target.into());
        }
    }
    true
}
