//! Whatever the bytes and the edits are: no panic, and what is written parses, is stable, and can be undone.
#![no_main]

use akb::relink::elf::{self, Edits, Image, Interpreter, Needed, Patch, SearchPath, SearchTag};
use libfuzzer_sys::fuzz_target;

/// Bytes at the end of the input that say how to edit; the rest is the file.
const PROGRAM: usize = 24;
const STEP: usize = 6;

fuzz_target!(|input: &[u8]| {
    let Some((file, program)) = input.len().checked_sub(PROGRAM).map(|at| input.split_at(at)) else { return };
    let mut bytes = file.to_vec();
    for step in program.chunks_exact(STEP) {
        let edits = edits(step);
        let result = elf::edit(&bytes, &edits);
        compare(&bytes, &edits, result.as_ref().ok());
        match result {
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
    let text = |length: u8, skip: u8| -> String {
        "/abc:$ORIGIN/\u{fc}d".chars().cycle().skip((skip % 16).into()).take(length.into()).collect()
    };
    let name = |code: u8| format!("lib{}.so", "ab".repeat(usize::from(code % 16)));
    let tag = if step[0] & 1 == 0 { SearchTag::Runpath } else { SearchTag::Rpath };
    let mut edits = Edits {
        interpreter: (step[0] & 2 != 0).then(|| Interpreter {
            path: text(step[1], step[2]),
            slot: (step[0] & 4 != 0).then(|| usize::from(step[2]) * 2),
        }),
        search: (step[0] & 8 != 0)
            .then(|| (step[0] & 16 != 0).then(|| SearchPath { tag, text: text(step[3], step[4]) })),
        ..Edits::default()
    };
    if step[0] & 32 != 0 {
        let code = step[5];
        match code % 10 {
            0 => edits.soname = Some((code > 99).then(|| name(code))),
            1 => edits.needed.push(Needed::Add(name(code))),
            2 => edits.needed.push(Needed::Remove("libneeded.so.1".into())),
            3 => edits.needed.push(Needed::Replace { from: "libneeded.so.1".into(), to: name(code) }),
            4 => edits.os_abi = Some(code),
            5 => edits.executable_stack = Some(code > 99),
            6 => edits.no_default_lib = Some(code > 99),
            7 => edits.debug_tag = true,
            8 => edits.resolution_cache = Some((code > 99).then(|| step.to_vec())),
            _ => drop(edits.rename.insert("sample".into(), name(code))),
        }
    }
    edits
}

/// An edit that reads only what it needs says the same as one that reads all.
fn compare(bytes: &[u8], edits: &Edits, whole: Option<&Option<Vec<u8>>>) {
    if !edits.rename.is_empty() {
        return;
    }
    let mut read = |into: &mut [u8], at: usize| {
        into.copy_from_slice(&bytes[at..at + into.len()]);
        Ok(())
    };
    let patch = Patch::plan_with(bytes.len(), 0, &mut read, edits).expect("memory can be read");
    if let (Ok(patch), Some(whole)) = (patch, whole) {
        assert_eq!(patch.map(|patch| patch.apply(bytes.to_vec())).as_ref(), whole.as_ref());
    }
}

/// What was given out is right: goblin reads it as well as before, the same edit changes nothing, undo is exact.
fn examine(before: &[u8], edited: &[u8], edits: &Edits) {
    // A broken hash table is no reason to refuse a file; it stays as it is. How much it can claim depends on the size.
    let read = |bytes: &[u8]| goblin::elf::Elf::parse(bytes).is_ok();
    if read(before) && elf::pristine(before).is_ok_and(|bytes| read(&bytes)) {
        goblin::elf::Elf::parse(edited).expect("what was written parses");
    }
    assert_eq!(elf::edit(edited, edits), Ok(None), "the same edit changes nothing");
    assert_eq!(elf::pristine(edited), elf::pristine(before), "undo is exact");
    let (Ok(Some(mut old)), Ok(Some(mut new))) = (Image::read(before), Image::read(edited)) else { return };
    for image in [&mut old, &mut new] {
        (image.interpreter, image.search) = (None, None);
    }
    let only_paths = Edits { interpreter: edits.interpreter.clone(), search: edits.search.clone(), ..Edits::default() };
    assert!(old == new || *edits != only_paths, "nothing else changed");
}
