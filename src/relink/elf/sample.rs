//! ELF files made to measure, for tests: any class and byte order, with or without room.

use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{
    DT_GNU_HASH, DT_HASH, DT_NEEDED, DT_NULL, DT_RELA, DT_RELAENT, DT_RELASZ, DT_SONAME, DT_STRSZ, DT_STRTAB,
    DT_SYMENT, DT_SYMTAB, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM, DT_VERSYM, Dyn,
};
use goblin::elf::header::{EI_CLASS, EI_DATA, EI_VERSION, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, ET_DYN};
use goblin::elf::program_header::{
    PF_R, PF_W, PT_DYNAMIC, PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, PT_NOTE, PT_PHDR, ProgramHeader,
};
use goblin::elf::section_header::{
    SHF_ALLOC, SHF_WRITE, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM,
    SHT_HASH, SHT_NOTE, SHT_PROGBITS, SHT_RELA, SHT_STRTAB, SectionHeader,
};
use goblin::elf::{Header, Sym};
use scroll::ctx::SizeWith as _;
use scroll::{Endian, Pwrite as _};

use super::SearchTag;
use super::symbols::{WIDE_HASH, gnu_hash};

/// What a made file is like.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub(crate) struct Sample {
    pub(crate) wide: bool,
    pub(crate) little: bool,
    pub(crate) interpreter: Option<&'static str>,
    pub(crate) soname: Option<String>,
    pub(crate) needed: Vec<String>,
    pub(crate) search: Option<(SearchTag, String)>,
    /// The search path is also the end of a symbol's name.
    pub(crate) merged: bool,
    /// Entries of the dynamic section beyond the last.
    pub(crate) spare: usize,
    /// Free bytes behind the program headers.
    pub(crate) gap: usize,
    /// The note is announced twice.
    pub(crate) property: bool,
    /// What follows the program headers may not move.
    pub(crate) stuck: bool,
    /// Memory beyond the file's end.
    pub(crate) bss: u64,
    /// Read-only data.
    pub(crate) constants: Vec<u8>,
    /// Bytes behind the section headers.
    pub(crate) tail: Vec<u8>,
    /// Library and version that it needs.
    pub(crate) needs: Option<(String, String)>,
    /// What it says that it opens, as JSON.
    pub(crate) dlopen: Option<&'static str>,
    /// A version that it defines.
    pub(crate) defines: Option<String>,
    /// Further symbols that it defines, each with a version and a relocation of its own.
    pub(crate) symbols: Vec<String>,
    /// Whether a GNU hash table finds the symbols too.
    pub(crate) gnu_hash: bool,
    /// `e_machine`.
    pub(crate) machine: u16,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            wide: true,
            little: true,
            interpreter: None,
            soname: None,
            needed: vec!["libneeded.so.1".into()],
            search: None,
            merged: false,
            spare: 4,
            gap: 0,
            property: false,
            stuck: false,
            bss: 0,
            constants: Vec::new(),
            tail: Vec::new(),
            needs: None,
            dlopen: None,
            defines: None,
            symbols: Vec::new(),
            gnu_hash: false,
            machine: 62,
        }
    }
}

/// A file while it is made.
struct Maker {
    ctx: Ctx,
    bytes: Vec<u8>,
    sections: Vec<SectionHeader>,
    names: Vec<u8>,
}

/// The writable segment's distance from its place in the file.
const WRITABLE: u64 = 0x1_0000;

