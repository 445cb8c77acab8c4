//! Writes the two folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use rayon::prelude::*;

use super::error::RelocateError;
use super::layout::{Dropped, Layout, Side, Spot};
use super::leftover::{self, Leftover};
use super::source::{base, parent};
use super::text::{self, Roots};
use super::{Outputs, Place, Written, binary, compiler, wrapper};
use crate::tree::Kind;

/// The longest first line of a script that Linux reads.
const SHEBANG: usize = 255;

/// What a name of the results is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// A file of the source, by name, and whether it is executable.
    File(String, bool),
    /// A text of our own, and whether it is executable.
    Text(String, bool),
    /// A symbolic link.
    Link(String),
}

/// All that is to be written.
pub(super) struct Work {
    items: BTreeMap<Spot, Item>,
    pub(super) dangling: Vec<String>,
}

/// What was written.
pub(super) struct Done {
    pub(super) written: BTreeMap<Side, Written>,
    pub(super) leftovers: Vec<Leftover>,
}

/// Plans every file and link. `python` is the interpreter's name below the runtime, `interpreter` the path of ld.so.
pub(super) fn plan(
    layout: &Layout<'_>,
    roots: &Roots<'_>,
    interpreter: &str,
    python: &str,
) -> Result<Work, RelocateError> {
    let dropped = layout.dropped.iter().filter(|(_, why)| **why == Dropped::Dangling);
    let mut work = Work { items: BTreeMap::new(), dangling: dropped.map(|(name, _)| name.clone()).collect() };
    let shell = text::path(layout, roots, Side::Dev, "/bin/sh");
    for (name, spot) in &layout.spots {
        match &layout.source.nodes[name] {
            Kind::Link { target } => match link(layout, roots, name, spot, target) {
                Some(text) => {
                    if let Some((spot, text)) = twin(layout, name, spot) {
                        work.items.insert(spot, Item::Link(text));
                    }
                    work.items.insert(spot.clone(), Item::Link(text));
                }
                None => work.dangling.push(name.clone()),
            },
            Kind::File { executable, .. } => {
                let mut spot = spot.clone();
                if spot.side == Side::Dev && wrapper::is_wrapped(layout.source, name) {
                    let shell = shell.as_deref().ok_or_else(|| RelocateError::Missing { missing: "/bin/sh".into() })?;
                    let hidden = format!("{}/{}", wrapper::FOLDER, base(name));
                    let script = wrapper::script(layout, roots, shell, name);
                    work.items.insert(spot.clone(), Item::Text(script, true));
                    spot.dest = hidden;
                }
                work.items.insert(spot, Item::File(name.clone(), *executable));
            }
            Kind::Dir => {}
        }
    }
    work.add(layout, roots, interpreter, python);
    work.dangling.sort_unstable();
    Ok(work)
}

impl Work {
    /// What no package has: the compiler's specs, and links for names that programs expect.
    fn add(&mut self, layout: &Layout<'_>, roots: &Roots<'_>, interpreter: &str, python: &str) {
        let compiler = compiler::additions(layout, roots, interpreter);
        let dev = |dest: String| Spot { side: Side::Dev, dest };
        let links = compiler.links.into_iter().map(|(dest, text)| (dev(dest), Item::Link(text)));
        let files = compiler.files.into_iter().map(|(dest, text)| (dev(dest), Item::Text(text, false)));
        let sides = [Side::Runtime, Side::Dev].into_iter().filter(|&side| layout.folders(side).any(|it| it == "lib"));
        let triplet = format!("lib/{}", layout.triplet);
        let multiarch = sides.map(|side| (Spot { side, dest: triplet.clone() }, Item::Link(".".to_owned())));
        let python3 = Spot { side: Side::Runtime, dest: "bin/python3".to_owned() };
        let headers = format!("include/{}", base(python));
        let has_headers = layout.folders(Side::Runtime).any(|folder| folder == headers);
        let headers = has_headers.then(|| (dev(headers.clone()), Item::Link(format!("{}/{headers}", roots.runtime))));
        let added = links.chain(files).chain(multiarch).chain(headers);
        for (spot, item) in added.chain([(python3, Item::Link(base(python).to_owned()))]) {
            self.items.entry(spot).or_insert(item);
        }
    }
}

