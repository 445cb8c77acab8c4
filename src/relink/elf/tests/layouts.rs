//! Files that are laid out in unusual ways, and where edits put things.

use goblin::elf::program_header::{PT_LOAD, PT_PHDR};
use goblin::elf::section_header::{SHT_DYNAMIC, SHT_HASH, SHT_NOTE, SHT_REL, SectionHeader};
use scroll::{Endian, Pwrite as _};

use super::*;

/// Where the program header of a kind lies, and how numbers are written.
fn header_of(bytes: &[u8], kind: u32) -> (usize, Endian) {
    let elf = Elf::parse(bytes).unwrap();
    let index = elf.program_headers.iter().position(|segment| segment.p_type == kind).unwrap();
    let at = usize::try_from(elf.header.e_phoff).unwrap() + index * usize::from(elf.header.e_phentsize);
    (at, if elf.little_endian { Endian::Little } else { Endian::Big })
}

fn section<'a>(elf: &'a Elf<'_>, name: &str) -> &'a goblin::elf::SectionHeader {
    elf.section_headers.iter().find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(name)).unwrap()
}

/// Every class and byte order.
fn shapes() -> impl Iterator<Item = (bool, bool)> {
    [(true, true), (true, false), (false, true), (false, false)].into_iter()
}

#[test]
fn finds_a_dynamic_section_without_program_header() {
    for (wide, little) in shapes() {
        let mut bytes = Sample { wide, little, ..Sample::default() }.make();
        let (at, endian) = header_of(&bytes, PT_DYNAMIC);
        bytes.pwrite_with(0x6fff_1234_u32, at, endian).unwrap();
        let edited = edit(&bytes, &runpath("/a/long/folder")).unwrap().unwrap();
        assert_eq!(Description::read(&edited).unwrap().search_path.as_deref(), Some("/a/long/folder"));
        assert_eq!(pristine(&edited).unwrap(), bytes);
    }
}

#[test]
fn takes_an_empty_dynamic_segment_for_none() {
    for (wide, little) in shapes() {
        let sample = Sample { wide, little, interpreter: Some("/lib/ld.so.1"), ..Sample::default() };
        let mut bytes = sample.make();
        let (at, endian) = header_of(&bytes, PT_DYNAMIC);
        for field in if wide { [32, 40].iter() } else { [16, 20].iter() } {
            let at = at + field;
            if wide {
                bytes.pwrite_with(0_u64, at, endian).unwrap();
            } else {
                bytes.pwrite_with(0_u32, at, endian).unwrap();
            }
        }
        let path = "/a/path/that/does/not/fit/ld.so.1";
        let interpreter = Some(Interpreter { path: path.into(), slot: None });
        let edited = edit(&bytes, &Edits { interpreter, ..Edits::default() }).unwrap().unwrap();
        assert_eq!(Description::read(&edited).unwrap().interpreter.as_deref(), Some(path));
    }
}

#[test]
fn edits_files_whose_hash_table_has_no_buckets() {
    for (wide, little) in shapes() {
        let sample = Sample { wide, little, symbols: vec!["f".into()], gnu_hash: true, ..Sample::default() };
        let mut bytes = sample.make();
        let at = usize::try_from(section(&Elf::parse(&bytes).unwrap(), ".gnu.hash").sh_offset).unwrap();
        bytes[at..at + 12].fill(0);
        assert!(Elf::parse(&bytes).is_err());
        let edited = edit(&bytes, &runpath("/a/folder")).unwrap().unwrap();
        assert_eq!(Image::read(&edited).unwrap().unwrap().search.unwrap().text, "/a/folder");
        assert_eq!(pristine(&edited).unwrap(), bytes);
    }
}

