//! Paths of the system in texts become those of the results.

use super::layout::{Layout, Side, Spot};
use super::source::{base, parent};

/// The absolute paths that the two results will have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roots<'a> {
    pub(super) runtime: &'a str,
    pub(super) dev: &'a str,
}

impl Roots<'_> {
    pub(super) fn of(&self, side: Side) -> &str {
        match side {
            Side::Runtime => self.runtime,
            Side::Dev => self.dev,
        }
    }

    pub(super) fn path(&self, spot: &Spot) -> String {
        join(self.of(spot.side), &spot.dest)
    }
}

fn join(root: &str, dest: &str) -> String {
    if dest.is_empty() { root.to_owned() } else { format!("{root}/{dest}") }
}

/// What a file of `side` is to call the path `path` of the system; `None`: as it is.
///
/// The runtime never names the development files: there a program is called by its name alone, and what it does not
/// have, it has nowhere.
pub(super) fn path(layout: &Layout<'_>, roots: &Roots<'_>, side: Side, path: &str) -> Option<String> {
    let name = layout.source.name("", path)?;
    let slash = if path.ends_with('/') { "/" } else { "" };
    let spot = layout.find(&name, side);
    if !path.starts_with("/usr") && spot.is_none() {
        return None;
    }
    let dest = layout.dest(&name);
    let found = match (side, spot) {
        (Side::Dev, Some(spot)) => roots.path(&spot),
        (Side::Runtime, Some(spot)) if spot.side == Side::Runtime => roots.path(&spot),
        (Side::Runtime, Some(_)) if parent(&dest) == "bin" => base(&dest).to_owned(),
        _ => join(roots.of(side), &dest),
    };
    Some(found + slash)
}

/// Rewrites every path of the system in `text`.
pub(super) fn rewrite(text: &str, rename: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut done = 0;
    for (start, end) in paths(text) {
        if let Some(new) = rename(&text[start..end]) {
            out.push_str(&text[done..start]);
            out.push_str(&new);
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Rewrites a GNU ld script: libraries by name alone, which the linker looks for in its folders. With an absolute
/// path the script would be wrong under `--sysroot`.
pub(super) fn linker_script(text: &str) -> String {
    rewrite(text, |path| Some(base(path).to_owned()))
}

/// Whether a text is a script of the GNU linker in place of a library.
pub(super) fn is_linker_script(text: &str) -> bool {
    ["GROUP", "INPUT"].iter().any(|word| text.contains(&format!("{word} (")) || text.contains(&format!("{word}(")))
}

/// Where absolute paths of the system lie: a path begins behind a character that no path has, or behind `-I`, `-L`
/// and their like.
fn paths(text: &str) -> Vec<(usize, usize)> {
    const TOPS: [&str; 5] = ["usr", "bin", "lib", "lib64", "sbin"];
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = memchr::memchr(b'/', &bytes[at..]).map(|offset| at + offset) {
        let end = start + bytes[start..].iter().take_while(|&&byte| is_path_byte(byte)).count();
        at = end;
        // A full stop ends a sentence, not a path.
        let end = start + text[start..end].trim_end_matches('.').len();
        let top = text[start + 1..end].split('/').next().unwrap_or_default();
        if TOPS.contains(&top) && begins(&bytes[..start]) {
            found.push((start, end));
        }
    }
    found
}

fn begins(before: &[u8]) -> bool {
    match before {
        [rest @ .., b'-', b'I' | b'L' | b'B' | b'F'] => !rest.last().is_some_and(|&byte| is_path_byte(byte)),
        [.., last] => !is_path_byte(*last) && !b"})>*".contains(last),
        [] => true,
    }
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> String {
        rewrite(text, |path| Some(format!("<{path}>")))
    }

    #[test]
    fn finds_paths_of_the_system_only() {
        let text = "#!/bin/sh -e\nprefix=/usr\nlibs=\"-L/usr/lib/t -I/usr/include/a:/usr/lib\" ${prefix}/usr/x \
                    $(D)/usr/y /opt/usr/z a/usr/b x-I/usr/c /usr. /usrlocal 'FILE:/usr/d' =/lib64/ld.so";
        let expected = "#!</bin/sh> -e\nprefix=</usr>\nlibs=\"-L</usr/lib/t> -I</usr/include/a>:</usr/lib>\" \
                        ${prefix}/usr/x $(D)/usr/y /opt/usr/z a/usr/b x-I/usr/c </usr>. /usrlocal 'FILE:</usr/d>' \
                        =</lib64/ld.so>";
        assert_eq!(seen(text), expected);
    }

    #[test]
    fn linker_scripts_name_libraries_alone() {
        let text = "GROUP ( /usr/lib/t/libc.so.6 /usr/lib/t/libc_nonshared.a  AS_NEEDED ( /lib64/ld-linux.so.2 ) )";
        assert!(is_linker_script(text));
        assert_eq!(linker_script(text), "GROUP ( libc.so.6 libc_nonshared.a  AS_NEEDED ( ld-linux.so.2 ) )");
    }

    proptest::proptest! {
        #[test]
        fn changes_nothing_else(text in "[ -~]{0,40}(/usr[ -~]{0,20}){0,3}") {
            proptest::prop_assert_eq!(rewrite(&text, |path| Some(path.to_owned())), text.clone());
            proptest::prop_assert_eq!(rewrite(&text, |_| None), text);
        }
    }
}
