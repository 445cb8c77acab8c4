//! One archive of every hostile kind, and what must be said about it.

use super::deb::{ar, control, deb, package};
use super::gzip;
use super::tar::{Header, Tar, sdist};
use super::zip::{End, Member, Zip64, extra, unicode_path, wheel, zip, zip_with};

/// A hostile archive and what must be said about it.
pub(crate) struct Case {
    pub(crate) file: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The member, or nothing where it is the archive as a whole.
    pub(crate) entry: &'static str,
    pub(crate) reason: &'static str,
}

pub(crate) const WHEEL: &str = "pkg-1.0-py3-none-any.whl";
pub(crate) const SDIST: &str = "pkg-1.0.tar.gz";
pub(crate) const DEB: &str = "pkg_1.0_all.deb";

fn in_wheel(members: &[Member], entry: &'static str, reason: &'static str) -> Case {
    Case { file: WHEEL, bytes: zip(members), entry, reason }
}

fn in_end(end: &End, reason: &'static str) -> Case {
    Case { file: WHEEL, bytes: zip_with(&[Member::new("a", b"aaaaaaaa")], end), entry: "", reason }
}

fn in_sdist(tar: Tar, entry: &'static str, reason: &'static str) -> Case {
    Case { file: SDIST, bytes: tar.gzip(), entry, reason }
}

fn in_bytes(file: &'static str, bytes: Vec<u8>, reason: &'static str) -> Case {
    Case { file, bytes, entry: "", reason }
}

fn in_deb(data: Tar, entry: &'static str, reason: &'static str) -> Case {
    Case { file: DEB, bytes: deb(data), entry, reason }
}

pub(crate) fn a() -> Member {
    Member::new("a", b"aaaaaaaaaaaaaaaa")
}

pub(crate) fn b() -> Member {
    Member::new("b", b"bbbb")
}

pub(crate) fn top() -> Tar {
    Tar::new().folder("p-1/")
}

fn wheel_names() -> Vec<Case> {
    let named = |name: &[u8], entry, reason| in_wheel(&[b(), Member::new(name, b"x")], entry, reason);
    vec![
        named(b"/etc/passwd", "/etc/passwd", "absolute name"),
        named(b"../x", "../x", "`..` in its name"),
        named(b"a/../../x", "a/../../x", "`..` in its name"),
        named(b"a//x", "a//x", "empty part"),
        named(b"./x", "./x", "`.` as a part"),
        named(b".", ".", "`.` as a part"),
        named(b"", "", "empty name"),
        named(b"..\\x", "..\\x", "backslash"),
        named(b"C:/x", "C:/x", "drive letter"),
        named(b"x\0.py", "x\\u{0}.py", "NUL byte"),
        named(b"x\x1b[2J", "x\\u{1b}[2J", "control character"),
        named("x\u{9b}2J".as_bytes(), "x\\u{9b}2J", "control character"),
        named(b"x\xff", "x\u{fffd}", "not UTF-8"),
        named(&[b'n'; 256], "nnnn", "256 bytes; at most 255"),
        named("n/".repeat(600).as_bytes(), "n/n/", "1200 bytes; at most 1024"),
        named(format!("{}x", "n/".repeat(64)).as_bytes(), "n/n/", "65 folders deep; at most 64"),
        in_wheel(&[Member::new("é", b"").both(|said| said.flags = 0)], "é", "encoding is unknown"),
        in_wheel(&[a(), a()], "a", "twice"),
        in_wheel(&[Member::new("Pkg/a.py", b""), Member::new("pkg/b.py", b"")], "pkg/b.py", "`Pkg` only by case"),
        in_wheel(&[Member::new("STRASSE.py", b""), Member::new("strasse.py", b"")], "strasse.py", "only by case"),
        in_wheel(&[Member::new("é", b""), Member::new("e\u{301}", b"")], "e\u{301}", "Unicode normalisation"),
        in_wheel(&[Member::new("a", b""), Member::new("a/b", b"")], "a/b", "both a file and a folder"),
        in_wheel(&[Member::new("a/b", b""), Member::new("a", b"")], "a", "both a file and a folder"),
        in_wheel(&[a().both(|said| said.extra = unicode_path(b"a", b"../../x"))], "a", "two meanings: its name"),
        in_wheel(&[a().central(|said| said.extra = unicode_path(b"a", b"../../x"))], "a", "two meanings: its name"),
    ]
}

