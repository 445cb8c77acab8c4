//! Debian packages.

use super::tar::Tar;

/// An `ar` archive.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len());
        bytes.extend(header.as_bytes());
        bytes.extend(*content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// A `control.tar.gz`.
pub(crate) fn control() -> Vec<u8> {
    Tar::new().folder("./").file("./control", b"Package: pkg\nVersion: 1.0\n").gzip()
}

/// A package with `data`.
pub(crate) fn deb(data: Tar) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control()), ("data.tar.gz", &data.gzip())])
}

/// A package that is as it should be.
pub(crate) fn package() -> Vec<u8> {
    deb(Tar::new()
        .folder("./")
        .folder("./lib/")
        .file("./lib/libpkg.so.1", b"ELF")
        .link("./usr/lib/libpkg.so", "/lib/libpkg.so.1")
        .file("./usr/lib/systemd/system-pkg\\x2d.slice", b"")
        .hard_link("./usr/bin/pkg", "./lib/libpkg.so.1"))
}