#[test]
fn edits_the_header_of_an_object_file_and_nothing_else() {
    for (wide, little) in shapes() {
        let mut bytes = Sample { wide, little, ..Sample::default() }.make();
        // No program headers: neither count nor size.
        let size = if wide { 54 } else { 42 };
        bytes[size..size + 4].fill(0);
        bytes[if little { 16 } else { 17 }] = 1;
        let elf = Elf::parse(&bytes).unwrap();
        let at = usize::try_from(elf.header.e_shoff).unwrap() + usize::from(elf.header.e_shentsize) + 4;
        let count = usize::from(elf.header.e_shnum);
        let (each, endian) = (usize::from(elf.header.e_shentsize), if little { Endian::Little } else { Endian::Big });
        for index in 0..count - 2 {
            // No dynamic section either.
            bytes.pwrite_with(1_u32, at + index * each, endian).unwrap();
        }
        let edited = edit(&bytes, &Edits { os_abi: Some(3), ..Edits::default() }).unwrap().unwrap();
        assert_eq!(Description::read(&edited).unwrap().os_abi, 3);
        assert_eq!(edit(&bytes, &runpath("/a")), Err(ElfError::NoDynamic));
        assert!(edit(&bytes, &Edits { executable_stack: Some(true), ..Edits::default() }).is_err());
    }
}

/// Itanium has its data there.
#[test]
fn edits_files_with_high_addresses() {
    let mut bytes = Sample::default().make();
    let (at, _) = header_of(&bytes, PT_DYNAMIC);
    let before = u64::from_le_bytes(*bytes[at + 16..].first_chunk().unwrap());
    let high = 0x6000_0000_0000_0000_u64;
    for kind in [PT_DYNAMIC, PT_LOAD] {
        let elf = Elf::parse(&bytes).unwrap();
        let last = elf.program_headers.iter().rposition(|segment| segment.p_type == kind).unwrap();
        let at = usize::try_from(elf.header.e_phoff).unwrap() + last * usize::from(elf.header.e_phentsize);
        for field in [16, 24] {
            bytes.pwrite_with(before + high, at + field, Endian::Little).unwrap();
        }
    }
    let edited = edit(&bytes, &runpath("/a/long/folder")).unwrap().unwrap();
    let last = Tables::read(&edited).unwrap().segments.into_iter().map(|segment| segment.address).max().unwrap();
    assert!(last > high);
}

#[test]
fn refuses_addresses_that_do_not_fit_into_32_bits() {
    let mut bytes = Sample { wide: false, bss: 0xfffe_f000, ..Sample::default() }.make();
    assert_eq!(
        edit(&bytes, &runpath("/a/long/folder")),
        Err(ElfError::Unsupported("its addresses reach the end of memory"))
    );
    bytes.truncate(100);
    assert!(matches!(edit(&bytes, &runpath("/a")), Err(ElfError::Malformed(_))));
}

/// An interpreter that stays as it is makes room for the program headers, as other sections do; so these keep their
/// place, and `PT_PHDR` its address.
#[test]
fn moves_the_interpreter_out_of_the_way() {
    for (wide, little) in shapes() {
        let sample = Sample { wide, little, interpreter: Some("/lib/ld.so.1"), ..Sample::default() };
        let bytes = sample.make();
        let edited = edit(&bytes, &runpath("/a/long/folder")).unwrap().unwrap();
        let (old, new) = (Elf::parse(&bytes).unwrap(), Elf::parse(&edited).unwrap());
        assert_eq!(old.header.e_phoff, new.header.e_phoff);
        let table =
            |elf: &Elf<'_>| elf.program_headers.iter().find(|segment| segment.p_type == PT_PHDR).unwrap().p_vaddr;
        assert_eq!(table(&old), table(&new));
        assert_eq!(new.interpreter, Some("/lib/ld.so.1"));
        assert_ne!(section(&old, ".interp").sh_offset, section(&new, ".interp").sh_offset);
    }
}

#[test]
fn clears_what_moved_where_that_is_asked_for() {
    let count = |bytes: &[u8]| bytes.windows(14).filter(|window| *window == b"libneeded.so.1").count();
    for (wide, little) in shapes() {
        let bytes = Sample { wide, little, ..Sample::default() }.make();
        let at = |clear_old| Edits { layout: Layout { clear_old, ..Layout::default() }, ..runpath("/a/long/folder") };
        assert_eq!(count(&edit(&bytes, &at(Some(false))).unwrap().unwrap()), 2);
        let cleared = edit(&bytes, &at(Some(true))).unwrap().unwrap();
        assert_eq!(count(&cleared), 1);
        assert_eq!(pristine(&cleared).unwrap(), bytes);
        // The journal says where the strings are now: it does not hold them again.
        assert!(cleared.len() < edit(&bytes, &at(Some(false))).unwrap().unwrap().len() + 200);
    }
}

