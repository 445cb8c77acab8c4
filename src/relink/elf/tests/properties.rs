//! What holds for any file and any sequence of edits.

use super::*;

/// Files with symbols, hash tables, versions and relocations, for machines with their own ideas.
fn files() -> impl Strategy<Value = Sample> {
    let symbols = proptest::collection::btree_set("[a-d]{1,2}", 0..6);
    let machine = prop_oneof![Just(62_u16), Just(183), Just(21), Just(22), Just(8), Just(43), Just(0x9026)];
    (samples(), symbols, any::<bool>(), machine).prop_map(|(sample, symbols, gnu_hash, machine)| Sample {
        symbols: symbols.into_iter().collect(),
        gnu_hash,
        machine,
        // Relocations of MIPS64 have another layout, which samples do not.
        wide: sample.wide && machine != 8,
        ..sample
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("libneeded.so.1".to_owned()), "lib[a-c]\\.so", "/usr/lib/[a-z]{1,40}"]
}

fn needed() -> impl Strategy<Value = Vec<Needed>> {
    let change = prop_oneof![
        name().prop_map(Needed::Add),
        name().prop_map(Needed::Remove),
        (name(), name()).prop_map(|(from, to)| Needed::Replace { from, to }),
    ];
    proptest::collection::vec(change, 0..3)
}

fn layout() -> impl Strategy<Value = Layout> {
    let page = proptest::option::of(prop_oneof![Just(0x1000_u64), Just(0x1_0000)]);
    (page, proptest::option::of(any::<bool>()), any::<bool>())
        .prop_map(|(page_size, clear_old, like_patchelf)| Layout { page_size, clear_old, like_patchelf })
}

/// Anything that can be asked for, in any combination.
fn any_edits() -> impl Strategy<Value = Edits> {
    let flags = (proptest::option::of(0..4_u8), proptest::option::of(any::<bool>()), any::<bool>());
    let more = (proptest::option::of(any::<bool>()), proptest::option::of(proptest::option::of("note[a-z]{0,50}")));
    let symbols = (
        proptest::collection::btree_map("[a-d]{1,2}", "[a-d]{1,2}|[a-z]{20}", 0..3),
        proptest::collection::btree_set("[a-d]{1,2}", 0..2),
    );
    let names = (proptest::option::of(proptest::option::of(name())), needed());
    (edits(), flags, more, symbols, names, layout()).prop_map(|(edits, flags, more, symbols, names, layout)| Edits {
        os_abi: flags.0,
        executable_stack: flags.1,
        debug_tag: flags.2,
        no_default_lib: more.0,
        resolution_cache: more.1.map(|note| note.map(String::into_bytes)),
        rename: symbols.0,
        unversioned: symbols.1,
        soname: names.0,
        needed: names.1,
        layout,
        ..edits
    })
}

/// Edits that leave nothing open that other such edits change.
fn complete_edits() -> impl Strategy<Value = Edits> {
    let search = ("(/[a-z$]{1,30}:?){0,8}", any::<bool>()).prop_map(|(text, runpath)| SearchPath {
        tag: if runpath { SearchTag::Runpath } else { SearchTag::Rpath },
        text,
    });
    (search, name(), any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(search, soname, os_abi, stack, libs)| {
        Edits {
            search: Some(Some(search)),
            soname: Some(Some(soname)),
            os_abi: Some(os_abi),
            executable_stack: Some(stack),
            no_default_lib: Some(libs),
            ..Edits::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A file that was edited any number of times, in any way, is one that a single edit of the pristine file makes;
    /// it can be undone, and what was just asked for is not done twice.
    #[test]
    fn any_sequence_of_edits_can_be_undone(
        sample in files(),
        steps in proptest::collection::vec(any_edits(), 1..5),
    ) {
        let before = sample.make();
        let mut bytes = before.clone();
        for mut step in steps {
            step.layout.like_patchelf = false;
            if sample.interpreter.is_none() {
                step.interpreter = None;
            }
            if sample.symbols.is_empty() {
                step.unversioned.clear();
            }
            match edit(&bytes, &step) {
                Ok(edited) => bytes = edited.unwrap_or(bytes),
                // New names may ask for an order that the symbols of some machines cannot have.
                Err(ElfError::Unsupported(why)) => {
                    prop_assert!(why.contains("order"), "{why}");
                    continue;
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
            prop_assert_eq!(&pristine(&bytes).unwrap(), &before);
            step.needed.clear();
            // They are about the names that symbols had before.
            if !step.rename.is_empty() {
                step.rename.clear();
                step.unversioned.clear();
            }
            prop_assert_eq!(edit(&bytes, &Edits { layout: Layout::default(), ..step }).unwrap(), None);
        }
        let tail = before.len() - sample.tail.len()..before.len();
        prop_assert_eq!(&bytes[tail], &sample.tail[..]);
        Description::read(&bytes).unwrap();
        Tables::read(&bytes).unwrap();
    }

    #[test]
    fn there_and_back_is_there(sample in files(), there in complete_edits(), elsewhere in complete_edits()) {
        let bytes = sample.make();
        let first = edit(&bytes, &there).unwrap().unwrap_or(bytes);
        let mut now = first.clone();
        for edits in [&elsewhere, &there, &elsewhere, &there] {
            now = edit(&now, edits).unwrap().unwrap_or(now);
        }
        prop_assert!(now == first);
    }

    /// Edits as patchelf makes them lead to what was asked for too, and never make a file of the same state twice.
    #[test]
    fn edits_like_those_of_patchelf_do_what_was_asked(
        sample in files(),
        steps in proptest::collection::vec((complete_edits(), layout()), 1..5),
    ) {
        let mut bytes = sample.make();
        for (mut step, layout) in steps {
            step.layout = Layout { like_patchelf: true, ..layout };
            bytes = edit(&bytes, &step).unwrap().unwrap_or(bytes);
            let found = Description::read(&bytes).unwrap();
            prop_assert_eq!(found.search_path, step.search.clone().flatten().map(|search| search.text));
            prop_assert_eq!(found.soname, step.soname.clone().flatten());
            prop_assert_eq!(found.executable_stack, step.executable_stack);
            prop_assert_eq!(edit(&bytes, &step).unwrap(), None);
        }
    }

    /// Whatever comes out was read again, or there is an error.
    #[test]
    fn damaged_files_are_edited_or_refused(
        sample in files(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        headers in any::<bool>(),
        edits in any_edits(),
    ) {
        let mut bytes = sample.make();
        for (index, byte) in damage {
            let index = index.index(if headers { bytes.len().min(500) } else { bytes.len() });
            bytes[index] = byte;
        }
        if let Ok(Some(edited)) = edit(&bytes, &edits) {
            Description::read(&edited).unwrap();
            let _ = edit(&edited, &edits);
        }
        let _ = Tables::read(&bytes);
        if let Ok(sections) = Sections::read(&bytes) {
            let _ = (sections.check_dynamic(), sections.check_hash(), sections.unnamed());
        }
    }

    /// What is read in parts and patched is what would be read as a whole and written.
    #[test]
    fn patches_are_edits(sample in files(), first in any_edits(), second in any_edits()) {
        let mut bytes = sample.make();
        for mut step in [first, second] {
            if sample.interpreter.is_none() {
                step.interpreter = None;
            }
            if sample.symbols.is_empty() {
                step.unversioned.clear();
            }
            let read = |into: &mut [u8], at: usize| {
                into.copy_from_slice(&bytes[at..at + into.len()]);
                Ok(())
            };
            let small = if step.rename.is_empty() && step.unversioned.is_empty() { 0 } else { usize::MAX };
            let patch = Patch::plan_with(bytes.len(), small, &mut { read }, &step).unwrap();
            let whole = edit(&bytes, &step);
            prop_assert_eq!(patch.map(|patch| patch.map(|patch| patch.apply(bytes.clone()))), whole.clone());
            bytes = whole.ok().flatten().unwrap_or(bytes);
        }
    }
}