impl Sample {
    /// The file's bytes.
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    pub(crate) fn make(&self) -> Vec<u8> {
        let container = if self.wide { Container::Big } else { Container::Little };
        let endian = if self.little { Endian::Little } else { Endian::Big };
        let ctx = Ctx::new(container, endian);
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let at = strings.len() as u64;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let needed: Vec<u64> = self.needed.iter().map(|name| string(name)).collect();
        let soname = self.soname.as_ref().map(|name| string(name));
        let (symbol, search) = match &self.search {
            Some((tag, text)) if self.merged => {
                let at = string(&format!("symbol{text}"));
                (at, Some((tag, at + "symbol".len() as u64)))
            }
            Some((tag, text)) => (string("symbol"), Some((tag, string(text)))),
            None => (string("symbol"), None),
        };
        let (gnu, order) = gnu_hash_table(&self.symbols, ctx);
        let symbols_in_order: Vec<&String> = order.iter().map(|&index| &self.symbols[index]).collect();
        let further: Vec<u64> = symbols_in_order.iter().map(|name| string(name)).collect();
        let needs = self.needs.as_ref().map(|(library, version)| (string(library), string(version)));
        let defines = self.defines.as_ref().map(|version| string(version));

        let count = 4 + usize::from(self.property) + 2 * usize::from(self.interpreter.is_some());
        let head = Header::size(ctx) + count * ProgramHeader::size_with(&ctx) + self.gap;
        let mut maker = Maker { ctx, bytes: vec![0; head], sections: vec![SectionHeader::default()], names: vec![0] };
        let mut segments = Vec::new();
        if self.stuck {
            maker.section(".stuck", SHT_PROGBITS, &[7; 96], 0);
        }
        if let Some(interpreter) = self.interpreter {
            let mut text = interpreter.as_bytes().to_vec();
            text.push(0);
            let at = maker.section(".interp", SHT_PROGBITS, &text, 0);
            segments.push(part(PT_PHDR, Header::size(ctx) as u64, (count * ProgramHeader::size_with(&ctx)) as u64));
            segments.push(part(PT_INTERP, at, text.len() as u64));
        }
        maker.align(8);
        let note = [4_u32, 4, 1, u32::from_le_bytes(*b"GNU\0"), 5];
        let note: Vec<u8> = note.iter().flat_map(|word| maker.word(*word)).collect();
        let note_at = maker.section(".note", SHT_NOTE, &note, 0);
        maker.align(8);
        let total = 2 + further.len() as u32;
        let chains = (2..total).chain([0]);
        // The words of this table are as wide as addresses on two machines.
        let wide = self.wide && WIDE_HASH.contains(&self.machine);
        let words = [1_u32, total, 1, 0].into_iter().chain(chains);
        let words = words.flat_map(|word| match (wide, self.little) {
            (false, _) => vec![word],
            (true, true) => vec![word, 0],
            (true, false) => vec![0, word],
        });
        let hash: Vec<u8> = words.flat_map(|word| maker.word(word)).collect();
        let hash_at = maker.section(".hash", SHT_HASH, &hash, 0);
        maker.align(8);
        let mut symbols = vec![0; total as usize * Sym::size_with(&ctx)];
        let exported =
            Sym { st_name: symbol as usize, st_info: 0x10, st_other: 0, st_shndx: 0, st_value: 0, st_size: 0 };
        symbols.pwrite_with(exported, Sym::size_with(&ctx), ctx).unwrap();
        for (index, &name) in further.iter().enumerate() {
            let defined = Sym { st_name: name as usize, st_info: 0x12, st_shndx: 1, st_value: 64, ..exported };
            symbols.pwrite_with(defined, (2 + index) * Sym::size_with(&ctx), ctx).unwrap();
        }
        let symbols_at = maker.section(".dynsym", SHT_DYNSYM, &symbols, Sym::size_with(&ctx) as u64);
        let strings_at = maker.section(".dynstr", SHT_STRTAB, &strings, 0);
        maker.align(8);
        let strings_index = maker.sections.len() as u32 - 1;
        let needs_at = needs.map(|(library, version)| {
            let words = [1 | 1 << 16, library as u32, 16, 0, 1, 2 << 16, version as u32, 0];
            let words: Vec<u8> = words
                .iter()
                .enumerate()
                .flat_map(|(index, word)| maker.halves(*word, index == 0 || index == 5))
                .collect();
            maker.section(".verneed", SHT_GNU_VERNEED, &words, 0)
        });
        if needs_at.is_some() {
            let section = maker.sections.last_mut().unwrap();
            (section.sh_link, section.sh_info) = (strings_index, 1);
        }
        let defines_at = defines.map(|version| {
            let words = [1, 1 | 1 << 16, 0, 20, 0, version as u32, 0];
            let words: Vec<u8> =
                words.iter().enumerate().flat_map(|(index, word)| maker.halves(*word, index < 2)).collect();
            maker.section(".verdef", SHT_GNU_VERDEF, &words, 0)
        });
        if defines_at.is_some() {
            let section = maker.sections.last_mut().unwrap();
            (section.sh_link, section.sh_info) = (strings_index, 1);
        }
        let mut tables = Vec::new();
        if !further.is_empty() {
            maker.align(8);
            let versions: Vec<u8> =
                (0..total).flat_map(|number| maker.half(if number < 2 { 1 } else { number })).collect();
            let entries: Vec<u8> =
                (2..total).flat_map(|number| maker.relocation(u64::from(number) * 8, number)).collect();
            tables.push((DT_VERSYM, maker.section(".versym", SHT_GNU_VERSYM, &versions, 2)));
            maker.align(8);
            let size = entries.len() as u64;
            let (tag, tag_size, tag_entry) = (DT_RELA, DT_RELASZ, DT_RELAENT);
            tables.push((tag, maker.section(".rela.dyn", SHT_RELA, &entries, size / (u64::from(total) - 2))));
            maker.sections.last_mut().unwrap().sh_link = strings_index - 1;
            tables.extend([(tag_size, size), (tag_entry, size / (u64::from(total) - 2))]);
        }
        if self.gnu_hash {
            maker.align(8);
            tables.push((DT_GNU_HASH, maker.section(".gnu.hash", SHT_GNU_HASH, &gnu, 0)));
        }
        maker.section(".rodata", SHT_PROGBITS, &self.constants, 0);
        if let Some(json) = self.dlopen {
            maker.align(4);
            let head = [4, json.len() as u32, 0x407c_0c0a];
            let mut note: Vec<u8> = head.iter().flat_map(|word| maker.word(*word)).collect();
            note.extend_from_slice(b"FDO\0");
            note.extend_from_slice(json.as_bytes());
            note.resize(note.len().next_multiple_of(4), b' ');
            maker.section(".note.dlopen", SHT_NOTE, &note, 0);
        }
        let first_end = maker.bytes.len() as u64;

        maker.align(16);
        let dynamic_at = maker.bytes.len() as u64;
        let mut entries: Vec<(u64, u64)> = needed.into_iter().map(|at| (DT_NEEDED, at)).collect();
        entries.extend(soname.map(|at| (DT_SONAME, at)));
        entries.extend(search.map(|(tag, at)| (tag.number(), at)));
        entries.extend([
            (DT_HASH, hash_at),
            (DT_STRTAB, strings_at),
            (DT_SYMTAB, symbols_at),
            (DT_STRSZ, strings.len() as u64),
            (DT_SYMENT, Sym::size_with(&ctx) as u64),
        ]);
        entries.extend(needs_at.iter().flat_map(|&at| [(DT_VERNEED, at), (DT_VERNEEDNUM, 1)]));
        entries.extend(defines_at.iter().flat_map(|&at| [(DT_VERDEF, at), (DT_VERDEFNUM, 1)]));
        entries.extend(tables);
        entries.resize(entries.len() + 1 + self.spare, (DT_NULL, 0));
        let mut dynamic = vec![0; entries.len() * Dyn::size_with(&ctx)];
        for (index, (d_tag, d_val)) in entries.into_iter().enumerate() {
            dynamic.pwrite_with(Dyn { d_tag, d_val }, index * Dyn::size_with(&ctx), ctx).unwrap();
        }
        maker.section(".dynamic", SHT_DYNAMIC, &dynamic, Dyn::size_with(&ctx) as u64);
        let section = maker.sections.last_mut().unwrap();
        section.sh_addr = dynamic_at + WRITABLE;
        section.sh_flags |= u64::from(SHF_WRITE);
        let size = dynamic.len() as u64;
        segments.push(ProgramHeader {
            p_align: 0x1000,
            p_offset: 0,
            p_vaddr: 0,
            p_paddr: 0,
            ..part(PT_LOAD, 0, first_end)
        });
        segments.push(ProgramHeader {
            p_align: 0x1000,
            p_flags: PF_R | PF_W,
            p_memsz: size + self.bss,
            ..moved(&part(PT_LOAD, dynamic_at, size))
        });
        segments.push(moved(&part(PT_DYNAMIC, dynamic_at, size)));
        segments.push(part(PT_NOTE, note_at, note.len() as u64));
        if self.property {
            segments.push(part(PT_GNU_PROPERTY, note_at, note.len() as u64));
        }
        maker.finish(self, &segments)
    }
}

