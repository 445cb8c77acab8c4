//! Archives of every hostile kind are refused with archive, entry and reason, and leave nothing behind.

mod archives;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use akb::tree::{self, Kind};
use akb::unpack::{self, Entry, Limits, UnpackError};
use archives::deb::{ar, control, deb, package};
use archives::gzip;
use archives::tar::{Header, Tar, sdist};
use archives::zip::{End, Member, extra, unicode_path, wheel, zip, zip_with};
use assert_cmd::Command;
use proptest::prelude::*;

/// A hostile archive and what must be said about it.
struct Case {
    file: &'static str,
    bytes: Vec<u8>,
    /// The member, or nothing where it is the archive as a whole.
    entry: &'static str,
    reason: &'static str,
}

const WHEEL: &str = "pkg-1.0-py3-none-any.whl";
const SDIST: &str = "pkg-1.0.tar.gz";
const DEB: &str = "pkg_1.0_all.deb";

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

fn a() -> Member {
    Member::new("a", b"aaaaaaaaaaaaaaaa")
}

fn b() -> Member {
    Member::new("b", b"bbbb")
}

fn top() -> Tar {
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
        in_end(&End { zip64: Some(Some(2)), ..End::default() }, "two meanings: its directory"),
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
        in_bytes(SDIST, b"<html>404</html>".to_vec(), "is cut off"),
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

fn cases() -> Vec<Case> {
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

/// All names below `folder` with their content.
fn everything(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let nodes = tree::walk(folder).unwrap();
    let read = |path: &Path| fs::read(folder.join(path)).unwrap_or_default();
    nodes.into_iter().map(|node| (node.path.display().to_string(), read(&node.path))).collect()
}

/// What is wrong with how `case` ends in `folder`, where `unpack` says how it ended.
fn judge(case: &Case, unpack: impl Fn(&Path) -> Result<(), String>) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(case.file), &case.bytes).unwrap();
    let before = everything(folder.path());
    let verdict = unpack(folder.path());
    let left = everything(folder.path());
    let what = format!("{} `{}` {}", case.file, case.entry, case.reason);
    match verdict {
        Err(found) => Some(format!("{what}\n   found: {found}")),
        Ok(()) if left != before => Some(format!("{what}\n   left: {:?}", left.keys())),
        Ok(()) => None,
    }
}

fn report(wrong: impl Iterator<Item = String>) {
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    report(cases().iter().filter_map(|case| {
        judge(case, |folder| {
            let archive = folder.join(case.file);
            let error = unpack::any(&archive, &folder.join("dest"), &Limits::default()).err().ok_or("accepted")?;
            let UnpackError::Refused { archive: named, entry, reason } = &error else { return Err(error.to_string()) };
            let shown = entry.as_deref().unwrap_or_default();
            let same = if case.entry.is_empty() { shown.is_empty() } else { shown.starts_with(case.entry) };
            let good = named == &archive && same && reason.to_string().contains(case.reason);
            if good { Ok(()) } else { Err(error.to_string()) }
        })
    }));
}

#[test]
fn the_command_names_archive_entry_and_reason() {
    report(cases().iter().filter_map(|case| {
        judge(case, |folder| {
            let run = akb(folder).args(["unpack", case.file, "dest"]).output().unwrap();
            let text = String::from_utf8_lossy(&run.stderr).into_owned();
            let parts = [case.file, case.entry, case.reason, "is refused", "hint"];
            let good =
                run.status.code() == Some(3) && run.stdout.is_empty() && parts.iter().all(|part| text.contains(part));
            if good { Ok(()) } else { Err(text) }
        })
    }));
}

fn akb(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_akb"));
    command.current_dir(folder).env("HOME", folder).env("COLUMNS", "500");
    command
}

/// Unpacks `bytes` and gives what is there: content and whether it is executable, or a link's text.
fn accepted(file: &str, bytes: &[u8]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join(file);
    fs::write(&archive, bytes).unwrap();
    let dest = folder.path().join("dest");
    unpack::any(&archive, &dest, &Limits::default()).unwrap_or_else(|error| panic!("{file}: {error}"));
    let show = |node: &tree::Node| match &node.kind {
        Kind::Dir => "/".to_owned(),
        Kind::Link { target } => format!("-> {}", target.display()),
        Kind::File { .. } => {
            let mode = fs::metadata(dest.join(&node.path)).unwrap().permissions().mode() & 0o7777;
            let content = fs::read(dest.join(&node.path)).unwrap();
            format!("{mode:o} {}", String::from_utf8_lossy(&content))
        }
    };
    tree::walk(&dest).unwrap().iter().map(|node| (node.path.display().to_string(), show(node))).collect()
}

