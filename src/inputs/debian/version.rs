//! Debian versions: order and upstream part, after deb-version(7).

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_upstream, left_revision) = split(left);
    let (right_epoch, right_upstream, right_revision) = split(right);
    compare_numbers(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_part(left_upstream, right_upstream))
        .then_with(|| compare_part(left_revision, right_revision))
}

/// The version without epoch and Debian revision: `3.14.8` of `1:3.14.8-2`.
pub fn upstream(version: &str) -> &str {
    split(version).1
}

/// Epoch, upstream version and revision; what is absent is empty, which sorts as `0` does.
fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

fn compare_part(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = take(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = take(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_rest) = take(left_rest, |byte| byte.is_ascii_digit());
        let (right_number, right_rest) = take(right_rest, |byte| byte.is_ascii_digit());
        let order = compare_text(left_text, right_text).then_with(|| compare_numbers(left_number, right_number));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn take(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| !wanted(*byte)).unwrap_or(bytes.len()))
}

/// `~` sorts before the end, the end before letters, letters before all else.
fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |bytes: &[u8], index: usize| match bytes.get(index) {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..left.len().max(right.len()))
        .map(|index| weight(left, index).cmp(&weight(right, index)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Compares digits of any length by value.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |digits: &'_ [u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (left, right) = (&left[significant(left)..], &right[significant(right)..]);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ascending; the pairs of dpkg's own tests and of deb-version(7).
    const ASCENDING: &[&str] = &[
        "0~~",
        "0~~a",
        "0~",
        "0",
        "0.1",
        "1.0~beta1~svn1245",
        "1.0~beta1",
        "1.0",
        "1.0-0ubuntu1",
        "1.0-1~bpo12+1",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1.1",
        "1.0-2",
        "1.0-10",
        "1.0a",
        "1.0+dfsg",
        "1.0.1",
        "1.2.3",
        "1.10",
        "2.43-7",
        "3.15.0~rc1-1",
        "3.15.0-1",
        "1:0",
        "1:0.5",
        "4:16.1.0-3~",
        "4:16.1.0-3",
        "10:0",
    ];

    #[test]
    fn orders_as_dpkg_does() {
        for (i, left) in ASCENDING.iter().enumerate() {
            for (j, right) in ASCENDING.iter().enumerate() {
                assert_eq!(compare(left, right), i.cmp(&j), "{left} {right}");
            }
        }
    }

    #[test]
    fn absent_parts_are_zero() {
        for (left, right) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("a", "a0"), ("0:1-0", "1")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn upstream_part() {
        for (version, expected) in
            [("3.14.8-1", "3.14.8"), ("1:2-3-4", "2-3"), ("3.15.0~rc1-1", "3.15.0~rc1"), ("7", "7")]
        {
            assert_eq!(upstream(version), expected);
        }
    }

    proptest! {
        #[test]
        fn is_a_total_order(a in "[0-9a-z.+~:-]{0,12}", b in "[0-9a-z.+~:-]{0,12}", c in "[0-9a-z.+~:-]{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn takes_any_text(a in ".*", b in ".*") {
            compare(&a, &b);
        }
    }
}