/// The text of a link in the results. `None`: it would lead nowhere, to itself, or from the runtime to the
/// development files.
fn link(layout: &Layout<'_>, roots: &Roots<'_>, name: &str, spot: &Spot, target: &Path) -> Option<String> {
    let target = layout.source.name(parent(name), target.to_str()?)?;
    let target = layout.find(&target, spot.side)?;
    match (spot.side, target.side) {
        _ if target == *spot => None,
        (from, to) if from == to => Some(relative(parent(&spot.dest), &target.dest)),
        (Side::Dev, _) => Some(roots.path(&target)),
        (Side::Runtime, _) => None,
    }
}

/// Names for linkers, which have no version, are in the runtime too: some programs open libraries by them, and must
/// not find the development files.
fn twin(layout: &Layout<'_>, name: &str, spot: &Spot) -> Option<(Spot, String)> {
    let is_for_linkers = spot.side == Side::Dev && parent(&spot.dest) == "lib" && spot.dest.ends_with(".so");
    let file = layout.spots.get(&layout.source.follow(name)?)?;
    let is_library = file.side == Side::Runtime && parent(&file.dest) == "lib";
    let twin = Spot { side: Side::Runtime, dest: spot.dest.clone() };
    (is_for_linkers && is_library).then(|| (twin, base(&file.dest).to_owned()))
}

/// The way from the folder `from` to `to`, both below one prefix.
fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = to.split('/').collect();
    let common = from.iter().zip(&to[..to.len() - 1]).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", from.len() - common);
    up.chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

/// Writes everything, on the threads of the pool that it is called in.
pub(super) fn all(layout: &Layout<'_>, roots: &Roots<'_>, work: &Work, out: &Outputs) -> Result<Done, RelocateError> {
    let place = |side: Side| match side {
        Side::Runtime => &out.runtime,
        Side::Dev => &out.dev,
    };
    let mut folders: BTreeSet<(Side, PathBuf)> = BTreeSet::new();
    for side in [Side::Runtime, Side::Dev] {
        claim(place(side))?;
        folders.insert((side, PathBuf::new()));
    }
    for spot in work.items.keys() {
        folders.extend(Path::new(&spot.dest).ancestors().skip(1).map(|folder| (spot.side, folder.to_owned())));
    }
    for (side, folder) in &folders {
        let path = place(*side).write_to.join(folder);
        fs::create_dir_all(&path).map_err(wrote(&path))?;
    }
    let items: Vec<_> = work.items.iter().collect();
    let parts: Result<Vec<_>, RelocateError> = items
        .into_par_iter()
        .map(|(spot, item)| {
            let path = place(spot.side).write_to.join(&spot.dest);
            let bytes = match item {
                Item::Link(text) => {
                    symlink(text, &path).map_err(wrote(&path))?;
                    set_time(&path)?;
                    return Ok((spot.side, None, None));
                }
                Item::Text(text, executable) => (text.clone().into_bytes(), *executable),
                Item::File(name, executable) => (contents(layout, roots, spot, name)?, *executable),
            };
            put(&path, &bytes.0, bytes.1)?;
            let count = leftover::count(&bytes.0);
            let left = (count > 0).then(|| {
                let reason = leftover::reason(&spot.dest, &bytes.0);
                Leftover { path: roots.path(spot), count, reason }
            });
            Ok((spot.side, Some(bytes.0.len() as u64), left))
        })
        .collect();
    for (side, folder) in folders.iter().rev() {
        set_time(&place(*side).write_to.join(folder))?;
    }
    let mut written = BTreeMap::from([(Side::Runtime, Written::default()), (Side::Dev, Written::default())]);
    let mut leftovers = Vec::new();
    for (side, size, left) in parts? {
        let written = written.entry(side).or_default();
        written.files += u64::from(size.is_some());
        written.links += u64::from(size.is_none());
        written.bytes += size.unwrap_or_default();
        leftovers.extend(left);
    }
    leftovers.sort_unstable();
    Ok(Done { written, leftovers })
}

