//! ZIP archives.

use std::io::Write as _;

/// What a local header, or the directory, says about a member.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) name: Vec<u8>,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) crc: u32,
    pub(crate) compressed: u32,
    pub(crate) size: u32,
    pub(crate) extra: Vec<u8>,
}

/// A member: its content, and the two places that describe it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) local: Said,
    pub(crate) central: Said,
    pub(crate) content: Vec<u8>,
    /// Unix mode with the file type.
    pub(crate) mode: u32,
    /// Bytes before the local header, and behind the content.
    pub(crate) before: Vec<u8>,
    pub(crate) behind: Vec<u8>,
    /// What the directory says beyond the place of the local header.
    pub(crate) shift: u32,
    /// Only the directory has it, at this place.
    pub(crate) inside: Option<u32>,
}

impl Member {
    pub(crate) fn new(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        Self::raw(name.as_ref(), 8, content, encoder.finish().unwrap())
    }

    pub(crate) fn stored(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        Self::raw(name.as_ref(), 0, content, content.to_vec())
    }

    fn raw(name: &[u8], method: u16, content: &[u8], packed: Vec<u8>) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let said = Said {
            name: name.to_vec(),
            flags: if name.is_ascii() { 0 } else { 1 << 11 },
            method,
            crc: crc.sum(),
            compressed: u32::try_from(packed.len()).unwrap(),
            size: u32::try_from(content.len()).unwrap(),
            extra: Vec::new(),
        };
        Self {
            local: said.clone(),
            central: said,
            content: packed,
            mode: if name.ends_with(b"/") { 0o040_755 } else { 0o100_644 },
            before: Vec::new(),
            behind: Vec::new(),
            shift: 0,
            inside: None,
        }
    }

    /// The same change in both places.
    pub(crate) fn both(mut self, change: impl Fn(&mut Said)) -> Self {
        change(&mut self.local);
        change(&mut self.central);
        self
    }

    /// A change in the directory alone.
    pub(crate) fn central(mut self, change: impl Fn(&mut Said)) -> Self {
        change(&mut self.central);
        self
    }

    /// A change in the local header alone.
    pub(crate) fn local(mut self, change: impl Fn(&mut Said)) -> Self {
        change(&mut self.local);
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn before(mut self, bytes: &[u8]) -> Self {
        self.before = bytes.to_vec();
        self
    }

    pub(crate) fn behind(mut self, bytes: &[u8]) -> Self {
        self.behind = bytes.to_vec();
        self
    }

    pub(crate) fn shift(mut self, shift: u32) -> Self {
        self.shift = shift;
        self
    }

    pub(crate) fn inside(mut self, at: u32) -> Self {
        self.inside = Some(at);
        self
    }

    /// Sizes and checksum behind the content, as streaming writers put them.
    pub(crate) fn descriptor(self, mark: bool, wide: bool) -> Self {
        let said = self.central.clone();
        let mut record = if mark { b"PK\x07\x08".to_vec() } else { Vec::new() };
        record.extend(said.crc.to_le_bytes());
        for size in [said.compressed, said.size] {
            if wide {
                record.extend(u64::from(size).to_le_bytes());
            } else {
                record.extend(size.to_le_bytes());
            }
        }
        let member = self.both(|said| said.flags |= 1 << 3).behind(&record);
        member.local(|said| (said.crc, said.compressed, said.size) = (0, 0, 0))
    }
}

/// A ZIP64 end record.
#[derive(Default)]
pub(crate) enum Zip64 {
    #[default]
    None,
    True,
    /// With another number of members.
    False(u64),
}

/// What the end record says, if not the truth.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) members: Option<u16>,
    pub(crate) size: Option<u32>,
    pub(crate) start: Option<u32>,
    pub(crate) disk: u16,
    pub(crate) comment: Vec<u8>,
    /// The comment's length, if not the truth.
    pub(crate) comment_length: Option<u16>,
    /// Another end record.
    pub(crate) zip64: Zip64,
    /// Bytes between the members and the directory.
    pub(crate) before: Vec<u8>,
}

/// An archive of `members`.
pub(crate) fn zip(members: &[Member]) -> Vec<u8> {
    zip_with(members, &End::default())
}

pub(crate) fn zip_with(members: &[Member], end: &End) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for member in members {
        bytes.extend(&member.before);
        let offset = member.inside.unwrap_or(u32::try_from(bytes.len()).unwrap() + member.shift);
        if member.inside.is_none() {
            bytes.extend(b"PK\x03\x04\x14\0");
            header(&mut bytes, &member.local);
            bytes.extend(&member.local.name);
            bytes.extend(&member.local.extra);
            bytes.extend(&member.content);
            bytes.extend(&member.behind);
        }
        directory.extend(b"PK\x01\x02\x14\x03\x14\0");
        header(&mut directory, &member.central);
        directory.extend([0; 6]);
        directory.extend((member.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&member.central.name);
        directory.extend(&member.central.extra);
    }
    bytes.extend(&end.before);
    let start = u32::try_from(bytes.len()).unwrap();
    bytes.extend(&directory);
    let count = u16::try_from(members.len()).unwrap();
    let size = u32::try_from(directory.len()).unwrap();
    let said = match end.zip64 {
        Zip64::None => None,
        Zip64::True => Some(u64::from(count)),
        Zip64::False(count) => Some(count),
    };
    if let Some(count) = said {
        let at = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for value in [count, count, u64::from(size), u64::from(start)] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(at.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06");
    bytes.extend(end.disk.to_le_bytes());
    bytes.extend(end.disk.to_le_bytes());
    let count = end.members.unwrap_or(count);
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(end.size.unwrap_or(size).to_le_bytes());
    bytes.extend(end.start.unwrap_or(start).to_le_bytes());
    let length = end.comment_length.unwrap_or(u16::try_from(end.comment.len()).unwrap());
    bytes.extend(length.to_le_bytes());
    bytes.extend(&end.comment);
    bytes
}

/// What local headers and the directory have in common.
fn header(bytes: &mut Vec<u8>, said: &Said) {
    bytes.extend(said.flags.to_le_bytes());
    bytes.extend(said.method.to_le_bytes());
    bytes.extend([0, 0, 0x21, 0]);
    for value in [said.crc, said.compressed, said.size] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(u16::try_from(said.name.len()).unwrap().to_le_bytes());
    bytes.extend(u16::try_from(said.extra.len()).unwrap().to_le_bytes());
}

/// An extra field.
pub(crate) fn extra(id: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&id.to_le_bytes()[..], &length.to_le_bytes(), content].concat()
}

/// Info-ZIP's field with another name.
pub(crate) fn unicode_path(name: &[u8], other: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    extra(0x7075, &[&[1][..], &crc.sum().to_le_bytes(), other].concat())
}

/// A wheel that is as it should be.
pub(crate) fn wheel() -> Vec<u8> {
    zip(&[
        Member::new("pkg/__init__.py", b"print('hello')\n"),
        Member::new("pkg/data/tool.sh", b"#!/bin/sh\n").mode(0o100_755),
        Member::stored("pkg-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n"),
        Member::stored("pkg-1.0.dist-info/RECORD", b""),
    ])
}
