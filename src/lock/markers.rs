//! What a target answers to environment markers (PEP 508, PEP 496).

use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{
    ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, MarkerExpression, MarkerOperator, Pep508Error, Pep508Url,
    Requirement,
};

use term::{Term, Token};

use crate::lock::names::normalize;
use crate::request::Target;

mod term;

/// Longest marker that is read. Real ones with many conflicts have some thousand bytes.
const LONGEST: usize = 1 << 20;

/// Deepest nesting of parentheses: parsers are recursive.
const DEEPEST: usize = 64;

/// Most comparisons, words and parentheses in the marker of a requirement, which is read as a whole.
const MOST_TOKENS: usize = 100;

/// A text that is no marker or requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {kind}: {reason}")]
pub struct NotAMarker {
    kind: &'static str,
    found: String,
    reason: String,
}

impl NotAMarker {
    /// What is wrong with it, without the text itself.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn new(kind: &'static str, text: &str, reason: String) -> Self {
        Self { kind, found: text.chars().take(200).collect(), reason }
    }
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

/// A marker and the text that it was read from.
///
/// The published parser reads each comparison. `and`, `or` and parentheses are read here: it would turn them
/// into a decision diagram whose size can be exponential in that of the text, shared by all threads and lost
/// to them when one panics.
#[derive(Clone, Debug)]
pub struct Marker {
    text: String,
    /// `None` is always true: all that there is are comparisons without a meaning, which PEP 508 readers drop.
    term: Option<Term>,
}

impl Marker {
    /// Reads a marker; refuses those that could only exhaust the parser or make it panic.
    pub fn parse(text: &str) -> Result<Self, NotAMarker> {
        let wrong = |reason| NotAMarker::new("an environment marker", text, reason);
        check(text).map_err(wrong)?;
        let mut tokens = term::tokens(text).into_iter().peekable();
        let term = term::any(&mut tokens).map_err(wrong)?;
        match tokens.next() {
            None => Ok(Self { text: text.to_owned(), term }),
            Some(token) => Err(wrong(format!("`{}` is not expected", token.text()))),
        }
    }

