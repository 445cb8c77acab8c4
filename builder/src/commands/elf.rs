//! `akb elf`: prints and changes what the dynamic linker reads from ELF files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use akb::relink::elf::{
    self, Description, Edits, FileError, Interpreter, Layout, Needed, SearchPath, SearchTag, Tables,
};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;

/// Print and change what the dynamic linker reads from ELF files
///
/// Any class, byte order and machine. A file is planned, checked, read again and only then replaced; one that is as
/// wanted already is not touched. What does not fit where it was goes to one new segment behind the end, and a further
/// edit takes the place of the one before: files do not grow by being edited often, and `akb elf undo` brings the old
/// bytes back. Under the name patchelf, akb takes the options of patchelf.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Print(PrintArgs),
    Set(Box<SetArgs>),
    Undo(UndoArgs),
}

/// Print interpreter, search path, needed libraries and what else edits can change; with --json all tables too
#[derive(clap::Args, Debug)]
struct PrintArgs {
    /// ELF files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Change files
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct SetArgs {
    /// ELF files; they are edited several at once
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Program interpreter, an absolute path
    #[arg(long, value_name = "PATH", value_parser = absolute_path)]
    interpreter: Option<String>,
    /// Pad the interpreter with NULs to so many bytes, so that a longer one fits there later
    #[arg(long, value_name = "BYTES", requires = "interpreter")]
    slot: Option<usize>,
    /// Search path for the file's own needs (DT_RUNPATH): folders, separated by colons; $ORIGIN is the file's folder
    #[arg(long, value_name = "PATH", group = "search")]
    runpath: Option<String>,
    /// Search path that also serves the needs of what it loads (DT_RPATH)
    #[arg(long, value_name = "PATH", group = "search")]
    rpath: Option<String>,
    /// Put folders behind the search path that is there
    #[arg(long, value_name = "PATH", group = "search")]
    add_runpath: Option<String>,
    /// Keep only the folders of the search path that hold a needed library; $ORIGIN and relative ones stay
    #[arg(long, group = "search")]
    shrink_runpath: bool,
    /// With --shrink-runpath: drop folders that start with none of these; repeatable
    #[arg(long, value_name = "PREFIX", requires = "shrink_runpath")]
    allow: Vec<String>,
    /// Remove the search path
    #[arg(long, group = "search")]
    no_runpath: bool,
    /// Name that others need the library by
    #[arg(long, value_name = "NAME", group = "name")]
    soname: Option<String>,
    /// Remove the library's name
    #[arg(long, group = "name")]
    no_soname: bool,
    /// Need one more library, before all others; repeatable
    #[arg(long, value_name = "NAME")]
    add_needed: Vec<String>,
    /// Need a library no more; repeatable
    #[arg(long, value_name = "NAME")]
    remove_needed: Vec<String>,
    /// Need another library in the place of one; repeatable
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    replace_needed: Vec<(String, String)>,
    /// Operating system in the header: "System V", Linux, FreeBSD, …
    #[arg(long, value_name = "NAME", value_parser = os_abi)]
    os_abi: Option<u8>,
    /// Whether the stack is executable
    #[arg(long, value_name = "true|false")]
    executable_stack: Option<bool>,
    /// Whether the default folders of the dynamic linker are left out (DF_1_NODEFLIB)
    #[arg(long, value_name = "true|false")]
    no_default_lib: Option<bool>,
    /// Add the entry through which debuggers find what is loaded (DT_DEBUG)
    #[arg(long)]
    debug_tag: bool,
    /// Rename a dynamic symbol, its version is kept; repeatable
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    rename_symbol: Vec<(String, String)>,
    /// Rename the dynamic symbols in a file with an old and a new name a line
    #[arg(long, value_name = "FILE")]
    rename_symbols: Option<PathBuf>,
    /// Take the version of a dynamic symbol away; repeatable
    #[arg(long, value_name = "SYMBOL")]
    unversion: Vec<String>,
    /// Align a new segment to pages of this size, a power of two [default: the machine's largest]
    #[arg(long, value_name = "BYTES")]
    page_size: Option<u64>,
    /// Write the result to another file, and leave the one named alone
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write what changes over each file, and nothing else: much faster than a new file in its place, but not for
    /// programs and libraries that run at this moment
    #[arg(long, conflicts_with_all = ["output", "dry_run", "add_runpath", "shrink_runpath"])]
    in_place: bool,
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Bring back the bytes that files had before akb edited them
#[derive(clap::Args, Debug)]
struct UndoArgs {
    /// ELF files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    match &args.action {
        Action::Print(args) => print(args, cx),
        Action::Set(args) => set(args, cx),
        Action::Undo(args) => {
            let all = elf::each_file(&args.files, cx.settings.jobs, elf::undo_file);
            finish(
                &args.files,
                all,
                cx,
                |path, undone| {
                    if undone { format!("{}: undone\n", path.display()) } else { String::new() }
                },
            )
        }
    }
}

fn print(args: &PrintArgs, cx: &Context) -> Result<(), Failure> {
    let json = cx.json;
    let all = elf::each_file(&args.files, cx.settings.jobs, |path| {
        let bytes = elf::read_file(path)?;
        let found = Description::read(&bytes).map_err(|source| in_file(path, source))?;
        let tables = if json { Some(Tables::read(&bytes).map_err(|source| in_file(path, source))?) } else { None };
        Ok((found, tables))
    });
    finish(&args.files, all, cx, |path, (found, tables)| match tables {
        Some(tables) => format!("{}\n", as_json(path, &found, &tables)),
        None => {
            let lines = lines(&found).into_iter().map(|(what, text)| format!("  {what:<13}{text}\n"));
            format!("{}\n{}", path.display(), lines.collect::<String>())
        }
    })
}

fn set(args: &SetArgs, cx: &Context) -> Result<(), Failure> {
    if args.output.is_some() && args.files.len() != 1 {
        return Err(Failure::usage("--output takes one file only", "name one FILE, or leave --output out"));
    }
    let edits = args.edits()?;
    if args.in_place {
        let all = elf::each_file(&args.files, cx.settings.jobs, |path| elf::edit_in_place(path, &edits));
        let shown = |path: &Path, changed: bool| if changed { format!("{}\n", path.display()) } else { String::new() };
        return finish(&args.files, all, cx, shown);
    }
    let all = elf::each_file(&args.files, cx.settings.jobs, |path| args.set_one(path, &edits));
    finish(&args.files, all, cx, |path, changes| {
        let lines: String = changes.iter().map(|line| format!("  {line}\n")).collect();
        if lines.is_empty() { lines } else { format!("{}\n{lines}", path.display()) }
    })
}

impl SetArgs {
    /// Edits one file; gives the lines of its description that changed.
    fn set_one(&self, path: &Path, edits: &Edits) -> Result<Vec<String>, FileError> {
        let elf = |source| in_file(path, source);
        let bytes = elf::read_file(path)?;
        let before = Description::read(&bytes).map_err(elf)?;
        let mut edits = edits.clone();
        self.set_search(&mut edits, &bytes, &before);
        let edited = elf::edit(&bytes, &edits).map_err(elf)?;
        let after = edited.as_deref().map(Description::read).transpose().map_err(elf)?;
        if !self.dry_run {
            match (&self.output, &edited) {
                (Some(output), _) => elf::write_file(output, edited.as_deref().unwrap_or(&bytes))?,
                (None, Some(edited)) => elf::write_file(path, edited)?,
                (None, None) => {}
            }
        }
        Ok(after.map(|after| changes(&before, &after)).unwrap_or_default())
    }

