//! Whatever the bytes are: stripping does not panic, and what it gives parses and loads the same bytes.
#![no_main]

use akb::relink::elf::Image;
use akb::strip::{self, Options, Outcome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&flags, bytes)) = bytes.split_last() else { return };
    let options = Options { symbols: flags & 1 != 0, build_id: flags & 2 != 0 };
    if let Outcome::Stripped(made) = strip::strip(bytes, options, (flags & 4 != 0).then_some("a.debug")) {
        goblin::elf::Elf::parse(&made.bytes).expect("what was written parses");
        assert_eq!(Image::read(&made.bytes), Image::read(bytes), "the dynamic linker reads the same");
    }
});
