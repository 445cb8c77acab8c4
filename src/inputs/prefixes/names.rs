//! Names by which a recipe speaks of prefixes.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every prefix by its name, and by that without its version: `xmlsec-1.3.7-dev` is `xmlsec-dev`, too. What two
/// different folders could be called means none of them.
pub(super) fn named<'a>(prefixes: impl Iterator<Item = (&'a str, &'a PathBuf)>) -> BTreeMap<String, PathBuf> {
    let mut named: BTreeMap<String, Option<&PathBuf>> = BTreeMap::new();
    for (name, folder) in prefixes {
        let full = Some(name.to_owned());
        for name in full.into_iter().chain(without_version(name)) {
            let known = named.entry(name).or_insert(Some(folder));
            *known = known.filter(|known| *known == folder);
        }
    }
    named.into_iter().filter_map(|(name, folder)| Some((name, folder?.clone()))).collect()
}

/// The name without its first part that begins with a digit, if it has one.
fn without_version(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = name.split('-').collect();
    let version = parts.iter().skip(1).position(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
    parts.remove(version + 1);
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_version_where_one_prefix_has_them() {
        let folders = ["xmlsec-1.3.7", "xmlsec-1.3.7-dev", "zlib-1.3", "zlib-1.4", "7zip", "fonts", "zlib-1.3"];
        let paths = folders.map(|name| PathBuf::from("/inputs").join(name));
        let named = named(folders.into_iter().zip(&paths));
        let names: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["7zip", "fonts", "xmlsec", "xmlsec-1.3.7", "xmlsec-1.3.7-dev", "xmlsec-dev", "zlib-1.3", "zlib-1.4"]
        );
        assert_eq!(named["xmlsec-dev"], paths[1]);
    }
}