    /// Whether it is true for `environment` with these extras.
    pub fn holds(&self, environment: &MarkerEnvironment, extras: &[ExtraName]) -> bool {
        self.term.as_ref().is_none_or(|term| term.holds(environment, extras))
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Reads a requirement (PEP 508) such as `Requires-Dist` has; refuses what [`Marker::parse`] refuses, and what
/// would take something from this process's environment.
pub fn requirement<U: Pep508Url>(text: &str) -> Result<Requirement<U>, NotAMarker> {
    let wrong = |reason| NotAMarker::new("a requirement", text, reason);
    check(text).map_err(wrong)?;
    // The published parser panics on names that end in punctuation, and expands variables in addresses.
    let head = text.split(|c| ";@<>=!~(".contains(c)).next().unwrap_or_default();
    let mut names = head.split(|c: char| "[],".contains(c) || c.is_whitespace()).filter(|name| !name.is_empty());
    if let Some(name) = names.find(|name| normalize(name).is_none()) {
        return Err(wrong(format!("`{name}` is not a valid name")));
    }
    if text.contains("${") {
        return Err(wrong("it names a variable of the environment".into()));
    }
    let comparisons: Vec<_> = text.split(';').skip(1).flat_map(term::tokens).collect();
    if comparisons.len() > MOST_TOKENS {
        return Err(wrong(format!("its marker has more than {MOST_TOKENS} parts")));
    }
    let read = |token: &Token<'_>| term::comparison(token.text()).ok().flatten();
    if let Some(part) = comparisons.iter().filter_map(read).find(is_beyond_the_parser) {
        return Err(wrong(format!("`{part}` means nothing")));
    }
    Requirement::from_str(text).map_err(|error: Pep508Error<U>| wrong(error.message.to_string()))
}

/// Comparisons on which the published parser panics when it reads a whole marker: `'x' ~= os_name`, and
/// versions whose successor it cannot count to.
fn is_beyond_the_parser(comparison: &MarkerExpression) -> bool {
    match comparison {
        MarkerExpression::String { operator, .. } => *operator == MarkerOperator::TildeEqual,
        MarkerExpression::Version { specifier, .. } => specifier.version().release().contains(&u64::MAX),
        MarkerExpression::VersionIn { versions, .. } => {
            versions.iter().any(|version| version.release().contains(&u64::MAX))
        }
        MarkerExpression::Extra { .. } => false,
    }
}

fn check(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    // The grammar of PEP 508 is ASCII, and the published parser panics where a character is longer.
    if !text.is_ascii() {
        return Err("it is not ASCII".into());
    }
    if depth(text) > DEEPEST {
        return Err(format!("its parentheses are nested deeper than {DEEPEST}"));
    }
    Ok(())
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
    use std::str::FromStr as _;

    use pep508_rs::MarkerTree;
    use proptest::prelude::*;

    use url::Url;

    use super::*;

    fn holds(marker: &str, python: &str, platform: &str) -> bool {
        let target = Target { python: python.parse().unwrap(), platform: platform.parse().unwrap() };
        Marker::parse(marker).unwrap().holds(&environment(&target), &[])
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
            ("extra != 'x'", true),
            ("python_full_version ~= '3.14.0' and python_full_version ~= '3.14'", true),
            ("python_full_version > '3.14.0a1' and python_version >= '3.13.9'", true),
            ("'lin' in sys_platform and os_name in 'posix nt' and 'y' not in os_name", true),
            ("python_version not in '3.13 3.15' and '3.13' < python_version", true),
        ] {
            assert_eq!(holds(marker, "3.14", "aarch64-musllinux_1_2"), expected, "{marker}");
        }
        assert!(holds("python_full_version == '3.14.2'", "3.14.2", "x86_64-manylinux_2_28"));
    }

    #[test]
    fn refuses_what_would_exhaust_the_parser() {
        let nested = |depth: usize| format!("{}os_name == 'posix'{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Marker::parse(&nested(DEEPEST)).is_ok());
        assert!(Marker::parse(&nested(DEEPEST + 1)).is_err());
        assert!(Marker::parse(&nested(100_000)).is_err());
        assert!(Marker::parse(&"os_name == 'posix' or ".repeat(100_000)).is_err());
        assert!(Marker::parse("os_name =").is_err());
        assert!(Marker::parse("sys_platform == 'linux' *\u{10f39}\u{1e964}").is_err());
        assert!(Marker::parse("python_version <= '3.18446744073709551615'").is_ok());
        assert!(requirement::<Url>("foo[x]>=1; os_name == 'posix'").is_ok());
        for text in [
            "foo \u{10f39}",
            "foo-[x]",
            "foo[x-]",
            "foo.",
            "foo @ https://a.invalid/${HOME}",
            "foo; 'x' ~= os_name",
            "foo; python_version <= '3.18446744073709551615'",
        ] {
            assert!(requirement::<Url>(text).is_err(), "{text}");
        }
    }

    /// A whole marker as a decision diagram would take gigabytes.
    #[test]
    fn reads_in_linear_time() {
        let pair = |n: u32| format!("(extra == 'a{n:02}' and extra == 'b{n:02}')");
        let text = (0..60).map(pair).collect::<Vec<_>>().join(" or ");
        let target = Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_28".parse().unwrap() };
        let extras = |names: [&str; 2]| names.map(|name| name.parse().unwrap());
        let marker = Marker::parse(&text).unwrap();
        assert!(marker.holds(&environment(&target), &extras(["a59", "b59"])));
        assert!(!marker.holds(&environment(&target), &extras(["a59", "b58"])));
    }

    /// Markers that mean something, with quotes, words and spaces where they can deceive.
    fn markers() -> impl Strategy<Value = String> {
        let comparison = prop::sample::select(vec![
            "os_name == 'posix'",
            "os_name=='nt'",
            "sys_platform != \"and ( or\"",
            "'linux' in sys_platform",
            "platform_machine not in 'x86_64 or i686'",
            "python_version<'3.15'",
            "python_full_version >= '3.14.1'",
            "extra == 'x'",
            "extra != 'y'",
            "os_name ~= 'posix'",
            "platform_release == \"and\"",
        ]);
        let space = || prop::sample::select(vec!["", " "]);
        comparison.prop_map(str::to_owned).prop_recursive(4, 24, 3, move |inner| {
            let word = prop::sample::select(vec!["and", "or"]);
            prop_oneof![
                (inner.clone(), word, inner.clone()).prop_map(|(a, word, b)| format!("{a} {word} {b}")),
                (space(), inner, space()).prop_map(|(a, inner, b)| format!("({a}{inner}{b})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn means_what_the_published_parser_says(text in markers()) {
            let target = Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_28".parse().unwrap() };
            let (environment, extras) = (environment(&target), ["x".parse().unwrap()]);
            let whole = MarkerTree::from_str(&text).unwrap();
            prop_assert_eq!(Marker::parse(&text).unwrap().holds(&environment, &extras), whole.evaluate(&environment, &extras));
        }

        #[test]
        fn refuses_what_the_published_parser_refuses(text in "(os_name|extra|\\(|\\)| == |'x'| and | or |and|or| ){0,12}") {
            prop_assert_eq!(Marker::parse(&text).is_ok(), MarkerTree::from_str(&text).is_ok(), "{}", text);
        }

        #[test]
        fn comparisons_never_panic(
            key in prop::sample::select(vec!["python_version", "python_full_version", "implementation_version", "os_name", "extra", "'3.1'"]),
            operator in prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "~=", "===", " in ", " not in "]),
            value in "[0-9]{1,3}(\\.[0-9*]{1,2}){0,4}[ a-z0-9+!.*-]{0,3}|[a-z-]{0,3}",
            turned: bool,
        ) {
            let text = if turned { format!("'{value}'{operator}{key}") } else { format!("{key}{operator}'{value}'") };
            let target = Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_28".parse().unwrap() };
            if let Ok(marker) = Marker::parse(&text) {
                marker.holds(&environment(&target), &[]);
            }
            let _ = requirement::<Url>(&format!("foo; {text}"));
        }

        #[test]
        fn never_panics(text in "(os_name|extra|python_version|\\(|\\)|==|<|>=|~=|in|not|and|or|'[0-9a-z.*]{0,4}'|\"|'|foo|\\[x\\]|@|;|,| |\\PC){0,16}") {
            let _ = (Marker::parse(&text), requirement::<Url>(&text));
        }
    }
}
