//! `RECORD`: CSV rows of path, hash and size (binary distribution format; recording installed projects).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::Digest as _;

use super::error::RecordProblem;
use super::names::unsafe_path;
use crate::digest::Sha256;

/// One row, its three fields as they are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Relative to site-packages, `/` between components.
    pub path: String,
    /// `sha256=` and URL-safe base64 without padding, or nothing.
    pub hash: String,
    /// Bytes in decimal, or nothing.
    pub size: String,
}

impl Row {
    /// The row of a file with known content.
    pub fn of(path: String, sha256: &Sha256, size: u64) -> Self {
        Self { path, hash: format!("sha256={}", BASE64URL_NOPAD.encode(sha256.bytes())), size: size.to_string() }
    }

    /// The row of a file that is not verified: bytecode, and `RECORD` itself.
    pub fn bare(path: String) -> Self {
        Self { path, hash: String::new(), size: String::new() }
    }
}

/// Reads rows as Python's `csv.reader` does; blank lines are skipped. `Err` has the line and what is wrong there.
pub fn parse(text: &str) -> Result<Vec<Row>, (usize, &'static str)> {
    let mut rows = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (fields, tail) = fields(rest).map_err(|problem| (line, problem))?;
        line += rest[..rest.len() - tail.len()].matches('\n').count();
        rest = tail;
        match <[String; 3]>::try_from(fields) {
            Ok([path, hash, size]) => rows.push(Row { path, hash, size }),
            Err(blank) if blank.len() == 1 && blank[0].is_empty() => {}
            Err(_) => return Err((line.saturating_sub(1).max(1), "is not three fields")),
        }
    }
    Ok(rows)
}

/// The fields of the first row, and the text after it.
fn fields(text: &str) -> Result<(Vec<String>, &str), &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, tail) = field(rest)?;
        fields.push(field);
        if let Some(next) = tail.strip_prefix(',') {
            rest = next;
            continue;
        }
        let end = tail.strip_prefix("\r\n").or_else(|| tail.strip_prefix('\n'));
        return match end {
            Some(next) => Ok((fields, next)),
            None if tail.is_empty() => Ok((fields, tail)),
            None => Err("has text after a closing quote"),
        };
    }
}

fn field(text: &str) -> Result<(String, &str), &'static str> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        let end = if text[end..].starts_with('\n') && text[..end].ends_with('\r') { end - 1 } else { end };
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut field = String::new();
    loop {
        let end = rest.find('"').ok_or("has a quote that is not closed")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(tail) => {
                field.push('"');
                rest = tail;
            }
            None => return Ok((field, rest)),
        }
    }
}

/// The text of sorted rows. Quoted only where it must be, as Python's `csv.writer` does.
pub fn format(mut rows: Vec<Row>) -> String {
    rows.sort_unstable();
    rows.dedup();
    let mut text = String::new();
    for row in rows {
        let path = if row.path.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", row.path.replace('"', "\"\""))
        } else {
            row.path
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{path},{},{}", row.hash, row.size);
    }
    text
}

/// The paths that an installed `RECORD` lists, as they are spelt; none where it cannot be understood.
pub fn paths(record: &[u8]) -> impl Iterator<Item = String> {
    let rows = std::str::from_utf8(record).ok().and_then(|text| parse(text).ok()).unwrap_or_default();
    rows.into_iter().map(|row| row.path)
}

/// An installed `RECORD` with the hash and size that `fresh` knows for paths, spelt as in the record. Rows
/// without a hash stay so; a record that cannot be understood stays as it is.
pub fn with_hashes(record: &[u8], mut fresh: impl FnMut(&str) -> Option<(Sha256, u64)>) -> Vec<u8> {
    let Some(mut rows) = std::str::from_utf8(record).ok().and_then(|text| parse(text).ok()) else {
        return record.to_vec();
    };
    for row in rows.iter_mut().filter(|row| !row.hash.is_empty()) {
        if let Some((sha256, size)) = fresh(&row.path) {
            *row = Row::of(std::mem::take(&mut row.path), &sha256, size);
        }
    }
    format(rows).into_bytes()
}