    fn edits(&self) -> Result<Edits, Failure> {
        let interpreter = self.interpreter.clone().map(|path| Interpreter { path, slot: self.slot });
        let fixed = |tag, text: &Option<String>| text.clone().map(|text| Some(SearchPath { tag, text }));
        let mut needed: Vec<Needed> = self.remove_needed.iter().cloned().map(Needed::Remove).collect();
        needed.extend(self.replace_needed.iter().cloned().map(|(from, to)| Needed::Replace { from, to }));
        needed.extend(self.add_needed.iter().rev().cloned().map(Needed::Add));
        let mut rename: BTreeMap<String, String> = self.rename_symbol.iter().cloned().collect();
        if let Some(path) = &self.rename_symbols {
            rename.extend(name_map(path)?);
        }
        Ok(Edits {
            interpreter,
            search: fixed(SearchTag::Runpath, &self.runpath)
                .or(fixed(SearchTag::Rpath, &self.rpath))
                .or(self.no_runpath.then_some(None)),
            soname: self.soname.clone().map(Some).or(self.no_soname.then_some(None)),
            needed,
            os_abi: self.os_abi,
            executable_stack: self.executable_stack,
            no_default_lib: self.no_default_lib,
            debug_tag: self.debug_tag,
            rename,
            unversioned: self.unversion.iter().cloned().collect(),
            layout: Layout { page_size: self.page_size, ..Layout::default() },
            ..Edits::default()
        })
    }

