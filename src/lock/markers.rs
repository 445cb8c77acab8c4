//! What a target answers to environment markers (PEP 508, PEP 496).

use std::str::FromStr as _;

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree};

use crate::request::Target;

/// Longest marker that is read. Real ones with many conflicts have some thousand bytes.
const LONGEST: usize = 64 * 1024;

/// Deepest nesting of parentheses: the published parser is recursive.
const DEEPEST: usize = 64;

/// A text that is no marker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not an environment marker: {reason}")]
pub struct NotAMarker {
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

/// Reads a marker; refuses those whose size or depth could only exhaust the parser.
pub fn parse(text: &str) -> Result<MarkerTree, NotAMarker> {
    let wrong = |reason: String| NotAMarker { found: text.chars().take(200).collect(), reason };
    if text.len() > LONGEST {
        return Err(wrong(format!("it is longer than {LONGEST} bytes")));
    }
    if depth(text) > DEEPEST {
        return Err(wrong(format!("its parentheses are nested deeper than {DEEPEST}")));
    }
    MarkerTree::from_str(text).map_err(|error| wrong(error.message.to_string()))
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
