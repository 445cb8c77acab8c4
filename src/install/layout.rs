//! The places of an installed tree, all relative to its top.

use std::collections::BTreeMap;

use crate::request::PythonVersion;

/// Where things go in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The interpreter of the tree.
    pub python: PythonVersion,
    /// The absolute path that scripts and `pyvenv.cfg` name as the top of the tree, such as `/akb`.
    pub prefix: String,
}

impl Layout {
    /// The canonical prefix, at which a tree has its identity.
    pub const CANONICAL: &str = "/akb";

    /// Names that only akb itself may write, whole folders included.
    pub(super) const RESERVED: [&str; 4] = ["runtime", "pyvenv.cfg", "akb-receipt.json", "akb-spots"];

    /// The layout at the canonical prefix.
    pub fn canonical(python: PythonVersion) -> Self {
        Self { python, prefix: Self::CANONICAL.to_owned() }
    }

    /// `lib/python3.14/site-packages`: purelib and platlib.
    pub fn site_packages(&self) -> String {
        format!("lib/python{}/site-packages", self.python.short())
    }

    /// `include/site/python3.14/NAME`: the headers of one package.
    pub fn headers(&self, name: &str) -> String {
        format!("include/site/python{}/{name}", self.python.short())
    }

    /// `runtime/lib/python3.14`: the standard library.
    pub fn stdlib(&self) -> String {
        format!("runtime/lib/python{}", self.python.short())
    }

    /// The interpreter that scripts name: `/akb/bin/python`.
    pub fn interpreter(&self) -> String {
        format!("{}/bin/python", self.prefix)
    }

    /// The links of `bin/` that lead to the interpreter, and their texts.
    pub fn links(&self) -> BTreeMap<String, String> {
        let python = format!("python{}", self.python.short());
        BTreeMap::from([
            (format!("bin/{python}"), format!("../runtime/bin/{python}")),
            (format!("bin/python{}", self.python.major), python.clone()),
            ("bin/python".to_owned(), python),
        ])
    }

    /// The text of `pyvenv.cfg` (PEP 405).
    pub fn pyvenv_cfg(&self) -> String {
        format!("home = {}/runtime/bin\ninclude-system-site-packages = false\nversion = {}\n", self.prefix, self.python)
    }

    /// Folders that a file must not replace.
    pub(super) fn folders(&self) -> [String; 4] {
        let site = self.site_packages();
        ["bin".to_owned(), "lib".to_owned(), format!("lib/python{}", self.python.short()), site]
    }

    /// The path of `place` as a `RECORD` in site-packages spells it: `../../../bin/x`.
    pub(super) fn record_path(&self, place: &str) -> String {
        let site = self.site_packages();
        match place.strip_prefix(&site).and_then(|rest| rest.strip_prefix('/')) {
            Some(inside) => inside.to_owned(),
            None => format!("../../../{place}"),
        }
    }

    /// The place that a `RECORD` in site-packages means by `path`. `None` where it leaves the tree.
    pub(crate) fn place_of(&self, path: &str) -> Option<String> {
        let site = self.site_packages();
        let mut parts: Vec<&str> = site.split('/').collect();
        for part in path.split('/') {
            match part {
                "" | "." => return None,
                ".." => drop(parts.pop()?),
                part => parts.push(part),
            }
        }
        (!parts.is_empty()).then(|| parts.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::canonical("3.14.8".parse().unwrap())
    }

    #[test]
    fn record_paths_round_trip() {
        for place in
            ["bin/x", "lib/python3.14/site-packages/a/b.py", "lib/python3.14/x", "include/site/python3.14/g/g.h"]
        {
            assert_eq!(layout().place_of(&layout().record_path(place)).as_deref(), Some(place));
        }
        assert_eq!(layout().record_path("bin/x"), "../../../bin/x");
        for path in ["../../../../x", "/etc/passwd", "a//b", "./a", "../../.."] {
            assert_eq!(layout().place_of(path), None, "{path}");
        }
    }

    #[test]
    fn the_virtual_environment_names_its_runtime() {
        insta::assert_snapshot!(layout().pyvenv_cfg(), @r"
        home = /akb/runtime/bin
        include-system-site-packages = false
        version = 3.14.8
        ");
        insta::assert_debug_snapshot!(layout().links(), @r#"
        {
            "bin/python": "python3.14",
            "bin/python3": "python3.14",
            "bin/python3.14": "../runtime/bin/python3.14",
        }
        "#);
    }
}
