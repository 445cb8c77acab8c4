//! Programs and libraries: interpreter, search path, and the folders of the host that they know.

use super::error::RelocateError;
use super::layout::{Layout, Side};
use super::source::base;
use super::text::{self, Roots};
use super::wrapper;
use crate::relink::elf::{self, Edits, Image, Interpreter, SearchPath, SearchTag};
use crate::relink::glob;
use crate::runtime::seal;

/// The C library and its dynamic linker are found by name and load nothing by a search path.
const LOADER: &str = "ld*.so.*";
const LIBC: &str = "libc.so.6";

/// What only the compiler's own programs contain.
const COMPILERS_MARK: &[u8] = b"COLLECT_GCC";

/// The file `name` with its new interpreter and search path, closed to the host's libraries and plug-ins.
pub(super) fn edit(
    layout: &Layout<'_>,
    roots: &Roots<'_>,
    side: Side,
    (name, image): (&str, &Image),
    mut bytes: Vec<u8>,
) -> Result<Vec<u8>, RelocateError> {
    if is_compilers(name, &bytes) || wrapper::is_wrapped(layout.source, name) {
        move_away(&mut bytes);
    } else if !is_python(name) {
        let soname = image.soname.as_deref().unwrap_or(base(name));
        seal::seal(soname, &mut bytes).map_err(|source| RelocateError::Seal { path: name.to_owned(), source })?;
    }
    if [LOADER, LIBC].iter().any(|library| glob::matches(library, image.soname.as_deref().unwrap_or_default())) {
        return Ok(bytes);
    }
    let interpreter = match &image.interpreter {
        Some(path) => Some(Interpreter { path: interpreter(layout, roots, path)?, slot: None }),
        None => None,
    };
    let search = (!image.needed.is_empty())
        .then(|| Some(SearchPath { tag: SearchTag::Runpath, text: search(layout, roots, side, image) }));
    let edited = elf::edit(&bytes, &Edits { interpreter, search, ..Edits::default() });
    let edited = edited.map_err(|source| RelocateError::Elf { path: name.to_owned(), source })?;
    Ok(edited.unwrap_or(bytes))
}

pub(super) fn interpreter(layout: &Layout<'_>, roots: &Roots<'_>, path: &str) -> Result<String, RelocateError> {
    let name = layout.source.name("", path).and_then(|name| layout.source.follow(&name));
    let spot = name.and_then(|name| layout.find(&name, Side::Runtime)).filter(|spot| spot.side == Side::Runtime);
    let spot = spot.ok_or_else(|| RelocateError::Missing { missing: path.to_owned() })?;
    Ok(roots.path(&spot))
}

/// What the file's own search path says, and then the folders of libraries.
fn search(layout: &Layout<'_>, roots: &Roots<'_>, side: Side, image: &Image) -> String {
    let own = image.search_folders().map(|folder| {
        text::path(layout, roots, side, folder).filter(|_| folder.starts_with('/')).unwrap_or_else(|| folder.to_owned())
    });
    let mut folders: Vec<String> = own.collect();
    let standard = match side {
        Side::Runtime => vec![Side::Runtime],
        Side::Dev => vec![Side::Runtime, Side::Dev],
    };
    for side in standard {
        let folder = format!("{}/lib", roots.of(side));
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders.join(":")
}

/// It knows no folder of libraries, and a part of a path in one of its modules is no path.
fn is_python(name: &str) -> bool {
    ["python", "libpython"].iter().any(|start| base(name).starts_with(start))
}

/// GCC finds its own files by where it lies, which it compares with where it was to lie: all of these paths have to
/// change alike.
fn is_compilers(name: &str, bytes: &[u8]) -> bool {
    let folder = ["usr/lib/gcc/", "usr/libexec/gcc/"].iter().any(|folder| name.starts_with(folder));
    folder || name.starts_with("usr/bin/") && memchr::memmem::find(bytes, COMPILERS_MARK).is_some()
}

/// Where the compiler believes itself to be in place of `/usr`; nothing is there, on any machine.
pub(super) const NOWHERE: &str = "/akb";

fn move_away(bytes: &mut [u8]) {
    let found: Vec<usize> = memchr::memmem::find_iter(bytes, b"/usr").collect();
    for at in found {
        if matches!(bytes.get(at + 4), Some(b'/' | 0)) {
            bytes[at..at + 4].copy_from_slice(NOWHERE.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_whole_names_only() {
        let mut bytes = *b"/usr/lib/gcc/\0/usr\0/usrlocal\0x/usr/bin\0/usr";
        move_away(&mut bytes);
        assert_eq!(&bytes, b"/akb/lib/gcc/\0/akb\0/usrlocal\0x/akb/bin\0/usr");
    }
}