fn names(file: &str, bytes: &[u8]) -> Vec<String> {
    accepted(file, bytes).into_keys().collect()
}

#[test]
fn wheels_unpack_with_two_modes() {
    let tree = accepted(WHEEL, &wheel());
    assert_eq!(tree["pkg/__init__.py"], "644 print('hello')\n");
    assert_eq!(tree["pkg/data/tool.sh"], "755 #!/bin/sh\n");
    assert_eq!(tree.len(), 7);
}

#[test]
fn real_kinds_of_wheels_are_taken() {
    let wide = |member: Member| {
        let sizes = [u64::from(member.local.size).to_le_bytes(), u64::from(member.local.compressed).to_le_bytes()];
        extra(1, &sizes.concat())
    };
    let bazel = a().local(|said| said.extra = wide(a()));
    let forced = a().local(|said| {
        said.extra = wide(a());
        (said.size, said.compressed) = (u32::MAX, u32::MAX);
    });
    let empty = Member::new("f/", b"").both(|said| said.compressed = 0);
    let empty = Member { content: Vec::new(), ..empty };
    let members: Vec<Vec<Member>> = vec![
        vec![a().descriptor(true, false), b().descriptor(false, false)],
        vec![a().descriptor(true, true), b().descriptor(false, true)],
        vec![a().both(|said| said.extra = unicode_path(b"a", b"a")), b()],
        vec![a(), b().mode(0)],
        vec![bazel, b()],
        vec![forced, b()],
        vec![a(), b(), Member::new("b", b"").both(|said| said.name = "ü.py".into()).both(|said| said.flags = 1 << 11)],
    ];
    for members in members {
        assert_eq!(&names(WHEEL, &zip(&members))[..2], ["a", "b"]);
    }
    assert_eq!(names(WHEEL, &zip(&[a(), empty, Member::new("f/x", b"")])), ["a", "f", "f/x"]);
    let commit = End { comment: b"0123456789abcdef".to_vec(), ..End::default() };
    assert_eq!(names(WHEEL, &zip_with(&[a(), b()], &commit)), ["a", "b"]);
    let zip64 = End { zip64: Some(None), ..End::default() };
    assert_eq!(names(WHEEL, &zip_with(&[a(), b()], &zip64)), ["a", "b"]);
    let full = End { zip64: Some(None), members: Some(u16::MAX), start: Some(u32::MAX), ..End::default() };
    assert_eq!(names(WHEEL, &zip_with(&[a(), b()], &full)), ["a", "b"]);
}

#[test]
fn real_kinds_of_source_distributions_are_taken() {
    let tree = accepted(SDIST, &sdist().gzip());
    assert_eq!(tree["pkg-1.0/configure"], "755 #!/bin/sh\n");
    assert_eq!(tree["pkg-1.0/latest"], "-> PKG-INFO");
    assert_eq!(tree["pkg-1.0/again"], tree["pkg-1.0/PKG-INFO"]);
    let long = format!("p-1/{}/{}", "d".repeat(90), "f".repeat(90));
    let tars = vec![
        sdist().bytes(&[0; 9 * 512]),
        Tar::new().folder("./").folder("./p-1/").file("./p-1/x", b""),
        top().folder("p-1/").file("p-1/x", b""),
        top().long(b'L', format!("{long}\0").as_bytes()).file("p-1/dd", b""),
        top()
            .pax(b'x', &[("path", &long), ("size", "1"), ("SCHILY.dev", "2"), ("LIBARCHIVE.x", "y")])
            .file("p-1/dd", b"1"),
        top().member(Header::new("f", b'0', 0).set(345, b"p-1/d"), b""),
        top().member(Header::new("p-1/x", 0, 0).set(257, &[0; 8]), b""),
        top().member(Header::new("p-1/x", b'0', 0).gnu().set(108, b"\x80\0\0\0\x7f\xff\xff\xff"), b""),
        top().file("p-1/SampleH5.gif", b"").file("p-1/sampleH5.gif", b""),
        top().link("p-1/a/l", "../b/./c"),
        top().member(Header::new("p-1/shared", b'5', 0).mode(0o2775), b""),
    ];
    for tar in tars {
        for bytes in [tar.clone().gzip(), tar.end()] {
            assert!(names(SDIST, &bytes).len() >= 2);
        }
    }
    let padded = [sdist().gzip(), vec![0; 1000]].concat();
    assert_eq!(names("pkg-1.0.tgz", &padded), names(SDIST, &sdist().gzip()));
    let link = Member::stored("p-1/l", b"a").mode(0o120_777);
    let tree = accepted("p-1.zip", &zip(&[Member::new("p-1/a", b"1"), link]));
    assert_eq!(tree["p-1/l"], "-> a");
}

