//! Which packages a list of wishes needs: a closure over `Depends` and `Pre-Depends`, without `Recommends`.
//!
//! An archive suite has one version of each package, so there is nothing to search: the first alternative
//! that can be had is taken, real packages before virtual ones, and conflicts with what was already taken
//! rule an alternative out. The result does not depend on the order of the wishes.

use std::collections::{BTreeMap, VecDeque};

use super::index::{BadIndex, Index, Package};
use super::relation::{self, Group, NotARelation, Relation};

/// Packages that only maintainer scripts and a running system use. No maintainer script runs here and no
/// system boots, so a dependency on them counts as met unless they are wished for by name.
pub const NEVER: &[&str] = &[
    "adduser",
    "cdebconf",
    "debconf",
    "debconf-2.0",
    "dpkg",
    "init-system-helpers",
    "install-info",
    "libpam-runtime",
    "lsb-base",
    "passwd",
    "sensible-utils",
    "sgml-base",
    "systemd",
    "systemd-sysv",
    "sysvinit-utils",
    "ucf",
    "update-inetd",
    "xml-core",
];

/// Packages that compilers depend on and that almost no build uses: run-time parts of the sanitizers and a
/// profiler, a tenth of all bytes. Taken where they are wished for by name; `cannot find -lasan` is explained so.
pub const RARELY: &[&str] = &["libasan8", "libgprofng0", "libhwasan0", "liblsan0", "libtsan2", "libubsan1"];

/// Why there is no closure.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ClosureError {
    #[error("no package `{name}` in the index")]
    Unknown { name: String, similar: Vec<String> },
    #[error("{relation} cannot be met, which {needed_by} needs")]
    Unmet { relation: String, needed_by: String },
    #[error("{left} and {right} cannot be installed together ({relation})")]
    Conflict { left: String, right: String, relation: String },
    #[error("field of package `{package}`: {source}")]
    Relation { package: String, source: NotARelation },
    #[error("wished-for package: {0}")]
    Wish(NotARelation),
    #[error(transparent)]
    Index(#[from] BadIndex),
}

/// All packages that `wishes` need, sorted by name. A wish is a relation: `gcc`, `gcc (>= 4:16)`, `a | b`; or
/// `-name`: dependencies on that package count as met, since the wisher knows that nothing will use it.
pub fn closure<'w>(
    index: &'w Index<'w>,
    wishes: &'w [String],
    architecture: &'w str,
) -> Result<Vec<&'w Package<'w>>, ClosureError> {
    let mut wishes: Vec<&str> = wishes.iter().map(String::as_str).collect();
    wishes.sort_unstable();
    wishes.dedup();
    let without = wishes.iter().filter_map(|wish| wish.trim().strip_prefix('-')).collect();
    wishes.retain(|wish| !wish.trim().starts_with('-'));
    let mut work = Work { index, architecture, without, taken: BTreeMap::new(), queue: VecDeque::new() };
    for wish in &wishes {
        let groups = relation::parse(wish).map_err(ClosureError::Wish)?;
        work.queue.extend(groups.into_iter().map(|group| (group, None)));
    }
    while let Some((group, needed_by)) = work.queue.pop_front() {
        work.meet(&group, needed_by)?;
    }
    Ok(work.taken.into_values().map(|(package, _)| package).collect())
}

struct Work<'w> {
    index: &'w Index<'w>,
    architecture: &'w str,
    without: Vec<&'w str>,
    /// Each with the package that asked for it first.
    taken: BTreeMap<&'w str, (&'w Package<'w>, Option<&'w str>)>,
    queue: VecDeque<(Group<'w>, Option<&'w str>)>,
}

impl<'w> Work<'w> {
    fn meet(&mut self, group: &Group<'w>, needed_by: Option<&'w str>) -> Result<(), ClosureError> {
        let left_out =
            |relation: &Relation<'_>| [NEVER, RARELY, &self.without].iter().any(|names| names.contains(&relation.name));
        if (needed_by.is_some() && group.iter().any(left_out)) || group.iter().any(|relation| self.has(relation)) {
            return Ok(());
        }
        let candidates: Vec<_> = group.iter().flat_map(|relation| self.candidates(relation)).collect();
        let mut conflict = None;
        for candidate in candidates {
            match self.conflict_with_taken(candidate)? {
                None => return self.take(candidate, needed_by),
                Some(found) => conflict = conflict.or(Some(found)),
            }
        }
        Err(conflict.unwrap_or_else(|| self.unmet(group, needed_by)))
    }

