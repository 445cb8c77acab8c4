//! Archives made byte by byte, so that a test can say one wrong thing in one place.
#![allow(clippy::unwrap_used, reason = "a test that cannot make its archive has failed")]

pub(crate) mod deb;
pub(crate) mod hostile;
pub(crate) mod tar;
pub(crate) mod zip;

use std::io::Write as _;

/// `bytes` in one gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
