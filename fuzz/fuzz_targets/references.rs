//! Whatever a file holds: scanning and overwriting do not panic, what is overwritten is not found again, and the file
//! keeps its size.
#![no_main]

use std::fs;
use std::num::NonZeroUsize;

use akb::references::{self, Filter, Needles, Policy};
use akb::report::Silent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, bytes).expect("space in the temporary folder");
    let needles = Needles::default().literal("/abc/").literal("needle");
    let found = references::scan(folder.path(), &needles, NonZeroUsize::MIN);
    let filter = Filter::default();
    let policy = Policy { filter, filler: b'e', functional: true, links: true };
    let replaced = references::replace(folder.path(), &needles, &policy, NonZeroUsize::MIN, &Silent);
    let after = fs::read(&file).expect("the file is still there");
    assert_eq!(after.len(), bytes.len(), "the file keeps its size");
    match (found, replaced) {
        (Ok(_), Ok(_)) => {
            let again = references::scan(folder.path(), &needles, NonZeroUsize::MIN).expect("it was read before");
            assert!(again.found.is_empty(), "nothing is left: {:?}", again.found);
        }
        _ => assert_eq!(after, bytes, "what is refused stays as it is"),
    }
});
