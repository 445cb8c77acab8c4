//! Closes a copied library to the host: no cache, no default folder, no plug-in of the machine that it runs on
//! may be opened as code, because it was made for another C library.
//!
//! Paths are replaced by others of the same length that do not exist on any host: `/usr/lib/…` and `/lib/…` become
//! `/akb/lib/…` and `/akb/…`. What is *configuration* stays the host's: `/etc/resolv.conf`, `/etc/hosts`,
//! `/etc/nsswitch.conf`, `/etc/krb5.conf`, time zones, locales (the C library refuses data of another format), and
//! the certificates that the host trusts.
//!
//! What is lost: character sets that the C library has as plug-ins (`gconv`), NSS modules beyond files and DNS, and
//! plug-ins of SASL, Kerberos, PKCS#11 and OpenSSL that the host has installed.

use std::ops::Range;

use goblin::elf::Elf;
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHT_PROGBITS};

use crate::relink::glob;

/// What one library must look like before it is sealed, and what else than library folders is replaced.
struct Rule {
    /// Pattern of the soname.
    library: &'static str,
    /// Paths and what replaces them; each must be there.
    replace: &'static [(&'static str, &'static str)],
    /// Ends of paths below library folders, of which each must be there: they are replaced with all others,
    /// and where they are not found, the library is not the one that the rule was made for.
    expect: &'static [&'static str],
}

/// The libraries that are known to open files of the host as code, and those that know where certificates are.
const RULES: &[Rule] = &[
    Rule {
        library: "ld-*.so.*",
        replace: &[("/etc/ld.so.cache", "/akb/ld.so.cache"), ("/etc/ld.so.preload", "/akb/ld.so.preload")],
        expect: &["/lib/"],
    },
    Rule { library: "libc.so.6", replace: &[], expect: &["/gconv"] },
    Rule { library: "libkrb5.so.3", replace: &[], expect: &["/krb5/plugins"] },
    // The file lists libraries by name.
    Rule { library: "libgssapi_krb5.so.2", replace: &[("/etc/gss/mech", "/akb/gss/mech")], expect: &[] },
    Rule {
        library: "libcrypto.so.3",
        // Certificates are where all distributions keep them, or link to; openssl.cnf is out of reach, since
        // it may name providers (FIPS) and directives of the host's own OpenSSL.
        replace: &[("/usr/lib/ssl/certs", "/etc/././ssl/certs"), ("/usr/lib/ssl/cert.pem", "/etc/././ssl/cert.pem")],
        expect: &["/ossl-modules", "/ssl"],
    },
    Rule { library: "libsasl2.so.2", replace: &[], expect: &["/sasl2"] },
    Rule {
        library: "libp11-kit.so.0",
        replace: &[
            ("/etc/pkcs11/modules", "/akb/pkcs11/modules"),
            ("/usr/share/p11-kit/modules", "/akb/share/p11-kit/modules"),
        ],
        expect: &["/pkcs11"],
    },
    Rule { library: "libltdl.so.7", replace: &[], expect: &["/lib"] },
];

/// Folders in which hosts keep libraries.
const HOST_FOLDERS: [&str; 8] =
    ["/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib", "/usr/local/lib64"];

/// What lies in a library folder, but is data.
const HOST_DATA: [&str; 1] = ["/usr/lib/locale"];

/// A library that is not the one that a rule was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A path that the rule names is not in the library.
    #[error("{library} does not name `{expected}`: it would open files of the host in an unknown way")]
    Unexpected {
        /// The soname.
        library: String,
        /// The path, or the end of one.
        expected: &'static str,
    },
}

/// Seals the library `soname`; gives the number of paths that were replaced.
///
/// All mentions of host library folders in its read-only and initialised data are replaced, whatever the library.
pub fn seal(soname: &str, bytes: &mut [u8]) -> Result<usize, SealError> {
    let spans = data(bytes);
    let mut count = 0;
    let mut sealed = Vec::new();
    for rule in RULES.iter().filter(|rule| glob::matches(rule.library, soname)) {
        for (path, replacement) in rule.replace {
            let found = replace(bytes, &spans, path, replacement);
            if found == 0 {
                return Err(SealError::Unexpected { library: soname.to_owned(), expected: path });
            }
            count += found;
        }
    }
    for span in &spans {
        for path in host_paths(&bytes[span.clone()]) {
            let path = span.start + path.start..span.start + path.end;
            sealed.push(String::from_utf8_lossy(&bytes[path.clone()]).into_owned());
            bytes[path.start + 1..path.start + 4].copy_from_slice(b"akb");
        }
    }
    for rule in RULES.iter().filter(|rule| glob::matches(rule.library, soname)) {
        for expected in rule.expect {
            if !sealed.iter().any(|path| path.ends_with(expected)) {
                return Err(SealError::Unexpected { library: soname.to_owned(), expected });
            }
        }
    }
    Ok(count + sealed.len())
}

