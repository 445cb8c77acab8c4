//! The files of one commit of a git repository, over smart HTTP (protocol version 2) or from this machine.
//!
//! ```text
//! transport  one commit's objects as a pack → file
//! pkt        the framing that both ends speak
//! checkout   pack → folder, each object by its hash
//! ```
//! History, submodules and large-file storage are left out: what a build needs is the tree.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix_hash::ObjectId;

use crate::cache::{Cache, CacheError};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::net::{Net, NetError};
use crate::report::{Event, Reporter, Stage};

mod checkout;
mod pkt;
mod transport;

use transport::{Repository, Wanted};

/// Size limit in bytes of one object. Larger ones are no sources.
const LARGEST_OBJECT: usize = 512 << 20;

/// Why a commit could not be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GitError {
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Not the full name of a commit.
    #[error("`{revision}` is not the full name of a commit: 40 hexadecimal digits are expected")]
    Revision { revision: String },
    /// An address of another kind.
    #[error("cannot fetch from the repository {repository}: {reason}")]
    Repository { repository: String, reason: String },
    /// Without network, and not in the cache.
    #[error("commit {revision} of {repository} is not in the cache, and the network is switched off")]
    Offline { repository: String, revision: String },
    /// The other side refused.
    #[error("{repository} refused: {reason}")]
    Refused { repository: String, reason: String },
    /// The other side does not speak the protocol.
    #[error("{repository} does not speak git's protocol version 2: {reason}")]
    Protocol { repository: String, reason: String },
    /// The commit is not there.
    #[error("{repository} has no commit {revision}")]
    NoCommit { repository: String, revision: String },
    /// The objects are not what they should be.
    #[error("the objects of commit {revision} cannot be used: {reason}")]
    Objects { revision: String, reason: String },
    /// A file of the commit that must not be written.
    #[error("refused {path} of commit {revision}: {reason}")]
    Entry { revision: String, path: String, reason: String },
}

impl Explain for GitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Net(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Offline { .. } => Some("run the same without --offline once".into()),
            Self::Repository { .. } | Self::Protocol { .. } | Self::NoCommit { .. } | Self::Refused { .. } => Some(
                "replace the package in akb.toml by a release, by another repository (https://…) or by a local path"
                    .into(),
            ),
            Self::Entry { .. } => Some("replace the package in akb.toml by a release or by a local path".into()),
            Self::Revision { .. } | Self::Objects { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Net(error) => error.exit_code(),
            Self::Cache(error) => error.exit_code(),
            Self::Revision { .. } => ExitCode::Usage,
            Self::Objects { .. } | Self::Entry { .. } => ExitCode::Integrity,
            _ => ExitCode::Network,
        }
    }
}

/// Gives a folder in the cache with the files of commit `revision` (40 hexadecimal digits): without `.git`,
/// files 0644 or 0755, links that stay inside. It is shared: copy before building in it.
///
/// `repository` is an `http` or `https` address, a `file://` address or a path; the last two need `git` on
/// this machine. Every object is hashed, so the folder holds what the commit's name promises.
pub fn fetch(
    repository: &str,
    revision: &str,
    net: &Net,
    cache: &Cache,
    offline: bool,
    reporter: &dyn Reporter,
) -> Result<PathBuf, GitError> {
    let wrong = || GitError::Revision { revision: revision.to_owned() };
    let commit = ObjectId::from_hex(revision.as_bytes()).ok().filter(|id| id.kind() == gix_hash::Kind::Sha1);
    let commit = commit.ok_or_else(wrong)?;
    let key = Sha256::of(format!("git tree of commit {commit}").as_bytes());
    if let Some(folder) = cache.folder("git", &key) {
        return Ok(folder);
    }
    let repository = Repository::parse(repository)?;
    if offline && !repository.is_local() {
        return Err(GitError::Offline { repository: repository.shown(), revision: commit.to_string() });
    }
    cache.build_folder("git", &key, |folder| {
        let item = format!("{}@{}", repository.shown(), commit.to_hex_with_len(12));
        reporter.event(&Event::ItemStarted { stage: Stage::Fetch, item: &item, size: None });
        let progress = |done| {
            let (stage, item) = (Stage::Fetch, item.as_str());
            reporter.event(&Event::ItemProgress { stage, item, done: Some(done), doing: None });
        };
        let scratch = tempfile::tempdir_in(cache.root().join("tmp")).map_err(|source| CacheError {
            action: "create a folder in",
            path: cache.root().join("tmp"),
            source,
        })?;
        let bundle = obtain(&repository, commit, net, scratch.path(), &progress)?;
        checkout::checkout(&bundle, commit, folder)?;
        reporter.event(&Event::ItemFinished { stage: Stage::Fetch, item: &item, cached: false });
        Ok(())
    })
}

/// Exactly the commit where the other side agrees, else all that it has.
fn obtain(
    repository: &Repository,
    commit: ObjectId,
    net: &Net,
    scratch: &Path,
    progress: &dyn Fn(u64),
) -> Result<gix_pack::Bundle, GitError> {
    let session = repository.connect(net)?;
    let shallow = session.pack(&Wanted::Only(commit), scratch, progress);
    let pack = match shallow {
        Err(GitError::Refused { .. }) => session.pack(&Wanted::All(session.refs(scratch)?), scratch, progress)?,
        result => result?,
    };
    let bundle = index(pack, commit, scratch)?;
    if bundle.index.lookup(commit).is_none() {
        return Err(GitError::NoCommit { repository: repository.shown(), revision: commit.to_string() });
    }
    Ok(bundle)
}

/// Hashes every object of a pack and writes the index by which they are found.
fn index(pack: transport::Pack, commit: ObjectId, scratch: &Path) -> Result<gix_pack::Bundle, GitError> {
    let wrong = |reason: String| GitError::Objects { revision: commit.to_string(), reason };
    let options = gix_pack::bundle::write::Options {
        thread_limit: Some(2),
        alloc_limit_bytes: Some(LARGEST_OBJECT),
        ..gix_pack::bundle::write::Options::default()
    };
    let outcome = gix_pack::Bundle::write_to_directory(
        &mut std::io::BufReader::new(pack),
        Some(scratch),
        &mut gix_utils::progress::Discard,
        &AtomicBool::new(false),
        None::<gix_object::find::Never>,
        gix_hash::Kind::Sha1,
        options,
    )
    .map_err(|error| wrong(whole(&error)))?;
    let bundle = outcome.to_bundle().ok_or_else(|| wrong("the pack is empty".to_owned()))?;
    let mut bundle = bundle.map_err(|error| wrong(error.to_string()))?;
    bundle.pack = bundle.pack.with_alloc_limit_bytes(Some(LARGEST_OBJECT));
    Ok(bundle)
}

/// An error with its causes: the library's own message only says what it was about to do.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
