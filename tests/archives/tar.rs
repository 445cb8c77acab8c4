//! Tar archives.

/// One header block, without its checksum.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    /// A `ustar` header.
    pub(crate) fn new(name: impl AsRef<[u8]>, kind: u8, size: usize) -> Self {
        let mut block = [0; 512];
        let name = name.as_ref();
        block[..name.len()].copy_from_slice(name);
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let mut header = Self(block);
        header.octal(100, 8, 0o644);
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(124, 12, size as u64);
        header.octal(136, 12, 1);
        header
    }

    fn octal(&mut self, at: usize, length: usize, value: u64) {
        let text = format!("{value:0width$o}\0", width = length - 1);
        self.0[at..at + length].copy_from_slice(text.as_bytes());
    }

    pub(crate) fn mode(mut self, mode: u64) -> Self {
        self.octal(100, 8, mode);
        self
    }

    pub(crate) fn size(mut self, size: u64) -> Self {
        self.octal(124, 12, size);
        self
    }

    pub(crate) fn link(self, target: impl AsRef<[u8]>) -> Self {
        self.set(157, target.as_ref())
    }

    pub(crate) fn gnu(self) -> Self {
        self.set(257, b"ustar  \0")
    }

    /// Other bytes at `at`.
    pub(crate) fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The block with its checksum.
    pub(crate) fn block(mut self) -> [u8; 512] {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// An archive that grows.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A header and its content, with padding.
    pub(crate) fn member(mut self, header: Header, content: &[u8]) -> Self {
        self.0.extend(header.block());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        let header = Header::new(name, b'0', content.len());
        self.member(header, content)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.member(Header::new(name, b'5', 0).mode(0o755), b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.member(Header::new(name, b'2', 0).link(target), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(Header::new(name, b'1', 0).link(target), b"")
    }

    /// A PAX header for the next member (`x`) or all members (`g`).
    pub(crate) fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let content: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.member(Header::new("pax", kind, content.len()), content.as_bytes())
    }

    /// A GNU header with a long name (`L`) or link text (`K`).
    pub(crate) fn long(self, kind: u8, text: &[u8]) -> Self {
        self.member(Header::new("././@LongLink", kind, text.len()).gnu(), text)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// With its end mark.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    /// With its end mark, in gzip.
    pub(crate) fn gzip(self) -> Vec<u8> {
        super::gzip(&self.end())
    }
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{rest}")
}

/// A source distribution that is as it should be.
pub(crate) fn sdist() -> Tar {
    Tar::new()
        .pax(b'g', &[("comment", "0123456789abcdef0123456789abcdef01234567")])
        .folder("pkg-1.0/")
        .pax(b'x', &[("mtime", "1700000000.5")])
        .file("pkg-1.0/PKG-INFO", b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n")
        .member(Header::new("pkg-1.0/configure", b'0', 10).mode(0o755), b"#!/bin/sh\n")
        .link("pkg-1.0/latest", "PKG-INFO")
        .hard_link("pkg-1.0/again", "pkg-1.0/PKG-INFO")
}
