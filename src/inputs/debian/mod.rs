//! Inputs from a Debian archive, without dpkg, maintainer scripts or root.

pub mod arch;
pub mod closure;
pub mod index;
pub mod relation;
pub mod release;
pub mod signed;
pub mod version;

/// The certificates of Debian's package `debian-archive-keyring` 2025.1.
pub const KEYRING: &[u8] = include_bytes!("keys/debian-archive-keyring.pgp");
