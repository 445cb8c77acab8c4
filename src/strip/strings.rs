//! String tables.

use std::collections::BTreeMap;

/// A string table with each string in it once; those that end another one are a part of it.
pub(super) struct Strings {
    pub(super) bytes: Vec<u8>,
    places: BTreeMap<Vec<u8>, usize>,
}

impl Strings {
    pub(super) fn new(strings: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut reversed: Vec<Vec<u8>> = strings
            .into_iter()
            .map(|mut string| {
                string.reverse();
                string
            })
            .collect();
        // In descending order, what ends another string comes right after it or after others that end it.
        reversed.sort_unstable_by(|a, b| b.cmp(a));
        reversed.dedup();
        let mut table = Self { bytes: vec![0], places: BTreeMap::from([(Vec::new(), 0)]) };
        let mut last: Option<(Vec<u8>, usize)> = None;
        for mut string in reversed.into_iter().filter(|string| !string.is_empty()) {
            let end = match &last {
                Some((longer, end)) if longer.starts_with(&string) => *end,
                _ => {
                    table.bytes.extend(string.iter().rev());
                    let end = table.bytes.len();
                    table.bytes.push(0);
                    last = Some((string.clone(), end));
                    end
                }
            };
            let start = end - string.len();
            string.reverse();
            table.places.insert(string, start);
        }
        table
    }

    /// Where a string is that the table was made of.
    pub(super) fn place(&self, string: &[u8]) -> Option<usize> {
        self.places.get(string).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endings_are_shared() {
        let strings = ["text", "rela.text", "ext", "data", "", "text"].map(|text| text.as_bytes().to_vec());
        let table = Strings::new(strings);
        assert_eq!(table.bytes.len(), 1 + "rela.text".len() + 1 + "data".len() + 1);
    }

    proptest! {
        #[test]
        fn every_string_is_there(strings in proptest::collection::vec("[ab]{0,6}", 0..30)) {
            let table = Strings::new(strings.iter().map(|text| text.as_bytes().to_vec()));
            for text in strings {
                let place = table.place(text.as_bytes()).unwrap();
                prop_assert!(table.bytes[place..].starts_with(text.as_bytes()));
                prop_assert_eq!(table.bytes[place + text.len()], 0);
            }
        }
    }
}
