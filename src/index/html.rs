//! The HTML form of a project's page (PEP 503): its anchors, and nothing else of HTML.

use std::borrow::Cow;

use url::Url;

use super::listing::{ListedFile, MetadataFile, address, is_file_name};

/// Reads a page that came from `page`.
pub(super) fn parse(text: &str, page: &Url) -> Result<Vec<ListedFile>, String> {
    let mut base = Cow::Borrowed(page);
    let mut files = Vec::new();
    let mut tags = Tags { rest: text };
    let mut seen = false;
    while let Some(tag) = tags.next() {
        seen = true;
        match tag.name.to_ascii_lowercase().as_str() {
            // Only the first counts, and only before the anchors.
            "base" if matches!(base, Cow::Borrowed(_)) && files.is_empty() => {
                if let Some(url) = tag.attribute("href").and_then(|href| address(page, &href)) {
                    base = Cow::Owned(url);
                }
            }
            "meta" if tag.attribute("name").is_some_and(|name| name == "pypi:repository-version") => {
                let version = tag.attribute("content").unwrap_or_default();
                if version.trim().split('.').next() != Some("1") {
                    return Err(format!("it has version {version} of the interface, and only 1 is known"));
                }
            }
            "a" => files.extend(listed(&tag, &base)),
            "script" | "style" => tags.skip_to_end_of(tag.name),
            _ => {}
        }
    }
    if seen { Ok(files) } else { Err("it holds no HTML".to_owned()) }
}

fn listed(tag: &Tag<'_>, base: &Url) -> Option<ListedFile> {
    let mut url = address(base, tag.attribute("href")?.trim())?;
    let sha256 = url.fragment().and_then(|fragment| {
        fragment.split('&').find_map(|part| part.strip_prefix("sha256=")).and_then(|hash| hash.parse().ok())
    });
    url.set_fragment(None);
    let last = url.path_segments()?.next_back()?;
    let name = crate::net::address::decoded(last);
    let metadata = tag.attribute("data-core-metadata").or_else(|| tag.attribute("data-dist-info-metadata"));
    Some(ListedFile {
        name: is_file_name(&name).then_some(name)?,
        url,
        sha256,
        size: None,
        requires_python: tag.attribute("data-requires-python").filter(|text| !text.trim().is_empty()),
        yanked: tag.attribute("data-yanked"),
        metadata: metadata
            .filter(|text| text != "false")
            .map(|text| MetadataFile { sha256: text.strip_prefix("sha256=").and_then(|hash| hash.parse().ok()) }),
    })
}

/// A start tag: its name and the text of its attributes.
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
}

struct Tags<'a> {
    rest: &'a str,
}

impl<'a> Tags<'a> {
    /// The next start tag; comments, declarations and end tags are passed over.
    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let open = self.rest.find('<')?;
            self.rest = &self.rest[open + 1..];
            if let Some(comment) = self.rest.strip_prefix("!--") {
                self.rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            } else if self.rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
                let name_ends = self.rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '-');
                let (name, rest) = self.rest.split_at(name_ends.unwrap_or(self.rest.len()));
                let end = end_of_tag(rest);
                self.rest = rest.get(end + 1..).unwrap_or("");
                return Some(Tag { name, attributes: &rest[..end] });
            }
        }
    }

    /// Passes over a script or style, whose text may look like tags.
    fn skip_to_end_of(&mut self, name: &str) {
        let mut rest = self.rest;
        while let Some(at) = rest.find("</") {
            rest = &rest[at + 2..];
            if rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
                self.rest = rest;
                return;
            }
        }
        self.rest = "";
    }
}

/// Where `>` stands outside quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            _ => {}
        }
    }
    text.len()
}

