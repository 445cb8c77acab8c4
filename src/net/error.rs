//! What can go wrong between here and a server.

use std::error::Error;
use std::io;

use url::Url;

use super::address::{origin, shown};
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
    /// No connection to a server; `lasting` says that another try is pointless.
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

    /// The disk failed, not the network.
    pub(crate) fn local(what: &str, error: &io::Error) -> Self {
        let hint = (error.kind() == io::ErrorKind::StorageFull).then(|| {
            "free some space, or put the cache elsewhere with --cache DIR; then run the same again".to_owned()
        });
        Self::Cache { message: format!("cannot write {what} to the cache: {error}"), hint }
    }

    /// Sorts what the client library says into our words.
    pub(super) fn of(error: &reqwest::Error, url: &Url) -> Self {
        let address = shown(url);
        let reason = root_cause(error);
        if error.is_connect() {
            let name = find::<NameError>(error).is_some_and(|name| name.lasting);
            let certificate = matches!(find(error), Some(rustls::Error::InvalidCertificate(_)));
            Self::Connect { address: origin(url), reason, lasting: name || certificate, certificate }
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

    /// Whether this machine failed, not the network: the next file would fail too.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Cache { .. } | Self::Client { .. } | Self::Certificates { .. })
    }

    /// Whether no other address should be tried: wrong bytes, or the failure is on this side.
    pub(crate) fn is_final(&self) -> bool {
        self.is_integrity() || self.is_local()
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

impl super::Failures {
    fn worst(&self) -> Option<&NetError> {
        let mut errors = self.0.iter().map(|(_, error)| error);
        errors.clone().find(|error| error.is_integrity()).or_else(|| errors.next())
    }
}

/// Each reason once, with the files that it kept from coming.
pub(crate) fn grouped<'a>(failed: impl Iterator<Item = (&'a str, String)>) -> String {
    const SHOWN: usize = 3;
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (file, reason) in failed {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, files)) => files.push(file),
            None => reasons.push((reason, vec![file])),
        }
    }
    let line = |(reason, files): (String, Vec<&str>)| {
        if let [file] = files[..]
            && reason.contains(file)
        {
            return reason;
        }
        let more = files.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{reason} (wanted for {}{more})", files[..files.len().min(SHOWN)].join(", "))
    };
    reasons.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Explain for super::Failures {
    fn hint(&self) -> Option<String> {
        self.worst()?.hint()
    }

    fn exit_code(&self) -> ExitCode {
        self.worst().map_or(ExitCode::Network, Explain::exit_code)
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
        // The source of an I/O error is that of the error inside, which itself would be passed over.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| -> &(dyn Error + 'static) { inner }).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_each_reason_once() {
        let failed = [
            ("a.whl", "no way"),
            ("b.whl", "b.whl is evil"),
            ("c.whl", "no way"),
            ("d.whl", "no way"),
            ("e.whl", "no way"),
        ];
        let text = grouped(failed.into_iter().map(|(file, reason)| (file, reason.to_owned())));
        assert_eq!(text, "no way (wanted for a.whl, c.whl, d.whl and 1 more)\nb.whl is evil");
    }

    #[test]
    fn finds_what_is_wrapped() {
        let inside = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let once = io::Error::other(inside());
        let twice = io::Error::other(io::Error::other(inside()));
        for error in [once, twice] {
            assert!(matches!(find(&error), Some(rustls::Error::InvalidCertificate(_))));
        }
        assert!(find::<rustls::Error>(&io::Error::other("text")).is_none());
    }
}
