//! Which certificate authorities are trusted: those that the user names, else the system's, else built-in ones.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::NetError;
use crate::report::Reporter;

/// Where distributions keep their bundle.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The chosen source of roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// A file that the user named: it must be good.
    Named(PathBuf),
    /// The system's bundle.
    System(PathBuf),
    /// Mozilla's list, as it was when this program was built.
    BuiltIn,
}

impl Roots {
    /// The first source that exists. `SSL_CERT_FILE=/no-cert-file.crt`, which build tools set to keep the
    /// network out, names nothing and must not mean "trust nobody".
    pub(super) fn choose(named: &[(String, PathBuf)], reporter: &dyn Reporter) -> Self {
        for (name, path) in named {
            if path.is_file() {
                return Self::Named(path.clone());
            }
            reporter.note(format!("{name} is ignored: there is no file {}", path.display()));
        }
        let bundle = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
        bundle.map_or(Self::BuiltIn, |path| Self::System(path.to_owned()))
    }

    /// Reads them. A system bundle without a single usable certificate gives way to the built-in ones.
    pub(super) fn load(&self) -> Result<RootCertStore, NetError> {
        match self {
            Self::Named(path) => read(path),
            Self::System(path) => Ok(read(path).unwrap_or_else(|_| built_in())),
            Self::BuiltIn => Ok(built_in()),
        }
    }
}

fn built_in() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    store
}

fn read(path: &Path) -> Result<RootCertStore, NetError> {
    let wrong = |reason: String| NetError::Certificates { path: path.display().to_string(), reason };
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    // One odd certificate among many is passed over, as every client does.
    store.add_parsable_certificates(certificates.filter_map(Result::ok));
    if store.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    #[test]
    fn a_missing_file_is_passed_over_and_an_empty_one_is_an_error() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let missing = ("SSL_CERT_FILE".to_owned(), PathBuf::from("/no-cert-file.crt"));
        assert!(!matches!(Roots::choose(std::slice::from_ref(&missing), &Silent), Roots::Named(_)));
        let named = Roots::choose(&[missing, ("B".to_owned(), empty.path().to_owned())], &Silent);
        assert_eq!(named, Roots::Named(empty.path().to_owned()));
        assert!(matches!(named.load(), Err(NetError::Certificates { .. })));
    }

    #[test]
    fn has_built_in_roots() {
        assert!(Roots::BuiltIn.load().unwrap().len() > 100);
        assert!(Roots::System("/no-cert-file.crt".into()).load().unwrap().len() > 100);
    }
}