fn wheel_kinds() -> Vec<Case> {
    let mode = |mode, reason| in_wheel(&[b(), Member::stored("a", b"/etc").mode(mode)], "a", reason);
    vec![
        mode(0o120_777, "symbolic link"),
        mode(0o020_666, "character device"),
        mode(0o060_666, "block device"),
        mode(0o010_666, "named pipe"),
        mode(0o140_666, "socket"),
        mode(0o104_755, "set-id bit"),
        mode(0o102_755, "set-id bit"),
        mode(0o040_755, "the mode 40000"),
        in_wheel(&[Member::new("a/", b"content").mode(0o040_755)], "a/", "content though it is a folder"),
        in_wheel(&[a().both(|said| said.flags |= 1)], "a", "encryption"),
        in_wheel(&[a().both(|said| said.flags |= 1 << 13)], "a", "encryption"),
        in_wheel(&[a().both(|said| said.extra = extra(0x9901, b"1234567"))], "a", "encryption"),
        in_wheel(&[a().both(|said| said.flags |= 1 << 5)], "a", "patched data"),
        in_wheel(&[a().both(|said| said.flags |= 1 << 15)], "a", "the flags 0x8000"),
        in_wheel(&[a().both(|said| said.method = 12)], "a", "bzip2 (compression method 12)"),
        in_wheel(&[a().both(|said| said.method = 9)], "a", "deflate64"),
        in_wheel(&[a().both(|said| said.method = 93)], "a", "Zstandard"),
        in_wheel(&[a().both(|said| said.method = 77)], "a", "an unknown method (compression method 77)"),
    ]
}

fn wheel_disagreements() -> Vec<Case> {
    let said = "two meanings";
    vec![
        in_wheel(&[a().local(|said| said.name = b"b".to_vec())], "a", "its name is a in the directory and b in"),
        in_wheel(&[a().local(|said| said.flags |= 2)], "a", "its flags"),
        in_wheel(&[a().local(|said| said.method = 0)], "a", "its method"),
        in_wheel(&[a().local(|said| said.crc ^= 1)], "a", "its checksum"),
        in_wheel(&[a().local(|said| said.size += 1)], "a", "its size"),
        in_wheel(&[a().local(|said| said.compressed += 1)], "a", "its compressed size"),
        in_wheel(&[a().local(|said| said.size = 0)], "a", said),
        in_wheel(&[a().both(|said| said.crc ^= 1)], "a", "CRC-32"),
        in_wheel(&[a().both(|said| said.size += 1)], "a", "cut off"),
        in_wheel(&[a().both(|said| said.size -= 1)], "a", "more than the 15 bytes declared"),
        in_wheel(&[Member::stored("a", b"aa").both(|said| said.size = 1)], "a", "without compression"),
        in_wheel(&[a().descriptor(true, false).behind(&[0; 16])], "a", "impossible form"),
        in_wheel(
            &[a().descriptor(true, false).behind(b"PK\x07\x08\0\0\0\0\0\0\0\0\0\0\0\0")],
            "a",
            "the record behind it",
        ),
        in_wheel(&[a().both(|said| said.flags |= 1 << 3)], "a", "0 bytes behind it where its sizes belong"),
        in_wheel(&[a().local(|said| said.extra = extra(1, &[7; 16]))], "a", "its ZIP64 field"),
        in_wheel(&[a().both(|said| said.extra = extra(1, &[0; 4]))], "a", "ZIP64 field that is too short"),
        in_wheel(&[a().both(|said| said.extra = vec![1, 0, 9, 0])], "a", "extra fields that end too early"),
        in_wheel(&[a().shift(1)], "a", "1 bytes before it"),
        in_wheel(&[a(), b().shift(1)], "b", "1 bytes before it"),
        in_wheel(&[a(), b().before(b"?")], "b", "1 bytes before it that are no member's"),
        in_wheel(&[a().before(b"#!/bin/sh\n")], "a", "10 bytes before it that are no member's"),
        in_wheel(&[a().behind(b"junk"), b()], "b", "4 bytes before it that are no member's"),
        in_wheel(&[Member::stored("x", &zip(&[a()])), a().inside(31)], "x", "reaches into what follows it"),
        in_wheel(&[a(), a().both(|said| said.name = b"c".to_vec()).inside(0)], "a", "reaches into what follows it"),
    ]
}

