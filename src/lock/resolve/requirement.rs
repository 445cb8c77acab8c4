//! Requirement strings (PEP 508), and version specifiers as sets of versions.

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerTree, VersionOrUrl};
use pubgrub::Ranges;
use url::Url;

use crate::lock::markers;

/// Longest requirement that is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// Deepest nesting of parentheses: the published parser is recursive.
const DEEPEST: usize = 64;
/// Largest number in a version: sets of versions need the next one.
const LARGEST: u64 = u32::MAX as u64;

/// A text that is no requirement that akb reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a requirement: {reason}")]
pub struct NotARequirement {
    found: String,
    reason: String,
}

/// A requirement, ready for the solver.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Normalised name.
    pub(super) name: String,
    /// Extras of it.
    pub(super) extras: Vec<ExtraName>,
    /// Versions that will do.
    pub(super) versions: Ranges<Version>,
    /// The exact version that it says, if it says one.
    pub(super) exact: Option<Version>,
    /// Whether it names an address instead of versions.
    pub(super) address: bool,
    /// When it counts.
    pub(super) marker: MarkerTree,
}

/// Whether `text` is a requirement that akb reads.
pub(crate) fn check(text: &str) -> Result<(), NotARequirement> {
    Wanted::parse(text).map(drop)
}

impl Wanted {
    /// Reads one requirement.
    pub(super) fn parse(text: &str) -> Result<Self, NotARequirement> {
        let wrong =
            |reason: &str| NotARequirement { found: text.chars().take(200).collect(), reason: reason.to_owned() };
        if text.len() > LONGEST || text.matches('(').count() > DEEPEST {
            return Err(wrong("it is too long or nested too deep"));
        }
        // With `Url` for addresses: the crate's own type would fill in variables of the environment.
        let requirement = markers::requirement::<Url>(text).map_err(|error| wrong(error.reason()))?;
        let (specifiers, address) = match requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => (specifiers, false),
            Some(VersionOrUrl::Url(_)) => (VersionSpecifiers::empty(), true),
            None => (VersionSpecifiers::empty(), false),
        };
        if specifiers.iter().any(|specifier| !is_small(specifier.version())) {
            return Err(wrong("a number of its versions is too large"));
        }
        let exact = specifiers.iter().find(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual));
        Ok(Self {
            name: requirement.name.to_string(),
            extras: requirement.extras,
            exact: exact.map(|specifier| specifier.version().clone()),
            versions: ranges(specifiers),
            address,
            marker: requirement.marker,
        })
    }
}

/// The versions that satisfy all of `specifiers`.
fn ranges(specifiers: VersionSpecifiers) -> Ranges<Version> {
    specifiers.into_iter().map(range).fold(Ranges::full(), |all, one| all.intersection(&one))
}

fn range(specifier: VersionSpecifier) -> Ranges<Version> {
    // PEP 440: `==1.0` takes 1.0+local too. The local versions of V are those before the next possible version.
    let exact = |version: &Version| {
        let next = if let Some(dev) = version.dev() {
            version.clone().with_dev(Some(dev + 1))
        } else {
            version.clone().with_post(Some(version.post().map_or(0, |post| post + 1))).with_dev(Some(0))
        };
        Ranges::between(version.clone(), next)
    };
    match specifier.operator() {
        Operator::Equal if !specifier.version().is_local() => exact(specifier.version()),
        Operator::NotEqual if !specifier.version().is_local() => exact(specifier.version()).complement(),
        // The published conversion takes 1.0 out of `<1.0.post1`, which is only meant to lose 1.0.post1.dev0.
        Operator::LessThan if specifier.version().is_post() && !specifier.version().any_prerelease() => {
            Ranges::strictly_lower_than(specifier.version().clone().with_dev(Some(0)))
        }
        _ => Ranges::from(specifier),
    }
}

/// Whether every number of a version leaves room for the next one.
pub(super) fn is_small(version: &Version) -> bool {
    let pre = version.pre().map(|pre| pre.number);
    let numbers = [Some(version.epoch()), pre, version.post(), version.dev()];
    version.release().iter().copied().chain(numbers.into_iter().flatten()).all(|number| number <= LARGEST)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use proptest::prelude::*;

    use super::*;

    fn takes(specifier: &str, version: &str) -> bool {
        Wanted::parse(&format!("a{specifier}")).unwrap().versions.contains(&version.parse().unwrap())
    }

    #[test]
    fn specifiers_are_those_of_pep_440() {
        for (specifier, yes, no) in [
            ("==1.0", ["1", "1.0+local.9"], ["1.0.1", "1.0.post0.dev0"]),
            ("!=1.0", ["1.1", "1.0rc1"], ["1.0", "1.0+x"]),
            ("==1.0.*", ["1.0.9", "1.0rc1"], ["1.1", "1.1.dev0"]),
            ("~=1.4.2", ["1.4.2", "1.4.99"], ["1.5", "1.5.dev0"]),
            ("<2", ["1.9", "1.9.post9"], ["2", "2rc1"]),
            (">2", ["2.1", "3"], ["2", "2.post1"]),
            (">=1,<3,!=2", ["1", "2.1"], ["2", "3a1"]),
            ("==1.0a1", ["1.0a1", "1a1"], ["1.0", "1.0a2"]),
            ("==1.0.dev3", ["1.0.dev3", "1.dev3"], ["1.0.dev4", "1.0"]),
        ] {
            for (yes, no) in yes.into_iter().zip(no) {
                assert!(takes(specifier, yes), "{specifier} {yes}");
                assert!(!takes(specifier, no), "{specifier} {no}");
            }
        }
    }

    #[test]
    fn refuses_what_could_only_harm() {
        let deep = format!("a; {}python_version>'3'{}", "(".repeat(100), ")".repeat(100));
        for text in [
            "",
            "a b",
            "a>=",
            "a-\u{1760}",
            "a-[x]",
            "a[b-]",
            "a[b-\u{1760}]",
            "a[b-",
            "a[b,c-",
            &deep,
            "a~=1.18446744073709551615",
            "a==1.post18446744073709551615",
        ] {
            assert!(Wanted::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// The sets agree with the published crate's own test of membership.
        #[test]
        fn agrees_with_contains(
            operator in prop::sample::select(vec!["==", "!=", "<=", ">=", "<", ">", "~="]),
            bound in "[0-3]\\.[0-3](a1|rc1|\\.post1|\\.dev1)?",
            version in "[0-3](\\.[0-3]){0,2}(a1|rc1|\\.post1|\\.dev1)?",
        ) {
            let specifier = VersionSpecifier::from_str(&format!("{operator}{bound}")).unwrap();
            let version: Version = version.parse().unwrap();
            // `>1a1` and 1.post1, `<2rc1` and 2a1: `contains` goes by the base version, the sets by the order.
            if matches!(operator, "<" | ">") && bound.contains(char::is_alphabetic) {
                return Ok(());
            }
            prop_assert_eq!(range(specifier.clone()).contains(&version), specifier.contains(&version));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,100}|[a-c0-9.<>=!~,;()@'\" \\[\\]-]{0,60}") {
            let _ = Wanted::parse(&text);
            let _ = Wanted::parse(&format!("a{text}"));
            let _ = Wanted::parse(&format!("a[b{text}"));
            let _ = Wanted::parse(&format!("a; {text}"));
        }
    }
}
