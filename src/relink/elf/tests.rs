use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::sample::Sample;
use super::*;

mod layouts;
mod operations;
mod properties;

fn runpath(text: &str) -> Edits {
    Edits { search: Some(Some(SearchPath { tag: SearchTag::Runpath, text: text.to_owned() })), ..Edits::default() }
}

fn samples() -> impl Strategy<Value = Sample> {
    let search =
        proptest::option::of((prop_oneof![Just(SearchTag::Rpath), Just(SearchTag::Runpath)], "(/[a-z]{1,9}){1,4}"));
    let shape = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let sizes = (
        0..3_usize,
        prop_oneof![Just(0_usize), Just(24), Just(64)],
        prop_oneof![Just(0_u64), Just(5000), Just(0x20_0000)],
    );
    let extra = (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), any::<bool>());
    (search, shape, sizes, extra).prop_map(|(search, shape, sizes, extra)| Sample {
        wide: shape.0,
        little: shape.1,
        interpreter: shape.2.then_some("/lib/ld.so.1"),
        soname: (!shape.2).then(|| "libsample.so.1".into()),
        merged: shape.3,
        property: shape.4,
        stuck: shape.5,
        search,
        spare: sizes.0,
        gap: sizes.1,
        bss: sizes.2,
        tail: extra.0,
        needs: extra.1.then(|| ("libneeded.so.1".into(), "V_1".into())),
        defines: extra.2.then(|| "V_2".into()),
        ..Sample::default()
    })
}

fn edits() -> impl Strategy<Value = Edits> {
    let search = prop_oneof![
        Just(None),
        Just(Some(None)),
        (prop_oneof![Just(SearchTag::Rpath), Just(SearchTag::Runpath)], "(/[a-z$]{1,30}:?){0,8}")
            .prop_map(|(tag, text)| Some(Some(SearchPath { tag, text }))),
    ];
    let interpreter = proptest::option::of(("/[a-z]{1,60}", proptest::option::of(70..300_usize)));
    (search, interpreter).prop_map(|(search, interpreter)| Edits {
        search,
        interpreter: interpreter.map(|(path, slot)| Interpreter { path, slot }),
        ..Edits::default()
    })
}

