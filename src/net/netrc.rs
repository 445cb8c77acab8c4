//! Logins by host from a netrc file, as ftp(1) and curl read it.

use std::collections::BTreeMap;
use std::path::Path;

use super::address::Login;
use crate::report::Reporter;

/// The logins of a netrc file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netrc {
    machines: BTreeMap<String, Login>,
    default: Option<Login>,
}

/// A netrc larger than this is something else.
const LARGEST: usize = 1 << 20;

impl Netrc {
    /// Reads the file; what cannot be read or understood is reported and gives no logins.
    pub fn read(path: &Path, reporter: &dyn Reporter) -> Self {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                reporter.warn(format!("no logins are used: cannot read {}: {error}", path.display()), None);
                return Self::default();
            }
        };
        Self::parse(&text).unwrap_or_else(|reason| {
            reporter.warn(format!("no logins are used: cannot understand {}: {reason}", path.display()), None);
            Self::default()
        })
    }

    /// Understands the text of a netrc file. The first entry of a machine wins.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LARGEST {
            return Err(format!("it is larger than {LARGEST} bytes"));
        }
        let mut netrc = Self::default();
        let mut open: Option<(Option<String>, Login)> = None;
        let mut tokens = Tokens { text };
        while let Some(word) = tokens.next() {
            let mut value = || tokens.next().ok_or_else(|| format!("a value is missing after `{word}`"));
            match word.as_str() {
                "machine" | "default" => {
                    netrc.close(open.take());
                    let machine = if word == "machine" { Some(value()?.to_ascii_lowercase()) } else { None };
                    open = Some((machine, Login { name: String::new(), password: None }));
                }
                "login" | "password" | "account" => {
                    let value = value()?;
                    let (_, login) = open.as_mut().ok_or_else(|| format!("`{word}` comes before any `machine`"))?;
                    match word.as_str() {
                        "login" => login.name = value,
                        "password" => login.password = Some(value),
                        _ => {}
                    }
                }
                "macdef" => tokens.skip_macro(),
                // Not shown: it may well be a password out of place.
                _ => return Err("a word stands where `machine`, `login` or `password` is expected".to_owned()),
            }
        }
        netrc.close(open);
        Ok(netrc)
    }

    /// The login for a host; the `default` entry only where `with_default`.
    pub fn login(&self, host: &str, with_default: bool) -> Option<&Login> {
        let own = self.machines.get(&host.to_ascii_lowercase());
        own.or(if with_default { self.default.as_ref() } else { None })
    }

    fn close(&mut self, entry: Option<(Option<String>, Login)>) {
        match entry {
            Some((Some(machine), login)) => drop(self.machines.entry(machine).or_insert(login)),
            Some((None, login)) => drop(self.default.get_or_insert(login)),
            None => {}
        }
    }
}

struct Tokens<'a> {
    text: &'a str,
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<String> {
        loop {
            self.text = self.text.trim_start();
            if !self.text.starts_with('#') {
                break;
            }
            self.text = self.text.find('\n').map_or("", |end| &self.text[end..]);
        }
        if let Some(rest) = self.text.strip_prefix('"') {
            return Some(self.quoted(rest.len()));
        }
        let end = self.text.find(char::is_whitespace).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// A quoted word, in which a backslash protects the next character.
    fn quoted(&mut self, length: usize) -> String {
        let rest = &self.text[self.text.len() - length..];
        let mut word = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.text = &rest[at + 1..];
                    return word;
                }
                '\\' => word.extend(chars.next().map(|(_, char)| char)),
                char => word.push(char),
            }
        }
        self.text = "";
        word
    }

    /// A macro ends at an empty line.
    fn skip_macro(&mut self) {
        self.text = self.text.find("\n\n").map_or("", |end| &self.text[end..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# mine\nmachine index.invalid login me password s3cret#x\nmachine Other.invalid\n\tlogin \"a b\"\n\
         password \"q\\\"q\" account x\nmacdef init\ncd /\nmachine not.invalid login no\n\nmachine index.invalid login second\n\
         default login anonymous password x\n";

    #[test]
    fn reads_entries() {
        let netrc = Netrc::parse(SAMPLE).unwrap();
        let login = |name: &str, password: &str| Login { name: name.into(), password: Some(password.into()) };
        assert_eq!(netrc.login("INDEX.invalid", true), Some(&login("me", "s3cret#x")));
        assert_eq!(netrc.login("other.invalid", true), Some(&login("a b", "q\"q")));
        assert_eq!(netrc.login("not.invalid", true), Some(&login("anonymous", "x")));
        assert_eq!(netrc.login("not.invalid", false), None);
    }

    #[test]
    fn refuses_without_showing_secrets() {
        for text in ["login me", "machine", "machine h login", "machine h password a b-secret"] {
            let reason = Netrc::parse(text).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(machine|default|login|password|macdef|[ \n\t\"\\\\#aé]){0,40}") {
            drop(Netrc::parse(&text));
        }
    }
}
