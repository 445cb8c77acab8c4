//! What was probably meant by a name that does not exist.

/// The `known` names by their distance from `name`, nearest first; equally near ones in their order.
pub(crate) fn by_distance<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut known: Vec<_> = known.into_iter().map(|other| (distance(name, other), other)).collect();
    known.sort_by_key(|(distance, _)| *distance);
    known.into_iter().map(|(_, other)| other).collect()
}

/// The nearest of the `known` names, if it is near enough to be a slip of the hand.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = by_distance(name, known).first().copied()?;
    (distance(name, near) <= name.len().max(near.len()) / 3).then_some(near)
}

/// The key that was meant, from serde's message on an unknown one: ``unknown field `x`, expected `a` or `b` ``.
pub(super) fn meant(message: &str) -> Option<String> {
    let quoted: Vec<&str> = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2).collect();
    let (unknown, known) = quoted.split_first()?;
    nearest(unknown, known.iter().copied()).map(str::to_owned)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, other) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshtein() {
        for (a, b, expected) in [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("cflag", "cflags", 1)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_slips_are_meant() {
        assert_eq!(nearest("cflag", ["env", "cflags"]), Some("cflags"));
        assert_eq!(nearest("zzz", ["env", "cflags"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
