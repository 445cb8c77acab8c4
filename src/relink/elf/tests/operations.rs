//! Each thing that an edit can change, on files of every class and byte order.

use std::collections::BTreeMap;

use super::*;

/// One file of every class and byte order.
fn everywhere(sample: &Sample) -> Vec<Vec<u8>> {
    let of = |wide, little| Sample { wide, little, ..sample.clone() }.make();
    vec![of(true, true), of(true, false), of(false, true), of(false, false)]
}

/// Edits files like `sample`, checks that doing so twice is the same as once, and that it can be undone.
fn edited(sample: &Sample, edits: &Edits) -> Vec<Description> {
    let one = |bytes: &Vec<u8>| {
        let edited = edit(bytes, edits).unwrap().unwrap();
        assert_eq!(edit(&edited, edits).unwrap(), None);
        assert_eq!(pristine(&edited).unwrap(), *bytes);
        Description::read(&edited).unwrap()
    };
    everywhere(sample).iter().map(one).collect()
}

fn needed(changes: &[Needed]) -> Edits {
    Edits { needed: changes.to_vec(), ..Edits::default() }
}

fn rename(pairs: &[(&str, &str)]) -> Edits {
    let own = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
    Edits { rename: pairs.iter().map(own).collect(), ..Edits::default() }
}

fn names(bytes: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = Tables::read(bytes).unwrap().symbols.into_iter().map(|symbol| symbol.name).collect();
    names.sort();
    names
}

#[test]
fn adds_removes_and_replaces_needed_libraries() {
    let sample = Sample { needed: vec!["liba.so".into(), "libb.so".into()], spare: 0, ..Sample::default() };
    let add = Needed::Add("libnew.so.1".into());
    for found in edited(&sample, &needed(&[add.clone(), add])) {
        assert_eq!(found.needed, ["libnew.so.1", "liba.so", "libb.so"]);
    }
    for found in edited(&sample, &needed(&[Needed::Remove("liba.so".into()), Needed::Remove("libz.so".into())])) {
        assert_eq!(found.needed, ["libb.so"]);
    }
    for found in
        edited(&sample, &needed(&[Needed::Replace { from: "liba.so".into(), to: "/lib/long/liba.so.2".into() }]))
    {
        assert_eq!(found.needed, ["/lib/long/liba.so.2", "libb.so"]);
    }
}

#[test]
fn replaces_a_library_in_the_list_of_versions_too() {
    let sample = Sample {
        needed: vec!["libneeded.so.1".into()],
        needs: Some(("libneeded.so.1".into(), "V_1".into())),
        ..Sample::default()
    };
    let replace = Needed::Replace { from: "libneeded.so.1".into(), to: "libother.so.22".into() };
    for bytes in everywhere(&sample) {
        let edited = edit(&bytes, &needed(std::slice::from_ref(&replace))).unwrap().unwrap();
        assert_eq!(Tables::read(&edited).unwrap().needed_versions, ["libother.so.22: V_1"]);
        assert_eq!(Image::read(&edited).unwrap().unwrap().needed, ["libother.so.22"]);
    }
}

/// The dynamic linker refuses a file with versions of a library that it does not load.
#[test]
fn drops_the_versions_of_a_library_that_is_not_needed_any_more() {
    let sample = Sample {
        needed: vec!["libneeded.so.1".into(), "libother.so".into()],
        needs: Some(("libneeded.so.1".into(), "V_1".into())),
        symbols: vec!["f".into(), "g".into()],
        ..Sample::default()
    };
    let edits = needed(&[Needed::Remove("libneeded.so.1".into())]);
    for bytes in everywhere(&sample) {
        let edited = edit(&bytes, &edits).unwrap().unwrap();
        assert!(Tables::read(&edited).unwrap().needed_versions.is_empty());
        let elf = Elf::parse(&edited).unwrap();
        // The sample gives version 2, which the library defined, to `f`.
        let versions: Vec<u16> = elf.versym.as_ref().unwrap().iter().map(|version| version.vs_val).collect();
        assert_eq!(versions, [1, 1, 1, 3]);
        assert_eq!(edit(&edited, &edits).unwrap(), None);
        assert_eq!(pristine(&edited).unwrap(), bytes);
        let further = edit(&edited, &runpath("/further")).unwrap().unwrap();
        assert_eq!(pristine(&further).unwrap(), bytes);
        assert!(Tables::read(&further).unwrap().needed_versions.is_empty());
    }
}