#[test]
fn aligns_to_the_page_size_that_is_asked_for() {
    for page_size in [0x1000, 0x4000, 0x1_0000] {
        let layout = Layout { page_size: Some(page_size), ..Layout::default() };
        let edited = edit(&Sample::default().make(), &Edits { layout, ..runpath("/a/long/folder") }).unwrap().unwrap();
        let segments = Tables::read(&edited).unwrap().segments;
        assert_eq!(segments.iter().map(|segment| segment.align).max(), Some(page_size));
    }
    let layout = Layout { page_size: Some(3), ..Layout::default() };
    let wrong = edit(&Sample::default().make(), &Edits { layout, ..runpath("/a") });
    assert!(matches!(wrong, Err(ElfError::Text { .. })));
}

#[test]
fn names_what_is_wrong_with_section_headers() {
    for (wide, little) in shapes() {
        let sample = Sample { wide, little, symbols: vec!["f".into()], gnu_hash: true, ..Sample::default() };
        let bytes = sample.make();
        let elf = Elf::parse(&bytes).unwrap();
        let endian = if little { Endian::Little } else { Endian::Big };
        let sections = Sections::read(&bytes).unwrap();
        sections.check_dynamic().unwrap();
        sections.check_hash().unwrap();
        assert_eq!(sections.unnamed(), Vec::<usize>::new());

        let found = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let checked = Sections::read(&bytes).and_then(|sections| {
                sections.check_dynamic()?;
                sections.check_hash()
            });
            checked.unwrap_err().to_string()
        };
        let (shnum, shstrndx) = if wide { (60, 62) } else { (48, 50) };
        let index = |name: &str| {
            elf.section_headers
                .iter()
                .position(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(name))
                .unwrap()
        };
        let header =
            |index: usize| usize::try_from(elf.header.e_shoff).unwrap() + index * usize::from(elf.header.e_shentsize);
        let contents = |name: &str| {
            let section = section(&elf, name);
            let at = usize::try_from(section.sh_offset).unwrap();
            at..at + usize::try_from(section.sh_size).unwrap()
        };
        let offset_field = if wide { 24 } else { 16 };
        let says = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let found = found(change);
            assert!(found.contains(what), "{found:?} is not {what:?}");
        };
        says("section header table out of bounds", &|bytes| bytes[shnum..shnum + 2].fill(0xfe));
        says("string table index out of bounds", &|bytes| bytes[shstrndx..shstrndx + 2].fill(0xff));
        says("section headers have wrong size", &|bytes| bytes[shnum - 2..shnum].fill(3));
        says("not zero terminated", &|bytes| bytes[contents(".shstrtab").end - 1] = b'A');
        says("section name offset out of bounds", &|bytes| bytes[header(1)..header(1) + 4].fill(0x7f));
        says("not naturally aligned", &|bytes| {
            let at = header(index(".dynamic"))
                + offset_field
                + match (little, wide) {
                    (true, _) => 0,
                    (false, true) => 7,
                    (false, false) => 3,
                };
            bytes[at] |= 1;
        });
        says("data offset extends past file end", &|bytes| {
            let at = header(index(".dynamic")) + offset_field;
            bytes[at..at + 4].fill(0x7f);
        });
        says("string table is not NUL-terminated", &|bytes| bytes[contents(".dynstr").end - 1] = b'A');
        says("no DT_NULL", &|bytes| bytes[contents(".dynamic")].fill(0xff));
        says("table header out of range", &|bytes| {
            bytes.pwrite_with(0_u32, contents(".gnu.hash").start, endian).unwrap();
        });
        let mut unnamed = bytes.clone();
        unnamed[header(1)..header(1) + 4].fill(0);
        assert_eq!(Sections::read(&unnamed).unwrap().unnamed(), [1]);
    }
}

