//! The command line of patchelf: what `akb` understands when it is run under that name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use akb::relink::elf::{
    self, Description, Edits, ElfError, FileError, Interpreter, Layout, Needed, SearchPath, SearchTag, Sections,
};

/// The release whose options and answers these are.
const COMPATIBLE: &str = "0.19.3";

/// Whether the program was called patchelf.
pub(crate) fn is_meant(program: &OsString) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "patchelf")
}

/// Does what patchelf would do with these arguments, of which the first is the program.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    if arguments.len() < 2 {
        eprint!("{HELP}");
        return ExitCode::FAILURE;
    }
    match Options::parse(arguments).and_then(|options| options.map_or(Ok(()), |options| options.run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("patchelf: {message}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
syntax: patchelf
  [--set-interpreter FILENAME]
  [--page-size SIZE]
  [--print-interpreter]
  [--print-os-abi]\t\tPrint the operating system in the ELF header
  [--set-os-abi ABI]\t\tSet it: System V, Linux, FreeBSD, ...
  [--print-soname]
  [--set-soname SONAME]
  [--set-rpath RPATH]
  [--add-rpath RPATH]
  [--remove-rpath]
  [--shrink-rpath]\t\tKeep only the folders that hold a needed library
  [--allowed-rpath-prefixes PREFIXES]\tWith --shrink-rpath: drop folders that start with none of them
  [--print-rpath]
  [--force-rpath]\t\tStore a DT_RPATH, not a DT_RUNPATH
  [--add-needed LIBRARY]
  [--remove-needed LIBRARY]
  [--replace-needed LIBRARY NEW_LIBRARY]
  [--print-needed]
  [--no-default-lib]
  [--no-sort]\t\t\tAccepted: headers are never sorted
  [--clear-symbol-version SYMBOL]
  [--add-debug-tag]
  [--build-resolution-cache]
  [--print-execstack]
  [--clear-execstack]
  [--set-execstack]
  [--rename-dynamic-symbols NAME_MAP_FILE]\tTwo names a line: old and new
  [--no-clobber-old-sections]\tLeave what moved where it was, too
  [--output FILE]
  [--debug]\t\t\tAccepted
  [--version]
  FILENAME...
An option's argument that starts with @ names a file that holds it.
";

/// What `--*-rpath` asks for.
enum Search {
    Set(String),
    Add(String),
    Shrink,
    Remove,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
struct Options {
    print: Print,
    edits: Edits,
    soname: Option<String>,
    interpreter: Option<String>,
    shrink: bool,
    remove: bool,
    set: Option<String>,
    add: Option<String>,
    force: bool,
    prefixes: Vec<String>,
    added: BTreeSet<String>,
    removed: BTreeSet<String>,
    replaced: BTreeMap<String, String>,
    set_stack: bool,
    clear_stack: bool,
    cache: bool,
    output: Option<PathBuf>,
    files: Vec<PathBuf>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
struct Print {
    interpreter: bool,
    os_abi: bool,
    soname: bool,
    rpath: bool,
    stack: bool,
    needed: bool,
}

/// The arguments that are left.
struct Arguments(std::vec::IntoIter<OsString>);

impl Arguments {
    fn text(&mut self) -> Result<String, String> {
        let text = self.0.next().ok_or("missing argument")?;
        text.into_string().map_err(|text| format!("an argument is not UTF-8: {}", text.display()))
    }

    /// An argument, or what is in the file that it names.
    fn resolved(&mut self) -> Result<String, String> {
        let text = self.text()?;
        let Some(path) = text.strip_prefix('@') else { return Ok(text) };
        std::fs::read_to_string(path).map_err(|error| format!("getting info about '{path}': {error}"))
    }
}

impl Options {
    /// `None` where all was said already.
    fn parse(arguments: Vec<OsString>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        options.edits.layout = Layout { clear_old: Some(true), like_patchelf: true, ..Layout::default() };
        let mut left = Arguments(arguments.into_iter());
        left.0.next();
        while let Some(argument) = left.0.next() {
            match argument.to_str().unwrap_or_default() {
                "--help" | "-h" => {
                    eprint!("{HELP}");
                    return Ok(None);
                }
                "--version" => {
                    println!("patchelf {COMPATIBLE} (akb {})", env!("CARGO_PKG_VERSION"));
                    return Ok(None);
                }
                option => {
                    if !options.take_print(option) && !options.take_edit(option, &mut left)? {
                        options.files.push(argument.into());
                    }
                }
            }
        }
        options.check()?;
        Ok(Some(options))
    }

    fn take_print(&mut self, option: &str) -> bool {
        let flag = match option {
            "--print-interpreter" => &mut self.print.interpreter,
            "--print-os-abi" => &mut self.print.os_abi,
            "--print-soname" => &mut self.print.soname,
            "--print-rpath" => &mut self.print.rpath,
            "--print-execstack" => &mut self.print.stack,
            "--print-needed" => &mut self.print.needed,
            "--remove-rpath" => &mut self.remove,
            "--shrink-rpath" => &mut self.shrink,
            "--force-rpath" => &mut self.force,
            "--clear-execstack" => &mut self.clear_stack,
            "--set-execstack" => &mut self.set_stack,
            "--add-debug-tag" => &mut self.edits.debug_tag,
            "--build-resolution-cache" => &mut self.cache,
            "--no-sort" | "--debug" => return true,
            _ => return false,
        };
        *flag = true;
        true
    }

    fn take_edit(&mut self, option: &str, left: &mut Arguments) -> Result<bool, String> {
        match option {
            "--set-interpreter" | "--interpreter" => self.interpreter = Some(left.resolved()?),
            "--page-size" => {
                let size = left.text()?.parse().ok().filter(|&size: &u64| size > 0);
                self.edits.layout.page_size = Some(size.ok_or("invalid argument to --page-size")?);
            }
            "--set-os-abi" => {
                self.edits.os_abi = Some(elf::os_abi_number(&left.resolved()?).ok_or("unrecognized OS ABI")?);
            }
            "--set-soname" => self.soname = Some(left.resolved()?),
            "--allowed-rpath-prefixes" => self.prefixes = left.text()?.split(':').map(str::to_owned).collect(),
            "--set-rpath" => self.set = Some(left.resolved()?),
            "--add-rpath" => self.add = Some(left.resolved()?),
            "--add-needed" => drop(self.added.insert(left.resolved()?)),
            "--remove-needed" => drop(self.removed.insert(left.resolved()?)),
            "--replace-needed" => drop(self.replaced.insert(left.text()?, left.text()?)),
            "--clear-symbol-version" => drop(self.edits.unversioned.insert(left.resolved()?)),
            "--rename-dynamic-symbols" => self.edits.rename = name_map(&left.text()?)?,
            "--output" => self.output = Some(left.resolved()?.into()),
            "--no-default-lib" => self.edits.no_default_lib = Some(true),
            "--no-clobber-old-sections" => self.edits.layout.clear_old = Some(false),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |condition: bool, message: &str| if condition { Err(message.to_owned()) } else { Ok(()) };
        wrong(self.files.is_empty(), "missing filename")?;
        wrong(self.force && self.cache, "--build-resolution-cache cannot be combined with --force-rpath")?;
        let several = self.output.is_some() && self.files.len() != 1;
        wrong(several, "--output option only allowed with single input file")?;
        wrong(self.set.is_some() && self.add.is_some(), "--set-rpath option not allowed with --add-rpath")
    }

    fn run(&self) -> Result<(), String> {
        self.files.iter().try_for_each(|path| self.run_on(path))
    }

    fn run_on(&self, path: &Path) -> Result<(), String> {
        let bytes = elf::read_file(path).map_err(|error| match error {
            FileError::Read { path, source } => format!("getting info about '{}': {source}", path.display()),
            error => error.to_string(),
        })?;
        if !elf::is_elf(&bytes) {
            return Err("not an ELF executable".to_owned());
        }
        let told = |error: ElfError| told(&error);
        self.check_sections(&bytes).map_err(told)?;
        let found = Description::read(&bytes).map_err(told)?;
        self.print(&found)?;
        let edits = self.edits(&bytes, &found)?;
        let mut edited = elf::edit(&bytes, &edits).map_err(told)?;
        if self.cache {
            let now = edited.as_deref().unwrap_or(&bytes);
            if let Some(edits) = self.cache_edits(now)? {
                edited = elf::edit(now, &edits).map_err(told)?.or(edited);
            }
        }
        let written = match (&self.output, &edited) {
            (Some(output), _) => elf::write_file(output, edited.as_deref().unwrap_or(&bytes)),
            (None, Some(edited)) => elf::write_file(path, edited),
            (None, None) => Ok(()),
        };
        written.map_err(|error| error.to_string())
    }

    /// patchelf finds all that it edits by section headers, and refuses files where they are wrong.
    fn check_sections(&self, bytes: &[u8]) -> Result<(), ElfError> {
        let sections = Sections::read(bytes)?;
        let edits = self.search().is_some() || !self.replaced.is_empty() || !self.added.is_empty();
        if edits || self.edits.debug_tag || self.print.needed || self.print.soname || self.print.rpath {
            sections.check_dynamic()?;
        }
        if !self.edits.rename.is_empty() {
            sections.check_hash()?;
        }
        if edits {
            for index in sections.unnamed() {
                eprintln!("warning: entry {index} of the section headers refers to an unnamed section");
            }
        }
        Ok(())
    }

    fn search(&self) -> Option<Search> {
        match (&self.set, &self.add) {
            _ if self.shrink => Some(Search::Shrink),
            _ if self.remove => Some(Search::Remove),
            (Some(text), _) => Some(Search::Set(text.clone())),
            (None, Some(text)) => Some(Search::Add(text.clone())),
            (None, None) => None,
        }
    }

    fn print(&self, found: &Description) -> Result<(), String> {
        if self.print.interpreter {
            println!("{}", found.interpreter.as_deref().ok_or_else(|| told(&ElfError::NoInterpreter))?);
        }
        if self.print.os_abi {
            println!("{}", elf::os_abi_name(found.os_abi));
        }
        if let (true, Some(soname)) = (self.print.soname, &found.soname) {
            println!("{soname}");
        }
        if self.print.rpath && !found.debug_only {
            if !found.dynamic {
                return Err(told(&ElfError::NoDynamic));
            }
            println!("{}", found.search_path.as_deref().unwrap_or_default());
        }
        if self.print.stack {
            println!("execstack: {}", found.executable_stack.map_or('?', |on| if on { 'X' } else { '-' }));
        }
        if self.print.needed {
            if !found.dynamic && !found.debug_only {
                return Err(told(&ElfError::NoDynamic));
            }
            found.needed.iter().for_each(|name| println!("{name}"));
        }
        Ok(())
    }

    fn edits(&self, bytes: &[u8], found: &Description) -> Result<Edits, String> {
        let mut edits = self.edits.clone();
        if let Some(path) = self.interpreter.as_ref().filter(|path| !path.is_empty()) {
            let now = found.interpreter.as_ref().ok_or_else(|| told(&ElfError::NoInterpreter))?;
            if now != path {
                edits.interpreter = Some(Interpreter { path: path.clone(), slot: None });
            }
        }
        // Only libraries have a name of their own.
        edits.soname = self.soname.clone().filter(|_| found.kind == "DYN").map(Some);
        if !found.debug_only {
            self.set_search(&mut edits, bytes, found);
        }
        let names = |name: &String| Needed::Remove(name.clone());
        edits.needed.extend(self.removed.iter().map(names));
        for (from, to) in self.replaced.iter().filter(|(from, to)| from != to) {
            edits.needed.push(Needed::Replace { from: from.clone(), to: to.clone() });
        }
        edits.needed.extend(self.added.iter().rev().cloned().map(Needed::Add));
        if !self.print.stack && (self.clear_stack || self.set_stack) {
            edits.executable_stack = Some(!self.clear_stack);
        }
        Ok(edits)
    }

    fn set_search(&self, edits: &mut Edits, bytes: &[u8], found: &Description) {
        let tag = if self.force { SearchTag::Rpath } else { SearchTag::Runpath };
        let now = found.search_path.clone().map(|text| SearchPath { tag, text });
        let wanted = match self.search() {
            Some(Search::Remove) => None,
            Some(Search::Set(text)) => Some(SearchPath { tag, text }),
            Some(Search::Add(text)) => Some(now.unwrap_or(SearchPath { tag, text: String::new() }).with(&text)),
            Some(Search::Shrink) => match (now, Description::machine(bytes)) {
                (Some(now), Some(machine)) => Some(now.shrunk(&found.needed, machine, &self.prefixes)),
                _ => return,
            },
            None => return,
        };
        edits.search = Some(wanted);
    }

    fn cache_edits(&self, bytes: &[u8]) -> Result<Option<Edits>, String> {
        const NAME: &str = "--build-resolution-cache";
        let found = Description::read(bytes).map_err(|error| told(&error))?;
        let there = elf::resolution_cache_of(bytes);
        let search = found.search_path.filter(|search| !search.is_empty());
        let (nothing, cache) = match (&search, found.dynamic, found.needed.is_empty()) {
            (_, false, _) => ("no dynamic section (statically linked?)", None),
            (None, ..) | (.., true) => ("no DT_NEEDED entries or run path to resolve", None),
            (Some(search), ..) => (
                "no libraries resolved against the run path",
                elf::resolution_cache(found.needed.iter().map(String::as_str), search),
            ),
        };
        if there.is_some() && there != cache {
            return Err(format!(
                "{NAME}: a resolution cache note is already present; rebuild from an unpatched binary"
            ));
        }
        if cache.is_none() {
            eprintln!("warning: {NAME}: {nothing}; no cache written");
        }
        let layout = self.edits.layout;
        Ok(cache.map(|cache| Edits { resolution_cache: Some(Some(cache)), layout, ..Edits::default() }))
    }
}

/// An error in patchelf's words where scripts may look for them.
fn told(error: &ElfError) -> String {
    let no_section =
        |name: &str| format!("cannot find section '{name}'. The input file is most likely statically linked");
    match error {
        ElfError::NoInterpreter => no_section(".interp"),
        ElfError::NoDynamic => no_section(".dynamic"),
        ElfError::Malformed(what) if what.contains("no DT_NULL") => {
            format!("setSubstr: write extends past end of section: {what}")
        }
        ElfError::Malformed(what) => what.clone(),
        error => error.to_string(),
    }
}

/// The map of `--rename-dynamic-symbols`: an old and a new name a line, up to the first empty one.
fn name_map(path: &str) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("Cannot open map file {path}: {error}"))?;
    let mut map = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split_whitespace();
        let Some(from) = words.next() else { break };
        let to = words.next().ok_or_else(|| format!("{path}:{number}: Map file line is missing the second element"))?;
        if from.contains('@') || to.contains('@') {
            return Err(format!("{path}:{number}: Name pair contains version tag: {from} {to}"));
        }
        if map.insert(from.to_owned(), to.to_owned()).is_some() {
            return Err(format!("{path}:{number}: Name '{from}' appears twice in the map file"));
        }
    }
    Ok(map)
}
