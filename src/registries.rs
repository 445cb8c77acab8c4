//! The public defaults: the only place that names a registry's host.

/// The Python index that is asked where flags, locks, environment and configuration files name none
/// (a PEP 503 / PEP 691 root, without the project's name).
pub const PYTHON_INDEX: &str = "https://pypi.org/simple/";

/// The root of the Debian archive where flags, environment and the host's configuration name none.
pub const DEBIAN_ARCHIVE: &str = "https://deb.debian.org/debian";
