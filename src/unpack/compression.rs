//! Compressed streams, read to their last byte: one member, nothing behind it but zeros.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// How a tar archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Memory for one decoder: `xz -9` needs 65 MiB, `zstd --ultra -22` 128 MiB.
const MEMORY: u32 = 192 << 20;

impl Compression {
    /// By the end of a file name, with the name before it.
    pub(super) fn of_tar(name: &str) -> Option<(&str, Self)> {
        const ENDS: [(&str, Compression); 5] = [
            (".tar.gz", Compression::Gzip),
            (".tar.bz2", Compression::Bzip2),
            (".tar.xz", Compression::Xz),
            (".tar.zst", Compression::Zstd),
            (".tar", Compression::None),
        ];
        ENDS.iter().find_map(|(end, compression)| Some((name.strip_suffix(end)?, *compression)))
    }

    /// By the first bytes of an archive. What starts like none of them is taken for a bare tar archive, whose
    /// first header tells.
    pub(super) fn of_start(start: &[u8]) -> Self {
        const STARTS: [(&[u8], Compression); 4] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        ];
        STARTS.iter().find(|(mark, _)| start.starts_with(mark)).map_or(Self::None, |(_, compression)| *compression)
    }

    /// The bytes that `packed` decompresses to. Reading to the end also checks that nothing follows.
    pub(super) fn reader<'a, R: BufRead + 'a>(self, packed: R) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(packed),
            Self::Gzip => Box::new(Single::new(GzDecoder::new(check_flags(packed)?), |gzip| Ok(gzip.into_inner()))),
            Self::Bzip2 => Box::new(Single::new(BzDecoder::new(packed), |bzip2| Ok(bzip2.into_inner()))),
            Self::Xz => {
                let decoder = XzReader::new_mem_limit(packed, false, MEMORY >> 10);
                Box::new(Single::new(decoder, |xz| Ok(xz.into_inner())))
            }
            Self::Zstd => {
                let decoder = StreamingDecoder::new_with_max_window_size(packed, u64::from(MEMORY))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Box::new(Single::new(decoder, end_of_zstd))
            }
        })
    }
}

/// The decoder leaves the checksum of a frame to its user.
fn end_of_zstd<R: Read>(decoder: StreamingDecoder<R, FrameDecoder>) -> io::Result<R> {
    let (rest, frame) = decoder.into_parts();
    match frame.get_checksum_from_data() {
        Some(expected) if frame.get_calculated_checksum() != Some(expected) => Err(invalid("a wrong zstd checksum")),
        _ => Ok(rest),
    }
}

/// Reads one compressed stream and then looks at what is behind it.
struct Single<D, R> {
    decoder: Option<D>,
    rest: fn(D) -> io::Result<R>,
}

impl<D, R> Single<D, R> {
    fn new(decoder: D, rest: fn(D) -> io::Result<R>) -> Self {
        Self { decoder: Some(decoder), rest }
    }
}

impl<D: Read, R: BufRead> Read for Single<D, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = self.decoder.as_mut() else { return Ok(0) };
        let count = decoder.read(into)?;
        if count == 0
            && !into.is_empty()
            && let Some(decoder) = self.decoder.take()
        {
            check_rest((self.rest)(decoder)?)?;
        }
        Ok(count)
    }
}

/// Tape padding of zeros is all that may follow: readers differ on whether they look at a second member.
fn check_rest(mut rest: impl BufRead) -> io::Result<()> {
    loop {
        let bytes = rest.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(invalid("bytes behind the end of the compressed data"));
        }
        let count = bytes.len();
        rest.consume(count);
    }
}

/// Flags of the gzip header that no version of the format (RFC 1952) gives a meaning.
fn check_flags<R: BufRead>(mut packed: R) -> io::Result<R> {
    if packed.fill_buf()?.get(3).is_some_and(|flags| flags & 0xe0 != 0) {
        return Err(invalid("gzip flags that are reserved"));
    }
    Ok(packed)
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// `xz -0` of what [`hello`] gives.
    const XZ: &[u8] =
        b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x0c\x00\x00\x00\x8f\x98\x41\x9c\
        \xe0\x00\x77\x00\x0c\x5d\x00\x34\x19\x49\xdb\x85\x5c\x68\x25\x6c\xa7\x08\x00\x00\x06\xea\xbd\x8e\
        \x88\x67\x76\x6b\x00\x01\x28\x78\x8f\xe2\x05\x23\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

    fn hello() -> Vec<u8> {
        b"hello ".repeat(20)
    }

    fn streams() -> Vec<Vec<u8>> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&hello()).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&hello()).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&*hello(), ruzstd::encoding::CompressionLevel::Fastest);
        vec![gzip.finish().unwrap(), bzip2.finish().unwrap(), XZ.to_vec(), zstd]
    }

    fn read(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Compression::of_start(stream).reader(stream)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn reads_one_stream_and_zeros_behind_it() {
        for stream in streams() {
            assert_eq!(read(&stream).unwrap(), hello());
            assert_eq!(read(&[&stream[..], &[0; 64]].concat()).unwrap(), hello());
        }
    }

    #[test]
    fn refuses_what_is_behind_it() {
        for stream in streams() {
            assert!(read(&[&stream[..], b"x"].concat()).is_err(), "{stream:x?}");
            assert!(read(&[&stream[..], &stream].concat()).is_err(), "{stream:x?}");
        }
    }

    #[test]
    fn refuses_streams_that_are_cut_or_changed() {
        for stream in streams() {
            for end in 6..stream.len() {
                assert!(read(&stream[..end]).is_err(), "{stream:x?} up to {end}");
            }
            for at in stream.len() - 4..stream.len() {
                let mut changed = stream.clone();
                changed[at] ^= 0x10;
                assert!(read(&changed).is_err(), "{stream:x?} changed at {at}");
            }
        }
    }
}
