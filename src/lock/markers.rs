//! What a target answers to environment markers (PEP 508, PEP 496).

use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree, Pep508Error, Requirement};

use crate::request::Target;

/// Longest marker that is read. Real ones with many conflicts have some thousand bytes.
const LONGEST: usize = 64 * 1024;

/// Deepest nesting of parentheses: the published parser is recursive.
const DEEPEST: usize = 64;

/// A text that is no marker or requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {kind}: {reason}")]
pub struct NotAMarker {
    kind: &'static str,
    found: String,
    reason: String,
}

/// The marker environment of `CPython` on `target`. A patch level that is not known counts as 0; release and
/// version of the kernel are empty, so that no plan depends on them.
pub fn environment(target: &Target) -> MarkerEnvironment {
    let python = target.python;
    let full = Version::new([python.major, python.minor, python.patch.unwrap_or(0)].map(u64::from)).to_string();
    let (short, machine) = (python.short(), target.platform.arch.name());
    let builder = MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: &full,
        python_version: &short,
        sys_platform: "linux",
    };
    builder.try_into().unwrap_or_else(|_| unreachable!("numbers and dots are a version"))
}

/// Reads a marker; refuses those that could only exhaust the parser or make it panic.
pub fn parse(text: &str) -> Result<MarkerTree, NotAMarker> {
    read(text, "an environment marker")
}

/// Reads a requirement (PEP 508) such as `Requires-Dist` has; refuses what [`parse`] refuses in a marker.
pub fn requirement(text: &str) -> Result<Requirement, NotAMarker> {
    read(text, "a requirement")
}

fn read<T: FromStr<Err = Pep508Error>>(text: &str, kind: &'static str) -> Result<T, NotAMarker> {
    let wrong = |reason: String| NotAMarker { kind, found: text.chars().take(200).collect(), reason };
    if text.len() > LONGEST {
        return Err(wrong(format!("it is longer than {LONGEST} bytes")));
    }
    // The grammar of PEP 508 is ASCII, and the published parser panics where a character is longer.
    if !text.is_ascii() {
        return Err(wrong("it is not ASCII".into()));
    }
    if depth(text) > DEEPEST {
        return Err(wrong(format!("its parentheses are nested deeper than {DEEPEST}")));
    }
    T::from_str(text).map_err(|error| wrong(error.message.to_string()))
}

fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' => now += 1,
            b')' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(marker: &str, python: &str, platform: &str) -> bool {
        let target = Target { python: python.parse().unwrap(), platform: platform.parse().unwrap() };
        parse(marker).unwrap().evaluate(&environment(&target), &[])
    }

    #[test]
    fn answer_as_cpython_on_linux() {
        for (marker, expected) in [
            ("sys_platform == 'linux' and os_name == 'posix' and platform_system == 'Linux'", true),
            ("implementation_name == 'cpython' and platform_python_implementation == 'CPython'", true),
            ("python_version == '3.14' and python_full_version == '3.14.0'", true),
            ("python_version >= '3.9' and python_version < '3.10'", false),
            ("implementation_version >= '3.14'", true),
            ("python_version in '3.13 3.14'", true),
            ("platform_machine == 'aarch64'", true),
            ("platform_machine == 'arm64'", false),
            ("platform_release == '' and platform_version == ''", true),
            ("extra == 'x'", false),
        ] {
            assert_eq!(holds(marker, "3.14", "aarch64-musllinux_1_2"), expected, "{marker}");
        }
        assert!(holds("python_full_version == '3.14.2'", "3.14.2", "x86_64-manylinux_2_28"));
    }

    #[test]
    fn refuses_what_would_exhaust_the_parser() {
        let nested = |depth: usize| format!("{}os_name == 'posix'{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(DEEPEST)).is_ok());
        assert!(parse(&nested(DEEPEST + 1)).is_err());
        assert!(parse(&nested(100_000)).is_err());
        assert!(parse(&"os_name == 'posix' or ".repeat(10_000)).is_err());
        assert!(parse("os_name =").is_err());
        assert!(parse("sys_platform == 'linux' *\u{10f39}\u{1e964}").is_err());
        assert!(requirement("foo[x]>=1; os_name == 'posix'").is_ok());
        assert!(requirement("foo \u{10f39}").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(os_name|extra|python_version|\\(|\\)|==|<|>=|~=|in|not|and|or|'[0-9a-z.*]{0,4}'|\"|'|foo|\\[x\\]|@|;|,| |\\PC){0,16}") {
            let _ = (parse(&text), requirement(&text));
        }
    }
}