#[test]
fn takes_the_end_of_a_name_that_is_there() {
    let sample = Sample { needed: vec!["/usr/lib/liba.so".into()], ..Sample::default() };
    for bytes in everywhere(&sample) {
        let replace = Needed::Replace { from: "/usr/lib/liba.so".into(), to: "liba.so".into() };
        let edited = edit(&bytes, &needed(&[replace])).unwrap().unwrap();
        let (old, new) = (Tables::read(&bytes).unwrap(), Tables::read(&edited).unwrap());
        assert_eq!(old.segments, new.segments);
        assert_eq!(Description::read(&edited).unwrap().needed, ["liba.so"]);
    }
}

#[test]
fn wipes_a_name_that_nothing_uses_any_more() {
    let sample = Sample { needed: vec!["/build/secret/liba.so".into()], ..Sample::default() };
    for bytes in everywhere(&sample) {
        for to in ["libb.so", "a-name-that-is-longer-than-the-one-that-is-there.so"] {
            let replace = Needed::Replace { from: "/build/secret/liba.so".into(), to: to.into() };
            let edited = edit(&bytes, &needed(&[replace])).unwrap().unwrap();
            assert!(!edited.windows(6).any(|window| window == b"secret"), "{to}");
        }
    }
}

#[test]
fn sets_and_removes_the_soname() {
    let soname = |name: Option<&str>| Edits { soname: Some(name.map(str::to_owned)), ..Edits::default() };
    let with = Sample { soname: Some("libold.so.1".into()), ..Sample::default() };
    for found in edited(&with, &soname(Some("libnew.so"))) {
        assert_eq!(found.soname.as_deref(), Some("libnew.so"));
    }
    for found in edited(&with, &soname(None)) {
        assert_eq!(found.soname, None);
    }
    let without = Sample { spare: 0, ..Sample::default() };
    for found in edited(&without, &soname(Some("libnew.so"))) {
        assert_eq!(found.soname.as_deref(), Some("libnew.so"));
    }
}

#[test]
fn sets_flags_of_header_stack_and_dynamic_section() {
    for (spare, gap) in [(0, 0), (4, 64)] {
        let sample = Sample { spare, gap, ..Sample::default() };
        for found in edited(&sample, &Edits { os_abi: Some(9), ..Edits::default() }) {
            assert_eq!(os_abi_name(found.os_abi), "FreeBSD");
        }
        for executable in [true, false] {
            let edits = Edits { executable_stack: Some(executable), ..Edits::default() };
            for found in edited(&sample, &edits) {
                assert_eq!(found.executable_stack, Some(executable));
            }
        }
        for found in edited(&sample, &Edits { no_default_lib: Some(true), ..Edits::default() }) {
            assert!(found.no_default_lib);
        }
        for found in edited(&sample, &Edits { debug_tag: true, ..Edits::default() }) {
            assert!(found.debug_tag);
        }
    }
    assert_eq!(os_abi_number("gnu hurd"), Some(4));
    assert_eq!(os_abi_number("plan 9"), None);
}

#[test]
fn adds_two_program_headers_at_once() {
    for (gap, property, stuck) in [(0, false, true), (0, true, false), (24, false, false), (0, false, false)] {
        let sample = Sample { gap, property, stuck, ..Sample::default() };
        let edits = Edits { executable_stack: Some(false), ..runpath("/a/folder/that/does/not/fit") };
        for found in edited(&sample, &edits) {
            assert_eq!(found.executable_stack, Some(false));
            assert_eq!(found.search_path.as_deref(), Some("/a/folder/that/does/not/fit"));
        }
    }
}

