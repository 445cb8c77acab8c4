//! Whatever the bytes and the edits are: no panic, and what is written parses, is stable, and can be undone.
#![no_main]

use akb::relink::elf::{self, Edits, Image, Interpreter, SearchPath, SearchTag};
use libfuzzer_sys::fuzz_target;

/// Bytes at the end of the input that say how to edit; the rest is the file.
const PROGRAM: usize = 24;

fuzz_target!(|input: &[u8]| {
    let Some((file, program)) = input.len().checked_sub(PROGRAM).map(|at| input.split_at(at)) else { return };
    let mut bytes = file.to_vec();
    for step in program.chunks_exact(6) {
        let edits = edits(step);
        match elf::edit(&bytes, &edits) {
            Ok(Some(edited)) => {
                examine(&bytes, &edited, &edits);
                bytes = edited;
            }
            Ok(None) => assert_eq!(elf::edit(&bytes, &edits), Ok(None)),
            Err(_) => {}
        }
    }
    let _ = Image::read(&bytes);
    let _ = elf::interpreter_slot(&bytes);
});

fn edits(step: &[u8]) -> Edits {
    let text = |length: u8, repeat: u8| "/abc:$ORIGIN/\u{fc}d".chars().cycle().skip(repeat.into()).take(length.into());
    let tag = if step[0] & 1 == 0 { SearchTag::Runpath } else { SearchTag::Rpath };
    Edits {
        interpreter: (step[0] & 2 != 0).then(|| Interpreter {
            path: text(step[1], step[2] % 16).collect(),
            slot: (step[0] & 4 != 0).then(|| usize::from(step[2]) * 2),
        }),
        search: (step[0] & 8 != 0).then(|| {
            let path = SearchPath { tag, text: text(step[3], step[4] % 16).collect() };
            (step[0] & 16 != 0 || step[5] & 1 == 0).then_some(path)
        }),
    }
}

/// What was given out is right: goblin reads it, the same edit changes nothing, undo is exact.
fn examine(before: &[u8], edited: &[u8], edits: &Edits) {
    goblin::elf::Elf::parse(edited).expect("what was written parses");
    assert_eq!(elf::edit(edited, edits), Ok(None), "the same edit changes nothing");
    assert_eq!(elf::pristine(edited), elf::pristine(before), "undo is exact");
    let (Ok(Some(mut old)), Ok(Some(mut new))) = (Image::read(before), Image::read(edited)) else { return };
    for image in [&mut old, &mut new] {
        (image.interpreter, image.search) = (None, None);
    }
    assert_eq!(old, new, "nothing else changed");
}