impl Tag<'_> {
    /// The value of an attribute, its entities replaced; empty where it stands alone.
    fn attribute(&self, wanted: &str) -> Option<String> {
        let blank = |char: char| char.is_ascii_whitespace() || char == '/';
        let mut rest = self.attributes.trim_start_matches(blank);
        while !rest.is_empty() {
            let name_ends = rest.find(|char: char| blank(char) || char == '=').unwrap_or(rest.len());
            // A lone `=` would be an empty name for ever.
            let (name, after) = rest.split_at(name_ends.max(usize::from(rest.starts_with('='))));
            let after = after.trim_start();
            let (value, next) = match after.strip_prefix('=') {
                Some(value) => split_value(value.trim_start()),
                None => ("", after),
            };
            if name.eq_ignore_ascii_case(wanted) {
                return Some(unescape(value));
            }
            rest = next.trim_start_matches(blank);
        }
        None
    }
}

/// A quoted or bare value and what follows it.
fn split_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    text.split_at(text.find(|char: char| char.is_ascii_whitespace()).unwrap_or(text.len()))
}

/// Replaces the entities that occur in pages of indexes: the five of XML, and numbers.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest entity here, `&#x10FFFF;`, has ten characters.
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        if let Some((char, end)) = end.and_then(|end| Some((entity(&rest[1..end])?, end))) {
            out.push(char);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn page() -> Url {
        Url::parse("https://index.invalid/simple/demo/").unwrap()
    }

    #[test]
    fn reads_every_attribute() {
        let text = format!(
            "<!DOCTYPE html><html><head><meta name='pypi:repository-version' content='1.1'><!-- <a href='no-1.whl'> -->\
             <script>'<a href=\"no-2.whl\">'</script></head><body>\n\
             <a href=\"../../f/demo-1%2Blocal-py3-none-any.whl#sha256={ABC}\" data-requires-python=\"&gt;=3.8,&#60;4\"\n\
             data-yanked=\"a &quot;b&quot; &unknown; > c\" data-dist-info-metadata=\"sha256={ABC}\">any text</a>\n\
             <A HREF=https://files.invalid/demo-1.tar.gz#md5=00 data-yanked data-core-metadata=true>x</A>"
        );
        let files = parse(&text, &page()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].name, "demo-1+local-py3-none-any.whl");
        assert_eq!(files[0].url.as_str(), "https://index.invalid/f/demo-1%2Blocal-py3-none-any.whl");
        assert_eq!(files[0].sha256.unwrap().hex(), ABC);
        assert_eq!(files[0].requires_python.as_deref(), Some(">=3.8,<4"));
        assert_eq!(files[0].yanked.as_deref(), Some("a \"b\" &unknown; > c"));
        assert_eq!(files[0].metadata.unwrap().sha256.unwrap().hex(), ABC);
        assert_eq!(files[1].name, "demo-1.tar.gz");
        assert_eq!((files[1].sha256, files[1].yanked.as_deref()), (None, Some("")));
        assert_eq!(files[1].metadata, Some(MetadataFile { sha256: None }));
    }

    #[test]
    fn heeds_the_first_base_and_the_version() {
        let files = parse("<base href='/m/'><base href='/n/'><a href='x-1.whl'>", &page()).unwrap();
        assert_eq!(files[0].url.as_str(), "https://index.invalid/m/x-1.whl");
        assert!(parse("<meta name=pypi:repository-version content=2.0>", &page()).is_err());
        assert!(parse("no such project", &page()).is_err());
    }

    #[test]
    fn leaves_out_what_leads_nowhere() {
        let text = "<a href='..%2F..%2Fetc'><a href='file:///x.whl'><a href='javascript:x'><a name=top><a href=''>\
                    <a href='/dir/'><a href='%00.whl'>";
        assert_eq!(parse(text, &page()).unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(<a |<!--|-->|</script|<script>|href|[ =<>\"'&#;/x0é\u{0}-]|&#x41;|data-yanked){0,60}") {
            drop(parse(&text, &page()));
        }

        #[test]
        fn finds_what_was_written(reason in "\\PC{0,20}", name in "[a-z0-9_.+-]{1,12}\\.whl") {
            let escaped = reason.replace('&', "&amp;").replace('"', "&#34;");
            let href = name.replace('+', "%2b");
            let files = parse(&format!("<a data-yanked=\"{escaped}\" href='./{href}'>"), &page()).unwrap();
            proptest::prop_assert_eq!(files[0].yanked.as_deref(), Some(reason.as_str()));
            proptest::prop_assert_eq!(&files[0].name, &name);
        }
    }
}
