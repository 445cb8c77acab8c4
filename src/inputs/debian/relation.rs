//! Relations between packages (`Depends` and its kin), after deb-control and Debian policy 7.1.

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// `a (>= 1) | b`: any one of them.
pub type Group<'a> = Vec<Relation<'a>>;

/// One name with what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Package or virtual package.
    pub name: &'a str,
    /// What follows a colon: `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// Operator and version.
    pub version: Option<(Operator, &'a str)>,
}

/// How versions must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// A text that is no relation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a relation such as `libc6 (>= 2.34) | libc`, found `{0}`")]
pub struct NotARelation(pub String);

/// Reads a whole field: groups between commas, alternatives between bars. Empty groups are skipped.
pub fn parse(field: &str) -> Result<Vec<Group<'_>>, NotARelation> {
    field
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(|group| group.split('|').map(one).collect())
        .collect()
}

fn one(text: &str) -> Result<Relation<'_>, NotARelation> {
    let text = text.trim();
    let wrong = || NotARelation(text.to_owned());
    let (head, version) = match text.split_once('(') {
        None => (text, None),
        Some((head, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(wrong)?.trim();
            (head.trim_end(), Some(operator(inner).ok_or_else(wrong)?))
        }
    };
    let (name, qualifier) = head.split_once(':').map_or((head, None), |(name, rest)| (name, Some(rest)));
    let allowed = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
    };
    if !allowed(name) || !qualifier.is_none_or(allowed) {
        return Err(wrong());
    }
    Ok(Relation { name, qualifier, version })
}

fn operator(text: &str) -> Option<(Operator, &str)> {
    let end = text.find(|c: char| !"<=>".contains(c))?;
    let (sign, version) = text.split_at(end);
    let operator = match sign {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    let version = version.trim();
    let legal = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte));
    (legal && !version.is_empty()).then_some((operator, version))
}

impl Relation<'_> {
    /// Whether `version` is one that this relation asks for.
    pub fn allows(&self, version: &str) -> bool {
        self.version.is_none_or(|(operator, wanted)| operator.holds(version::compare(version, wanted)))
    }

    /// Whether a package of `architecture` can be meant, where only that and `all` are looked at.
    pub fn allows_architecture(&self, architecture: &str) -> bool {
        self.qualifier.is_none_or(|qualifier| ["any", "native", architecture].contains(&qualifier))
    }
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        self.version.map_or(Ok(()), |(operator, version)| write!(f, " ({operator} {version})"))
    }
}

/// Writes a group as it stands in the field.
pub fn display(group: &[Relation<'_>]) -> String {
    group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes() {
        let field = "libc6 (>= 2.34), python3:any (<< 3.15) | python3.14:amd64, zlib1g";
        let groups = parse(field).unwrap();
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[1][0].qualifier, Some("any"));
        assert_eq!(groups[1][1].qualifier, Some("amd64"));
        let written: Vec<_> = groups.iter().map(|group| display(group)).collect();
        assert_eq!(written.join(", "), field);
        assert_eq!(parse("  a(>=1) ,, b ,").unwrap().len(), 2);
    }

    #[test]
    fn operators_compare() {
        for (relation, version, expected) in [
            ("a (<< 2)", "2", false),
            ("a (<< 2)", "2~rc1", true),
            ("a (<= 2)", "2", true),
            ("a (= 2-1)", "2-1", true),
            ("a (= 2-1)", "2-1+b1", false),
            ("a (>= 2)", "1:0", true),
            ("a (>> 2)", "2", false),
            ("a", "0", true),
        ] {
            assert_eq!(parse(relation).unwrap()[0][0].allows(version), expected, "{relation} {version}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in
            ["a (", "a (2)", "a (~ 2)", "a (>= )", "a [amd64]", "a <!nocheck>", "a b", "a:", ":b", "(>= 1)", "a | "]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in "[a-z0-9:|,() <>=.~+-]{0,40}") {
            if let Ok(groups) = parse(&text) {
                let written: Vec<_> = groups.iter().map(|group| display(group)).collect();
                let written = written.join(", ");
                prop_assert_eq!(parse(&written), Ok(groups));
            }
        }
    }
}