#[test]
fn goes_back_and_forth_without_growth() {
    let sample = Sample { soname: Some("liba.so".into()), symbols: vec!["f".into()], ..Sample::default() };
    let changes = [
        (runpath("/first/folder"), runpath("/second/folder/which/is/longer")),
        (
            Edits { soname: Some(Some("lib-with-a-long-name.so".into())), ..Edits::default() },
            Edits { soname: Some(Some("liba.so".into())), ..Edits::default() },
        ),
        (rename(&[("f", "a_name_that_is_longer")]), rename(&[("a_name_that_is_longer", "f")])),
        (
            needed(&[Needed::Replace { from: "libneeded.so.1".into(), to: "/x/y/libneeded.so.1".into() }]),
            needed(&[Needed::Replace { from: "/x/y/libneeded.so.1".into(), to: "libneeded.so.1".into() }]),
        ),
    ];
    for bytes in everywhere(&sample) {
        for (there, back) in &changes {
            let first = edit(&bytes, there).unwrap().unwrap();
            let mut now = first.clone();
            for _ in 0..3 {
                now = edit(&now, back).unwrap().unwrap();
                now = edit(&now, there).unwrap().unwrap();
            }
            assert!(now == first, "{there:?}");
        }
    }
}

#[test]
fn renames_symbols_and_hash_tables_find_them() {
    let symbols: Vec<String> = (0..40).map(|number| format!("function_{number}")).collect();
    for gnu_hash in [false, true] {
        let sample = Sample { symbols: symbols.clone(), gnu_hash, ..Sample::default() };
        let pairs: Vec<(String, String)> =
            (0..40).step_by(3).map(|number| (format!("function_{number}"), format!("renamed_{number}"))).collect();
        let edits = Edits { rename: pairs.iter().cloned().collect(), ..Edits::default() };
        for bytes in everywhere(&sample) {
            // The check of every edit looks each symbol up in both tables, and compares versions and relocations.
            let edited = edit(&bytes, &edits).unwrap().unwrap();
            let map: BTreeMap<String, String> = pairs.iter().cloned().collect();
            let mut expected: Vec<String> =
                names(&bytes).into_iter().map(|name| map.get(&name).cloned().unwrap_or(name)).collect();
            expected.sort();
            assert_eq!(names(&edited), expected);
            assert_eq!(pristine(&edited).unwrap(), bytes);
            let back: BTreeMap<String, String> = pairs.iter().cloned().map(|(old, new)| (new, old)).collect();
            assert_eq!(edit(&edited, &Edits { rename: back, ..Edits::default() }).unwrap().unwrap(), bytes);
            // Another edit keeps the new names.
            let further = edit(&edited, &runpath("/further")).unwrap().unwrap();
            assert_eq!(names(&further), expected);
        }
    }
}

#[test]
fn follows_a_symbol_through_several_names() {
    let sample = Sample { symbols: vec!["f".into(), "g".into()], gnu_hash: true, ..Sample::default() };
    for bytes in everywhere(&sample) {
        let once = edit(&bytes, &rename(&[("f", "h"), ("g", "f")])).unwrap().unwrap();
        let twice = edit(&once, &rename(&[("f", "i")])).unwrap().unwrap();
        assert_eq!(twice, edit(&bytes, &rename(&[("f", "h"), ("g", "i")])).unwrap().unwrap());
        assert_eq!(edit(&bytes, &rename(&[("absent", "f")])).unwrap(), None);
    }
    assert!(matches!(edit(&sample.make(), &rename(&[("f", "")])), Err(ElfError::Text { .. })));
}

#[test]
fn takes_the_version_of_a_symbol_away() {
    let sample = Sample { symbols: vec!["f".into(), "g".into()], ..Sample::default() };
    for bytes in everywhere(&sample) {
        let edits = Edits { unversioned: ["f".to_owned()].into(), ..Edits::default() };
        let edited = edit(&bytes, &edits).unwrap().unwrap();
        let elf = Elf::parse(&edited).unwrap();
        let versions: BTreeMap<&str, u16> = elf
            .dynsyms
            .iter()
            .zip(elf.versym.as_ref().unwrap().iter())
            .map(|(symbol, version)| (elf.dynstrtab.get_at(symbol.st_name).unwrap(), version.vs_val))
            .collect();
        assert_eq!(versions["f"], 1);
        assert!(versions["g"] > 1);
        // It is the symbol that lost it, whatever its name is later.
        let renamed = edit(&edited, &rename(&[("f", "other")])).unwrap().unwrap();
        assert_eq!(edit(&renamed, &rename(&[("other", "f")])).unwrap().unwrap(), edited);
    }
}