/// Distance of the new segment from the image, where the file has a symbol of this size.
fn distance(wide: bool, little: bool, symbol_size: u64) -> u64 {
    let mut bytes = Sample { wide, little, spare: 0, bss: 0x40_0000, ..Sample::default() }.make();
    let elf = Elf::parse(&bytes).unwrap();
    let symbols = usize::try_from(section(&elf, ".dynsym").sh_offset).unwrap();
    let endian = if little { Endian::Little } else { Endian::Big };
    if wide {
        bytes.pwrite_with(symbol_size, symbols + 24 + 16, endian).unwrap();
    } else {
        bytes.pwrite_with(u32::try_from(symbol_size).unwrap(), symbols + 16 + 8, endian).unwrap();
    }
    let edited = edit(&bytes, &runpath("/a/long/folder")).unwrap().unwrap();
    assert_eq!(pristine(&edited).unwrap(), bytes);
    let elf = Elf::parse(&edited).unwrap();
    let loads: Vec<_> = elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD).collect();
    let [.., last, new] = loads.as_slice() else { panic!("two segments") };
    new.p_vaddr - (last.p_vaddr + last.p_memsz)
}

#[test]
fn stays_out_of_the_reach_of_symbols() {
    for (wide, little) in shapes() {
        assert!(distance(wide, little, 0) < 0x2000);
        let far = distance(wide, little, 0x30_0000);
        assert!((0x30_0001..0x30_2000).contains(&far), "{far:#x}");
        // A symbol that is larger than the image is no symbol of it.
        assert!(distance(wide, little, 0x7fff_ffff) < 0x2000);
    }
}

/// A file whose `.dynstr` is the last thing in its last segment, as after an edit whose journal is gone.
fn ends_with_strings(wide: bool, little: bool) -> Vec<u8> {
    let sample = Sample { wide, little, gap: 100, ..Sample::default() }.make();
    let mut bytes = edit(&sample, &runpath("/a/long/folder")).unwrap().unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let last = elf.program_headers.iter().rfind(|segment| segment.p_type == PT_LOAD).unwrap();
    let strings = section(&elf, ".dynstr");
    let end = last.p_offset + last.p_filesz;
    assert_eq!(strings.sh_offset + strings.sh_size, end);
    bytes.truncate(usize::try_from(end).unwrap());
    bytes
}

#[test]
fn strings_at_the_end_grow_where_they_are() {
    for (wide, little) in shapes() {
        for padding in [0, 5] {
            let mut bytes = ends_with_strings(wide, little);
            bytes.resize(bytes.len() + padding, 0);
            let place = |bytes: &[u8]| {
                let elf = Elf::parse(bytes).unwrap();
                let strings = section(&elf, ".dynstr");
                let last = elf.program_headers.iter().rfind(|segment| segment.p_type == PT_LOAD).unwrap();
                assert_eq!(strings.sh_offset + strings.sh_size, last.p_offset + last.p_filesz);
                (strings.sh_offset, strings.sh_addr, elf.program_headers.len())
            };
            let longer = runpath(&"/a/longer/folder".repeat(10));
            let edited = edit(&bytes, &longer).unwrap().unwrap();
            assert_eq!(place(&edited), place(&bytes));
            assert_eq!(pristine(&edited).unwrap(), bytes);
            let short = edit(&edited, &runpath("/b")).unwrap().unwrap();
            assert_eq!(edit(&short, &longer).unwrap().unwrap(), edited);
        }
    }
}