    fn take(&mut self, package: &'w Package<'w>, needed_by: Option<&'w str>) -> Result<(), ClosureError> {
        self.taken.insert(package.name, (package, needed_by));
        for field in [package.pre_depends, package.depends] {
            for group in groups(package, field)? {
                self.queue.push_back((group, Some(package.name)));
            }
        }
        Ok(())
    }

    /// Whether what was taken meets `relation` already.
    fn has(&self, relation: &Relation<'_>) -> bool {
        relation.allows_architecture(self.architecture)
            && (self.taken.get(relation.name).is_some_and(|(package, _)| relation.allows(package.version))
                || self
                    .index
                    .providers(relation.name)
                    .any(|(package, version)| self.taken.contains_key(package.name) && provides(relation, version)))
    }

    /// Who could meet `relation`, best first.
    fn candidates(&self, relation: &Relation<'_>) -> Vec<&'w Package<'w>> {
        if !relation.allows_architecture(self.architecture) {
            return Vec::new();
        }
        let index = self.index;
        let real = index.get(relation.name).filter(|package| relation.allows(package.version));
        let mut virtuals: Vec<_> = index
            .providers(relation.name)
            .filter(|(_, version)| provides(relation, *version))
            .map(|(package, _)| package)
            .collect();
        virtuals.sort_by_key(|package| (package.rank(), package.name));
        real.into_iter().chain(virtuals).collect()
    }

    fn conflict_with_taken(&self, candidate: &'w Package<'w>) -> Result<Option<ClosureError>, ClosureError> {
        for (package, _) in self.taken.values() {
            if let Some(conflict) = self.conflict(candidate, package)?.or(self.conflict(package, candidate)?) {
                return Ok(Some(conflict));
            }
        }
        Ok(None)
    }

    /// What `left` says against `right`.
    fn conflict(&self, left: &Package<'_>, right: &Package<'_>) -> Result<Option<ClosureError>, ClosureError> {
        if left.name == right.name {
            return Ok(None);
        }
        for (word, field) in [("Conflicts", left.conflicts), ("Breaks", left.breaks)] {
            // Most fields name nobody who is here: look before reading.
            for relation in groups(left, field)?.into_iter().flatten() {
                let real = relation.name == right.name && relation.allows(right.version);
                let provided = || {
                    self.index
                        .providers(relation.name)
                        .any(|(package, version)| package.name == right.name && provides(&relation, version))
                };
                if relation.allows_architecture(self.architecture) && (real || provided()) {
                    return Ok(Some(ClosureError::Conflict {
                        left: left.name.to_owned(),
                        right: right.name.to_owned(),
                        relation: format!("{word}: {relation}"),
                    }));
                }
            }
        }
        Ok(None)
    }

    fn unmet(&self, group: &Group<'_>, needed_by: Option<&str>) -> ClosureError {
        match (group.as_slice(), needed_by) {
            ([relation], None) if self.index.get(relation.name).is_none() => {
                ClosureError::Unknown { name: relation.name.to_owned(), similar: self.similar(relation.name) }
            }
            _ => ClosureError::Unmet { relation: relation::display(group), needed_by: self.chain(needed_by) },
        }
    }

    /// `libc6-dev (because of gcc, because of build)`.
    fn chain<'a>(&'a self, mut name: Option<&'a str>) -> String {
        let mut chain = Vec::new();
        while let Some(package) = name {
            chain.push(package);
            name = self.taken.get(package).and_then(|(_, needed_by)| *needed_by);
        }
        if chain.is_empty() { "the list of wishes".to_owned() } else { chain.join(", needed by ") }
    }

    /// Names that a person may have meant: the same but for digits and punctuation, or with it as a part.
    fn similar(&self, name: &str) -> Vec<String> {
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphabetic).collect::<String>();
        let wanted = plain(name);
        if wanted.is_empty() {
            return Vec::new();
        }
        let same = self.index.names().filter(|known| plain(known) == wanted);
        let longer = self.index.names().filter(|known| known.contains(name));
        let mut found: Vec<String> = same.chain(longer).map(str::to_owned).collect();
        found.dedup();
        found.truncate(5);
        found
    }
}

/// Whether a package that provides `version` of a name meets a relation on it (policy 7.5).
fn provides(relation: &Relation<'_>, version: Option<&str>) -> bool {
    relation.version.is_none() || version.is_some_and(|version| relation.allows(version))
}

