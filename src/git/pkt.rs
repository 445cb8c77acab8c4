//! Packet lines, and the packs that travel in them (gitprotocol-common, gitprotocol-pack: side-band).

use std::io::{self, Read};

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delimiter,
    /// `0002`: the end of an answer.
    End,
    /// Bytes.
    Data(Vec<u8>),
}

impl Packet {
    /// A packet as it is sent. Texts here are short: far below the 65516 bytes that fit in one.
    pub(super) fn line(text: &str) -> String {
        format!("{:04x}{text}\n", text.len() + 5)
    }

    /// The next packet; `None` at the end.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 4];
        match from.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => from.read_exact(&mut head[1..])?,
        }
        let digits = std::str::from_utf8(&head).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let length = digits.and_then(|text| usize::from_str_radix(text, 16).ok());
        match length {
            Some(0) => Ok(Some(Self::Flush)),
            Some(1) => Ok(Some(Self::Delimiter)),
            Some(2) => Ok(Some(Self::End)),
            Some(length @ 4..=65520) => {
                let mut data = vec![0; length - 4];
                from.read_exact(&mut data)?;
                Ok(Some(Self::Data(data)))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not framed in packet lines")),
        }
    }

    /// The text of a packet, without its newline.
    pub(super) fn text(&self) -> Option<String> {
        let Self::Data(data) = self else { return None };
        let text = String::from_utf8_lossy(data);
        Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }
}

/// The first band of packets that carry three: data, progress, and a fatal message.
pub(super) struct SideBand<R> {
    inner: R,
    data: Vec<u8>,
    at: usize,
}

impl<R: Read> SideBand<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, data: Vec::new(), at: 0 }
    }

    /// Gets the next data; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        loop {
            match Packet::read(&mut self.inner)? {
                Some(Packet::Data(data)) => match data.split_first() {
                    Some((1, _)) if data.len() > 1 => {
                        (self.data, self.at) = (data, 1);
                        return Ok(true);
                    }
                    Some((1 | 2, _)) => {}
                    Some((3, message)) => {
                        let message = String::from_utf8_lossy(message).trim().to_owned();
                        return Err(io::Error::other(message));
                    }
                    _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it uses an unknown band")),
                },
                Some(_) => return Ok(false),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl<R: Read> Read for SideBand<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.data.len() && !self.refill()? {
            return Ok(0);
        }
        let rest = &self.data[self.at..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = format!("{}0001{}0000", Packet::line("want 1"), Packet::line(""));
        let mut from = text.as_bytes();
        let mut packets = Vec::new();
        while let Some(packet) = Packet::read(&mut from).unwrap() {
            packets.push(packet);
        }
        assert_eq!(packets[0].text().unwrap(), "want 1");
        assert_eq!(packets[1], Packet::Delimiter);
        assert_eq!(packets[2].text().unwrap(), "");
        assert_eq!(packets[3], Packet::Flush);
        for odd in ["0003", "+005a", "fff1", "00", "0009abc"] {
            assert!(Packet::read(&mut odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn takes_the_first_band() {
        let read = |text: &str| {
            let mut out = Vec::new();
            SideBand::new(text.as_bytes()).read_to_end(&mut out).map(|_| String::from_utf8(out).unwrap())
        };
        assert_eq!(read("0007\u{1}ab0006\u{2}x0005\u{1}0006\u{1}c0000").unwrap(), "abc");
        assert_eq!(read("0009\u{3}died").unwrap_err().to_string(), "died");
        assert!(read("0007\u{1}ab").is_err(), "it broke off");
        assert!(read("0006\u{7}x0000").is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            drop(Packet::read(&mut bytes.as_slice()));
            drop(SideBand::new(bytes.as_slice()).read_to_end(&mut Vec::new()));
        }
    }
}
