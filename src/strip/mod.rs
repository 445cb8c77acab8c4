//! Removes what an ELF file does not need to run: debug information, symbols, the build id.
//!
//! Segments stay where they are, byte for byte, and so does all that is loaded; sections that are in no segment are
//! written anew behind them, without those that are dropped, and the section headers after these. Unlike `strip`, no
//! address and no alignment is ever computed anew. What is not understood is left alone, with a reason. What was written
//! is read again with goblin before it is given out.
//!
//! Strip before editing. A file that [`crate::relink::elf`] edited is undone, stripped and edited again.

use crate::relink::elf::{self, Edits, ElfError, Image, Interpreter};

mod build_id;
mod check;
mod debug;
mod layout;
mod source;
mod split;
mod strings;
mod symbols;
mod tree;

pub use tree::{Report, StripError, tree};

use layout::Change;
use source::Source;

/// What is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// All symbols that linking at run time does not need, too. Debug information always goes.
    pub symbols: bool,
    /// The build id: its bytes become zero.
    pub build_id: bool,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no ELF file, or has nothing to remove.
    Unchanged,
    /// It was not understood, or is of a kind that is never stripped.
    Left(String),
    /// It is smaller now, or at least says less.
    Stripped(Stripped),
}

/// A stripped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What was removed, as a file for debuggers, if that was wanted and there was debug information.
    pub debug: Option<Vec<u8>>,
}

/// Why a file is left alone.
type Reason = String;

/// Strips the file `bytes`. With `link`, the name of a file for debuggers, that file is made too, and its name and
/// checksum are noted in the stripped one (`.gnu_debuglink`).
pub fn strip(bytes: &[u8], options: Options, link: Option<&str>) -> Outcome {
    if !elf::is_elf(bytes) {
        return Outcome::Unchanged;
    }
    match pristine(bytes).and_then(|pristine| match pristine {
        None => plain(bytes, options, link),
        Some(pristine) => edited(bytes, &pristine, options, link),
    }) {
        Ok(None) => Outcome::Unchanged,
        Ok(Some(stripped)) => Outcome::Stripped(stripped),
        Err(reason) => Outcome::Left(reason),
    }
}

/// The file before it was edited, if it was.
fn pristine(bytes: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    match elf::pristine(bytes) {
        Ok(pristine) => Ok((pristine != bytes).then_some(pristine)),
        Err(ElfError::Malformed(problem)) => Err(problem),
        // What cannot be edited was not.
        Err(_) => Ok(None),
    }
}

fn plain(bytes: &[u8], options: Options, link: Option<&str>) -> Result<Option<Stripped>, Reason> {
    let source = Source::read(bytes)?;
    if source.is_for_debuggers() {
        return Err("it is a file for debuggers".to_owned());
    }
    let mut change = Change::plan(&source, options)?;
    let debug = match link {
        Some(name) if change.drops_debug(&source) => {
            if source.sections.iter().any(|section| section.name == layout::LINK) {
                return Err("it names a file for debuggers already".to_owned());
            }
            let file = debug::file(&source)?;
            change.add(debug::link(name, &file));
            Some(file)
        }
        _ => None,
    };
    if change.is_empty() {
        return Ok(None);
    }
    let bytes = change.write(&source)?;
    check::check(&source, &change, &bytes)?;
    Ok(Some(Stripped { bytes, debug }))
}

/// Strips the pristine file and repeats the edit.
fn edited(bytes: &[u8], pristine: &[u8], options: Options, link: Option<&str>) -> Result<Option<Stripped>, Reason> {
    let Some(mut stripped) = plain(pristine, options, link)? else { return Ok(None) };
    let image = |bytes: &[u8]| Image::read(bytes).map_err(|error| error.to_string());
    let (before, now) = (image(pristine)?, image(bytes)?);
    let (Some(before), Some(now)) = (before, now.clone()) else {
        return Err("it was edited, and cannot be read".to_owned());
    };
    let slot = elf::interpreter_slot(bytes).map(|slot| slot.len());
    let interpreter = now.interpreter.clone().filter(|_| {
        elf::interpreter_slot(pristine).map(|slot| slot.len()) != slot || before.interpreter != now.interpreter
    });
    let edits = Edits {
        interpreter: interpreter.map(|path| Interpreter { path, slot }),
        search: (before.search != now.search).then(|| now.search.clone()),
        ..Edits::default()
    };
    if let Some(again) = elf::edit(&stripped.bytes, &edits).map_err(|error| error.to_string())? {
        stripped.bytes = again;
    }
    // Whatever else may have been edited must be there again.
    if image(&stripped.bytes)?.as_ref() != Some(&now) {
        return Err("it was edited in a way that cannot be repeated; strip before editing".to_owned());
    }
    Ok(Some(stripped))
}

#[cfg(test)]
mod tests;