fn groups<'w>(package: &Package<'_>, field: &'w str) -> Result<Vec<Group<'w>>, ClosureError> {
    relation::parse(field).map_err(|source| ClosureError::Relation { package: package.name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE: &str = "
app 1 Depends: liba (>= 2), tool | other-tool, debconf (>= 1) | debconf-2.0
liba 2 Pre-Depends: libc
libc 5 Depends: libgcc
libgcc 1 Depends: libc (>= 3)
other-tool 1
tool 1~rc1 Breaks: ancient (<< 2)
needs-old 1 Depends: liba (<< 2) | old-liba
old-liba 1
needs-mail 1 Depends: mail-agent
mail-b 1 Provides: mail-agent
mail-a 1 Provides: mail-agent
mail-z 1 Provides: mail-agent|Priority: important
needs-abi 1 Depends: abi (>= 3)
abi-old 1 Provides: abi (= 2)
abi-none 1 Provides: abi
abi-new 1 Provides: abi (= 3)
curl-a 1 Provides: curl-dev|Conflicts: curl-dev
curl-b 1 Provides: curl-dev|Conflicts: curl-dev
uses-curl 1 Depends: curl-a | curl-dev
foreign 1 Depends: liba:i386
any 1 Depends: liba:any
broken 1 Depends: nowhere
wants-broken 1 Depends: broken
ancient 1
";

    fn text() -> String {
        let paragraph = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (name, version) = (words.next().unwrap(), words.next().unwrap());
            let fields =
                words.next().unwrap_or("").replace("|Priority", "\nPriority").replace("|Conflicts", "\nConflicts");
            format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}\n\n").replace("\n\n\n", "\n\n")
        };
        ARCHIVE.trim().lines().map(paragraph).collect()
    }

    fn names(wishes: &[&str]) -> Result<String, ClosureError> {
        let text = text();
        let mut index = Index::default();
        index.add(&text, "amd64").unwrap();
        index.finish().unwrap();
        let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
        let found = closure(&index, &wishes, "amd64")?;
        Ok(found.iter().map(|package| package.name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn takes_what_is_needed_and_no_more() {
        for (wishes, expected) in [
            (&["app"][..], "app liba libc libgcc tool"),
            (&["app", "other-tool"], "app liba libc libgcc other-tool"),
            (&["needs-old"], "needs-old old-liba"),
            (&["needs-mail"], "mail-z needs-mail"),
            (&["needs-mail", "mail-b"], "mail-b needs-mail"),
            (&["needs-abi"], "abi-new needs-abi"),
            (&["mail-agent"], "mail-z"),
            (&["nowhere | other-tool"], "other-tool"),
            (&["any"], "any liba libc libgcc"),
            (&["uses-curl"], "curl-a uses-curl"),
            (&["uses-curl", "curl-b"], "curl-b uses-curl"),
            (&["liba (>= 2)"], "liba libc libgcc"),
            (&["app", "-liba"], "app tool"),
            (&["app", "-libgcc", "-nowhere"], "app liba libc tool"),
        ] {
            assert_eq!(names(wishes).unwrap(), expected, "{wishes:?}");
            let reversed: Vec<_> = wishes.iter().rev().copied().collect();
            assert_eq!(names(&reversed).unwrap(), expected, "{reversed:?}");
        }
    }

    #[test]
    fn says_what_cannot_be_met() {
        let message = |wishes: &[&str]| names(wishes).unwrap_err().to_string();
        assert_eq!(message(&["wants-broken"]), "nowhere cannot be met, which broken, needed by wants-broken needs");
        assert_eq!(message(&["foreign"]), "liba:i386 cannot be met, which foreign needs");
        assert_eq!(message(&["liba (>= 3)"]), "liba (>= 3) cannot be met, which the list of wishes needs");
        assert_eq!(
            message(&["curl-a", "curl-b"]),
            "curl-b and curl-a cannot be installed together (Conflicts: curl-dev)"
        );
        assert_eq!(
            message(&["ancient", "tool"]),
            "tool and ancient cannot be installed together (Breaks: ancient (<< 2))"
        );
        assert!(matches!(names(&["tool ("]), Err(ClosureError::Wish(_))));
        match names(&["lib-a"]) {
            Err(ClosureError::Unknown { name, similar }) => {
                assert_eq!(
                    (name.as_str(), similar),
                    ("lib-a", vec!["liba".to_owned(), "old-liba".to_owned()].into_iter().take(1).collect())
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