#[test]
fn keeps_a_resolution_cache_until_it_is_stale() {
    let search = SearchPath { tag: SearchTag::Runpath, text: "/first".into() };
    let sample = Sample { search: Some((search.tag, search.text)), ..Sample::default() };
    let cache = b"libneeded.so.1\0=/first/libneeded.so.1\0\0".to_vec();
    let edits = Edits { resolution_cache: Some(Some(cache.clone())), ..Edits::default() };
    for bytes in everywhere(&sample) {
        let edited = edit(&bytes, &edits).unwrap().unwrap();
        assert_eq!(resolution_cache_of(&edited), Some(cache.clone()));
        let tables = Tables::read(&edited).unwrap();
        assert_eq!(tables.sections.iter().filter(|section| section.name == ".note.nixos.ldcache").count(), 1);
        assert_eq!(edit(&edited, &edits).unwrap(), None);
        let kept = edit(&edited, &Edits { os_abi: Some(3), ..Edits::default() }).unwrap().unwrap();
        assert_eq!(resolution_cache_of(&kept), Some(cache.clone()));
        let stale = edit(&edited, &runpath("/other")).unwrap().unwrap();
        assert_eq!(resolution_cache_of(&stale), None);
        assert!(!stale.windows(7).any(|window| window == b"=/first"));
    }
}

#[test]
fn finds_what_a_search_path_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["a", "b", "c/glibc-hwcaps"] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    let library = Sample { soname: Some("libx.so".into()), ..Sample::default() };
    std::fs::write(path("b/libx.so"), library.make()).unwrap();
    std::fs::write(path("a/libx.so"), Sample { wide: false, ..library.clone() }.make()).unwrap();
    let (a, b, c) = (path("a"), path("b"), path("c"));
    let text = format!("$ORIGIN/lib:{}:{}:{}:/nowhere", c.display(), a.display(), b.display());
    let search = SearchPath { tag: SearchTag::Runpath, text: text.clone() };
    let needed = ["libx.so".to_owned()];
    let machine = Machine::of(&library.make()).unwrap();
    // The one in `a` is for another machine.
    assert_eq!(search.shrunk(&needed, machine, &[]).text, format!("$ORIGIN/lib:{}", b.display()));
    assert_eq!(search.shrunk(&needed, machine, &["/usr".to_owned()]).text, "$ORIGIN/lib");
    assert_eq!(search.with("/more").text, format!("{text}:/more"));

    let cache = resolution_cache(["libx.so", "/lib/with/slash.so"].into_iter(), &text).unwrap();
    let (a, b, c) = (a.display(), b.display(), c.display());
    let expected = format!("libx.so\0?$ORIGIN/lib:?{c}:={a}/libx.so:={b}/libx.so\0\0");
    assert_eq!(String::from_utf8(cache).unwrap(), expected);
    assert_eq!(resolution_cache(["liby.so"].into_iter(), "/nowhere"), None);
}

#[test]
fn keeps_a_distance_that_an_entry_has_from_itself() {
    let bytes = Sample { spare: 0, wide: false, little: false, machine: 8, ..Sample::default() }.make();
    let tables = Tables::read(&bytes).unwrap();
    let dynamic = tables.sections.iter().find(|section| section.name == ".dynamic").unwrap();
    // The entry before the last is the last that the sample has; it becomes one that points to address 0x40.
    let index = u64::try_from(tables.entries.len()).unwrap() - 2;
    let at = usize::try_from(dynamic.offset + 8 * index).unwrap();
    let entry = dynamic.address + 8 * index;
    let mut bytes = bytes;
    bytes[at..at + 4].copy_from_slice(&0x7000_0035_u32.to_be_bytes());
    bytes[at + 4..at + 8].copy_from_slice(&u32::try_from(0x1_0000_0040 - entry).unwrap().to_be_bytes());
    for edits in [
        needed(&[Needed::Remove("libneeded.so.1".into())]),
        needed(&[Needed::Add("libmore.so".into())]),
        runpath("/added"),
    ] {
        let edited = edit(&bytes, &edits).unwrap().unwrap();
        let elf = Elf::parse(&edited).unwrap();
        let segment = elf.program_headers.iter().find(|segment| segment.p_type == 2).unwrap();
        let dynamic = elf.dynamic.as_ref().unwrap();
        let index = dynamic.dyns.iter().position(|entry| entry.d_tag == 0x7000_0035).unwrap();
        let address = segment.p_vaddr + 8 * u64::try_from(index).unwrap();
        assert_eq!(address.wrapping_add(dynamic.dyns[index].d_val) & 0xffff_ffff, 0x40);
    }
}
