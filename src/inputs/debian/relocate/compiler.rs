//! GCC finds its own files relative to itself. The rest it is told in a file of specs, which it reads by itself, so
//! that `cc` needs no wrapper and no option: where headers, startup files and libraries are, and the interpreter and
//! search path of what it links.

use std::collections::{BTreeMap, BTreeSet};

use super::binary::NOWHERE;
use super::layout::{Layout, Side};
use super::source::{base, parent};
use super::text::Roots;

/// Stands for the root of a system whose `/usr` is the development files.
const SYSROOT: &str = "libexec/akb/sysroot";

/// Tools that GCC runs; it looks for them beside its own before it looks in `PATH`.
const TOOLS: [&str; 6] = ["ar", "as", "ld", "nm", "ranlib", "strip"];

/// Links (by name below the prefix: their text) and files that a compiler in the development files needs.
pub(super) struct Compiler {
    pub(super) links: BTreeMap<String, String>,
    pub(super) files: BTreeMap<String, String>,
}

/// What to add to the development files; nothing where no compiler is among them.
pub(super) fn additions(layout: &Layout<'_>, roots: &Roots<'_>, interpreter: &str) -> Compiler {
    let mut compiler = Compiler { links: BTreeMap::new(), files: BTreeMap::new() };
    let dev = || layout.spots.values().filter(|spot| spot.side == Side::Dev).map(|spot| spot.dest.as_str());
    let folders_of = |file: &'static str| {
        dev().filter(move |dest| base(dest) == file && is_compilers_folder(parent(dest))).map(parent)
    };
    for folder in folders_of("crtbegin.o") {
        compiler.files.insert(format!("{folder}/specs"), specs(roots, interpreter));
        compiler.links.insert(format!("{SYSROOT}{NOWHERE}"), "../../..".to_owned());
    }
    let programs: BTreeSet<&str> = dev().filter(|dest| parent(dest) == "bin").map(base).collect();
    for folder in folders_of("collect2") {
        let up = "../".repeat(folder.split('/').count());
        for tool in TOOLS.iter().filter(|tool| programs.contains(*tool)) {
            compiler.links.insert(format!("{folder}/{tool}"), format!("{up}bin/{tool}"));
        }
    }
    compiler
}

/// `lib/gcc/MACHINE/VERSION` or the same below `libexec`.
fn is_compilers_folder(folder: &str) -> bool {
    let mut parts = folder.split('/');
    ["lib", "libexec"].map(Some).contains(&parts.next()) && parts.next() == Some("gcc") && parts.count() == 2
}

/// See "Spec Files" in GCC's manual. `+` adds to what is compiled in.
fn specs(roots: &Roots<'_>, interpreter: &str) -> String {
    let Roots { runtime, dev } = roots;
    let linked = |options: String| "%{!static:%{!static-pie:%{!r:OPTIONS}}}".replace("OPTIONS", &options);
    let search = linked(format!("-rpath {runtime}/lib"));
    let interpreter = linked(format!("%{{!shared:-dynamic-linker {interpreter}}}"));
    format!(
        "*startfile_prefix_spec:\n{dev}/lib/ {runtime}/lib/\n\n\
         *cpp:\n+ -isysroot {dev}/{SYSROOT}\n\n\
         *link:\n+ {search} {interpreter}\n\n"
    )
}