/// What a wheel's record is checked against.
pub(super) struct Found<'a> {
    /// Hash of the content.
    pub(super) sha256: &'a Sha256,
    /// Bytes.
    pub(super) size: u64,
}

/// Everything in which `rows` and the files of a wheel disagree. `read` gives the bytes of a file, for hashes
/// that are not SHA-256.
pub(super) fn disagreements(
    rows: &[Row],
    files: &BTreeMap<&str, Found<'_>>,
    dist_info: &str,
    read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>,
) -> Vec<RecordProblem> {
    let own = format!("{dist_info}/RECORD");
    let signatures = [format!("{own}.jws"), format!("{own}.p7s")];
    let mut problems = Vec::new();
    let mut listed: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in rows {
        let path = row.path.as_str();
        if let Some(reason) = unsafe_path(path) {
            problems.push(RecordProblem::Path { path: path.to_owned(), reason });
        } else if listed.insert(path, row).is_some() {
            problems.push(RecordProblem::Twice { path: path.to_owned() });
        }
    }
    for (path, row) in &listed {
        match files.get(path) {
            None => problems.push(RecordProblem::Absent { path: (*path).to_owned() }),
            // A file cannot hold its own hash.
            Some(_) if *path == own => {
                if !row.hash.is_empty() {
                    problems.push(RecordProblem::OwnHash { found: row.hash.clone() });
                }
            }
            Some(found) => problems.extend(compare(row, found, read)),
        }
    }
    for path in files.keys().filter(|path| !listed.contains_key(*path)) {
        if *path != own && !signatures.iter().any(|signature| signature == path) {
            problems.push(RecordProblem::Unlisted { path: (*path).to_owned() });
        }
    }
    problems
}

