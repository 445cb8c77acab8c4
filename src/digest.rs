//! SHA-256 digests and the two ways in which they are written.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256 digest. Its text form is `sha256:` and 64 lower-case hexadecimal digits, as in `uv.lock`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// A text that is not a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `sha256:` and 64 hexadecimal digits, found `{0}`")]
pub struct NotSha256(pub String);

impl Sha256 {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Digest of all that `reader` gives, and how many bytes that was.
    pub fn of_reader(reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut BufReader::with_capacity(128 << 10, reader), &mut hasher)?;
        let (_, digest, size) = hasher.finish();
        Ok((digest, size))
    }

    /// The 32 raw bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 32 raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// The SRI form that Nix takes and prints: `sha256-` and padded base64.
    pub fn sri(&self) -> String {
        format!("sha256-{}", STANDARD.encode(self.0))
    }
}

impl FromStr for Sha256 {
    type Err = NotSha256;

    /// Reads `sha256:HEX`, plain `HEX` and the SRI form `sha256-BASE64`.
    fn from_str(text: &str) -> Result<Self, NotSha256> {
        let bytes = if let Some(sri) = text.strip_prefix("sha256-") {
            STANDARD.decode(sri).ok()
        } else {
            let hex = text.strip_prefix("sha256:").unwrap_or(text);
            data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()
        };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| NotSha256(text.to_owned()))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes and counts what is written through it.
pub struct Hasher<W> {
    inner: W,
    state: sha2::Sha256,
    size: u64,
}

impl<W: Write> Hasher<W> {
    /// Passes all bytes on to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, state: sha2::Sha256::new(), size: 0 }
    }

    /// The writer, the digest and the number of bytes.
    pub fn finish(self) -> (W, Sha256, u64) {
        (self.inner, Sha256(self.state.finalize().into()), self.size)
    }
}

impl<W: Write> Write for Hasher<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.state.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, the digest of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_and_writes_every_form() {
        let digest = Sha256::of(b"abc");
        assert_eq!(digest.hex(), ABC);
        assert_eq!(digest.sri(), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        for text in [ABC.to_owned(), digest.to_string(), digest.sri()] {
            assert_eq!(text.parse::<Sha256>(), Ok(digest));
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in ["", "sha256:", "sha512:00", &ABC[1..], "sha256-xyz"] {
            assert!(text.parse::<Sha256>().is_err(), "{text}");
        }
    }

    #[test]
    fn hashes_what_passes() {
        let (digest, size) = Sha256::of_reader(&b"abc"[..]).unwrap();
        assert_eq!((digest.hex().as_str(), size), (ABC, 3));
    }
}
