//! Why an archive is refused.

use std::io;
use std::path::{Path, PathBuf};

use crate::explain::{ExitCode, Explain};

/// An archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is hostile, broken or of a kind that akb does not take.
    #[error("{} is refused: {} {reason}", archive.display(), subject(entry.as_deref()))]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// The member, escaped so that it can be shown; `None` where it is the archive as a whole.
        entry: Option<String>,
        /// What is wrong with it. Reads on from the name of the member.
        reason: Reason,
    },
    /// The archive could not be read from disk.
    #[error("cannot read {}: {source}", archive.display())]
    Read {
        /// The archive.
        archive: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot unpack {} to {}: {source}", archive.display(), path.display())]
    Write {
        /// The archive.
        archive: PathBuf,
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder to unpack to has something in it.
    #[error("cannot unpack {} to {}: expected a new or empty folder", archive.display(), dest.display())]
    Occupied {
        /// The archive.
        archive: PathBuf,
        /// The folder.
        dest: PathBuf,
    },
}

impl UnpackError {
    /// The same error about an archive that a person knows by another name than that of its file, as in the cache.
    #[must_use]
    pub fn named(mut self, name: impl Into<PathBuf>) -> Self {
        let (Self::Refused { archive, .. }
        | Self::Read { archive, .. }
        | Self::Write { archive, .. }
        | Self::Occupied { archive, .. }) = &mut self;
        *archive = name.into();
        self
    }
}

impl Explain for UnpackError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { archive, reason: Reason::Truncated | Reason::Corrupt { .. }, .. } => Some(format!(
                "download it again; if it stays broken, name another version or file of it in akb.toml ({})",
                archive.file_name().unwrap_or_default().to_string_lossy()
            )),
            Self::Refused { .. } => Some(
                "do not use this archive: tell its maintainers, and override the package in akb.toml by another version"
                    .to_owned(),
            ),
            Self::Write { source, path, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some(format!("free space on the disk of {} and run the same command again", path.display()))
            }
            Self::Occupied { dest, .. } => Some(format!("name a folder that does not exist, or empty {}", dest.display())),
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused { .. } => ExitCode::Integrity,
            Self::Read { .. } => ExitCode::Failed,
            Self::Write { .. } => ExitCode::Machine,
            Self::Occupied { .. } => ExitCode::Usage,
        }
    }
}

/// What is wrong with a member, or with the archive as a whole. Each reads on from a member's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A name of no bytes.
    #[error("has an empty name")]
    EmptyName,
    /// A name that starts with `/`.
    #[error("has an absolute name")]
    AbsoluteName,
    /// `..` in a name.
    #[error("has `..` in its name")]
    ParentInName,
    /// `.` in a name, other than the `./` that tar archives may start names with.
    #[error("has `.` as a part of its name")]
    DotInName,
    /// `//` in a name.
    #[error("has an empty part in its name")]
    EmptyPart,
    /// A backslash, which some readers take for `/`.
    #[error("has a backslash in its name")]
    Backslash,
    /// `C:` at the start of a name.
    #[error("has a drive letter in its name")]
    DriveLetter,
    /// A NUL byte in a name: readers disagree about where it ends.
    #[error("has a NUL byte in its name")]
    NulInName,
    /// A control character in a name.
    #[error("has a control character in its name")]
    ControlInName,
    /// A name that is not UTF-8.
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// A ZIP name beyond ASCII without the flag that says it is UTF-8.
    #[error("has a name beyond ASCII without the flag for UTF-8, so its encoding is unknown")]
    UnknownEncoding,
    /// A name with too many bytes.
    #[error("has a name of {length} bytes; at most {limit} are taken")]
    NameTooLong {
        /// Found.
        length: usize,
        /// Allowed.
        limit: usize,
    },
    /// A name with too many parts.
    #[error("lies {depth} folders deep; at most {limit} are taken")]
    TooDeep {
        /// Found.
        depth: usize,
        /// Allowed.
        limit: usize,
    },
    /// Two members with one name.
    #[error("is in it twice")]
    Duplicate,
    /// Two names that are one on file systems that ignore case.
    #[error("differs from `{other}` only by case")]
    CaseCollision {
        /// The earlier name.
        other: String,
    },
    /// Two names that look the same and differ in how Unicode characters are composed.
    #[error("differs from `{other}` only by Unicode normalisation")]
    NormalisationCollision {
        /// The earlier name.
        other: String,
    },
    /// A name that is a file for one member and a folder for another.
    #[error("needs `{other}` to be both a file and a folder")]
    FileAndFolder {
        /// The name.
        other: String,
    },
    /// A member below a link.
    #[error("would be written through the link `{link}`")]
    ThroughLink {
        /// The link.
        link: String,
    },
    /// The folder that is unpacked to has the name already.
    #[error("exists already, from another archive")]
    Exists,
    /// More than one name at the top of a source distribution.
    #[error("lies outside of the top folder `{top}`")]
    OutsideTop {
        /// The first member's top folder.
        top: String,
    },
    /// An archive without a member.
    #[error("has no folder in it")]
    NoFolder,
    /// A device, pipe or socket.
    #[error("is a {found}; only files, folders and links are taken")]
    Special {
        /// What it is.
        found: &'static str,
    },
    /// A link in a wheel.
    #[error("is a symbolic link, which wheels cannot have")]
    LinkInWheel,
    /// A link to an absolute path.
    #[error("is a link to the absolute path `{target}`")]
    AbsoluteLink {
        /// Where it points.
        target: String,
    },
    /// A link out of the top folder.
    #[error("is a link out of the folder, to `{target}`")]
    LinkLeaves {
        /// Where it points.
        target: String,
    },
    /// A link whose text has `..` after a name: where that is depends on other links.
    #[error("is a link with `..` after a name, to `{target}`")]
    WindingLink {
        /// Where it points.
        target: String,
    },
    /// A link of no text, or with a NUL, or too long.
    #[error("is a link with an impossible text")]
    BadLink,
    /// A hard link to what is not an earlier file of the archive.
    #[error("is a hard link to `{target}`, which is not an earlier file of the archive")]
    HardLink {
        /// What it names.
        target: String,
    },
    /// Set-user-id or set-group-id on a file.
    #[error("has a set-id bit")]
    SetId,
    /// Too many members.
    #[error("has more than {limit} members")]
    TooManyMembers {
        /// Allowed.
        limit: u64,
    },
    /// One file is too large.
    #[error("has {size} bytes; at most {limit} are taken")]
    FileTooLarge {
        /// Declared.
        size: u64,
        /// Allowed.
        limit: u64,
    },
    /// All files together are too large.
    #[error("makes it more than {limit} bytes in all")]
    TooLarge {
        /// Allowed.
        limit: u64,
    },
    /// A decompression bomb.
    #[error("makes it more than {limit} times the size of the archive")]
    Ratio {
        /// Allowed.
        limit: u64,
    },
    /// Two places in the archive say different things about one member.
    #[error("has two meanings: {0}")]
    Disagreement(Box<Disagreement>),
    /// A header that the format does not allow, or that readers take differently.
    #[error("has {0}")]
    Malformed(String),
    /// Bytes that belong to no member.
    #[error("has {found}")]
    StrayBytes {
        /// Which and where.
        found: String,
    },
    /// A feature of the format that no package needs.
    #[error("uses {0}, which is not taken")]
    Unsupported(String),
    /// Compressed data that does not decompress, or a checksum that is wrong.
    #[error("is damaged: {what}")]
    Corrupt {
        /// How.
        what: String,
    },
    /// The archive ends too early.
    #[error("is cut off")]
    Truncated,
}

