//! What can go wrong between here and a server.

use std::error::Error;
use std::io;

use url::Url;

use super::address::shown;
use super::resolve::NameError;
use crate::cache::CacheError;
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};

/// A request that failed. Addresses are shown without credentials and queries.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NetError {
    /// The client itself could not be made.
    #[error("cannot prepare the network client: {reason}")]
    Client { reason: String },
    /// The certificates that the user named could not be read.
    #[error("cannot read certificates from {path}: {reason}")]
    Certificates { path: String, reason: String },
    /// Not an `http` or `https` address.
    #[error("cannot fetch `{address}`: {reason}")]
    Address { address: String, reason: String },
    /// The server answered with an error.
    #[error("{address} answered {status}{}", phrase(*.status))]
    Status { address: String, host: String, status: u16 },
    /// No connection; `lasting` says that another try is pointless.
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: String, lasting: bool, certificate: bool },
    /// The server took too long.
    #[error("{address} took too long: {reason}")]
    Timeout { address: String, reason: String },
    /// The answer broke off or made no sense.
    #[error("the answer of {address} broke off: {reason}")]
    Broken { address: String, reason: String },
    /// More bytes than can be right.
    #[error("the answer of {address} is larger than {limit} bytes")]
    TooLarge { address: String, limit: u64 },
    /// A chain of redirects without an end.
    #[error("{address} redirects more than {limit} times")]
    Redirects { address: String, limit: usize },
    /// A redirect that would give up encryption, or leads nowhere.
    #[error("{address} redirects to `{to}`, which is refused: {reason}")]
    Redirect { address: String, to: String, reason: &'static str },
    /// Not UTF-8.
    #[error("the answer of {address} is not text in UTF-8")]
    NotText { address: String },
    /// A file of another size.
    #[error("wrong size of {file}: expected {expected} bytes, found {found} at {address}")]
    WrongSize { file: String, expected: u64, found: u64, address: String },
    /// A file with other bytes. Nothing of it is kept.
    #[error("wrong hash of {file}: expected {expected}, found {found} at {address}")]
    WrongHash { file: String, expected: Sha256, found: Sha256, address: String },
    /// No address was given for the file.
    #[error("no address is known for {file} ({sha256})")]
    NoAddress { file: String, sha256: Sha256 },
    /// The cache could not take the file.
    #[error("{message}")]
    Cache { message: String, hint: Option<String> },
}

impl NetError {
    pub(crate) fn status(url: &Url, status: u16) -> Self {
        Self::Status { address: shown(url), host: url.host_str().unwrap_or_default().to_owned(), status }
    }

    pub(crate) fn broken(url: &Url, reason: impl Into<String>) -> Self {
        Self::Broken { address: shown(url), reason: reason.into() }
    }

    /// Sorts what the client library says into our words.
    pub(super) fn of(error: &reqwest::Error, url: &Url) -> Self {
        let address = shown(url);
        let reason = root_cause(error);
        if error.is_connect() {
            let name = find::<NameError>(error).is_some_and(|name| name.lasting);
            let certificate = matches!(find(error), Some(rustls::Error::InvalidCertificate(_)));
            Self::Connect { address, reason, lasting: name || certificate, certificate }
        } else if error.is_timeout() {
            Self::Timeout { address, reason }
        } else if error.is_builder() {
            Self::Address { address, reason }
        } else {
            Self::Broken { address, reason }
        }
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Connect { lasting, .. } => !lasting,
            Self::Timeout { .. } | Self::Broken { .. } => true,
            _ => false,
        }
    }

    /// The same, where all tries are used up.
    pub(super) fn for_good(self) -> Self {
        match self {
            Self::Connect { address, reason, certificate, .. } => {
                Self::Connect { address, reason, certificate, lasting: true }
            }
            Self::Timeout { address, reason } => Self::Connect { address, reason, certificate: false, lasting: true },
            other => other,
        }
    }

    /// Whether bytes came that were not the expected ones.
    pub fn is_integrity(&self) -> bool {
        matches!(self, Self::WrongHash { .. } | Self::WrongSize { .. })
    }

    /// Whether no other address should be tried: wrong bytes, or the failure is on this side.
    pub(crate) fn is_final(&self) -> bool {
        self.is_integrity() || matches!(self, Self::Cache { .. } | Self::Client { .. } | Self::Certificates { .. })
    }
}

impl From<CacheError> for NetError {
    fn from(error: CacheError) -> Self {
        Self::Cache { message: error.to_string(), hint: error.hint() }
    }
}

impl Explain for NetError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Status { status: 401 | 403, host, .. } => Some(format!(
                "if it wants a login, add `machine {host} login NAME password SECRET` to ~/.netrc, or name the index with its login: --index https://NAME:SECRET@{host}/…"
            )),
            Self::Status { status: 404 | 410, .. } => {
                Some("name an index that has it with --index URL (or UV_DEFAULT_INDEX, PIP_INDEX_URL)".into())
            }
            Self::Status { status: 407, .. } => {
                Some("put the proxy's login into its address: HTTPS_PROXY=http://NAME:SECRET@PROXY:PORT".into())
            }
            Self::Connect { certificate: true, .. } => Some(
                "if a proxy or mirror has a certificate of its own, name the file that has its root: SSL_CERT_FILE=/path/to/roots.pem".into(),
            ),
            Self::Connect { .. } | Self::Timeout { .. } => Some(
                "check the network; a proxy is named by HTTPS_PROXY, a mirror by --index URL; finished and partial downloads are kept, so run the same again".into(),
            ),
            Self::Broken { .. } | Self::Status { status: 429 | 500..=599, .. } => {
                Some("run the same again a little later: finished and partial downloads are kept".into())
            }
            Self::Certificates { .. } => {
                Some("name a file with PEM certificates in SSL_CERT_FILE, or unset it to use the system's".into())
            }
            Self::WrongHash { address, .. } | Self::WrongSize { address, .. } => Some(format!(
                "do not use this file: ask who runs {address}, or fetch from another index with --index URL; nothing of it was kept"
            )),
            Self::Redirect { .. } | Self::Redirects { .. } => Some("name another index with --index URL".into()),
            Self::Cache { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::WrongHash { .. } | Self::WrongSize { .. } => ExitCode::Integrity,
            Self::Cache { .. } => ExitCode::Machine,
            Self::Certificates { .. } => ExitCode::Usage,
            _ => ExitCode::Network,
        }
    }
}

impl Explain for super::Failures {
    fn hint(&self) -> Option<String> {
        self.0.iter().find(|error| error.is_integrity()).or(self.0.first())?.hint()
    }

    fn exit_code(&self) -> ExitCode {
        let worst = self.0.iter().find(|error| error.is_integrity()).or(self.0.first());
        worst.map_or(ExitCode::Network, Explain::exit_code)
    }
}

fn phrase(status: u16) -> String {
    let reason = reqwest::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.map(|reason| format!(" ({})", reason.to_lowercase())).unwrap_or_default()
}

/// The innermost message: the outer ones of the client library only say which layer was asked.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The first error of a type among the sources, looking inside I/O errors too.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref::<T>()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
