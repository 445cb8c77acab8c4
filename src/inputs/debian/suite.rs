//! A suite's index, from the archive to memory: fetched, verified, unpacked.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::archive::{Archive, is_gone};
use super::error::DebianError;
use super::release::Release;
use super::signed::Keyring;
use crate::plan::FileId;

/// Bytes of an `InRelease` file; Debian's have 200 KB.
const RELEASE_LIMIT: u64 = 16 << 20;
/// Bytes of an unpacked `Packages` file; Debian's have 60 MB.
const PACKAGES_LIMIT: u64 = 512 << 20;
/// Kilobytes that unpacking xz may take.
const XZ_MEMORY: u32 = 192 << 10;

/// What decides whether an index is believed.
pub struct Trust<'a> {
    /// Whose signatures count.
    pub keyring: &'a Keyring,
    /// The time, for signatures and for `Valid-Until`.
    pub now: SystemTime,
    /// Refuse an index past its `Valid-Until` date rather than warn.
    pub strict: bool,
}

/// The verified release file of `suite`, and that name's meaning checked.
pub(super) fn release(suite: &str, archive: &Archive<'_>, trust: &Trust<'_>) -> Result<Release, DebianError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-.+_".contains(&byte);
    if suite.is_empty() || suite.starts_with('.') || !suite.bytes().all(legal) {
        return Err(DebianError::SuiteName(suite.to_owned()));
    }
    let named = || suite.to_owned();
    let message = archive.text(&format!("dists/{suite}/InRelease"), RELEASE_LIMIT).map_err(|error| match error {
        DebianError::Net(source) if is_gone(&source) => {
            DebianError::NoSuite { suite: named(), source: Box::new(source) }
        }
        error => error,
    })?;
    let text = trust
        .keyring
        .verify(&message, trust.now)
        .map_err(|source| DebianError::Signature { suite: named(), source })?;
    let release = Release::parse(&text).map_err(|source| DebianError::Release { suite: named(), source })?;
    // A valid index of another suite is the one lie that a mirror can tell with true signatures.
    if suite != release.suite && suite != release.codename {
        return Err(DebianError::OtherSuite { asked: named(), suite: release.suite, codename: release.codename });
    }
    check_date(suite, &release, archive, trust)?;
    Ok(release)
}

fn check_date(suite: &str, release: &Release, archive: &Archive<'_>, trust: &Trust<'_>) -> Result<(), DebianError> {
    let Some(late) = release.valid_until.and_then(|until| trust.now.duration_since(until).ok()) else { return Ok(()) };
    let expired = DebianError::Expired { suite: suite.to_owned(), days: late.as_secs() / 86_400 };
    if trust.strict {
        return Err(expired);
    }
    let hint = "use a mirror that is up to date, --debian-mirror URL, and check this machine's clock".to_owned();
    archive.reporter.warn(expired.to_string(), Some(hint));
    Ok(())
}

/// The texts of the `Packages` indexes of `main` that have packages for `architecture`.
pub(super) fn packages(
    suite: &str,
    release: &Release,
    architecture: &str,
    archive: &Archive<'_>,
) -> Result<Vec<String>, DebianError> {
    let lacks = || DebianError::NoArchitecture { suite: suite.to_owned(), architecture: architecture.to_owned() };
    if !release.architectures.iter().any(|known| known == architecture) {
        return Err(lacks());
    }
    let separate = !release.all_is_included && release.architectures.iter().any(|known| known == "all");
    [architecture, "all"]
        .into_iter()
        .take(if separate { 2 } else { 1 })
        .map(|part| {
            let plain = format!("main/binary-{part}/Packages");
            // gzip unpacks several times as fast, which weighs more than the third that it is larger.
            let ends = [".gz", ".xz"];
            let found = ends.iter().find_map(|end| Some((*end, release.files.get(&format!("{plain}{end}"))?)));
            let (end, (size, sha256)) = found.ok_or_else(lacks)?;
            let unpacked = release.files.get(&plain).map(|(size, _)| *size);
            let path = if release.by_hash {
                format!("dists/{suite}/main/binary-{part}/by-hash/SHA256/{}", sha256.hex())
            } else {
                format!("dists/{suite}/{plain}{end}")
            };
            let name = format!("{suite}-{part}-Packages{end}");
            let file = archive.file(&path, &FileId { name, size: Some(*size), sha256: *sha256 });
            let file = file.map_err(|error| match error {
                DebianError::Net(error) if is_gone(&error) => DebianError::Index {
                    suite: suite.to_owned(),
                    problem: format!("{error}, though the suite's release names it"),
                },
                error => error,
            })?;
            unpack(&file, end, unpacked).map_err(|problem| DebianError::Index {
                suite: suite.to_owned(),
                problem: format!("{plain}{end}: {problem}"),
            })
        })
        .collect()
}

/// The text in `file`, which is of the right hash; at most `expected` bytes, where the release says how many.
fn unpack(file: &Path, end: &str, expected: Option<u64>) -> Result<String, String> {
    let packed = BufReader::new(File::open(file).map_err(|error| error.to_string())?);
    let reader: Box<dyn Read> = match end {
        ".gz" => Box::new(GzDecoder::new(packed)),
        _ => Box::new(XzReader::new_mem_limit(packed, false, XZ_MEMORY)),
    };
    let limit = expected.unwrap_or(PACKAGES_LIMIT).min(PACKAGES_LIMIT);
    let mut bytes = Vec::with_capacity(usize::try_from(expected.map_or(0, |_| limit)).unwrap_or(0));
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!("it unpacks to more than {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// `Package: a` and a newline, by `xz --check=crc64`.
    const XZ: &str = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAKUGFja2FnZTogYQoAAH27YeIOsM7uAAEjC8Ib/QkftvN9AQAAAAAEWVo=";

    #[test]
    fn unpacks_both_compressions_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let gzip = |bytes: &[u8]| {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        };
        let xz = write("xz", &data_encoding::BASE64.decode(XZ.as_bytes()).unwrap());
        let gz = write("gz", &gzip(b"Package: a\n"));
        for (file, end) in [(&xz, ".xz"), (&gz, ".gz")] {
            assert_eq!(unpack(file, end, Some(11)).unwrap(), "Package: a\n");
            assert_eq!(unpack(file, end, None).unwrap(), "Package: a\n");
            assert_eq!(unpack(file, end, Some(10)).unwrap_err(), "it unpacks to more than 10 bytes");
        }
        assert!(unpack(&gz, ".xz", None).is_err());
        assert!(unpack(&write("latin", &gzip(b"\xe4")), ".gz", None).is_err());
    }
}
