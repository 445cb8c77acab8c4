//! What still says `/usr` after all, and why that is right.

use crate::relink::elf;
use crate::relink::glob;

/// A file that names folders of the system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Its absolute path.
    pub path: String,
    /// How many times.
    pub count: usize,
    /// Why that does no harm; `None` where it is not known.
    pub reason: Option<&'static str>,
}

/// Names below a prefix, and why files of these names may speak of `/usr`.
const REASONS: &[(&str, &str)] = &[
    ("**.h", "comments, and constants that name what the machine has on which a program runs"),
    ("include/**", "comments, and constants that name what the machine has on which a program runs"),
    ("lib/python*/**", "the standard library looks on the host for what is the host's (browsers, mail, time zones)"),
    ("lib/gconv/*", "read where GCONV_PATH is set only, and then beside the modules"),
    ("share/zoneinfo/**", "comments"),
    ("bin/gprofng-*", "examples in comments, and where it looks for other tools last"),
    ("bin/update-shells", "keeps a running system"),
    ("share/libgcrypt20/*", "keeps a running system"),
    ("lib/perl*/**", "documentation, and defaults that PERL5LIB comes before"),
];

/// Programs and libraries.
const COMPILED: &str = "compiled in: data that the host has in the same format, documentation, or debug files";

/// How many times `bytes` names `/usr`.
pub(super) fn count(bytes: &[u8]) -> usize {
    let ends = |at: usize| !bytes.get(at + 4).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    memchr::memmem::find_iter(bytes, b"/usr").filter(|&at| ends(at)).count()
}

/// Why the file `dest` may.
pub(super) fn reason(dest: &str, bytes: &[u8]) -> Option<&'static str> {
    if elf::is_elf(bytes) || bytes.starts_with(b"!<arch>\n") {
        return Some(COMPILED);
    }
    REASONS.iter().find(|(pattern, _)| glob::matches(pattern, dest)).map(|(_, reason)| *reason)
}
