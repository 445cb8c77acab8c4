//! A few programs have the folders of their data compiled in, and can be told others only through the environment:
//! these get a script of their name in front of them.

use super::layout::{Layout, Side};
use super::source::base;
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

/// Where the programs themselves go.
pub(super) const FOLDER: &str = "libexec/akb";

/// The script in front of the program `dest`, if it needs one; `shell` is the absolute path of a shell.
pub(super) fn script(layout: &Layout<'_>, roots: &Roots<'_>, shell: &str, dest: &str) -> Option<String> {
    let program = dest.strip_prefix("bin/")?;
    let rule = RULES.iter().find(|rule| glob::matches(rule.program, program))?;
    let folders: Vec<String> = rule
        .folders
        .iter()
        .flat_map(|pattern| layout.folders(Side::Dev).filter(|folder| glob::matches(pattern, folder)))
        .map(|folder| format!("{}/{folder}", roots.dev))
        .collect();
    let (variable, folders) = (rule.variable, folders.join(":"));
    let value = if rule.replaced {
        format!("${{{variable}-{folders}}}")
    } else {
        format!("${{{variable}:+${variable}:}}{folders}")
    };
    let program = base(program);
    let mut lines = format!("#!{shell}\nexport {variable}=\"{value}\"\n");
    if rule.program == "pkgconf" {
        // What the compiler looks through anyway must not come first: C++ headers include the next of their name.
        let variable = "PKG_CONFIG_SYSTEM_INCLUDE_PATH";
        lines += &format!("export {variable}=\"${{{variable}-{}/include}}\"\n", roots.dev);
    }
    Some(format!("{lines}exec {}/{FOLDER}/{program} \"$@\"\n", roots.dev))
}
