//! Whatever the bytes are: no panic, and what was stripped has nothing more to strip.
#![no_main]

use akb::strip::{Options, Outcome, strip};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for symbols in [false, true] {
        let options = Options { symbols, build_id: true };
        if let Outcome::Stripped(stripped) = strip(bytes, options, Some("x.debug")) {
            assert!(matches!(strip(&stripped.bytes, options, None), Outcome::Unchanged));
        }
    }
});