fn wheel_ends() -> Vec<Case> {
    let valid = wheel();
    let twice = [&valid[..], &valid].concat();
    let hidden = End { comment: zip(&[b()]), ..End::default() };
    vec![
        in_end(&End { before: b"gap".to_vec(), ..End::default() }, "3 bytes between its members and its directory"),
        in_end(&End { members: Some(2), ..End::default() }, "has a directory of 47 bytes for 2 members"),
        in_end(&End { members: Some(0), ..End::default() }, "the number of members"),
        in_end(&End { size: Some(1), ..End::default() }, "has a directory of 1 bytes"),
        in_end(&End { start: Some(1), ..End::default() }, "has a directory of"),
        in_end(&End { disk: 1, ..End::default() }, "several disks"),
        in_end(&End { comment_length: Some(9), ..End::default() }, "bytes behind its end record"),
        in_end(&End { zip64: Zip64::False(2), ..End::default() }, "two meanings: its directory"),
        in_end(&hidden, "has"),
        in_bytes(WHEEL, twice, "has a directory of"),
        in_bytes(WHEEL, [&valid[..], b"trailing"].concat(), "bytes behind its end record"),
        in_bytes(WHEEL, [&b"prefix"[..], &valid].concat(), "has a directory of"),
        in_bytes(WHEEL, valid[..valid.len() - 1].to_vec(), "is cut off"),
        in_bytes(WHEEL, valid[..valid.len() / 2].to_vec(), "no end record"),
        in_bytes(WHEEL, Vec::new(), "no end record"),
        in_bytes(WHEEL, b"<html>404</html>".to_vec(), "no end record"),
    ]
}

fn sdist_names() -> Vec<Case> {
    let named = |name: &[u8], entry, reason| in_sdist(top().file(name, b"x"), entry, reason);
    vec![
        named(b"/etc/passwd", "/etc/passwd", "absolute name"),
        named(b"p-1/../../x", "p-1/../../x", "`..` in its name"),
        named(b"p-1//x", "p-1//x", "empty part"),
        named(b"p-1/./x", "p-1/./x", "`.` as a part"),
        named(b"p-1\\x", "p-1\\x", "backslash"),
        named(b"C:/x", "C:/x", "drive letter"),
        named(b"p-1/\n", "p-1/\\n", "control character"),
        named(b"p-1/\xff", "p-1/\u{fffd}", "not UTF-8"),
        named(b"other/x", "other/x", "outside of the top folder `p-1`"),
        named(b"x", "x", "outside of the top folder"),
        in_sdist(Tar::new().file("x", b"x"), "x", "outside of the top folder"),
        in_sdist(Tar::new(), "", "no folder in it"),
        named(b"p-1/x/", "p-1/x/", "ends with `/` without being a folder"),
        in_sdist(top().pax(b'x', &[("path", "../../x")]).file("p-1/x", b""), "../../x", "`..` in its name"),
        in_sdist(top().pax(b'x', &[("path", "p-1/a\0b")]).file("p-1/x", b""), "pax", "control character"),
        in_sdist(top().long(b'L', b"../../x\0").file("p-1/x", b""), "../../x", "`..` in its name"),
        in_sdist(top().file("p-1/a", b"").file("p-1/a", b""), "p-1/a", "twice"),
        in_sdist(top().file("p-1/é", b"").file("p-1/e\u{301}", b""), "p-1/e\u{301}", "Unicode normalisation"),
        in_sdist(top().file("p-1/a", b"").file("p-1/a/b", b""), "p-1/a/b", "both a file and a folder"),
        in_sdist(top().folder("p-1/a/").file("p-1/a", b""), "p-1/a", "both a file and a folder"),
    ]
}