#[test]
fn symbols_of_the_dynamic_section_move_with_it() {
    for (wide, little) in shapes() {
        let names = ["_DYNAMIC", "inside", "absolute"].map(str::to_owned);
        let mut bytes = Sample { wide, little, spare: 0, symbols: names.into(), ..Sample::default() }.make();
        let (at, dynamic, address) = {
            let elf = Elf::parse(&bytes).unwrap();
            let index = elf.section_headers.iter().position(|section| section.sh_type == SHT_DYNAMIC).unwrap();
            (section(&elf, ".dynsym").sh_offset, index, elf.section_headers[index].sh_addr)
        };
        let ctx = file::elf_context(&Elf::parse(&bytes).unwrap()).unwrap();
        let symbol_of = |bytes: &[u8], name: &str| {
            let elf = Elf::parse(bytes).unwrap();
            let found =
                elf.dynsyms.iter().enumerate().find(|(_, symbol)| elf.dynstrtab.get_at(symbol.st_name) == Some(name));
            found.unwrap()
        };
        // Some linkers give `_DYNAMIC` no section; other absolute symbols are just numbers.
        for (name, section, value) in
            [("_DYNAMIC", 0xfff1, address), ("inside", dynamic, address + 8), ("absolute", 0xfff1, address)]
        {
            let (index, symbol) = symbol_of(&bytes, name);
            let place = usize::try_from(at).unwrap() + index * goblin::elf::Sym::size_with(&ctx);
            let changed = goblin::elf::Sym { st_shndx: section, st_value: value, ..symbol };
            bytes.pwrite_with(changed, place, ctx).unwrap();
        }
        let edited = edit(&bytes, &runpath("/a/long/folder")).unwrap().unwrap();
        let now = Elf::parse(&edited).unwrap().section_headers[dynamic].sh_addr;
        assert_ne!(now, address);
        let values = ["_DYNAMIC", "inside", "absolute"].map(|name| symbol_of(&edited, name).1.st_value);
        assert_eq!(values, [now, now + 8, address]);
        assert_eq!(pristine(&edited).unwrap(), bytes);
    }
}

#[test]
fn sections_that_lie_do_not_move() {
    for (wide, little) in shapes() {
        let mut bytes = Sample { wide, little, ..Sample::default() }.make();
        let ctx = file::elf_context(&Elf::parse(&bytes).unwrap()).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let index = elf.section_headers.iter().position(|section| section.sh_type == SHT_HASH).unwrap();
        let lie = SectionHeader { sh_addr: 0x10_0000, ..elf.section_headers[index].clone() };
        let at = elf.header.e_shoff + index as u64 * u64::from(elf.header.e_shentsize);
        bytes.pwrite_with(lie, usize::try_from(at).unwrap(), ctx).unwrap();
        let edited = edit(&bytes, &runpath("/a/long/folder")).unwrap().unwrap();
        // Without its hash table, it would not be read.
        let elf = Elf::parse(&edited).unwrap();
        assert_eq!(elf.dynsyms.len(), Elf::parse(&bytes).unwrap().dynsyms.len());
        assert_eq!(Description::read(&edited).unwrap().search_path.as_deref(), Some("/a/long/folder"));
        assert_eq!(pristine(&edited).unwrap(), bytes);
    }
}

/// A hash table that claims more symbols than the file has room for, and a section beyond its end: how the two are read
/// depends on the size of the file, which the edit changes.
#[test]
fn what_is_given_out_can_be_edited_again() {
    for (wide, little) in shapes() {
        let mut bytes = Sample { wide, little, ..Sample::default() }.make();
        let elf = Elf::parse(&bytes).unwrap();
        let ctx = file::elf_context(&elf).unwrap();
        let symbols = usize::try_from(section(&elf, ".dynsym").sh_offset).unwrap();
        let hash = usize::try_from(section(&elf, ".hash").sh_offset).unwrap();
        let index = elf.section_headers.iter().position(|section| section.sh_type == SHT_NOTE).unwrap();
        let lie = SectionHeader { sh_type: SHT_REL, sh_size: 0x200_0000, ..elf.section_headers[index].clone() };
        let at = elf.header.e_shoff + index as u64 * u64::from(elf.header.e_shentsize);
        bytes.pwrite_with(lie, usize::try_from(at).unwrap(), ctx).unwrap();
        let room = (bytes.len() - symbols) / goblin::elf::Sym::size_with(&ctx);
        let long = runpath(&"/a/long/folder".repeat(10));
        let mut edits = 0;
        for more in 1..100 {
            bytes.pwrite_with(u32::try_from(room + more).unwrap(), hash + 4, ctx.le).unwrap();
            if let Ok(Some(edited)) = edit(&bytes, &long) {
                assert_eq!(edit(&edited, &long), Ok(None));
                edits += 1;
            }
        }
        assert!((1..99).contains(&edits), "{edits} of 99 were edited, the others refused");
    }
}