/// Two places in an archive that say different things about one member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {one} in {first} and {two} in {second}")]
pub struct Disagreement {
    /// What they disagree about.
    pub what: &'static str,
    /// One place.
    pub first: &'static str,
    /// What it says.
    pub one: String,
    /// The other place.
    pub second: &'static str,
    /// What that says.
    pub two: String,
}

impl Reason {
    /// About `what`, the place `first` says `one` and the place `second` says `two`.
    pub(super) fn disagreement(
        what: &'static str,
        (first, one): (&'static str, impl ToString),
        (second, two): (&'static str, impl ToString),
    ) -> Self {
        Self::Disagreement(Box::new(Disagreement { what, first, one: one.to_string(), second, two: two.to_string() }))
    }
}

/// An error before it is known which archive it is about.
#[derive(Debug)]
pub(super) enum Fault {
    Refused { entry: Option<String>, reason: Reason },
    Read(io::Error),
    Write { path: PathBuf, source: io::Error },
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Refused { entry: None, reason }
    }
}

impl From<io::Error> for Fault {
    /// An error while reading: the system's own, or a decoder's about its input.
    fn from(error: io::Error) -> Self {
        if error.raw_os_error().is_some() {
            Self::Read(error)
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            Reason::Truncated.into()
        } else {
            Reason::Corrupt { what: error.to_string() }.into()
        }
    }
}

impl Fault {
    /// Names the member, where none is named yet.
    pub(super) fn at(self, name: &str) -> Self {
        match self {
            Self::Refused { entry: None, reason } => Self::Refused { entry: Some(shown(name.as_bytes())), reason },
            other => other,
        }
    }

    pub(super) fn in_archive(self, archive: &Path) -> UnpackError {
        let archive = archive.to_owned();
        match self {
            Self::Refused { entry, reason } => UnpackError::Refused { archive, entry, reason },
            Self::Read(source) => UnpackError::Read { archive, source },
            Self::Write { path, source } => UnpackError::Write { archive, path, source },
        }
    }
}

/// What a reason is said about.
fn subject(entry: Option<&str>) -> String {
    entry.map_or_else(|| "it".to_owned(), |entry| format!("`{entry}`"))
}

/// The refusal of the member `name`.
pub(super) fn refuse<T>(name: &str, reason: Reason) -> Result<T, Fault> {
    Err(Fault::from(reason).at(name))
}

/// `name` so that no byte of it can disturb a terminal.
pub(super) fn shown(name: &[u8]) -> String {
    let shortened = &name[..name.len().min(512)];
    String::from_utf8_lossy(shortened)
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
