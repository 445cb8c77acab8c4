//! What the tests of this module look for.

use std::num::NonZeroUsize;

use super::{Class, Needles, Pattern, Words};

/// Has the form that [`needles`] look for.
pub(super) const HELD: &str = "/shop/0123abcd-tool";
/// Is known by its word `89abcdf0`.
pub(super) const OTHER: &str = "/shop/89abcdf0-lib";

/// Paths of the form `/shop/WORD-name`, the words of [`HELD`] and [`OTHER`], and `/build/src`.
pub(super) fn needles() -> Needles {
    let alphabet = Class::of(b"0123456789abcdf");
    let tail = Class::of(b"-.abcdefghijklmnopqrstuvwxyz0123456789");
    let pattern = Pattern { prefix: b"/shop/".to_vec(), alphabet: alphabet.clone(), length: 8, tail, most: 40 };
    let words = [HELD, OTHER].map(|path| (path.as_bytes()[6..14].to_vec(), path.to_owned()));
    Needles::default().pattern(pattern).words(Words::new(alphabet, 8, words)).literal("/build/src")
}

pub(super) fn jobs(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}
