//! Addresses: what may be shown of them, which are the same server, and whose login goes where.

use url::Url;

/// A user name and password for HTTP basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub name: String,
    /// Password; `None` where the address gives a name (often a token) only.
    pub password: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Login {
    /// The login inside an address, with its percent-encoding undone.
    pub fn of(url: &Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        Some(Self { name: decoded(url.username()), password: url.password().map(decoded) })
    }
}

/// The address without user name, password, query and fragment: any of these may hold a secret.
pub fn shown(url: &Url) -> String {
    let mut url = without_login(url);
    url.set_fragment(None);
    if url.query().is_some() {
        url.set_query(Some("…"));
        return url.as_str().replace("?%E2%80%A6", "?…");
    }
    url.into()
}

/// The address without user name and password.
pub fn without_login(url: &Url) -> Url {
    let mut url = url.clone();
    // Fails only for addresses that cannot hold a login.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Scheme, host and port: what must be the same for a login to be sent again.
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether the host is one that by definition names nothing (RFC 2606), as in neutralised locks.
pub fn names_nothing(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "invalid" || host.ends_with(".invalid")
    })
}

/// Undoes percent-encoding; what is no UTF-8 then is replaced.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| data_encoding::HEXLOWER_PERMISSIVE.decode(pair).ok());
        match pair {
            Some(pair) if byte == b'%' => {
                out.extend(pair);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret() {
        let url = Url::parse("https://me:pass@index.invalid/a/b.whl?sig=secret#sha256=00").unwrap();
        assert_eq!(shown(&url), "https://index.invalid/a/b.whl?…");
        assert_eq!(shown(&Url::parse("https://token@index.invalid/a").unwrap()), "https://index.invalid/a");
    }

    #[test]
    fn reads_logins() {
        let login = |text| Login::of(&Url::parse(text).unwrap());
        let is =
            |name: &str, password: Option<&str>| Some(Login { name: name.into(), password: password.map(Into::into) });
        assert_eq!(login("https://a%40b:p%3Aw%2fd%@h/"), is("a@b", Some("p:w/d%")));
        assert_eq!(login("https://token@h/"), is("token", None));
        assert_eq!(login("https://h/"), None);
        assert_eq!(format!("{:?}", login("https://a:b@h/")), "Some(Login(…))");
    }

    #[test]
    fn knows_names_of_nothing() {
        for (text, nothing) in [
            ("https://index.invalid/simple", true),
            ("https://INVALID./x", true),
            ("https://invalid.example/x", false),
            ("https://notinvalid/x", false),
        ] {
            assert_eq!(names_nothing(&Url::parse(text).unwrap()), nothing, "{text}");
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let origin = |text| origin(&Url::parse(text).unwrap());
        assert_eq!(origin("https://u@h/a"), origin("https://h:443/b"));
        assert_ne!(origin("https://h/"), origin("http://h/"));
        assert_ne!(origin("https://h/"), origin("https://h:8443/"));
    }
}
