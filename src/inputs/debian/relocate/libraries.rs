//! Which shared libraries finished programs may need, and which belong to the tools alone.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{Dropped, Side};
use super::source::{Source, base, parent};
use crate::tree::Kind;

/// Libraries that wheels may need although nothing was linked with them here: what the policies of PEP 600 allow
/// beyond the C library's own.
const WHEELS: [&str; 17] = [
    "libX11.so.6",
    "libXext.so.6",
    "libXrender.so.1",
    "libICE.so.6",
    "libSM.so.6",
    "libGL.so.1",
    "libcrypt.so.1",
    "libexpat.so.1",
    "libgcc_s.so.1",
    "libglib-2.0.so.0",
    "libgobject-2.0.so.0",
    "libgthread-2.0.so.0",
    "libnsl.so.1",
    "libstdc++.so.6",
    "libz.so.1",
    "libatomic.so.1",
    "libmvec.so.1",
];

/// The sides of all libraries that lie beside each other in a library folder, and of the links among them.
///
/// A library belongs to the tools if only they need it: nothing can be linked with it, and neither Python nor a
/// plug-in nor another library of the runtime needs it. `side` tells the side of everything else.
pub(super) fn runtime(source: &Source, side: impl Fn(&str) -> Result<Side, Dropped>) -> BTreeMap<String, Side> {
    let all: BTreeSet<&String> = source.nodes.keys().filter(|name| is_beside(name) && is_library(base(name))).collect();
    let others = |wanted: Side| -> Vec<String> {
        let images = source.images.keys().filter(|name| !all.contains(name));
        images.filter(|name| side(name) == Ok(wanted)).cloned().collect()
    };
    let named: BTreeMap<&str, &String> = all.iter().map(|name| (base(name), *name)).collect();
    let tools = needed(source, &named, others(Side::Dev));
    let is_link = |name: &str| matches!(source.nodes.get(name), Some(Kind::Link { .. }));
    let linkable: BTreeSet<String> = source
        .nodes
        .keys()
        .filter(|name| name.ends_with(".so") && is_link(name) && (is_beside(name) || is_compilers(name)))
        .filter_map(|name| source.follow(name))
        .filter(|name| all.contains(name))
        .collect();
    let versioned = all.iter().filter(|name| base(name).contains(".so."));
    let free = versioned
        .filter_map(|name| Some((base(name), source.follow(name)?)))
        .filter(|(name, file)| WHEELS.contains(name) || !tools.contains(file))
        .map(|(_, file)| file);
    let mut roots: Vec<String> = linkable.iter().cloned().chain(free).collect();
    roots.extend(others(Side::Runtime));
    let runtime = needed(source, &named, roots);
    let of = |name: &String| {
        let file = source.follow(name)?;
        let is_runtime = runtime.contains(&file);
        let for_linkers = name.ends_with(".so") && is_link(name);
        let side = if is_runtime && !for_linkers { Side::Runtime } else { Side::Dev };
        Some((name.clone(), side))
    };
    all.into_iter().filter_map(of).collect()
}

/// The files that `roots` need, directly or not, and those of them that are libraries themselves.
fn needed(source: &Source, named: &BTreeMap<&str, &String>, roots: Vec<String>) -> BTreeSet<String> {
    let (mut found, mut pending) = (BTreeSet::new(), roots);
    while let Some(name) = pending.pop() {
        let Some(file) = source.follow(&name) else { continue };
        if !found.insert(file.clone()) {
            continue;
        }
        let needs = source.images.get(&file).map(|image| image.needed.as_slice()).unwrap_or_default();
        let interpreter = source.images.get(&file).and_then(|image| image.interpreter.as_deref()).map(base);
        let names = needs.iter().map(|need| base(need)).chain(interpreter);
        pending.extend(names.filter_map(|need| named.get(need)).map(|name| (*name).clone()));
    }
    found
}

/// Whether a name lies directly in a folder of libraries (`usr/lib`, `usr/lib64`, `usr/lib/TRIPLET`).
fn is_beside(name: &str) -> bool {
    let folder = parent(name);
    ["usr/lib", "usr/lib64"].contains(&folder) || parent(folder) == "usr/lib" && base(folder).contains("-linux-gnu")
}

fn is_compilers(name: &str) -> bool {
    name.starts_with("usr/lib/gcc/") && base(name) != "libcc1.so"
}

/// Whether a file's name is that of a shared library.
fn is_library(name: &str) -> bool {
    name.contains(".so.") || name.ends_with(".so")
}