/// How many rows have their hash in hexadecimal. The specification wants base64, but early `uv_build` wrote this
/// (geoip2 5.2.0); the two have different lengths, so it cannot be mistaken.
pub(super) fn in_hexadecimal(rows: &[Row]) -> usize {
    let hexadecimal = |row: &&Row| {
        let digits = row.hash.split_once('=').map_or("", |(_, digits)| digits);
        matches!(digits.len(), 64 | 96 | 128) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    rows.iter().filter(hexadecimal).count()
}

fn compare(row: &Row, found: &Found<'_>, read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>) -> Option<RecordProblem> {
    let path = || row.path.clone();
    if !row.size.is_empty() && row.size.parse() != Ok(found.size) {
        return Some(RecordProblem::Size { path: path(), expected: row.size.clone(), found: found.size });
    }
    let Some((algorithm, expected)) = row.hash.split_once('=') else {
        return Some(RecordProblem::NoHash { path: path(), found: row.hash.clone() });
    };
    let digest = match algorithm {
        "sha256" => found.sha256.bytes().to_vec(),
        "sha384" | "sha512" => match read(&row.path) {
            Err(error) => return Some(RecordProblem::Unreadable { path: path(), reason: error.to_string() }),
            Ok(bytes) if algorithm == "sha384" => sha2::Sha384::digest(bytes).to_vec(),
            Ok(bytes) => sha2::Sha512::digest(bytes).to_vec(),
        },
        _ => return Some(RecordProblem::Algorithm { path: path(), found: algorithm.to_owned() }),
    };
    let encoded = BASE64URL_NOPAD.encode(&digest);
    let agrees = encoded == expected || HEXLOWER.encode(&digest) == expected;
    (!agrees).then(|| RecordProblem::Hash {
        path: path(),
        expected: row.hash.clone(),
        found: format!("{algorithm}={encoded}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::testing::TestWheel;
    use crate::install::{InstallError, Wheel};
    use proptest::prelude::*;

    fn open(wheel: TestWheel) -> Result<Wheel, InstallError> {
        wheel.open(tempfile::tempdir().unwrap().path())
    }

    fn problems(wheel: TestWheel) -> Vec<RecordProblem> {
        match open(wheel) {
            Err(InstallError::Record { problems, .. }) => problems,
            other => panic!("{other:?}"),
        }
    }

    fn wheel() -> TestWheel {
        TestWheel::new("a", "1").file("a.py", "x = 1\n")
    }

    /// The right record with the row of `a.py` replaced.
    fn with_row(row: &str) -> TestWheel {
        let wheel = wheel();
        let right = wheel.right_record();
        let rows: String =
            right.lines().filter(|line| !line.starts_with("a.py")).map(|line| format!("{line}\n")).collect();
        wheel.record(&format!("{rows}{row}"))
    }

    #[test]
    fn a_right_record_is_taken() {
        assert!(open(wheel()).is_ok());
        let crlf = wheel().right_record().replace('\n', "\r\n");
        assert!(open(wheel().record(&crlf)).is_ok());
        let sizeless = "a.py,sha256=6cpCLM3UTWeSRUGNhfsBWyS1i2DRPq7M9VwYXz3CAPQ,";
        assert!(matches!(&problems(with_row(sizeless))[..], [RecordProblem::Hash { .. }]));
        let sizeless = format!("a.py,sha256={},\n", BASE64URL_NOPAD.encode(Sha256::of(b"x = 1\n").bytes()));
        assert!(open(with_row(&sizeless)).is_ok());
    }

    #[test]
    fn stronger_hashes_are_computed() {
        for (name, digest) in [
            ("sha384", sha2::Sha384::digest(b"x = 1\n").to_vec()),
            ("sha512", sha2::Sha512::digest(b"x = 1\n").to_vec()),
        ] {
            let encoded = BASE64URL_NOPAD.encode(&digest);
            assert!(open(with_row(&format!("a.py,{name}={encoded},6"))).is_ok(), "{name}");
            let wrong = format!("a.py,{name}=A{},6", &encoded[1..]);
            assert!(matches!(&problems(with_row(&wrong))[..], [RecordProblem::Hash { .. }]), "{name}");
        }
    }

    #[test]
    fn hexadecimal_hashes_are_taken_and_told() {
        let right = Sha256::of(b"x = 1\n").hex();
        let wheel = open(with_row(&format!("a.py,sha256={right},6"))).unwrap();
        assert_eq!(wheel.warnings.len(), 1);
        assert!(open(self::wheel()).unwrap().warnings.is_empty());
        let wrong = Sha256::of(b"x = 2\n").hex();
        assert!(matches!(&problems(with_row(&format!("a.py,sha256={wrong},6")))[..], [RecordProblem::Hash { .. }]));
        let upper = right.to_uppercase();
        assert!(matches!(&problems(with_row(&format!("a.py,sha256={upper},6")))[..], [RecordProblem::Hash { .. }]));
    }

    #[test]
    fn every_disagreement_has_its_name() {
        let right = wheel().right_record();
        let row = right.lines().find(|line| line.starts_with("a.py")).unwrap();
        let hash = row.split(',').nth(1).unwrap();
        use RecordProblem::{Absent, Algorithm, Hash, NoHash, OwnHash, Path, Size, Twice, Unlisted};
        assert!(matches!(&problems(with_row(""))[..], [Unlisted { path }] if path == "a.py"));
        assert!(matches!(&problems(with_row("a.py,,"))[..], [NoHash { .. }]));
        assert!(matches!(&problems(with_row(&format!("a.py,{hash},7")))[..], [Size { found: 6, .. }]));
        assert!(matches!(&problems(with_row(&format!("a.py,{hash},six")))[..], [Size { .. }]));
        assert!(matches!(&problems(with_row("a.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,6"))[..], [Algorithm { .. }]));
        assert!(matches!(&problems(with_row("a.py,SHA256=AA,6"))[..], [Algorithm { .. }]));
        assert!(matches!(&problems(with_row(&format!("a.py,{hash}=,6")))[..], [Hash { .. }]));
        assert!(matches!(&problems(wheel().record(&format!("{right}{row}\n")))[..], [Twice { .. }]));
        assert!(matches!(&problems(wheel().record(&format!("{right}b.py,{hash},6\n")))[..], [Absent { .. }]));
        assert!(matches!(&problems(wheel().record(&format!("{right}../b.py,{hash},6\n")))[..], [Path { .. }]));
        assert!(matches!(&problems(wheel().record(&format!("{right}/etc/passwd,,\n")))[..], [Path { .. }]));
        assert!(matches!(&problems(wheel().record(&format!("{right}a/./b,,\n")))[..], [Path { .. }]));
        let own = right.replace("RECORD,,", "RECORD,sha256=AA,");
        assert!(matches!(&problems(wheel().record(&own))[..], [OwnHash { .. }]));
    }

    #[test]
    fn all_disagreements_are_told_at_once() {
        let wheel = wheel().file("b.py", "").file("c.py", "").record("x.py,,\na-1.dist-info/RECORD,,\n");
        let error = open(wheel).unwrap_err().to_string();
        for path in
            ["x.py: listed", "a.py: in the", "b.py: in the", "c.py: in the", "METADATA: in the", "WHEEL: in the"]
        {
            assert!(error.contains(path), "{path} in {error}");
        }
    }

    #[test]
    fn signatures_and_the_record_need_no_row() {
        let rows = wheel().right_record().replace("a-1.dist-info/RECORD,,\n", "");
        let signed = wheel().info("RECORD.jws", "{}").info("RECORD.p7s", "x").record(&rows);
        assert!(open(signed).is_ok());
        let other = wheel().file("RECORD.jws", "{}").record(&rows);
        assert!(matches!(&problems(other)[..], [RecordProblem::Unlisted { .. }]));
    }

    #[test]
    fn rows_that_are_no_rows_are_refused() {
        for text in ["a.py\n", "a,b\n", "a,b,c,d\n", "\"a,b,c\n", "\"a\"x,b,c\n", "a,,\nb\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("a,,\n\"b\nc\",,\nd\n").unwrap_err(), (4, "is not three fields"));
        assert_eq!(parse("\n\r\na,,\r\n\n").unwrap(), [Row::bare("a".into())]);
    }

    #[test]
    fn installed_records_are_listed_and_edited() {
        let record = b"a.py,sha256=x,1\n\"b,c\",,\n";
        assert_eq!(paths(record).collect::<Vec<_>>(), ["a.py", "b,c"]);
        let edited = with_hashes(record, |_| Some((Sha256::of(b""), 0)));
        let expected = "a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n\"b,c\",,\n";
        assert_eq!(String::from_utf8(edited).unwrap(), expected);
        assert_eq!(with_hashes(b"broken", |_| None), b"broken");
        assert_eq!(paths(b"\xff,,").count(), 0);
    }

    #[test]
    fn odd_names_are_quoted_as_python_does() {
        let names = ["a,b.py", "q\"q.py", "sp ace.py", "é.py", "plain"];
        let text = format(names.iter().map(|name| Row::bare((*name).to_owned())).collect());
        insta::assert_snapshot!(text, @r#"
        "a,b.py",,
        plain,,
        "q""q.py",,
        sp ace.py,,
        é.py,,
        "#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s)[a,\"\r\n=é ]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn rows_round_trip(paths in proptest::collection::btree_set("(?s)[a-c,\"\n\r é/]{1,12}", 0..8)) {
            let rows: Vec<Row> = paths.into_iter().map(|path| Row::of(path, &Sha256::of(b""), 0)).collect();
            prop_assert_eq!(parse(&format(rows.clone())), Ok(rows));
        }
    }
}
