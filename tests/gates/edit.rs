//! Edits every ELF file of a tree as the gates want it, and says what came out: one JSON object a file.
//!
//!     gates CONTROL EDITED LOADERS
//!
//! Each file gets a long search path (behind what it has, in the same entry) and each program an interpreter of
//! 200 bytes more, `LOADERS/LONG/NAME`. Further edits of the result must cost nothing, lead back, and be undone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use akb::relink::elf::{self, Edits, Image, Interpreter, Patch, SearchPath, SearchTag};
use akb::tree::{self, Kind};
use rayon::prelude::*;
use serde_json::{Value, json};

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [control, edited, loaders] = folders.as_slice() else { return Err("gates CONTROL EDITED LOADERS".into()) };
    let mut files = Vec::new();
    for node in tree::walk(control)? {
        let to = edited.join(&node.path);
        match node.kind {
            Kind::Dir => fs::create_dir_all(to)?,
            Kind::Link { target } => std::os::unix::fs::symlink(target, to)?,
            Kind::File { .. } => files.push(node.path),
        }
    }
    let tag = tag_of_unit(control, &files);
    let lines: Vec<Value> =
        files.par_iter().map(|name| one(name, control, edited, loaders, tag)).collect::<Result<_, Fault>>()?;
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// `DT_RUNPATH` on a bundled library would cut off its parent's `DT_RPATH`: where one file of a unit has that, new
/// search paths go there too.
fn tag_of_unit(control: &Path, files: &[PathBuf]) -> SearchTag {
    let inherits = |name: &PathBuf| {
        let image = fs::File::open(control.join(name)).ok().and_then(|file| elf::read_image(&file).ok()?.ok()?);
        image.and_then(|image| image.search).is_some_and(|search| search.tag == SearchTag::Rpath)
    };
    if files.par_iter().any(inherits) { SearchTag::Rpath } else { SearchTag::Runpath }
}

fn one(name: &Path, control: &Path, edited: &Path, loaders: &Path, tag: SearchTag) -> Result<Value, Fault> {
    let bytes = fs::read(control.join(name))?;
    let mode = fs::metadata(control.join(name))?.permissions().mode();
    let to = edited.join(name);
    let mut line = json!({ "file": name, "size": bytes.len() });
    let write =
        |bytes: &[u8]| fs::write(&to, bytes).and_then(|()| fs::set_permissions(&to, fs::Permissions::from_mode(mode)));
    let linker = name.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("ld-"));
    if linker {
        write(&bytes)?;
        line["linker"] = true.into();
        return Ok(line);
    }
    match examine(&bytes, &control.join(name), loaders, tag) {
        Ok((first, facts)) => {
            write(&first)?;
            line.as_object_mut().ok_or("an object")?.extend(facts.as_object().cloned().unwrap_or_default());
        }
        Err(reason) => {
            write(&bytes)?;
            line["refused"] = reason.to_string().into();
        }
    }
    Ok(line)
}

fn examine(bytes: &[u8], path: &Path, loaders: &Path, tag: SearchTag) -> Result<(Vec<u8>, Value), Fault> {
    let image = Image::read(bytes)?.ok_or("not a file that the dynamic linker loads")?;
    let one = edits(&image, loaders, tag, 'a', 300);
    let two = edits(&image, loaders, tag, 'b', 300);
    let three = edits(&image, loaders, tag, 'c', 30);
    let first = elf::edit(bytes, &one)?.unwrap_or_else(|| bytes.to_vec());
    // Further edits read only the parts of the file that matter, as relinking does.
    let alike = apply(first.clone(), &[&two])?;
    let longer = apply(alike.clone(), &[&three, &two, &one])?;
    let back = apply(first.clone(), &[&two, &one, &two, &one])?;
    let again = elf::edit(&alike, &one)?;
    let part = apply(bytes.to_vec(), &[&one])? == first && again.as_ref() == Some(&first);
    let image_part = elf::read_image(&fs::File::open(path)?)??;
    let facts = json!({
        "grown": first.len() - bytes.len(),
        // Edits of equal length must cost nothing.
        "further": alike.len().max(back.len()).max(longer.len()).saturating_sub(first.len()),
        "stable": back == first && longer == first && elf::edit(&first, &one)?.is_none(),
        "undone": elf::pristine(&first)? == bytes && elf::pristine(&alike)? == bytes && elf::pristine(&back)? == bytes,
        "planned": part && image_part.as_ref() == Some(&image),
        "interpreter": image.interpreter,
    });
    Ok((first, facts))
}

fn edits(image: &Image, loaders: &Path, tag: SearchTag, letter: char, length: usize) -> Edits {
    let long: String = std::iter::repeat_n(letter, length / 3).collect();
    let added = format!("/gates/{long}/lib:/gates/{long}/lib64:/gates/{long}");
    let search = match &image.search {
        Some(search) if search.text.is_empty() => SearchPath { tag: search.tag, text: added },
        Some(search) => SearchPath { tag: search.tag, text: format!("{}:{added}", search.text) },
        None => SearchPath { tag, text: added },
    };
    let interpreter = image.interpreter.as_ref().map(|old| {
        let name = old.rsplit('/').next().unwrap_or(old);
        Interpreter { path: format!("{}/{}/{name}", loaders.display(), letter.to_string().repeat(200)), slot: None }
    });
    Edits { interpreter, search: Some(Some(search)), ..Edits::default() }
}

fn apply(mut bytes: Vec<u8>, steps: &[&Edits]) -> Result<Vec<u8>, Fault> {
    for edits in steps {
        let mut read = |into: &mut [u8], at: usize| {
            into.copy_from_slice(&bytes[at..at + into.len()]);
            Ok(())
        };
        if let Some(patch) = Patch::plan_with(bytes.len(), 0, &mut read, edits)?? {
            bytes = patch.apply(bytes);
        }
    }
    Ok(bytes)
}