/// What the dynamic linker sees, but for interpreter and search path.
fn rest(bytes: &[u8]) -> (Vec<String>, Vec<String>, String) {
    let elf = Elf::parse(bytes).unwrap();
    let image = Image::read(bytes).unwrap().unwrap();
    let names = elf.dynsyms.iter().map(|symbol| elf.dynstrtab.get_at(symbol.st_name).unwrap().to_owned());
    (image.needed, names.collect(), format!("{:?} {:?} {:?}", image.soname, image.needs, image.defines))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn depends_on_the_pristine_file_and_the_wanted_state_only(
        sample in samples(),
        mut steps in proptest::collection::vec(edits(), 1..6),
    ) {
        let pristine_bytes = sample.make();
        let mut bytes = pristine_bytes.clone();
        let mut all = Edits::default();
        for step in &mut steps {
            if sample.interpreter.is_none() {
                step.interpreter = None;
            }
            if step.interpreter.is_some() {
                all.interpreter.clone_from(&step.interpreter);
            }
            if step.search.is_some() {
                all.search.clone_from(&step.search);
            }
            bytes = edit(&bytes, step).unwrap().unwrap_or(bytes);
        }
        let direct = edit(&pristine_bytes, &all).unwrap().unwrap_or_else(|| pristine_bytes.clone());
        prop_assert_eq!(&bytes, &direct);
        prop_assert_eq!(edit(&bytes, &all).unwrap(), None);
        prop_assert_eq!(&pristine(&bytes).unwrap(), &pristine_bytes);
        prop_assert_eq!(rest(&bytes), rest(&pristine_bytes));

        let image = Image::read(&bytes).unwrap().unwrap();
        let before = sample.search.clone().map(|(tag, text)| SearchPath { tag, text });
        prop_assert_eq!(image.search, all.search.unwrap_or(before));
        let interpreter = all.interpreter.map(|interpreter| interpreter.path);
        prop_assert_eq!(image.interpreter, interpreter.or(sample.interpreter.map(str::to_owned)));
        // What lies behind the ELF file stays where it is.
        let tail = pristine_bytes.len() - sample.tail.len()..pristine_bytes.len();
        prop_assert_eq!(&bytes[tail], &sample.tail[..]);
    }

    #[test]
    fn leaves_no_trace_of_what_it_replaced(mut sample in samples()) {
        sample.search = Some((SearchTag::Runpath, "/build/secret/folder".into()));
        sample.merged = false;
        for wanted in [runpath("$ORIGIN"), runpath(&"/long".repeat(40)), Edits { search: Some(None), ..Edits::default() }] {
            let edited = edit(&sample.make(), &wanted).unwrap().unwrap();
            prop_assert!(!edited.windows(6).any(|window| window == b"secret"));
        }
    }

    #[test]
    fn survives_damaged_files(sample in samples(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let mut bytes = sample.make();
        for (index, byte) in damage {
            let index = index.index(bytes.len().min(600));
            bytes[index] = byte;
        }
        // Whatever comes out was read again, or there is an error.
        let _ = edit(&bytes, &runpath("$ORIGIN/../lib"));
        let _ = Image::read(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = edit(&bytes, &runpath("$ORIGIN/../lib"));
        let _ = interpreter_slot(&bytes);
    }
}

#[test]
fn keeps_a_string_that_others_use() {
    let sample = Sample { search: Some((SearchTag::Runpath, "/used/twice".into())), merged: true, ..Sample::default() };
    let edited = edit(&sample.make(), &runpath("/x")).unwrap().unwrap();
    assert_eq!(rest(&edited).1, ["", "symbol/used/twice"]);
}

#[test]
fn writes_in_place_what_fits() {
    let sample = Sample { search: Some((SearchTag::Runpath, "/a/long/folder".into())), ..Sample::default() };
    let bytes = sample.make();
    let edited = edit(&bytes, &runpath("/short")).unwrap().unwrap();
    let (before, after) = (Elf::parse(&bytes).unwrap(), Elf::parse(&edited).unwrap());
    assert_eq!(before.program_headers, after.program_headers);
}

#[test]
fn leaves_the_wanted_state_alone() {
    let sample = Sample { search: Some((SearchTag::Runpath, "/a".into())), ..Sample::default() };
    assert_eq!(edit(&sample.make(), &runpath("/a")).unwrap(), None);
    assert_eq!(edit(&sample.make(), &Edits::default()).unwrap(), None);
}

#[test]
fn does_not_undo_what_others_changed() {
    let sample = Sample { constants: b"constant".to_vec(), ..Sample::default() };
    let mut edited = edit(&sample.make(), &runpath("/a/folder")).unwrap().unwrap();
    // A change in what the edit wrote; the journal alone would lose it.
    let at = edited.windows(9).rposition(|window| window == b"/a/folder").unwrap();
    edited[at + 1] = b'b';
    let again = edit(&edited, &runpath("/b/folder")).unwrap();
    assert_eq!(again, None);
    let at = edited.windows(8).position(|window| window == b"constant").unwrap();
    edited[at] = b'C';
    let again = edit(&edited, &runpath("/c")).unwrap().unwrap();
    assert!(again.windows(8).any(|window| window == b"Constant"));
}

#[test]
fn pads_the_interpreter_to_its_slot() {
    let sample = Sample { interpreter: Some("/lib/ld.so.1"), ..Sample::default() };
    let wanted = Edits {
        interpreter: Some(Interpreter { path: "/akb/runtime/lib/ld.so.1".into(), slot: Some(256) }),
        ..Edits::default()
    };
    let mut edited = edit(&sample.make(), &wanted).unwrap().unwrap();
    let slot = interpreter_slot(&edited).unwrap();
    assert_eq!(slot.len(), 256);
    assert_eq!(&edited[slot.clone()][..25], b"/akb/runtime/lib/ld.so.1\0");

    // Overwritten in place, as when a tree is placed, it is still a file of ours.
    edited[slot.clone()].fill(0);
    edited[slot.start..slot.start + 6].copy_from_slice(b"/other");
    assert_eq!(pristine(&edited).unwrap(), sample.make());
    assert_eq!(Image::read(&edited).unwrap().unwrap().interpreter.as_deref(), Some("/other"));
}

#[test]
fn refuses_what_cannot_be() {
    let library = Sample::default().make();
    let interpreter =
        |path: &str, slot| Edits { interpreter: Some(Interpreter { path: path.to_owned(), slot }), ..Edits::default() };
    assert_eq!(edit(&library, &interpreter("/ld.so", None)), Err(ElfError::NoInterpreter));
    let program = Sample { interpreter: Some("/ld.so"), ..Sample::default() }.make();
    for (path, slot) in [("", None), ("/a\0b", None), ("/ld.so.1", Some(8)), ("/ld.so", Some(4097))] {
        assert!(matches!(edit(&program, &interpreter(path, slot)), Err(ElfError::Text { .. })), "{path:?}");
    }
    assert!(matches!(edit(&program, &runpath("a\0b")), Err(ElfError::Text { .. })));
    assert!(matches!(edit(b"#!/bin/sh", &runpath("a")), Err(ElfError::Malformed(_))));
}

#[test]
fn tells_programs_and_libraries_from_other_files() {
    assert_eq!(Image::read(b"text"), Ok(None));
    let sample = Sample {
        interpreter: Some("/lib/ld.so.1"),
        needs: Some(("libneeded.so.1".into(), "V_1".into())),
        ..Sample::default()
    };
    let image = Image::read(&sample.make()).unwrap().unwrap();
    assert_eq!(image.interpreter.as_deref(), Some("/lib/ld.so.1"));
    assert_eq!(image.needed, ["libneeded.so.1"]);
    assert_eq!(image.needs["libneeded.so.1"].first().map(|version| version.name.as_str()), Some("V_1"));
    let mut object = sample.make();
    object[16] = 1;
    assert_eq!(Image::read(&object), Ok(None));
    let other = Sample { wide: false, ..sample.clone() };
    assert_ne!(Machine::of(&sample.make()), Machine::of(&other.make()));
}

fn compile(folder: &Path, name: &str, source: &str, options: &[&str]) {
    std::fs::write(folder.join("source.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.current_dir(folder).args(["-o", name, "source.c"]).args(options);
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a program that was just written runs. Another test's child may hold the file open for writing until it
/// starts its own program; the kernel then calls it busy.
fn succeeds(command: &mut Command) -> bool {
    loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => return output.unwrap().status.success(),
        }
    }
}

/// Kernel, dynamic linker and `strip` are the judges: a program and its library, linked with and without
/// spare entries, edited many times, stripped afterwards.
#[test]
fn runs_after_edits_and_after_strip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("far")).unwrap();
    compile(path, "far/libanswer.so", "int answer(void) { return 42; }", &["-shared", "-fPIC", "-Wl,-z,now"]);
    for options in
        [&["-pie"][..], &["-no-pie"], &["-no-pie", "-Wl,--spare-dynamic-tags=0"], &["-Wl,-z,max-page-size=0x200000"]]
    {
        let source = "static char room[100000]; int answer(void); int main(void) { return answer() - 42 + room[99]; }";
        let all: Vec<&str> = options.iter().copied().chain(["-Lfar", "-lanswer"]).collect();
        compile(path, "program", source, &all);
        let program = path.join("program");
        let bytes = std::fs::read(&program).unwrap();
        let interpreter = Image::read(&bytes).unwrap().unwrap().interpreter.unwrap();
        let wanted = Edits {
            interpreter: Some(Interpreter { path: interpreter.clone(), slot: Some(256) }),
            ..runpath("$ORIGIN/a/folder/that/is/not/there:$ORIGIN/far")
        };
        let mut edited = bytes;
        for _ in 0..3 {
            edited = edit(&edited, &runpath("$ORIGIN")).unwrap().unwrap();
            edited = edit(&edited, &wanted).unwrap().unwrap();
        }
        std::fs::write(&program, &edited).unwrap();
        assert!(succeeds(&mut Command::new(&program)), "{options:?}");
        assert!(succeeds(Command::new(&interpreter).arg(&program)), "{options:?}");
        let strip = Command::new("strip").arg("-s").arg(&program).output().unwrap();
        assert!(strip.status.success() && strip.stderr.is_empty(), "{}", String::from_utf8_lossy(&strip.stderr));
        assert!(succeeds(&mut Command::new(&program)), "{options:?}, stripped");
        let moved = edit(&std::fs::read(&program).unwrap(), &runpath("$ORIGIN/nowhere")).unwrap().unwrap();
        std::fs::write(&program, moved).unwrap();
        assert!(!succeeds(&mut Command::new(&program)), "{options:?}, moved");
    }
}