/// The final bytes of a file of the source.
fn contents(layout: &Layout<'_>, roots: &Roots<'_>, spot: &Spot, name: &str) -> Result<Vec<u8>, RelocateError> {
    let bytes = layout.source.bytes(name)?;
    let bytes = match layout.source.images.get(name) {
        Some(image) => binary::edit(layout, roots, spot.side, (name, image), bytes)?,
        None => match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => words(layout, roots, spot, text)?.into_bytes(),
            Ok(text) => text.into_bytes(),
            Err(error) => error.into_bytes(),
        },
    };
    if spot.side == Side::Runtime
        && let Some(offset) = memchr::memmem::find(&bytes, roots.dev.as_bytes())
    {
        return Err(RelocateError::NamesDev { path: spot.dest.clone(), offset });
    }
    Ok(bytes)
}

fn words(layout: &Layout<'_>, roots: &Roots<'_>, spot: &Spot, text: String) -> Result<String, RelocateError> {
    let rename = |path: &str| text::path(layout, roots, spot.side, path);
    if spot.dest.ends_with(".so") && text::is_linker_script(&text) {
        return Ok(text::linker_script(&text));
    }
    if says_paths(spot) {
        return shebang(spot, text::rewrite(&text, rename));
    }
    if !text.starts_with("#!") {
        return Ok(text);
    }
    // A first line names a program by its path: one that is there, or else that of the system.
    let known = |path: &str| layout.find(&layout.source.name("", path)?, spot.side).filter(|it| it.side == spot.side);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let first = text::rewrite(first, |path| known(path).map(|spot| roots.path(&spot)));
    shebang(spot, if text.contains('\n') { format!("{first}\n{rest}") } else { first })
}

/// Whether the paths in a text say where files of the packages are. Headers and Python's modules speak of the
/// machine on which a program runs.
fn says_paths(spot: &Spot) -> bool {
    let file = base(&spot.dest);
    match spot.side {
        Side::Runtime => file.starts_with("_sysconfig") || file.starts_with("build-details"),
        Side::Dev => !spot.dest.starts_with("include/") && !file.ends_with(".h"),
    }
}

fn shebang(spot: &Spot, text: String) -> Result<String, RelocateError> {
    let length = text.lines().next().map_or(0, str::len);
    if text.starts_with("#!") && length > SHEBANG {
        return Err(RelocateError::Shebang { path: spot.dest.clone(), length, limit: SHEBANG });
    }
    Ok(text)
}

fn claim(place: &Place) -> Result<(), RelocateError> {
    let path = &place.write_to;
    fs::create_dir_all(path).map_err(wrote(path))?;
    if crate::tree::list(path)?.is_empty() {
        return Ok(());
    }
    Err(RelocateError::NotEmpty { path: path.clone() })
}

fn put(path: &Path, bytes: &[u8], executable: bool) -> Result<(), RelocateError> {
    let mode = if executable { 0o755 } else { 0o644 };
    fs::write(path, bytes).map_err(wrote(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(wrote(path))?;
    set_time(path)
}

/// Programs that compare times must see the same on all machines.
fn set_time(path: &Path) -> Result<(), RelocateError> {
    let moment = TimeSpec::new(1, 0);
    utimensat(nix::fcntl::AT_FDCWD, path, &moment, &moment, UtimensatFlags::NoFollowSymlink)
        .map_err(|error| wrote(path)(error.into()))
}

fn wrote(path: &Path) -> impl Fn(io::Error) -> RelocateError {
    let path = path.to_owned();
    move |source| RelocateError::Write { path: path.clone(), source }
}