#[test]
fn debian_packages_unpack_as_on_a_merged_system() {
    let tree = accepted(DEB, &package());
    assert_eq!(tree["usr/lib/libpkg.so.1"], "644 ELF");
    assert_eq!(tree["usr/lib/libpkg.so"], "-> /lib/libpkg.so.1");
    assert_eq!(tree["usr/bin/pkg"], "644 ELF");
    assert!(tree.contains_key("usr/lib/systemd/system-pkg\\x2d.slice"));
    assert!(!tree.contains_key("lib"));
    let set_id = Tar::new().member(Header::new("./usr/bin/su", b'0', 0).mode(0o4755), b"");
    assert_eq!(accepted(DEB, &deb(set_id))["usr/bin/su"], "755 ");
}

#[test]
fn packages_share_a_folder_but_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("root");
    let unpack = |data: Tar| {
        let archive = folder.path().join(DEB);
        fs::write(&archive, deb(data)).unwrap();
        unpack::deb(&archive, &dest, &Limits::default())
    };
    let control = unpack(Tar::new().folder("./usr/").file("./usr/a", b"1").link("./lib", "usr/lib")).unwrap();
    assert!(control.text.starts_with("Package: pkg\n"), "{}", control.text);
    assert_eq!(control.files.iter().map(|entry| &*entry.path).collect::<Vec<_>>(), ["usr/a"]);
    unpack(Tar::new().folder("./usr/").file("./usr/b", b"2").file("./lib/c", b"").link("./lib", "usr/lib")).unwrap();
    let before = everything(&dest);
    let error = unpack(Tar::new().file("./usr/0", b"").folder("./usr/d/").file("./usr/a", b"3")).unwrap_err();
    assert!(error.to_string().contains("`usr/a` exists already"), "{error}");
    // What is not akb's is neither followed nor overwritten.
    symlink("/tmp", dest.join("usr/out")).unwrap();
    let error = unpack(Tar::new().file("./usr/out/x", b"")).unwrap_err();
    assert!(error.to_string().contains("through the link `usr/out`"), "{error}");
    fs::remove_file(dest.join("usr/out")).unwrap();
    assert_eq!(everything(&dest), before, "a refused package takes back what it wrote");
}

#[test]
fn limits_hold() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |file: &str, bytes: Vec<u8>, limits: &Limits| {
        let archive = folder.path().join(file);
        fs::write(&archive, bytes).unwrap();
        let dest = folder.path().join("dest");
        let error = unpack::any(&archive, &dest, limits).unwrap_err();
        assert!(!dest.exists());
        error.to_string()
    };
    let zeros = vec![0; 65 << 20];
    let limits = Limits { ratio: 100, ..Limits::default() };
    assert!(refused(WHEEL, zip(&[Member::new("zeros", &zeros)]), &limits).contains("more than 100 times the size"));
    assert!(refused(SDIST, top().file("p-1/zeros", &zeros).gzip(), &limits).contains("more than 100 times the size"));
    let limits = Limits { files: 3, total_size: 100, file_size: 60, ..Limits::default() };
    let many = |count: usize| (0..count).map(|i| Member::new(format!("f{i}"), b"")).collect::<Vec<_>>();
    assert!(refused(WHEEL, zip(&many(4)), &limits).contains("more than 3 members"));
    assert!(refused(WHEEL, zip(&[Member::new("a", &[1; 61])]), &limits).contains("61 bytes; at most 60"));
    let two = [Member::new("a", &[1; 60]), Member::new("b", &[1; 60])];
    assert!(refused(WHEEL, zip(&two), &limits).contains("more than 100 bytes in all"));
    let headers = top().pax(b'x', &[]).file("p-1/a", b"").pax(b'x', &[]).file("p-1/b", b"");
    assert!(refused(SDIST, headers.gzip(), &limits).contains("more than 3 members"));
    assert!(refused(SDIST, top().file("p-1/a", &[1; 61]).gzip(), &limits).contains("61 bytes; at most 60"));
}

