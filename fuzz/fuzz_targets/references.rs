//! Whatever the bytes are: no panic, and what was overwritten is not found again.
#![no_main]

use std::fs;
use std::num::NonZeroUsize;

use akb::references::{Class, Needles, Pattern, Policy, Words, replace, scan};
use akb::report::Silent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("f"), bytes).expect("space in the temporary folder");
    let digits = Class::of(b"01");
    let (prefix, tail) = (b"/a/b/".to_vec(), Class::of(b"01xyz-."));
    let pattern = Pattern { prefix, alphabet: digits.clone(), length: 4, tail, most: 9 };
    let words = Words::new(digits, 4, [(b"0110".to_vec(), "word".to_owned())]);
    let needles = Needles::default().pattern(pattern).words(words).literal("/build");
    let jobs = NonZeroUsize::MIN;
    scan(folder.path(), &needles, jobs).expect("a file");
    let policy = Policy { functional: true, links: true, ..Policy::default() };
    if replace(folder.path(), &needles, &policy, jobs, &Silent).is_ok() {
        assert!(scan(folder.path(), &needles, jobs).expect("a file").found.is_empty());
        assert_eq!(fs::read(folder.path().join("f")).expect("a file").len(), bytes.len());
    }
});
