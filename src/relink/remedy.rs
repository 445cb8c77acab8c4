//! The next step for somebody whose libraries are missing.

use std::collections::BTreeSet;

use super::missing::{Missing, Reason, debian_package, nix_package};

/// Where a person can say what to do about missing libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// In a recipe.
    Recipe,
    /// On a command line that takes Debian packages.
    Packages,
    /// On a command line that takes folders.
    Prefixes,
    /// On this machine.
    Machine,
}

impl Remedy {
    /// The next step.
    pub fn hint(self, missing: &[Missing]) -> String {
        let absent: Vec<&Missing> = missing.iter().filter(|missing| missing.is_absent()).collect();
        if absent.is_empty() {
            let unsuitable = missing.iter().any(|missing| matches!(missing.reason, Reason::Unsuitable { .. }));
            let hint = if unsuitable {
                "the library is for another machine or C library: take one that fits into the inputs"
            } else {
                "use a newer suite for the inputs, or build the package from source"
            };
            return hint.to_owned();
        }
        let sonames: BTreeSet<&str> = absent.iter().map(|missing| &*missing.soname).collect();
        let debian: BTreeSet<String> = sonames.iter().map(|soname| debian_package(soname)).collect();
        let nix: BTreeSet<String> = sonames.iter().filter_map(|soname| nix_package(soname)).collect();
        let nix = if nix.is_empty() { String::new() } else { format!("; attributes of nixpkgs: {}", quoted(nix)) };
        // A package with many plug-ins of which few are used: say it once. What the inputs have is still taken.
        let owners: Option<BTreeSet<String>> =
            absent.iter().map(|missing| missing.package.as_ref().map(|package| format!("{package}:*"))).collect();
        let (rule, names) = match owners {
            Some(owners) if sonames.len() > NAMED => ("optional", owners),
            _ => ("ignore", sonames.iter().map(|&soname| soname.to_owned()).collect()),
        };
        let packages = list(debian.clone(), |name| name, " ");
        let flags = list(names.clone(), |name| format!("--{rule} '{name}'"), " ");
        match self {
            Self::Recipe => format!(
                "write in akb.toml: [inputs] packages = [{}] (a guess by Debian's naming rule{nix}); or, if nothing uses it: [relink] {rule} = [{}]",
                quoted(debian),
                quoted(names)
            ),
            Self::Packages => format!(
                "name Debian packages behind the folder: {packages} (a guess by its naming rule{nix}); or, if nothing uses it: {flags}"
            ),
            Self::Machine => format!(
                "install it (Debian: apt install {packages}, by its naming rule{nix}); or, if nothing uses it: {flags}"
            ),
            Self::Prefixes => format!(
                "name a folder that has it: --inputs PREFIX (Debian packages, by its naming rule: {packages}{nix}); or, if nothing uses it: {flags}"
            ),
        }
    }
}

/// Most names that a hint spells out.
const NAMED: usize = 12;

fn quoted(names: BTreeSet<String>) -> String {
    list(names, |name| format!("\"{name}\""), ", ")
}

fn list(names: BTreeSet<String>, spelt: impl Fn(String) -> String, between: &str) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut text = names.into_iter().take(NAMED).map(spelt).collect::<Vec<_>>().join(between);
    if more > 0 {
        text.push_str(&format!("{between}and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn speaks_of_what_is_there_to_be_changed() {
        let many: Vec<Missing> = (0..13)
            .map(|index| Missing::new(&format!("libx{index}.so"), Path::new("a.so"), Some("qt"), Reason::NotFound))
            .collect();
        assert!(Remedy::Recipe.hint(&many).ends_with("[relink] optional = [\"qt:*\"]"));
        let missing = [Missing::new("libxml2.so.16", Path::new("a.so"), None, Reason::NotFound)];
        insta::assert_snapshot!(Remedy::Recipe.hint(&missing), @r#"write in akb.toml: [inputs] packages = ["libxml2-16"] (a guess by Debian's naming rule; attributes of nixpkgs: "libxml2.out"); or, if nothing uses it: [relink] ignore = ["libxml2.so.16"]"#);
        insta::assert_snapshot!(Remedy::Packages.hint(&missing), @r#"name Debian packages behind the folder: libxml2-16 (a guess by its naming rule; attributes of nixpkgs: "libxml2.out"); or, if nothing uses it: --ignore 'libxml2.so.16'"#);
        insta::assert_snapshot!(Remedy::Prefixes.hint(&missing), @r#"name a folder that has it: --inputs PREFIX (Debian packages, by its naming rule: libxml2-16; attributes of nixpkgs: "libxml2.out"); or, if nothing uses it: --ignore 'libxml2.so.16'"#);
        insta::assert_snapshot!(Remedy::Machine.hint(&missing), @r#"install it (Debian: apt install libxml2-16, by its naming rule; attributes of nixpkgs: "libxml2.out"); or, if nothing uses it: --ignore 'libxml2.so.16'"#);
    }
}
