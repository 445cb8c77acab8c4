//! The fields of a `Release` file: which suite it is, until when it holds, and the digests of its indexes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::digest::Sha256;

/// A suite's description, out of a verified `InRelease`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `testing`
    pub suite: String,
    /// `forky`
    pub codename: String,
    /// After this moment it must not be believed to be current.
    pub valid_until: Option<SystemTime>,
    /// Whether files can be had by their digest.
    pub by_hash: bool,
    /// Whether each architecture's `Packages` holds the packages for all architectures as well.
    pub all_is_included: bool,
    /// Architectures that it has.
    pub architectures: Vec<String>,
    /// Path below the suite's folder to (size, digest).
    pub files: BTreeMap<String, (u64, Sha256)>,
}

/// A file that is not a `Release` file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}: `{found}`")]
pub struct BadRelease {
    problem: &'static str,
    found: String,
}

impl Release {
    /// Reads a `Release` file's text.
    pub fn parse(text: &str) -> Result<Self, BadRelease> {
        let mut release = Self::default();
        let mut section = "";
        for line in text.lines() {
            if line.is_empty() {
                continue;
            }
            if let Some(row) = line.strip_prefix([' ', '\t']) {
                if section == "SHA256" {
                    let (path, entry) = file(row).ok_or_else(|| bad("not a row of SHA256", row))?;
                    if release.files.insert(path.to_owned(), entry).is_some_and(|known| known != entry) {
                        return Err(bad("two digests for one file", path));
                    }
                }
                continue;
            }
            let (field, value) = line.split_once(':').ok_or_else(|| bad("not a field", line))?;
            section = field;
            release.set(field, value.trim())?;
        }
        Ok(release)
    }

    fn set(&mut self, field: &str, value: &str) -> Result<(), BadRelease> {
        match field {
            "Suite" => value.clone_into(&mut self.suite),
            "Codename" => value.clone_into(&mut self.codename),
            "Valid-Until" => self.valid_until = Some(date(value).ok_or_else(|| bad("not a date", value))?),
            "Acquire-By-Hash" => self.by_hash = value == "yes",
            "Architectures" => self.architectures = value.split_whitespace().map(str::to_owned).collect(),
            "No-Support-for-Architecture-all" => self.all_is_included = value == "Packages",
            _ => {}
        }
        Ok(())
    }
}

fn bad(problem: &'static str, found: &str) -> BadRelease {
    BadRelease { problem, found: found.chars().take(120).collect() }
}

fn file(row: &str) -> Option<(&str, (u64, Sha256))> {
    let mut words = row.split_whitespace();
    let (digest, size, path) = (words.next()?, words.next()?, words.next()?);
    let whole = words.next().is_none() && digest.len() == 64;
    whole.then_some((path, (size.parse().ok()?, digest.parse().ok()?)))
}

/// Reads `Fri, 06 Nov 2026 08:08:01 UTC` (RFC 2822 with the zone that archives use).
fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ").map_or(text, |(_, rest)| rest).split_whitespace();
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let utc = matches!(words.next()?, "UTC" | "GMT" | "Z" | "+0000");
    let within = (1970..=9999).contains(&year) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !utc || !within || words.next().is_some() || clock.next().is_some() {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days of the Gregorian calendar, counted with years that start in March so that leap days come last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "Origin: Debian\nSuite: testing\nCodename: forky\nDate: Fri, 30 Oct 2026 08:08:01 UTC\n\
        Valid-Until: Fri, 06 Nov 2026 08:08:01 UTC\nAcquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\n\
        Architectures: all amd64 arm64\nMD5Sum:\n 6d41c06349a3da92b8a135bfde1838f9 1 main/a\nSHA256:\n \
        3ee7e248a1323f66e6bbac87d686442bdc650d66f6a4ffc087a485d49d4c1493 10093888 main/binary-amd64/Packages.xz\n";

    #[test]
    fn reads_a_release() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!((release.suite.as_str(), release.codename.as_str()), ("testing", "forky"));
        assert!(release.by_hash && release.all_is_included);
        assert_eq!(release.files.len(), 1, "other digests do not count");
        assert_eq!(release.files["main/binary-amd64/Packages.xz"].0, 10_093_888);
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_952_481);
        assert_eq!(release.valid_until, Some(until));
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        for line in [" zz 1 main/b", " 3ee7 1 x", "no field", "Valid-Until: tomorrow"] {
            assert!(Release::parse(&format!("{TEXT}{line}\n")).is_err(), "{line}");
        }
        let twice = format!("{TEXT} {} 1 main/binary-amd64/Packages.xz\n", "0".repeat(64));
        assert!(Release::parse(&twice).is_err());
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Tue, 29 Feb 2000 12:00:00 +0000", 951_825_600),
            ("31 Dec 2099 23:59:59 GMT", 4_102_444_799),
        ] {
            assert_eq!(date(text), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "Fri, 06 Nov 2026 08:08:01 CET", "Fri, 06 Nov 2026 08:08 UTC", "06 Nov 99999999999 08:08:01 UTC"]
        {
            assert_eq!(date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "([A-Za-z-]{0,12}:? ?[ a-f0-9:,/.]{0,40}\n){0,8}") {
            drop(Release::parse(&text));
            let _ = date(&text);
        }
    }
}
