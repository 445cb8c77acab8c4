//! A few programs have the folders of their data compiled in, and can be told others only through the environment or
//! by options: these get a script of their name in front of them.

use super::compiler;
use super::layout::{Layout, Side};
use super::source::{Source, base};
use super::text::Roots;
use crate::relink::glob;

/// A program that is told its folders.
struct Rule {
    /// Pattern of its name.
    program: &'static str,
    variable: &'static str,
    /// Patterns of folders below the prefix; those that exist are named.
    folders: &'static [&'static str],
    /// Whether what the user set stands in place of them, or before them.
    replaced: bool,
}

const RULES: [Rule; 3] = [
    Rule {
        program: "perl*",
        variable: "PERL5LIB",
        folders: &["lib/perl5/*", "share/perl5", "lib/perl-base", "lib/perl/*", "share/perl/*"],
        replaced: false,
    },
    Rule {
        program: "pkgconf",
        variable: "PKG_CONFIG_LIBDIR",
        folders: &["lib/pkgconfig", "share/pkgconfig"],
        replaced: true,
    },
    Rule { program: "bison", variable: "BISON_PKGDATADIR", folders: &["share/bison"], replaced: true },
];

/// Where the programs themselves go. Beside `bin`, since compilers look for their files relative to themselves, and
/// under their own names, since they tell them.
pub(super) const FOLDER: &str = "unwrapped";

/// Whether the program `name` of the source gets a script in front of it.
pub(super) fn is_wrapped(source: &Source, name: &str) -> bool {
    source.drivers.contains(name) || source.images.contains_key(name) && rule(name).is_some()
}

fn rule(name: &str) -> Option<&'static Rule> {
    let program = name.strip_prefix("usr/bin/")?;
    RULES.iter().find(|rule| glob::matches(rule.program, program))
}

/// The script in front of the program `name`; `shell` is the absolute path of a shell.
pub(super) fn script(layout: &Layout<'_>, roots: &Roots<'_>, shell: &str, name: &str) -> String {
    let program = format!("{}/{FOLDER}/{}", roots.dev, base(name));
    if layout.source.drivers.contains(name) {
        return format!("#!{shell}\nexec {program} {} \"$@\"\n", compiler::options(roots));
    }
    let variables = rule(name).map(|rule| variables(layout, roots, rule)).unwrap_or_default();
    format!("#!{shell}\n{variables}exec {program} \"$@\"\n")
}

fn variables(layout: &Layout<'_>, roots: &Roots<'_>, rule: &Rule) -> String {
    let folders = rule
        .folders
        .iter()
        .flat_map(|pattern| layout.folders(Side::Dev).filter(|folder| glob::matches(pattern, folder)))
        .map(|folder| format!("{}/{folder}", roots.dev));
    let (variable, folders) = (rule.variable, folders.collect::<Vec<_>>().join(":"));
    let value = if rule.replaced {
        format!("${{{variable}-{folders}}}")
    } else {
        format!("${{{variable}:+${variable}:}}{folders}")
    };
    let mut lines = format!("export {variable}=\"{value}\"\n");
    if rule.program == "pkgconf" {
        // What the compiler looks through anyway must not come first: C++ headers include the next of their name.
        let variable = "PKG_CONFIG_SYSTEM_INCLUDE_PATH";
        lines += &format!("export {variable}=\"${{{variable}-{}/include}}\"\n", roots.dev);
    }
    lines
}