#[test]
fn only_new_or_empty_folders_are_filled() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(WHEEL), wheel()).unwrap();
    let dest = folder.path().join("dest");
    fs::create_dir(&dest).unwrap();
    akb(folder.path()).args(["unpack", WHEEL, "dest"]).assert().success();
    let before = everything(folder.path());
    let run = akb(folder.path()).args(["unpack", WHEEL, "dest"]).assert().code(2);
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("expected a new or empty folder"));
    assert_eq!(everything(folder.path()), before);
}

#[test]
fn the_command_lists_hashes_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(WHEEL), wheel()).unwrap();
    let run = akb(folder.path()).args(["unpack", "--list", WHEEL]).assert().success();
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    let empty = akb::digest::Sha256::of(b"").hex();
    assert!(text.lines().any(|line| line == format!("{empty}           0  pkg-1.0.dist-info/RECORD")), "{text}");
    assert_eq!(text.lines().count(), 4);
    assert_eq!(everything(folder.path()).len(), 1);
}

/// A change to some bytes of an archive.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// Copies the bytes at one place to another.
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<prop::sample::Index>(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..80_usize)
            .prop_map(|(from, to, length)| Change::Copy(from, to, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Change::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Copy(from, to, length) => {
                let from = from.index(bytes.len());
                let part = bytes[from..(from + length).min(bytes.len())].to_vec();
                let to = to.index(bytes.len());
                let end = (to + part.len()).min(bytes.len());
                bytes.splice(to..end, part);
            }
        }
    }
    bytes
}

/// Unpacks changed bytes; nothing may be outside of the folder, and nothing in it after an error.
fn survive(file: &str, bytes: &[u8]) -> Option<Vec<Entry>> {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("in").join(file);
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(&archive, bytes).unwrap();
    let limits = Limits { total_size: 1 << 24, file_size: 1 << 24, ..Limits::default() };
    let result = unpack::any(&archive, &folder.path().join("dest"), &limits);
    let mut left = everything(folder.path());
    left.retain(|name, _| name != "in" && name != &format!("in/{file}"));
    if result.is_ok() {
        left.retain(|name, _| name != "dest" && !name.starts_with("dest/"));
    }
    assert_eq!(left, BTreeMap::new());
    result.ok()
}

fn contents(entries: &[Entry]) -> Vec<(String, akb::digest::Sha256)> {
    entries.iter().map(|entry| (entry.path.clone(), entry.sha256)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A ZIP archive says all twice and sums its contents: what is taken after a change has the same files.
    #[test]
    fn changed_wheels_are_refused_or_equal(changes in prop::collection::vec(change(), 1..4)) {
        let valid = survive(WHEEL, &wheel()).unwrap();
        if let Some(entries) = survive(WHEEL, &changed(wheel(), &changes)) {
            prop_assert_eq!(contents(&entries), contents(&valid));
        }
    }

    /// gzip sums all: only its own header can change.
    #[test]
    fn changed_source_distributions_are_refused_or_equal(changes in prop::collection::vec(change(), 1..4)) {
        let valid = survive(SDIST, &sdist().gzip()).unwrap();
        if let Some(entries) = survive(SDIST, &changed(sdist().gzip(), &changes)) {
            prop_assert_eq!(contents(&entries), contents(&valid));
        }
    }

    #[test]
    fn changed_tar_archives_stay_inside(changes in prop::collection::vec(change(), 1..12)) {
        survive(SDIST, &changed(sdist().end(), &changes));
    }

    #[test]
    fn changed_debian_packages_stay_inside(changes in prop::collection::vec(change(), 1..4)) {
        survive(DEB, &changed(package(), &changes));
    }
}