fn sdist_links() -> Vec<Case> {
    let link = |target, entry, reason| in_sdist(top().link("p-1/d/l", target), entry, reason);
    let special = |kind, reason| in_sdist(top().member(Header::new("p-1/x", kind, 0), b""), "p-1/x", reason);
    vec![
        link("/etc/passwd", "p-1/d/l", "a link to the absolute path `/etc/passwd`"),
        link("../../x", "p-1/d/l", "a link out of the folder, to `../../x`"),
        link("../a/../../x", "p-1/d/l", "a link with `..` after a name"),
        link("", "p-1/d/l", "impossible text"),
        in_sdist(top().long(b'K', b"/etc/passwd\0").link("p-1/l", ""), "p-1/l", "absolute path"),
        in_sdist(top().pax(b'x', &[("linkpath", "/etc")]).link("p-1/l", "a"), "p-1/l", "absolute path `/etc`"),
        in_sdist(top().link("p-1/l", ".").file("p-1/l/x", b""), "p-1/l/x", "written through the link `p-1/l`"),
        in_sdist(top().folder("p-1/l/").link("p-1/l", "."), "p-1/l", "both a file and a folder"),
        in_sdist(top().link("p-1/l", "a").file("p-1/l", b""), "p-1/l", "twice"),
        in_sdist(top().link("p-1/l", "a").hard_link("p-1/h", "p-1/l"), "p-1/h", "hard link to `p-1/l`"),
        in_sdist(top().hard_link("p-1/h", "p-1/late").file("p-1/late", b""), "p-1/h", "not an earlier file"),
        in_sdist(top().hard_link("p-1/h", "/etc/passwd"), "p-1/h", "hard link to `/etc/passwd`"),
        in_sdist(top().hard_link("p-1/h", "../x"), "p-1/h", "hard link to `../x`"),
        in_sdist(top().hard_link("p-1/h", "p-1"), "p-1/h", "hard link to `p-1`"),
        in_sdist(Tar::new().link("p-1", "/tmp").file("p-1/x", b""), "p-1", "outside of the top folder"),
        special(b'3', "character device"),
        special(b'4', "block device"),
        special(b'6', "named pipe"),
        special(b'7', "contiguous file"),
        special(b'S', "sparse file"),
        special(b'V', "the tar member type `V`"),
        in_sdist(top().member(Header::new("p-1/x", b'0', 0).mode(0o4755), b""), "p-1/x", "set-id bit"),
        in_sdist(top().member(Header::new("p-1/x", b'0', 0).mode(0o2755), b""), "p-1/x", "set-id bit"),
    ]
}

