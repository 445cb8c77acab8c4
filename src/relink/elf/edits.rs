//! What to change in a file, as data.

use std::collections::{BTreeMap, BTreeSet};

use super::ElfError;
use super::state::State;

/// What to change. What is `None`, empty or `false` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// A new program interpreter.
    pub interpreter: Option<Interpreter>,
    /// A new search path; `Some(None)` removes `DT_RPATH` and `DT_RUNPATH`.
    pub search: Option<Option<SearchPath>>,
    /// A new `DT_SONAME`; `Some(None)` removes it.
    pub soname: Option<Option<String>>,
    /// Changes of the list of needed libraries, one after the other.
    pub needed: Vec<Needed>,
    /// A new operating system in the header (`EI_OSABI`).
    pub os_abi: Option<u8>,
    /// Whether the stack is to be executable (`PT_GNU_STACK`).
    pub executable_stack: Option<bool>,
    /// Whether the dynamic linker leaves out its default folders (`DF_1_NODEFLIB`).
    pub no_default_lib: Option<bool>,
    /// Whether to add the entry that debuggers look for (`DT_DEBUG`).
    pub debug_tag: bool,
    /// New names of dynamic symbols, by the names that they have. Versions are kept.
    pub rename: BTreeMap<String, String>,
    /// Names of dynamic symbols that lose their version (they become "global").
    pub unversioned: BTreeSet<String>,
    /// A new descriptor of the linker resolution cache note; `Some(None)` removes the note. A change of the
    /// search path or of the needed libraries removes it too, for it holds what they led to.
    pub resolution_cache: Option<Option<Vec<u8>>>,
    /// How the file is laid out.
    pub layout: Layout,
}

/// How an edited file is laid out, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The page size to align a new segment to, in bytes, a power of two; the machine's largest otherwise.
    pub page_size: Option<u64>,
    /// Whether the places that moved strings and tables leave behind are cleared. Nothing reads them; but
    /// programs that look at themselves through section headers of old would.
    pub clear_old: Option<bool>,
    /// Whether to do as patchelf does where nothing but habit decides: what fits in place does not make the file
    /// larger by the journal (so that it cannot be undone); section headers that end the file go on to do so; and a
    /// search path that an earlier edit stored, and that is too short for the new one, is crossed out where it lies.
    pub like_patchelf: bool,
}

/// One change of the list of needed libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Put before all others, unless it is there.
    Add(String),
    /// Removed, wherever it is. What was needed from it by version may come from any library then: the dynamic
    /// linker would refuse the file over versions of a library that it does not load.
    Remove(String),
    /// Replaced wherever it is, in the list of needed versions too.
    Replace {
        /// The name that it has.
        from: String,
        /// Its new name.
        to: String,
    },
}

/// A program interpreter and the room that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Absolute path.
    pub path: String,
    /// Size of `PT_INTERP` in bytes: the path is padded with NULs to it, so that a path that is shorter than
    /// this can be put there later without moving anything. `None`: the path and one NUL.
    pub slot: Option<usize>,
}

/// Where the dynamic linker looks for what a file needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// In which entry of the dynamic section.
    pub tag: SearchTag,
    /// Folders, separated by colons.
    pub text: String,
}

/// The two entries of the dynamic section that hold a search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SearchTag {
    /// `DT_RPATH`: also for the dependencies of what is loaded, unless they have a `DT_RUNPATH`.
    Rpath,
    /// `DT_RUNPATH`: only for the file's own dependencies.
    Runpath,
}

/// The longest interpreter path, its NUL included, that Linux takes.
const PATH_MAX: usize = 4096;
/// The largest page size that any machine has is far below it.
const PAGE_MAX: u64 = 1 << 30;

