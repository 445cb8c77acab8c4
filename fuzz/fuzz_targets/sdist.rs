//! Whatever the bytes are: no panic, nothing outside of the folder, nothing in it after an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../survive.rs"]
mod survive;

fuzz_target!(|bytes: &[u8]| survive::survive("a.tar.gz", bytes));
