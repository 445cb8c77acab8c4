//! Why a build failed, read from what compilers, linkers and backends print.

use std::fmt;

use crate::inputs::Runtime;
use crate::inputs::hints::{self, Hint, Part};

/// What a build lacked, as far as its output tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A C header.
    Header(String),
    /// A library that the linker was told to use, without `lib` and suffix.
    Library(String),
    /// A `.pc` file of pkg-config.
    PkgConfig(String),
    /// The development files of libraries, as a person would call them.
    Development(Vec<String>),
    /// A program, such as `gcc` or `pg_config`.
    Tool(String),
    /// A Python module: a build requirement that the package does not declare.
    Module(String),
    /// Memory.
    Memory,
    /// The network, which no build has.
    Network,
    /// What the output calls an error.
    Other(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header {name} is missing"),
            Self::Library(name) => write!(f, "the library lib{name} is missing"),
            Self::PkgConfig(name) => write!(f, "pkg-config does not find {name}"),
            Self::Development(names) => write!(f, "the development files of {} are missing", names.join(" and ")),
            Self::Tool(name) => write!(f, "the program {name} is missing"),
            Self::Module(name) => write!(f, "the Python module {name} is missing in its build environment"),
            Self::Memory => f.write_str("the machine ran out of memory"),
            Self::Network => f.write_str("it wants the network, which builds do not have"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Cause {
    /// The cause that `output` tells; `status` is the backend's, `message` what it raised.
    pub(super) fn find(output: &str, status: i32, message: Option<&str>) -> Self {
        let lines = || output.lines().map(str::trim);
        // A header or tool that is missing is often probed for before, so the last that is named counts.
        let specific = lines().filter_map(specific).next_back();
        // Compilers that are out of memory fail in many words; nothing else they say is true then.
        if status == 137 || lines().any(out_of_memory) {
            return Self::Memory;
        }
        specific
            .or_else(|| lines().find(|line| is_error(line)).map(|line| Self::Other(line.to_owned())))
            .or_else(|| message.map(|message| Self::Other(first_line(message).to_owned())))
            .unwrap_or_else(|| Self::Other(format!("its backend ended with status {status}")))
    }

    /// The line for `akb.toml`, or whatever else is the next step for `package`. Inputs that are referred to were given
    /// by a person, who has to give more.
    pub(super) fn hint(&self, package: &str, runtime: Runtime) -> Option<String> {
        let (part, files) = match self {
            Self::Header(name) => (Part::Headers, format!("include/{name}")),
            Self::Library(name) => (Part::Libraries, format!("lib{name}.so")),
            Self::PkgConfig(name) => (Part::Headers, format!("pkgconfig/{name}.pc")),
            Self::Tool(name) => (Part::Programs, format!("bin/{name}")),
            Self::Development(names) => (Part::Headers, names.join(" ")),
            Self::Module(_) | Self::Memory | Self::Network | Self::Other(_) => return self.other_hint(package),
        };
        Some(match runtime {
            Runtime::Copied => input(package, &self.providers(), &files),
            Runtime::Referenced => prefix(&self.providers(), part, &files),
        })
    }

    fn other_hint(&self, package: &str) -> Option<String> {
        match self {
            Self::Module(name) => Some(format!(
                "add the package that has it to the build requirements, in akb.toml, then `akb lock`:\n\
                 [package.{package}]\nbuild-requires = [\"{}\"]",
                distribution(name)
            )),
            Self::Memory => Some("try fewer at once: `-j1`; or give the machine more memory".to_owned()),
            Self::Network => Some(format!(
                "what it fetches must be a build requirement or an input; see whether a variable turns that off, in \
                 akb.toml:\n[package.{package}]\nenv = {{ NAME = \"VALUE\" }}"
            )),
            _ => None,
        }
    }

    fn providers(&self) -> Vec<Hint> {
        let found = match self {
            Self::Header(name) => hints::header(name),
            Self::Library(name) => hints::library(name),
            Self::PkgConfig(name) => hints::pkg_config(name),
            Self::Tool(name) => hints::tool(name),
            Self::Development(names) => {
                let library = |name: &String| hints::library(name.strip_prefix("lib").unwrap_or(name));
                return names.iter().filter_map(|name| library(name).or_else(|| hints::pkg_config(name))).collect();
            }
            Self::Module(_) | Self::Memory | Self::Network | Self::Other(_) => None,
        };
        found.into_iter().collect()
    }
}

/// The input packages that `package` lacks; `file` is what to search for where they are not known.
fn input(package: &str, known: &[Hint], file: &str) -> String {
    let list = |names: Vec<&str>, quote: &str| {
        names.into_iter().map(|name| format!("{quote}{name}{quote}")).collect::<Vec<_>>().join(", ")
    };
    if known.is_empty() {
        return format!(
            "find the Debian package that has it, for instance with `apt-file search {file}`; then in akb.toml:\n\
             [package.{package}]\ninputs = [\"THAT-PACKAGE\"]"
        );
    }
    let debian = || known.iter().map(|hint| hint.debian).collect::<Vec<_>>();
    let nix = known.iter().map(|hint| hint.nix).collect();
    format!(
        "Debian has it in {} (Nix: {}); in akb.toml:\n[package.{package}]\ninputs = [{}]",
        list(debian(), ""),
        list(nix, ""),
        list(debian(), "\"")
    )
}

/// The prefix that is lacking; `file` is what it must have where no package is known.
fn prefix(known: &[Hint], part: Part, file: &str) -> String {
    if known.is_empty() {
        return format!("add the prefix that has {file} to the inputs");
    }
    let name = file.rsplit('/').next().unwrap_or(file);
    let nix: Vec<_> = known.iter().map(|hint| hint.nix_output(part, name)).collect();
    let debian: Vec<_> = known.iter().map(|hint| hint.debian).collect();
    format!("add it to the inputs: {} of nixpkgs, or {} of Debian", nix.join(" "), debian.join(" "))
}

/// The package of a module, where the names differ.
fn distribution(module: &str) -> &str {
    let top = module.split('.').next().unwrap_or(module);
    match top {
        "pkg_resources" | "distutils" => "setuptools",
        "yaml" => "pyyaml",
        "setuptools_scm" => "setuptools-scm",
        "Cython" => "cython",
        "skbuild" => "scikit-build",
        "mesonpy" => "meson-python",
        _ => top,
    }
}

fn specific(line: &str) -> Option<Cause> {
    header(line)
        .map(Cause::Header)
        .or_else(|| library(line).map(Cause::Library))
        .or_else(|| pkg_config(line).map(Cause::PkgConfig))
        .or_else(|| development(line).map(Cause::Development))
        .or_else(|| tool(line).map(Cause::Tool))
        .or_else(|| between(line, "ModuleNotFoundError: No module named '", "'").map(Cause::Module))
        .or_else(|| no_network(line).then_some(Cause::Network))
}

/// gcc: `fatal error: X: No such file or directory`; clang: `fatal error: 'X' file not found`.
fn header(line: &str) -> Option<String> {
    between(line, "fatal error: '", "' file not found")
        .or_else(|| between(line, "fatal error: ", ": No such file or directory"))
}

/// GNU ld: `cannot find -lX`; lld: `unable to find library -lX`.
fn library(line: &str) -> Option<String> {
    let rest = after(line, "cannot find -l").or_else(|| after(line, "unable to find library -l"))?;
    name(rest.split([':', ' ']).next()?)
}

fn pkg_config(line: &str) -> Option<String> {
    between(line, "Package ", " was not found in the pkg-config search path")
        .or_else(|| between(line, "No package '", "' found"))
        .or_else(|| between(line, "Package '", "', required by").filter(|_| line.ends_with("not found")))
        .or_else(|| between(line, "Package '", "' not found"))
        .or_else(|| between(line, "Dependency \"", "\" not found"))
        .map(|name| name.trim_matches('\'').to_owned())
}

/// `make sure the libxml2 and libxslt development packages are installed`, as lxml says it.
fn development(line: &str) -> Option<Vec<String>> {
    let rest = after(line, "make sure the ")?;
    let names = rest.get(..rest.find(" development packages are installed")?)?;
    names.split(" and ").flat_map(|part| part.split(", ")).map(name).collect()
}

fn tool(line: &str) -> Option<String> {
    let program = between(line, "command '", "' failed: No such file or directory")
        .or_else(|| between(line, "unable to execute '", "': No such file or directory"))
        .or_else(|| between(line, "FileNotFoundError: [Errno 2] No such file or directory: '", "'"))
        .or_else(|| before(line, ": command not found"))
        .or_else(|| before(line, ": not found").filter(|_| line.starts_with("/bin/sh: ") || line.starts_with("sh: ")))
        .or_else(|| before(line, " executable not found"))
        .or_else(|| before(line, " executable is required"))?;
    // A missing file of the package itself is none of an input's.
    let program = program.rsplit('/').next()?.to_owned();
    (!program.contains('.')).then_some(program)
}

fn out_of_memory(line: &str) -> bool {
    ["Killed signal terminated program", "virtual memory exhausted", "cc1: out of memory", "std::bad_alloc"]
        .iter()
        .any(|text| line.contains(text))
        || line.contains("out of memory allocating")
}

fn no_network(line: &str) -> bool {
    ["Network is unreachable", "Temporary failure in name resolution", "Could not resolve host"]
        .iter()
        .any(|text| line.contains(text))
}

fn is_error(line: &str) -> bool {
    line.contains(": error: ") || line.contains(": fatal error: ") || line.starts_with("error: ")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

fn after<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.find(start).and_then(|at| line.get(at + start.len()..))
}

fn between(line: &str, start: &str, end: &str) -> Option<String> {
    let rest = after(line, start)?;
    name(rest.get(..rest.find(end)?)?)
}

/// The last word before `end`.
fn before(line: &str, end: &str) -> Option<String> {
    let head = line.get(..line.find(end)?)?;
    name(head.rsplit([' ', ':']).next()?)
}

/// A name worth showing: a word, not a sentence.
fn name(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+/".contains(c);
    (!text.is_empty() && text.len() <= 200 && text.chars().all(plain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(output: &str) -> Cause {
        Cause::find(output, 1, None)
    }

    #[test]
    fn what_is_missing_is_named() {
        for (line, cause) in [
            (
                "src/x.c:96:10: fatal error: libxml/xmlversion.h: No such file or directory",
                Cause::Header("libxml/xmlversion.h".into()),
            ),
            ("x.c:1:10: fatal error: 'gssapi.h' file not found", Cause::Header("gssapi.h".into())),
            ("/usr/bin/ld: cannot find -lltdl: No such file or directory", Cause::Library("ltdl".into())),
            ("/usr/bin/x86_64-linux-gnu-ld.bfd: cannot find -lpq", Cause::Library("pq".into())),
            ("Package libxml-2.0 was not found in the pkg-config search path.", Cause::PkgConfig("libxml-2.0".into())),
            ("Package 'xmlsec1', required by 'virtual:world', not found", Cause::PkgConfig("xmlsec1".into())),
            ("No package 'libffi' found", Cause::PkgConfig("libffi".into())),
            (
                "Error: Please make sure the libxml2 and libxslt development packages are installed.",
                Cause::Development(vec!["libxml2".into(), "libxslt".into()]),
            ),
            ("error: command 'gcc' failed: No such file or directory", Cause::Tool("gcc".into())),
            (
                "error: command '/usr/bin/x86_64-linux-gnu-g++' failed: No such file or directory",
                Cause::Tool("x86_64-linux-gnu-g++".into()),
            ),
            ("/bin/sh: 1: krb5-config: not found", Cause::Tool("krb5-config".into())),
            ("bash: line 1: cmake: command not found", Cause::Tool("cmake".into())),
            ("Error: pg_config executable not found.", Cause::Tool("pg_config".into())),
            ("FileNotFoundError: [Errno 2] No such file or directory: 'pkg-config'", Cause::Tool("pkg-config".into())),
            ("ModuleNotFoundError: No module named 'Cython.Build'", Cause::Module("Cython.Build".into())),
            ("gcc: fatal error: Killed signal terminated program cc1", Cause::Memory),
            ("OSError: [Errno 101] Network is unreachable", Cause::Network),
            (
                "a.c:3:5: error: implicit declaration of function 'f'",
                Cause::Other("a.c:3:5: error: implicit declaration of function 'f'".into()),
            ),
        ] {
            let output = format!("running build_ext\n{line}\nerror: command '/usr/bin/gcc' failed with exit code 1\n");
            assert_eq!(find(&output), cause, "{line}");
        }
    }

    #[test]
    fn what_is_not_missing_is_not_named() {
        for line in [
            "FileNotFoundError: [Errno 2] No such file or directory: 'README.md'",
            "warning: no files found matching '*.h'",
            "checking for gcc... gcc",
        ] {
            assert_eq!(Cause::find(line, 3, None), Cause::Other("its backend ended with status 3".into()), "{line}");
        }
        assert_eq!(Cause::find("", 1, Some("ValueError: no\nmore")), Cause::Other("ValueError: no".into()));
        assert_eq!(Cause::find("fine", 137, None), Cause::Memory);
    }

    #[test]
    fn hints_are_lines_for_akb_toml() {
        let hint = |cause: Cause| cause.hint("x", Runtime::Copied).unwrap();
        for (cause, expected) in [
            (Cause::Header("libxml/xmlversion.h".into()), "inputs = [\"libxml2-dev\"]"),
            (Cause::Library("ltdl".into()), "inputs = [\"libltdl-dev\"]"),
            (Cause::PkgConfig("xmlsec1".into()), "inputs = [\"libxmlsec1-dev\"]"),
            (Cause::Tool("krb5-config".into()), "inputs = [\"libkrb5-dev\"]"),
            (
                Cause::Development(vec!["libxml2".into(), "libxslt".into()]),
                "inputs = [\"libxml2-dev\", \"libxslt1-dev\"]",
            ),
            (Cause::Header("none/of/these.h".into()), "inputs = [\"THAT-PACKAGE\"]"),
            (Cause::Module("Cython.Build".into()), "build-requires = [\"cython\"]"),
        ] {
            let hint = hint(cause);
            assert!(hint.ends_with(&format!("[package.x]\n{expected}")), "{hint}");
        }
        assert!(hint(Cause::Header("none.h".into())).contains("apt-file search include/none.h"));
        assert_eq!(Cause::Other("what".into()).hint("x", Runtime::Copied), None);
    }

    #[test]
    fn given_prefixes_lack_other_prefixes() {
        let hint = |cause: Cause| cause.hint("x", Runtime::Referenced).unwrap();
        assert_eq!(
            hint(Cause::Tool("pg_config".into())),
            "add it to the inputs: pkgs.libpq.pg_config of nixpkgs, or libpq-dev of Debian"
        );
        assert_eq!(
            hint(Cause::Development(vec!["libxml2".into(), "libxslt".into()])),
            "add it to the inputs: (lib.getDev pkgs.libxml2) (lib.getDev pkgs.libxslt) of nixpkgs, or libxml2-dev \
             libxslt1-dev of Debian"
        );
        assert_eq!(hint(Cause::Header("a/b.h".into())), "add the prefix that has include/a/b.h to the inputs");
        assert!(hint(Cause::Module("yaml".into())).contains("build-requires"));
    }
}