/// A table that finds all symbols but the first two, and the order that it wants them in.
fn gnu_hash_table(names: &[String], ctx: Ctx) -> (Vec<u8>, Vec<usize>) {
    const BUCKETS: u32 = 3;
    let mut order: Vec<(u32, usize)> =
        names.iter().enumerate().map(|(index, name)| (gnu_hash(name.as_bytes()), index)).collect();
    order.sort_by_key(|(hash, index)| (hash % BUCKETS, *index));
    let width = if ctx.is_big() { 8 } else { 4 };
    let mut filter = vec![0; width];
    let mut buckets = [0_u32; BUCKETS as usize];
    let mut chains: Vec<u32> = Vec::new();
    for (position, (hash, _)) in order.iter().enumerate() {
        let bits = u32::try_from(width * 8).unwrap();
        for bit in [hash % bits, (hash >> 5) % bits] {
            let byte = usize::try_from(bit / 8).unwrap();
            filter[if ctx.le == Endian::Little { byte } else { width - 1 - byte }] |= 1 << (bit % 8);
        }
        let bucket = &mut buckets[usize::try_from(hash % BUCKETS).unwrap()];
        *bucket = if *bucket == 0 { u32::try_from(position + 2).unwrap() } else { *bucket };
        let last = order.get(position + 1).is_none_or(|(next, _)| next % BUCKETS != hash % BUCKETS);
        chains.push(hash & !1 | u32::from(last));
    }
    let word = |word: u32| if ctx.le == Endian::Little { word.to_le_bytes() } else { word.to_be_bytes() };
    let mut table: Vec<u8> = [BUCKETS, 2, 1, 5].into_iter().flat_map(word).collect();
    table.extend(filter);
    table.extend(buckets.into_iter().chain(chains).flat_map(word));
    (table, order.into_iter().map(|(_, index)| index).collect())
}