fn sdist_headers() -> Vec<Case> {
    let pax =
        |records: &[(&str, &str)], entry, reason| in_sdist(top().pax(b'x', records).file("p-1/x", b"x"), entry, reason);
    let header = |header: Header, reason| in_sdist(top().member(header, b""), "p-1/x", reason);
    let plain = || Header::new("p-1/x", b'0', 0);
    let sizes = Header::new("p-1/x", b'0', 0).size(1024);
    let smuggled = Tar::new().file("p-1/evil", b"").0;
    vec![
        // CVE-2025-62518: who believes the header sees the member inside, who believes PAX does not.
        in_sdist(
            top().pax(b'x', &[("size", "1024")]).member(plain(), &smuggled),
            "p-1/x",
            "its size is 0 in its header",
        ),
        in_sdist(top().pax(b'x', &[("size", "0")]).member(sizes, &smuggled), "p-1/x", "its size is 1024 in its header"),
        pax(&[("size", "1"), ("size", "1")], "pax", "`size` twice"),
        pax(&[("size", "-1")], "pax", "the impossible size `-1`"),
        pax(&[("size", "+1")], "pax", "the impossible size `+1`"),
        pax(&[("path", "")], "pax", "an empty `path`"),
        pax(&[("path", "p-1/a"), ("path", "p-1/b")], "pax", "`path` twice"),
        pax(&[("GNU.sparse.major", "1")], "pax", "GNU.sparse.major=1"),
        pax(&[("GNU.sparse.name", "p-1/y")], "pax", "GNU.sparse.name"),
        pax(&[("hdrcharset", "BINARY")], "pax", "hdrcharset=BINARY"),
        in_sdist(top().pax(b'g', &[("path", "p-1/y")]).file("p-1/x", b""), "pax", "a global `path`"),
        in_sdist(top().pax(b'g', &[("size", "0")]).file("p-1/x", b""), "pax", "a global `size`"),
        in_sdist(
            top().pax(b'x', &[("mtime", "1")]).pax(b'x', &[("mtime", "1")]).file("p-1/x", b""),
            "pax",
            "two extended",
        ),
        in_sdist(top().pax(b'x', &[("mtime", "1")]).pax(b'g', &[]).file("p-1/x", b""), "pax", "mixed"),
        in_sdist(
            top().pax(b'x', &[("path", "p-1/a")]).long(b'L', b"p-1/b\0").file("p-1/x", b""),
            "././@LongLink",
            "mixed",
        ),
        in_sdist(top().long(b'L', b"p-1/b\0").pax(b'x', &[("path", "p-1/a")]).file("p-1/x", b""), "pax", "mixed"),
        in_sdist(
            top().long(b'L', b"p-1/a\0").long(b'L', b"p-1/b\0").file("p-1/x", b""),
            "././@LongLink",
            "two extended",
        ),
        in_sdist(top().long(b'L', b"p-1/a\0b\0").file("p-1/x", b""), "././@LongLink", "its only NUL"),
        in_sdist(top().long(b'L', b"p-1/a").file("p-1/x", b""), "././@LongLink", "its only NUL"),
        in_sdist(top().pax(b'x', &[("mtime", "1")]), "", "an extended header without a member"),
        in_sdist(top().member(Header::new("pax", b'x', 9), b"99 path=a"), "pax", "`LENGTH KEY=VALUE`"),
        in_sdist(top().member(Header::new("pax", b'x', 8), b"9 path=a"), "pax", "`LENGTH KEY=VALUE`"),
        in_sdist(top().member(Header::new("pax", b'x', 2 << 20), b""), "pax", "an extended header of 2097152 bytes"),
        header(plain().set(345, b"\x01").gnu(), "where other readers look for the start of its name"),
        header(plain().set(257, b"ustar\x0009"), "unknown tar magic"),
        header(plain().set(124, b"0000000000x\0"), "the impossible size"),
        header(plain().set(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01"), "the impossible size"),
        header(plain().set(124, b"-0000000001\0"), "the impossible size"),
        header(Header::new("p-1/x", b'5', 0).size(5), "5 bytes of content without being a file"),
        header(Header::new("p-1/x", b'1', 0).size(5).link("p-1/y"), "5 bytes of content without being a file"),
        header(plain().link("p-1/y"), "a link's text without being a link"),
    ]
}

fn sdist_streams() -> Vec<Case> {
    let tar = sdist().end();
    let broken = |at: usize| {
        let mut tar = top().file("p-1/x", b"x");
        tar.0[at] ^= 1;
        tar
    };
    let mut crc = gzip(&tar);
    let at = crc.len() - 8;
    crc[at] ^= 1;
    let mut reserved = gzip(&tar);
    reserved[3] |= 0x80;
    let unended = [&top().file("p-1/x", b"x").0[..], &[0; 512]].concat();
    vec![
        in_sdist(broken(512), "q-1/x", "a header's checksum is"),
        in_sdist(broken(2 * 512 + 100), "p-1/x", "bytes behind its content"),
        in_bytes(SDIST, gzip(&unended), "is cut off"),
        in_bytes(SDIST, gzip(&tar[..tar.len() - 1024]), "is cut off"),
        in_bytes(SDIST, gzip(&[&tar[..], &tar].concat()), "behind the end-of-archive mark"),
        in_bytes(SDIST, gzip(&[&unended[..], &tar].concat()), "a single end-of-archive block"),
        in_bytes(SDIST, gzip(&[&tar[..], &[0; 2 << 20]].concat()), "behind the end-of-archive mark"),
        in_bytes(SDIST, [gzip(&tar), gzip(&tar)].concat(), "behind the end of the compressed data"),
        in_bytes(SDIST, [gzip(&tar), b"junk".to_vec()].concat(), "behind the end of the compressed data"),
        in_bytes(SDIST, gzip(&tar)[..gzip(&tar).len() - 4].to_vec(), "is cut off"),
        in_bytes(SDIST, crc, "is damaged"),
        in_bytes(SDIST, reserved, "gzip flags that are reserved"),
        in_bytes(SDIST, b"<html>404</html>".to_vec(), "the start of no archive"),
        in_bytes(SDIST, b"<html>404</html>".repeat(100), "the start of no archive"),
        in_bytes("p-1.zip", [&b"#!/bin/sh\n"[..], &wheel()].concat(), "has a directory of"),
        in_bytes(SDIST, Vec::new(), "is cut off"),
    ]
}

fn zip_sdists() -> Vec<Case> {
    let link = |target: &[u8]| Member::stored("p-1/l", target).mode(0o120_777);
    let case = |members: &[Member], entry, reason| Case { file: "p-1.zip", bytes: zip(members), entry, reason };
    vec![
        case(&[link(b"/etc/passwd")], "p-1/l", "absolute path"),
        case(&[link(b"../x")], "p-1/l", "link out of the folder"),
        case(&[link(b"."), Member::new("p-1/l/x", b"")], "p-1/l/x", "through the link `p-1/l`"),
        case(&[Member::new("p-1/a", b""), Member::new("q/a", b"")], "q/a", "outside of the top folder `p-1`"),
        case(&[Member::new("a", b"")], "a", "outside of the top folder"),
        case(&[], "", "no folder in it"),
    ]
}

fn debs() -> Vec<Case> {
    let data = Tar::new().folder("./").gzip();
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let whole = |members: &[(&str, &[u8])], entry, reason| Case { file: DEB, bytes: ar(members), entry, reason };
    let control = control();
    let mut odd = package();
    odd[8 + 58] = b'?';
    vec![
        in_deb(Tar::new().file("./../x", b""), "./../x", "`..` in its name"),
        in_deb(Tar::new().file("/etc/x", b""), "/etc/x", "absolute name"),
        in_deb(Tar::new().link("./usr/l", "/etc").file("./usr/l/x", b""), "usr/l/x", "through the link `usr/l`"),
        in_deb(Tar::new().member(Header::new("./dev/null", b'3', 0), b""), "./dev/null", "character device"),
        in_deb(Tar::new().file("./lib/x", b"").file("./usr/lib/x", b""), "usr/lib/x", "twice"),
        in_deb(Tar::new().hard_link("./h", "./etc/shadow"), "h", "not an earlier file"),
        whole(&[version], "", "is cut off"),
        whole(&[version, ("data.tar.gz", &data)], "data.tar.gz", "no place in a Debian package"),
        whole(&[version, ("control.tar.gz", &control), ("data.tar.gz", &data), ("x", b"")], "", "behind `data.tar`"),
        whole(&[version, ("control.tar.lz", &control)], "control.tar.lz", "the compression of `control.tar.lz`"),
        whole(&[("debian-binary", b"3.0\n")], "", "version `3.0`"),
        whole(&[version, ("control.tar.gz", &data)], "control.tar.gz", "no `control` file"),
        in_bytes(DEB, b"<html>404</html>".to_vec(), "the start of no Debian package"),
        in_bytes(DEB, odd, "does not end as one"),
        Case { entry: "data.tar.gz", ..in_bytes(DEB, package()[..package().len() - 30].to_vec(), "is cut off") },
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let groups = [
        wheel_names(),
        wheel_kinds(),
        wheel_disagreements(),
        wheel_ends(),
        sdist_names(),
        sdist_links(),
        sdist_headers(),
        sdist_streams(),
        zip_sdists(),
        debs(),
    ];
    groups.into_iter().flatten().collect()
}