impl Edits {
    pub(super) fn apply(&self, state: &mut State) -> Result<(), ElfError> {
        let before = (state.search.clone(), state.needed.clone());
        if let Some(interpreter) = &self.interpreter {
            state.interpreter.as_ref().ok_or(ElfError::NoInterpreter)?;
            state.interpreter = Some(interpreter.bytes()?);
        }
        if let Some(search) = &self.search {
            storable(search.iter().map(|search| &search.text))?;
            state.search.clone_from(search);
        }
        if let Some(soname) = &self.soname {
            storable(soname)?;
            state.soname = soname.clone().map(String::into_bytes);
        }
        for change in &self.needed {
            change.apply(state)?;
        }
        state.os_abi = self.os_abi.unwrap_or(state.os_abi);
        state.executable_stack = self.executable_stack.or(state.executable_stack);
        state.no_default_lib = self.no_default_lib.unwrap_or(state.no_default_lib);
        state.debug_tag |= self.debug_tag;
        self.apply_to_symbols(state)?;
        if before != (state.search.clone(), state.needed.clone()) {
            state.resolution_cache = None;
        }
        if let Some(cache) = &self.resolution_cache {
            state.resolution_cache.clone_from(cache);
        }
        self.apply_layout(state)
    }

    fn apply_to_symbols(&self, state: &mut State) -> Result<(), ElfError> {
        storable(self.rename.values())?;
        if let Some(name) = self.rename.iter().flat_map(|(from, to)| [from, to]).find(|name| name.is_empty()) {
            return Err(ElfError::Text { text: name.clone(), reason: "a symbol needs a name" });
        }
        let unseen = &mut state.unseen;
        for name in &self.unversioned {
            let now = unseen.renamed.iter().filter(|(_, now)| *now == name).map(|(old, _)| old.clone());
            let same = Some(name.clone()).filter(|name| !unseen.renamed.contains_key(name));
            let plain: Vec<String> = now.chain(same).collect();
            unseen.unversioned.extend(plain);
        }
        let mut renamed = BTreeMap::new();
        for (old, now) in &unseen.renamed {
            renamed.insert(old.clone(), self.rename.get(now).unwrap_or(now).clone());
        }
        for (from, to) in &self.rename {
            renamed.entry(from.clone()).or_insert_with(|| to.clone());
        }
        renamed.retain(|old, new| old != new);
        unseen.renamed = renamed;
        Ok(())
    }

    fn apply_layout(&self, state: &mut State) -> Result<(), ElfError> {
        if let Some(size) = self.layout.page_size {
            if !size.is_power_of_two() || size > PAGE_MAX {
                return Err(ElfError::Text { text: size.to_string(), reason: "a page size is a power of two" });
            }
            state.unseen.page_size = Some(size);
        }
        state.unseen.like_patchelf |= self.layout.like_patchelf;
        state.unseen.clear_old = self.layout.clear_old.unwrap_or(state.unseen.clear_old);
        Ok(())
    }
}

impl Needed {
    fn apply(&self, state: &mut State) -> Result<(), ElfError> {
        match self {
            Self::Add(name) => {
                storable([name])?;
                if !state.needed.iter().any(|needed| needed == name.as_bytes()) {
                    state.needed.insert(0, name.clone().into_bytes());
                }
            }
            Self::Remove(name) => {
                state.needed.retain(|needed| needed != name.as_bytes());
                state.forget_versions(name.as_bytes());
            }
            Self::Replace { from, to } => {
                storable([to])?;
                for name in state.needed.iter_mut().chain(&mut state.version_files) {
                    if name == from.as_bytes() {
                        *name = to.clone().into_bytes();
                    }
                }
            }
        }
        Ok(())
    }
}

impl Interpreter {
    /// The contents of `PT_INTERP`.
    fn bytes(&self) -> Result<Vec<u8>, ElfError> {
        let refuse = |reason| Err(ElfError::Text { text: self.path.clone(), reason });
        let size = self.slot.unwrap_or(self.path.len() + 1);
        if self.path.is_empty() || self.path.contains('\0') {
            return refuse("an interpreter is a path without NUL");
        }
        if self.path.len() >= size {
            return refuse("it is longer than its slot");
        }
        if size > PATH_MAX {
            return refuse("Linux takes no interpreter longer than 4096 bytes");
        }
        let mut bytes = self.path.clone().into_bytes();
        bytes.resize(size, 0);
        Ok(bytes)
    }
}

/// What is stored ends with a NUL.
fn storable<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<(), ElfError> {
    match texts.into_iter().find(|text| text.contains('\0')) {
        Some(text) => Err(ElfError::Text { text: text.clone(), reason: "it contains a NUL" }),
        None => Ok(()),
    }
}