fn part(p_type: u32, at: u64, size: u64) -> ProgramHeader {
    ProgramHeader {
        p_type,
        p_flags: PF_R,
        p_offset: at,
        p_vaddr: at,
        p_paddr: at,
        p_filesz: size,
        p_memsz: size,
        p_align: 1,
    }
}

fn moved(segment: &ProgramHeader) -> ProgramHeader {
    let address = segment.p_offset + WRITABLE;
    ProgramHeader { p_vaddr: address, p_paddr: address, ..segment.clone() }
}

impl Maker {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn word(&self, word: u32) -> [u8; 4] {
        if self.ctx.le == Endian::Little { word.to_le_bytes() } else { word.to_be_bytes() }
    }

    fn half(&self, number: u32) -> [u8; 2] {
        let half = u16::try_from(number).unwrap();
        if self.ctx.le == Endian::Little { half.to_le_bytes() } else { half.to_be_bytes() }
    }

    /// A relocation with addend.
    fn relocation(&self, at: u64, symbol: u32) -> Vec<u8> {
        let mut bytes = vec![0; 24];
        let size = if self.ctx.is_big() {
            bytes.pwrite_with(at, 0, self.ctx.le).unwrap();
            bytes.pwrite_with(u64::from(symbol) << 32 | 6, 8, self.ctx.le).unwrap();
            24
        } else {
            bytes.pwrite_with(u32::try_from(at).unwrap(), 0, self.ctx.le).unwrap();
            bytes.pwrite_with(symbol << 8 | 6, 4, self.ctx.le).unwrap();
            12
        };
        bytes.truncate(size);
        bytes
    }

    /// A word, or two half words of which the first is the lower half of the number.
    fn halves(&self, word: u32, two: bool) -> [u8; 4] {
        self.word(if two && self.ctx.le == Endian::Big { word.rotate_left(16) } else { word })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    fn section(&mut self, name: &str, sh_type: u32, contents: &[u8], entry: u64) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(contents);
        let alloc = if name == ".shstrtab" { 0 } else { u64::from(SHF_ALLOC) };
        self.sections.push(SectionHeader {
            sh_name: self.names.len(),
            sh_type,
            sh_flags: alloc,
            sh_addr: if alloc == 0 { 0 } else { at },
            sh_offset: at,
            sh_size: contents.len() as u64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 1,
            sh_entsize: entry,
        });
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
        let index = self.sections.len() as u32;
        // The strings follow the symbols.
        if sh_type == SHT_DYNSYM {
            self.sections[index as usize - 1].sh_link = index;
        }
        at
    }

    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    fn finish(mut self, sample: &Sample, segments: &[ProgramHeader]) -> Vec<u8> {
        let mut names = self.names.clone();
        names.extend_from_slice(b".shstrtab\0");
        self.section(".shstrtab", SHT_STRTAB, &names, 0);
        self.align(8);
        let ctx = self.ctx;
        let mut header = Header::new(ctx);
        header.e_ident[EI_CLASS] = if sample.wide { ELFCLASS64 } else { ELFCLASS32 };
        header.e_ident[EI_DATA] = if sample.little { ELFDATA2LSB } else { ELFDATA2MSB };
        header.e_ident[EI_VERSION] = 1;
        header.e_type = ET_DYN;
        header.e_version = 1;
        header.e_machine = sample.machine;
        header.e_phoff = Header::size(ctx) as u64;
        header.e_phentsize = ProgramHeader::size_with(&ctx) as u16;
        header.e_phnum = segments.len() as u16;
        header.e_shoff = self.bytes.len() as u64;
        header.e_shentsize = SectionHeader::size_with(&ctx) as u16;
        header.e_shnum = self.sections.len() as u16;
        header.e_shstrndx = header.e_shnum - 1;
        header.e_ehsize = Header::size(ctx) as u16;
        self.bytes.pwrite_with(header, 0, ctx.le).unwrap();
        let mut at = Header::size(ctx);
        for segment in segments {
            at += self.bytes.pwrite_with(segment.clone(), at, ctx).unwrap();
        }
        let mut at = self.bytes.len();
        self.bytes.resize(at + self.sections.len() * SectionHeader::size_with(&ctx), 0);
        for section in self.sections {
            at += self.bytes.pwrite_with(section, at, ctx).unwrap();
        }
        self.bytes.extend_from_slice(&sample.tail);
        self.bytes
    }
}
