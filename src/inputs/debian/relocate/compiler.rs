//! GCC finds its own files relative to itself. The rest it is told by two options: where headers and startup files
//! are (`--sysroot`), and in a file of specs the interpreter and search path of what it links.
//!
//! A file `specs` beside its own files would be read without any option, but in place of what GCC prepares itself:
//! `--eh-frame-hdr`, `-lgcc_eh` and `-march=native` are lost then.

use std::collections::{BTreeMap, BTreeSet};

use super::binary::NOWHERE;
use super::layout::{Layout, Side};
use super::source::{base, parent};
use super::text::Roots;

/// The file of specs.
const SPECS: &str = "libexec/akb/specs";

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
    let collect2 = dev().filter(|dest| base(dest) == "collect2" && is_compilers_folder(parent(dest)));
    if !layout.source.drivers.is_empty() {
        compiler.files.insert(SPECS.to_owned(), specs(roots, interpreter));
        compiler.links.insert(format!("{SYSROOT}{NOWHERE}"), "../../..".to_owned());
    }
    let programs: BTreeSet<&str> = dev().filter(|dest| parent(dest) == "bin").map(base).collect();
    for folder in collect2.map(parent) {
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

/// The options that the compiler's driver is to be called with. The last keeps the names of headers out of debug
/// information and of `__FILE__`: they would keep the development files alive.
pub(super) fn options(roots: &Roots<'_>) -> String {
    format!("--sysroot={0}/{SYSROOT} -specs={0}/{SPECS} -ffile-prefix-map={0}={NOWHERE}/dev", roots.dev)
}

/// See "Spec Files" in GCC's manual. `+` adds to what is compiled in. The linker is told of no sysroot: it would look
/// there for whatever the search paths of libraries name.
fn specs(roots: &Roots<'_>, interpreter: &str) -> String {
    let runtime = roots.runtime;
    let linked = |options: String| "%{!static:%{!static-pie:%{!r:OPTIONS}}}".replace("OPTIONS", &options);
    let search = linked(format!("-rpath {runtime}/lib"));
    let interpreter = linked(format!("%{{!shared:-dynamic-linker {interpreter}}}"));
    format!("*sysroot_spec:\n\n\n*link:\n+ {search} {interpreter}\n\n*link_libgcc:\n+ -L{runtime}/lib\n\n")
}
