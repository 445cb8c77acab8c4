//! Which of the files that an index offers can be used here.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};

use super::{Choice, Offer, Own, Setting, requirement::is_small};
use crate::digest::Sha256;
use crate::lock::is_wheel;
use crate::lock::names::{SdistName, WheelName};
use crate::plan::FileId;

/// What can be chosen for one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// The best file of each version.
    pub(super) versions: BTreeMap<Version, Candidate>,
    /// The project's own or preferred version.
    pub(super) preferred: Option<Version>,
    /// Why the rest cannot be used: reason and number of files.
    pub(super) refused: BTreeMap<&'static str, u32>,
}

/// The best file of one version.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) choice: Choice,
    pub(super) yanked: bool,
}

/// Sorts `offers` of `name`. The project's own package stands before every file of its version.
pub(super) fn candidates(setting: &Setting<'_>, name: &str, offers: Vec<Offer>, own: Option<&Own>) -> Candidates {
    let mut found = Candidates::default();
    let mut ranks: BTreeMap<Version, (bool, Rank)> = BTreeMap::new();
    for offer in offers {
        match fit(setting, name, &offer) {
            Err(reason) => *found.refused.entry(reason).or_default() += 1,
            Ok((version, sha256, rank)) => {
                let rank = (offer.yanked, rank);
                if ranks.get(&version).is_some_and(|best| *best <= rank) {
                    continue;
                }
                ranks.insert(version.clone(), rank);
                let file = FileId { name: offer.file, size: offer.size, sha256 };
                found.versions.insert(version, Candidate { yanked: offer.yanked, choice: Choice::File(file) });
            }
        }
    }
    let preferred = setting.world.preferred.get(name);
    found.preferred = preferred.and_then(|version| Version::from_str(version).ok());
    if let Some(text) = own.and_then(|own| own.version.clone())
        && let Ok(version) = Version::from_str(&text)
    {
        found.versions.insert(version.clone(), Candidate { choice: Choice::Own(text), yanked: false });
        found.preferred = Some(version);
    }
    found
}

/// Lower is better. The file name last, so that the order of the index does not matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    sdist: bool,
    tag: u32,
    build: std::cmp::Reverse<Option<(u64, String)>>,
    suffix: u8,
    file: String,
}

fn fit(setting: &Setting<'_>, name: &str, offer: &Offer) -> Result<(Version, Sha256, Rank), &'static str> {
    let (version, rank) = if is_wheel(&offer.file) {
        let wheel = WheelName::parse(&offer.file).map_err(|_| "named against the specification")?;
        if wheel.name != name {
            return Err("of another project");
        }
        let tag = setting.tags.rank(&wheel).ok_or("for other interpreters or platforms")?;
        let build = std::cmp::Reverse(wheel.build.map(|build| (build.number, build.rest)));
        (wheel.version, Rank { sdist: false, tag, build, suffix: 0, file: offer.file.clone() })
    } else {
        let sdist = SdistName::parse(&offer.file, name).map_err(|_| "named against the specification")?;
        let version = sdist.version.ok_or("named against the specification")?;
        let suffix = match sdist.suffix {
            ".tar.gz" => 0,
            ".zip" => 1,
            _ => 2,
        };
        let build = std::cmp::Reverse(None);
        (version, Rank { sdist: true, tag: 0, build, suffix, file: offer.file.clone() })
    };
    if !is_small(&version) {
        return Err("of an absurd version");
    }
    let sha256 = offer.sha256.ok_or("without a sha256 in the index")?;
    if !python_fits(setting, offer.requires_python.as_deref()) {
        return Err("for other versions of Python");
    }
    if is_newer(offer.uploaded.as_deref(), setting.world.exclude_newer) {
        return Err("newer than exclude-newer");
    }
    Ok((version, sha256, rank))
}

/// A `Requires-Python` that cannot be read excludes nothing, as with other installers.
fn python_fits(setting: &Setting<'_>, requires: Option<&str>) -> bool {
    let specifiers = requires.and_then(|text| VersionSpecifiers::from_str(text).ok());
    specifiers.is_none_or(|specifiers| specifiers.contains(&setting.python))
}

/// Both in RFC 3339 and UTC, as indexes and locks write them: the first nineteen characters compare as text.
fn is_newer(uploaded: Option<&str>, limit: Option<&str>) -> bool {
    let Some((uploaded, limit)) = uploaded.zip(limit) else { return false };
    uploaded.get(..19).unwrap_or(uploaded) >= limit.get(..19).unwrap_or(limit)
}