/// Seals a program or library of the tree that opens others by name: some try the folder of the machine that
/// they were built on first. Texts in it may have no end (Rust's have none), so that a folder counts wherever it
/// stands; gives the number of replaced ones.
pub fn seal_opener(bytes: &mut [u8]) -> usize {
    let mut count = 0;
    for span in data(bytes) {
        let data = &mut bytes[span];
        let long = HOST_FOLDERS.iter().filter(|folder| folder.starts_with("/usr/"));
        for folder in long {
            let mut at = 0;
            while let Some(window) = data.get(at..at + folder.len()) {
                let is_data = HOST_DATA.iter().any(|folder| data[at..].starts_with(folder.as_bytes()));
                if window == folder.as_bytes() && !is_data {
                    data[at + 1..at + 4].copy_from_slice(b"akb");
                    count += 1;
                }
                at += 1;
            }
        }
    }
    count
}

/// Folders and files of the host's that a library still names, in the order in which they lie in it.
pub fn open_paths(bytes: &[u8]) -> Vec<String> {
    let spans = data(bytes);
    let paths = spans.iter().flat_map(|span| {
        let data = &bytes[span.clone()];
        host_paths(data).into_iter().map(|path| String::from_utf8_lossy(&data[path]).into_owned())
    });
    paths.collect()
}

/// The parts of the file that hold constants and variables: never code, names of symbols or notes.
fn data(bytes: &[u8]) -> Vec<Range<usize>> {
    let Ok(elf) = Elf::parse(bytes) else { return Vec::new() };
    let is_data = |flags: u64| flags & u64::from(SHF_ALLOC) != 0 && flags & u64::from(SHF_EXECINSTR) == 0;
    elf.section_headers
        .iter()
        .filter(|section| section.sh_type == SHT_PROGBITS && is_data(section.sh_flags))
        .filter(|section| elf.shdr_strtab.get_at(section.sh_name) != Some(".interp"))
        .filter_map(|section| {
            let start = usize::try_from(section.sh_offset).ok()?;
            let end = start.checked_add(usize::try_from(section.sh_size).ok()?)?;
            (end <= bytes.len()).then_some(start..end)
        })
        .collect()
}

/// Where paths below a host's library folder lie: longest runs of path bytes that begin with one.
fn host_paths(data: &[u8]) -> Vec<Range<usize>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some(start) = data[at..].iter().position(|&byte| byte == b'/').map(|found| at + found) {
        let end = start + data[start..].iter().take_while(|&&byte| is_path_byte(byte)).count();
        at = end;
        let path = &data[start..end];
        let begins = start == 0 || !is_path_byte(data[start - 1]);
        let below = |folder: &str| match path.strip_prefix(folder.as_bytes()) {
            Some(rest) => rest.is_empty() || rest[0] == b'/',
            None => false,
        };
        if begins && HOST_FOLDERS.iter().any(|folder| below(folder)) && !HOST_DATA.iter().any(|folder| below(folder)) {
            paths.push(start..end);
        }
    }
    paths
}

/// Replaces a path wherever it stands on its own or as the beginning of one; gives how often.
fn replace(bytes: &mut [u8], spans: &[Range<usize>], path: &str, replacement: &str) -> usize {
    debug_assert_eq!(path.len(), replacement.len(), "{path}");
    let mut count = 0;
    for span in spans {
        let data = &mut bytes[span.clone()];
        let mut at = 0;
        while let Some(window) = data.get(at..at + path.len()) {
            let begins = at == 0 || !is_path_byte(data[at - 1]);
            if window == path.as_bytes() && begins {
                data[at..at + path.len()].copy_from_slice(replacement.as_bytes());
                count += 1;
            }
            at += 1;
        }
    }
    count
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+%*".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(data: &[u8]) -> Vec<&[u8]> {
        host_paths(data).into_iter().map(|range| &data[range]).collect()
    }

    #[test]
    fn finds_host_folders_only() {
        let data = b"\x01/lib/x86_64-linux-gnu/\0/usr/lib/\0/lib:/usr/local/lib\0\"/usr/lib/a/b\"../../lib/x.c\0/usr/share/x\0/library\0/lib64/ld.so\0";
        let expected: [&[u8]; 6] =
            [b"/lib/x86_64-linux-gnu/", b"/usr/lib/", b"/lib", b"/usr/local/lib", b"/usr/lib/a/b", b"/lib64/ld.so"];
        assert_eq!(found(data), expected);
    }

    #[test]
    fn replacements_keep_the_length() {
        for rule in RULES {
            for (path, replacement) in rule.replace {
                assert_eq!(path.len(), replacement.len(), "{path}");
                assert!(host_paths(replacement.as_bytes()).is_empty(), "{replacement}");
            }
        }
    }

    #[test]
    fn knows_a_library_that_is_not_the_one_it_was_made_for() {
        let error = seal("libkrb5.so.3", &mut []).unwrap_err();
        assert_eq!(error, SealError::Unexpected { library: "libkrb5.so.3".into(), expected: "/krb5/plugins" });
        assert_eq!(seal("libother.so.1", &mut []), Ok(0));
    }
}
