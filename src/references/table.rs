//! Hits as a table for a person.

use std::fmt::Write as _;
use std::path::Path;

use super::{Encoding, Found, shown};

/// A line for each file, then one for each place in it: offset, place, needle, and what stands around it.
pub fn table(found: &[Found]) -> String {
    let mut text = String::new();
    let places: Vec<String> = found.iter().map(place).collect();
    let width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
    let mut last = None;
    for (one, place) in found.iter().zip(&places) {
        let name = (&one.path, &one.member);
        if last != Some(name) {
            let path = if one.path.as_os_str().is_empty() { Path::new(".") } else { &one.path };
            text.push_str(&shown(path, one.member.as_deref()));
            for other in &one.also {
                let _ = write!(text, " = {}", shown(other, None));
            }
            text.push('\n');
            last = Some(name);
        }
        let _ = write!(text, "{:>12}  {place:<width$}  {}", one.offset, one.needle);
        if one.context != one.needle {
            let _ = write!(text, "  in `{}`", one.context);
        }
        text.push('\n');
    }
    text
}

fn place(one: &Found) -> String {
    let mut place = one.place.to_string();
    if one.encoding == Encoding::Utf16 {
        place.push_str(", UTF-16");
    }
    if one.count > 1 {
        let _ = write!(place, ", {} times", one.count);
    }
    place
}
