//! `entry_points.txt` and the scripts made of it (entry points specification).

use std::collections::BTreeMap;

/// A script that a package wants in `bin/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPoint {
    /// Name of the script.
    pub name: String,
    /// Module to import, dotted.
    pub module: String,
    /// Object in it to call, dotted.
    pub attribute: String,
}

/// An entry point that cannot become a script: its name and what is wrong.
type Wrong = (String, String);

impl EntryPoint {
    /// The text of its script, run by `interpreter` (an absolute path). Does what pip's and uv's scripts do.
    pub fn script(&self, interpreter: &str) -> String {
        let Self { module, attribute, .. } = self;
        let import = attribute.split('.').next().unwrap_or(attribute);
        format!(
            "#!{interpreter}\n\
             # -*- coding: utf-8 -*-\n\
             import sys\n\
             from {module} import {import}\n\
             if __name__ == \"__main__\":\n    \
                 sys.argv[0] = sys.argv[0].removesuffix(\"-script.pyw\").removesuffix(\".exe\")\n    \
                 sys.exit({attribute}())\n"
        )
    }
}

/// The scripts of an `entry_points.txt`, by name: groups `console_scripts` and `gui_scripts`, which differ on
/// Windows only. Other groups are for others to read.
pub(super) fn parse(text: &str) -> Result<Vec<EntryPoint>, Wrong> {
    let mut scripts: BTreeMap<String, EntryPoint> = BTreeMap::new();
    for (name, reference) in options(text)? {
        if let Some(problem) = wrong_name(&name) {
            return Err((name, problem.to_owned()));
        }
        let Some((module, attribute)) = object(&reference) else {
            return Err((name, format!("is expected to name `module:object`, found `{reference}`")));
        };
        let script = EntryPoint { name: name.clone(), module, attribute };
        match scripts.get(&name) {
            Some(other) if *other != script => return Err((name, "is there twice, with different objects".to_owned())),
            _ => drop(scripts.insert(name, script)),
        }
    }
    Ok(scripts.into_values().collect())
}

/// Names and values of the script groups, in their order. INI as Python's `configparser` reads it with `=` as
/// the only delimiter and case kept.
fn options(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let mut options: Vec<(String, String)> = Vec::new();
    let mut wanted = false;
    for raw in text.trim_start_matches('\u{feff}').lines() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(group) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            wanted = matches!(group.trim(), "console_scripts" | "gui_scripts");
        } else if wanted {
            match (line.split_once('='), options.last_mut()) {
                (Some((name, value)), _) => options.push((name.trim().to_owned(), value.trim().to_owned())),
                // A value may stand on the line after its name.
                (None, Some((_, value))) if value.is_empty() && raw.starts_with([' ', '\t']) => line.clone_into(value),
                (None, _) => return Err((line.to_owned(), "has no `=`".to_owned())),
            }
        }
    }
    Ok(options)
}

/// The name becomes a file in `bin/` and must not lead out of it (GHSA-4gg8-gxpx-9rph).
fn wrong_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("has no name"),
        "." | ".." => Some("names a folder"),
        _ if name.len() > 255 => Some("is longer than file systems allow"),
        _ if name.contains(['/', '\\']) => Some("has a slash in its name"),
        _ if name.starts_with('[') => Some("starts with `[`"),
        _ if name.chars().any(char::is_control) => Some("has a control character in its name"),
        _ => None,
    }
}

/// `module:object [extras]`: extras are allowed and mean nothing to an installer.
fn object(reference: &str) -> Option<(String, String)> {
    let reference = match reference.split_once('[') {
        Some((object, extras)) if extras.trim_end().ends_with(']') => object,
        Some(_) => return None,
        None => reference,
    };
    let (module, attribute) = reference.split_once(':')?;
    let (module, attribute) = (module.trim(), attribute.trim());
    (is_dotted(module) && is_dotted(attribute)).then(|| (module.to_owned(), attribute.to_owned()))
}

/// Whether `text` is identifiers with dots between them: it goes into a script, so nothing else may.
fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        parse(text).unwrap().into_iter().map(|script| script.name).collect()
    }

    #[test]
    fn reads_both_groups_and_no_other() {
        let text = "# c\nx = y\n[console_scripts]\r\nb = pkg.cli:main\nA.b-2 = pkg : Cls.run [extra,more]\n; c\n\n\
                    [pytest11]\nno reference here\n[ gui_scripts ]\nwin =\n    pkg:gui\n  indented = pkg:other\n";
        let scripts = parse(text).unwrap();
        assert_eq!(names(text), ["A.b-2", "b", "indented", "win"]);
        assert_eq!((scripts[0].module.as_str(), scripts[0].attribute.as_str()), ("pkg", "Cls.run"));
        assert_eq!(scripts[3].attribute, "gui");
    }

    #[test]
    fn refuses_names_that_escape_and_objects_that_inject() {
        for line in [
            "../../evil = a:b",
            "/etc/evil = a:b",
            "..= a:b",
            ". = a:b",
            "a\\b = a:b",
            " = a:b",
            "x\u{7f} = a:b",
            "x = a",
            "x = a:",
            "x = :b",
            "x = a:b()",
            "x = a:b; import os",
            "x = a b:c",
            "x = a:b\u{2028}c",
            "x = a..b:c",
            "x = 1a:b",
            "x = a:b [c",
            "x",
            "x = a:b\nx = a:c",
        ] {
            assert!(parse(&format!("[console_scripts]\n{line}\n")).is_err(), "{line}");
        }
        let long = "n".repeat(256);
        assert!(parse(&format!("[gui_scripts]\n{long} = a:b")).is_err());
        assert_eq!(names("[console_scripts]\nx = a:b\n[gui_scripts]\nx = a:b\n"), ["x"]);
    }

    #[test]
    fn the_script_calls_the_object() {
        let script = EntryPoint { name: "x".into(), module: "pkg.cli".into(), attribute: "Main.run".into() };
        insta::assert_snapshot!(script.script("/akb/bin/python"), @r#"
        #!/akb/bin/python
        # -*- coding: utf-8 -*-
        import sys
        from pkg.cli import Main
        if __name__ == "__main__":
            sys.argv[0] = sys.argv[0].removesuffix("-script.pyw").removesuffix(".exe")
            sys.exit(Main.run())
        "#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s)(\\[console_scripts\\]\n)?.{0,200}") {
            for script in parse(&text).unwrap_or_default() {
                prop_assert!(!script.name.contains('/') && script.name != ".." && !script.name.is_empty());
                prop_assert!(is_dotted(&script.module) && is_dotted(&script.attribute));
            }
        }

        #[test]
        fn sound_entry_points_round_trip(
            name in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
            module in "[a-z_][a-z0-9_]{0,8}(\\.[a-z_][a-z0-9_]{0,8}){0,3}",
            attribute in "[a-z_][a-z0-9_]{0,8}",
        ) {
            let scripts = parse(&format!("[console_scripts]\n{name} = {module}:{attribute}\n")).unwrap();
            prop_assert_eq!(scripts, vec![EntryPoint { name, module, attribute }]);
        }
    }
}