    /// Asks for a search path that depends on the one that is there.
    fn set_search(&self, edits: &mut Edits, bytes: &[u8], found: &Description) {
        let tag = if found.search_tag == Some("RPATH") { SearchTag::Rpath } else { SearchTag::Runpath };
        let now = found.search_path.clone().map(|text| SearchPath { tag, text });
        if let Some(folders) = &self.add_runpath {
            edits.search = Some(Some(now.unwrap_or(SearchPath { tag, text: String::new() }).with(folders)));
        } else if let (true, Some(now), Some(machine)) = (self.shrink_runpath, now, Description::machine(bytes)) {
            let shrunk = now.shrunk(&found.needed, machine, &self.allow);
            edits.search = Some(Some(shrunk).filter(|search| !search.text.is_empty()));
        }
    }
}

/// Prints what was done, and all that failed at once.
fn finish<T>(
    files: &[PathBuf],
    all: Vec<Result<T, FileError>>,
    cx: &Context,
    shown: impl Fn(&Path, T) -> String,
) -> Result<(), Failure> {
    let mut failed: Vec<Failure> = Vec::new();
    let mut text = String::new();
    for (path, result) in files.iter().zip(all) {
        match result {
            Ok(result) => text.push_str(&shown(path, result)),
            Err(error) => failed.push(error.into()),
        }
    }
    cx.print(&text);
    let count = failed.len();
    let mut failed = failed.into_iter();
    let Some(mut first) = failed.next() else { return Ok(()) };
    for failure in failed {
        let _ = write!(first.message, "\n{}", failure.message);
    }
    if count > 1 {
        let _ = write!(first.message, "\n{count} of {} files failed; the others are done", files.len());
    }
    Err(first)
}

fn in_file(path: &Path, source: elf::ElfError) -> FileError {
    FileError::Elf { path: path.to_owned(), source }
}

fn as_json(path: &Path, found: &Description, tables: &Tables) -> Value {
    let mut all = json!({ "file": path.display().to_string() });
    for part in [serde_json::to_value(found), serde_json::to_value(tables)] {
        if let (Some(all), Ok(Value::Object(part))) = (all.as_object_mut(), part) {
            all.extend(part);
        }
    }
    all
}

/// What a file says of itself, a line a thing.
fn lines(found: &Description) -> Vec<(&'static str, String)> {
    let order = if found.little_endian { "little-endian" } else { "big-endian" };
    let (kind, machine) = (&found.kind, &found.machine);
    let mut lines = vec![
        ("type", format!("{kind}, {machine}, {}-bit {order}", found.class)),
        ("system", elf::os_abi_name(found.os_abi)),
    ];
    let mut line = |what, text: Option<String>| lines.extend(text.map(|text| (what, text)));
    let slot = |path: &String| match found.interpreter_slot {
        Some(slot) if usize::try_from(slot) != Ok(path.len() + 1) => format!("{path} ({slot} bytes)"),
        _ => path.clone(),
    };
    line("interpreter", found.interpreter.as_ref().map(slot));
    line("soname", found.soname.clone());
    line("needed", Some(found.needed.join(" ")).filter(|_| found.dynamic));
    let tag = if found.search_tag == Some("RPATH") { "rpath" } else { "runpath" };
    line(tag, found.search_path.clone());
    let stack = |executable| if executable { "executable" } else { "not executable" };
    line("stack", found.executable_stack.map(|executable| stack(executable).to_owned()));
    line("default libs", found.no_default_lib.then(|| "left out".to_owned()));
    line("debug tag", found.debug_tag.then(|| "yes".to_owned()));
    line("build id", found.build_id.clone());
    line("resolved", Some(found.resolution_cache.join(" ")).filter(|text| !text.is_empty()));
    line("dynamic", (!found.dynamic).then(|| "no".to_owned()));
    let before = found.pristine_size.map(|size| format!(", {size} before akb edited it")).unwrap_or_default();
    line("bytes", Some(format!("{}{before}", found.size)));
    lines
}

/// The lines that differ.
fn changes(before: &Description, after: &Description) -> Vec<String> {
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|(what, text)| format!("- {what:<13}{text}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|(what, text)| format!("+ {what:<13}{text}"));
    let mut all: Vec<String> = gone.chain(new).collect();
    if all.is_empty() {
        all.push("* symbols".to_owned());
    }
    all
}

/// A file with an old and a new name a line.
fn name_map(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    let mut map = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [from, to] if !from.contains('@') && !to.contains('@') && !map.contains_key(from) => {
                map.insert(from.to_owned(), to.to_owned());
            }
            _ => {
                return Err(Failure::usage(
                    format!("{}:{number}: `{line}` is not an old and a new name, each old one once", path.display()),
                    "write two names without version and a space between them, such as `open my_open`",
                ));
            }
        }
    }
    Ok(map)
}

/// The kernel would look for another one from the folder that a person stands in.
fn absolute_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("expected an absolute path".to_owned()) }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(old, new)| !old.is_empty() && !new.is_empty());
    let (old, new) = parts.ok_or("expected OLD=NEW, such as libfoo.so.1=libfoo.so.2")?;
    Ok((old.to_owned(), new.to_owned()))
}

fn os_abi(text: &str) -> Result<u8, String> {
    elf::os_abi_number(text).ok_or_else(|| "expected a name such as \"System V\", Linux or FreeBSD".to_owned())
}
