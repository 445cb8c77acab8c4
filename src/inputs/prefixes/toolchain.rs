//! Compilers of prefixes: which one, with which flags, and what builds are told of it.
//!
//! A wrapper that knows its C library is taken as it is. A bare compiler is given one: headers, start files, loader. It
//! and tools that answer for an output they are not in are wrapped in scripts, so that every build system meets them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::PrefixError;
use super::probe::{Answer, Language, Request, Tried, Wanted};
use super::scan::{Found, is_program};
use crate::report::Reporter;
use crate::request::PythonVersion;

/// Compilers by the name that is looked for, and their sisters for C++.
pub(super) const COMPILERS: [(&str, &str); 3] = [("cc", "c++"), ("gcc", "g++"), ("clang", "clang++")];

/// Programs that say where a prefix is, and a header that builds expect there. With headers in an output of their own
/// they name the wrong one.
const PREFIX_OF: [(&str, &str); 1] = [("krb5-config", "gssapi/gssapi_ext.h")];

/// Libraries that compilers bring, which their results load.
const COMPILERS_OWN: [&str; 2] = ["libstdc++.so.6", "libgcc_s.so.1"];

/// Programs that build scripts count on without saying so.
const USUAL: [&str; 8] = ["sh", "env", "cat", "expr", "grep", "sed", "tr", "uname"];

/// Says which of [`USUAL`] are not there: what builds say without them is hard to understand.
pub(super) fn warn_of_unusual(found: &Found, shell: Option<&Path>, reporter: &dyn Reporter) {
    let there = |name: &str| found.program(name).is_some() || (name == "sh" && shell.is_some());
    let missing: Vec<_> = USUAL.into_iter().filter(|name| !there(name)).collect();
    if !missing.is_empty() {
        let hint = "add pkgs.stdenv.initialPath of nixpkgs to the inputs, or dash, coreutils, grep and sed of Debian";
        let message = format!("no prefix has {}, which build scripts count on", missing.join(", "));
        reporter.warn(message, Some(hint.to_owned()));
    }
}

/// What is tried.
pub(super) struct Plan {
    c: PathBuf,
    cxx: Option<PathBuf>,
    triplet: &'static str,
    /// (program, its real place, root with the header)
    prefix_of: Vec<(&'static str, PathBuf, PathBuf)>,
}

/// What builds get.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// See [`crate::inputs::Inputs::libraries`].
    pub(super) libraries: Vec<PathBuf>,
    /// See [`crate::inputs::Inputs::tools`].
    pub(super) scripts: BTreeMap<String, String>,
    /// See [`crate::inputs::Inputs::env`].
    pub(super) env: BTreeMap<String, String>,
}

/// Variables that the probe and builds have in common.
pub(super) fn environment(found: &Found) -> BTreeMap<String, String> {
    let lists = [("PATH", &found.programs), ("CPATH", &found.headers), ("LIBRARY_PATH", &found.libraries)];
    let lists = lists.map(|(name, folders)| (name.to_owned(), join(folders, ":")));
    let texts = [("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("LC_ALL", "C.UTF-8")];
    lists.into_iter().chain(texts.map(|(name, text)| (name.to_owned(), text.to_owned()))).collect()
}

/// Chooses compilers and puts down in `request` what is to be asked of them.
pub(super) fn plan(
    found: &Found,
    loader: &Path,
    triplet: &'static str,
    request: &mut Request,
) -> Result<Plan, PrefixError> {
    let no_compiler = || PrefixError::NoCompiler { looked: found.programs.clone() };
    let (c, sister) =
        COMPILERS.iter().find_map(|(name, sister)| Some((found.program(name)?, *sister))).ok_or_else(no_compiler)?;
    let beside = c.parent().map(|folder| folder.join(sister)).filter(|path| is_program(path));
    let cxx = beside.or_else(|| COMPILERS.iter().find_map(|(_, name)| found.program(name)));
    request.compilers.push(Wanted { language: Language::C, program: c.clone() });
    request.compilers.extend(cxx.iter().map(|program| Wanted { language: Language::Cxx, program: program.clone() }));
    request.attempts = vec![Vec::new(), flags_of_libc(found, loader)];
    let mut prefix_of = Vec::new();
    for (name, header) in PREFIX_OF {
        let root = found.roots.iter().find(|root| root.join("include").join(header).is_file());
        if let (Some(program), Some(root)) = (found.program(name), root) {
            request.questions.push(vec![text(&program), "--prefix".to_owned()]);
            prefix_of.push((name, program, root.clone()));
        }
    }
    Ok(Plan { c, cxx, triplet, prefix_of })
}

/// What a compiler must be told that does not know its C library.
fn flags_of_libc(found: &Found, loader: &Path) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    for folder in &found.libc_headers {
        flags.extend(["-idirafter".to_owned(), text(folder)]);
    }
    for folder in found.libraries.iter().filter(|folder| folder.join("crt1.o").is_file()) {
        flags.push(format!("-B{}/", folder.display()));
    }
    for folder in runtime(found, loader, &[]) {
        flags.push(format!("-L{}", folder.display()));
        flags.push(format!("-Wl,-rpath,{}", folder.display()));
    }
    flags.push(format!("-Wl,--dynamic-linker={}", loader.display()));
    flags
}

/// Folders that programs and modules load libraries from: those of the prefixes, the C library's, the compiler's own.
pub(super) fn runtime(found: &Found, loader: &Path, compilers: &[&Tried]) -> Vec<PathBuf> {
    let mut folders = found.libraries.clone();
    // The C library is beside its loader; musl's is the loader. /lib64 may hold nothing but a link to it.
    let real = fs::canonicalize(loader).unwrap_or_default();
    let libc = |loader: &&Path| {
        let name = loader.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ld-musl-") || loader.with_file_name("libc.so.6").is_file()
    };
    let loader = [loader, real.as_path()].into_iter().find(libc);
    folders.extend(loader.and_then(Path::parent).map(Path::to_owned));
    for file in compilers.iter().flat_map(|tried| &tried.trace) {
        let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own = COMPILERS_OWN.iter().find(|own| own.starts_with(name) || name.starts_with(**own));
        let (Some(own), true) = (own, name.contains(".so")) else { continue };
        let real = fs::canonicalize(file).ok();
        let folder = real.as_deref().and_then(Path::parent).filter(|folder| folder.join(own).is_file());
        folders.extend(folder.map(Path::to_owned));
    }
    let mut once: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if folder.is_dir() && !once.iter().any(|known| fs::canonicalize(known).ok() == fs::canonicalize(&folder).ok()) {
            once.push(folder);
        }
    }
    once
}

/// What the answers mean for builds.
pub(super) fn conclude(
    plan: &Plan,
    found: &Found,
    loader: &Path,
    answer: &Answer,
    python: PythonVersion,
    shell: Option<PathBuf>,
    reporter: &dyn Reporter,
) -> Result<Tools, PrefixError> {
    let none = Tried::default();
    let c = answer.compilers.first().unwrap_or(&none);
    let cxx = answer.compilers.get(1);
    if c.flags.is_none() {
        return Err(PrefixError::Compiler { program: plan.c.clone(), output: c.output.clone() });
    }
    if !c.headers {
        let looked = found.headers.iter().chain(&answer.include).cloned().collect();
        return Err(PrefixError::NoHeader { program: plan.c.clone(), python, looked, output: c.output.clone() });
    }
    let mut scripts = Scripts { shell, made: BTreeMap::new() };
    wrap(&mut scripts, plan, &plan.c, c, found, |pair| pair.0)?;
    let mut works = None;
    if let (Some(program), Some(tried)) = (&plan.cxx, cxx) {
        if tried.flags.is_some() {
            wrap(&mut scripts, plan, program, tried, found, |pair| pair.1)?;
            works = Some(program.as_path());
        } else {
            let last = tried.output.lines().last().unwrap_or_default();
            reporter.warn(format!("{} cannot make a C++ program that runs here: {last}", program.display()), None);
        }
    }
    for ((name, program, root), said) in plan.prefix_of.iter().zip(&answer.answers) {
        let said = said.as_deref().map(|said| Path::new(said).join("include"));
        let header = PREFIX_OF.iter().find(|(known, _)| known == name).map(|(_, header)| *header).unwrap_or_default();
        if !said.is_some_and(|include| include.join(header).is_file()) {
            scripts.add_answer(name, program, root)?;
        }
    }
    let works_with = |tried: &&Tried| tried.flags.is_some();
    let tried: Vec<&Tried> = answer.compilers.iter().filter(works_with).collect();
    let libraries = runtime(found, loader, &tried);
    let env = variables(&plan.c, works, found, &libraries, answer);
    Ok(Tools { libraries, scripts: scripts.made, env })
}

/// Scripts for a compiler that needs flags, under all names that its folder has for it.
fn wrap(
    scripts: &mut Scripts,
    plan: &Plan,
    program: &Path,
    tried: &Tried,
    found: &Found,
    name_of: impl Fn(&(&'static str, &'static str)) -> &'static str,
) -> Result<(), PrefixError> {
    let mut flags = tried.flags.clone().unwrap_or_default();
    if flags.is_empty() {
        let same = |a: &Path, b: &Path| fs::canonicalize(a).ok() == fs::canonicalize(b).ok();
        let unknown = |folder: &&PathBuf| !tried.search.iter().any(|known| same(known, folder));
        for folder in found.libc_headers.iter().filter(unknown) {
            flags.extend(["-idirafter".to_owned(), text(folder)]);
        }
    }
    if flags.is_empty() {
        return Ok(());
    }
    let folder = program.parent().unwrap_or(Path::new("/"));
    for pair in &COMPILERS {
        let short = name_of(pair);
        for name in [short.to_owned(), format!("{}-{short}", plan.triplet)] {
            let path = folder.join(&name);
            if is_program(&path) {
                scripts.add(&name, &path, &flags)?;
            }
        }
    }
    Ok(())
}

/// What builds are told: the compilers that work, instead of those that made the interpreter, and where libraries are.
fn variables(
    c: &Path,
    cxx: Option<&Path>,
    found: &Found,
    libraries: &[PathBuf],
    answer: &Answer,
) -> BTreeMap<String, String> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut env = BTreeMap::new();
    for (variable, program) in [("CC", Some(c)), ("LDSHARED", Some(c)), ("CXX", cxx), ("LDCXXSHARED", cxx)] {
        let Some(program) = program else { continue };
        let own = answer.config.get(variable).map(String::as_str).unwrap_or_default();
        let flags = own.split_once(char::is_whitespace).map(|(_, flags)| flags.trim()).unwrap_or_default();
        // Without an answer there are no flags either that make a shared library.
        if variable == "CC" || variable == "CXX" || !flags.is_empty() {
            env.insert(variable.to_owned(), format!("{} {flags}", name(program)).trim_end().to_owned());
        }
    }
    let archiver = answer.config.get("AR").and_then(|own| own.split_whitespace().next());
    let there = |program: &str| {
        if program.contains('/') { is_program(Path::new(program)) } else { found.program(program).is_some() }
    };
    if !archiver.is_some_and(there) && found.program("ar").is_some() {
        env.insert("AR".to_owned(), "ar".to_owned());
    }
    // Programs of a build that try a library must find it. Results get a search path of their own later.
    let flags: Vec<_> = libraries.iter().map(|folder| format!("-Wl,-rpath,{}", folder.display())).collect();
    env.insert("LDFLAGS".to_owned(), flags.join(" "));
    env.insert("CMAKE_PREFIX_PATH".to_owned(), join(&found.roots, ":"));
    env
}

/// Scripts by name.
struct Scripts {
    shell: Option<PathBuf>,
    made: BTreeMap<String, String>,
}

impl Scripts {
    /// Runs `program` with `flags` before its arguments.
    fn add(&mut self, name: &str, program: &Path, flags: &[String]) -> Result<(), PrefixError> {
        self.put(name, program, &format!("exec {} {} \"$@\"\n", program.display(), flags.join(" ")))
    }

    /// Says that the prefix is `root`, and leaves all other questions to `program`.
    fn add_answer(&mut self, name: &str, program: &Path, root: &Path) -> Result<(), PrefixError> {
        let test = "for argument; do\n  case $argument in --prefix)";
        let text = format!("{test} echo {}; exit;; esac\ndone\nexec {} \"$@\"\n", root.display(), program.display());
        self.put(name, program, &text)
    }

    fn put(&mut self, name: &str, program: &Path, text: &str) -> Result<(), PrefixError> {
        let shell = self.shell.as_ref().ok_or_else(|| PrefixError::NoShell { program: program.to_owned() })?;
        self.made.insert(name.to_owned(), format!("#!{}\n{text}", shell.display()));
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn join(folders: &[PathBuf], between: &str) -> String {
    folders.iter().map(|folder| folder.to_string_lossy()).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 14, patch: None };

    /// Prefixes with a compiler, a shell, headers of a C library and a `krb5-config`.
    struct Bench {
        folder: tempfile::TempDir,
        found: Found,
    }

    impl Bench {
        fn new(programs: &[&str]) -> Self {
            use std::os::unix::fs::PermissionsExt as _;
            let folder = tempfile::tempdir().unwrap();
            let files = ["include/features.h", "lib/crt1.o", "krb5-dev/include/gssapi/gssapi_ext.h"];
            let programs = programs.iter().map(|name| format!("bin/{name}"));
            for name in files.iter().map(ToString::to_string).chain(programs) {
                let path = folder.path().join(&name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "").unwrap();
                if name.starts_with("bin/") {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                }
            }
            let prefixes = [folder.path().to_owned(), folder.path().join("krb5-dev")];
            let found = super::super::scan::scan(&prefixes, PYTHON, "x-linux-gnu").unwrap();
            Self { folder, found }
        }

        fn tried(&self, flags: Option<&[&str]>) -> Tried {
            let flags = flags.map(|flags| flags.iter().map(ToString::to_string).collect());
            let search = vec![self.folder.path().join("lib/../include")];
            Tried { flags, search, headers: true, ..Tried::default() }
        }

        fn conclude(&self, compilers: Vec<Tried>, answers: Vec<Option<String>>) -> Result<Tools, PrefixError> {
            let config = [
                ("CC", "x86_64-linux-gnu-gcc -pthread"),
                ("LDSHARED", "/build/time/gcc -shared -Wl,-O1"),
                ("CXX", "g++"),
                ("LDCXXSHARED", ""),
                ("AR", "/build/time/ar"),
            ];
            let answer = Answer {
                version: (3, 14, 0),
                stdlib: "/stdlib".into(),
                include: vec![],
                libc: None,
                config: config.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                compilers,
                answers,
            };
            let loader = Path::new("/loader");
            let plan = plan(&self.found, loader, "x-linux-gnu", &mut Request::default())?;
            conclude(&plan, &self.found, loader, &answer, PYTHON, self.found.program("sh"), &Silent)
        }
    }

    #[test]
    fn a_compiler_that_works_is_taken_as_it_is() {
        let bench = Bench::new(&["cc", "c++", "ar", "sh"]);
        let tools = bench.conclude(vec![bench.tried(Some(&[])), bench.tried(Some(&[]))], vec![]).unwrap();
        assert!(tools.scripts.is_empty(), "{:?}", tools.scripts);
        let env = |name: &str| tools.env.get(name).map(String::as_str);
        assert_eq!(env("CC"), Some("cc -pthread"));
        assert_eq!(env("LDSHARED"), Some("cc -shared -Wl,-O1"), "what makes a shared library is kept");
        assert_eq!((env("CXX"), env("LDCXXSHARED")), (Some("c++"), None));
        assert_eq!(env("AR"), Some("ar"), "the one that made the interpreter is not here");
        let lib = bench.folder.path().join("lib");
        assert_eq!(env("LDFLAGS"), Some(format!("-Wl,-rpath,{}", lib.display()).as_str()));
    }

    #[test]
    fn headers_of_a_c_library_that_it_does_not_know_come_last() {
        let bench = Bench::new(&["gcc", "x-linux-gnu-gcc", "sh"]);
        let tried = Tried { search: vec![], ..bench.tried(Some(&[])) };
        let tools = bench.conclude(vec![tried], vec![]).unwrap();
        let folder = bench.folder.path().display();
        let expected = format!("#!{folder}/bin/sh\nexec {folder}/bin/gcc -idirafter {folder}/include \"$@\"\n");
        assert_eq!(tools.scripts["gcc"], expected);
        assert_eq!(tools.scripts.keys().collect::<Vec<_>>(), ["gcc", "x-linux-gnu-gcc"]);
        assert!(!tools.env.contains_key("CXX"));
    }

    #[test]
    fn what_needs_a_script_needs_a_shell() {
        let bench = Bench::new(&["cc"]);
        let error = bench.conclude(vec![bench.tried(Some(&["-B/x"]))], vec![]).unwrap_err();
        assert!(matches!(error, PrefixError::NoShell { .. }), "{error}");
        let error = Bench::new(&["sh"]).conclude(vec![], vec![]).unwrap_err();
        assert!(matches!(error, PrefixError::NoCompiler { .. }), "{error}");
        let error = bench.conclude(vec![bench.tried(None)], vec![]).unwrap_err();
        assert!(matches!(error, PrefixError::Compiler { .. }), "{error}");
        let headless = Tried { headers: false, ..bench.tried(Some(&[])) };
        assert!(matches!(bench.conclude(vec![headless], vec![]), Err(PrefixError::NoHeader { .. })));
    }

    #[test]
    fn a_tool_names_the_prefix_with_the_headers() {
        let bench = Bench::new(&["cc", "sh", "krb5-config"]);
        let with = |answer: &str| bench.conclude(vec![bench.tried(Some(&[]))], vec![Some(answer.to_owned())]).unwrap();
        let dev = bench.folder.path().join("krb5-dev");
        assert!(with(dev.to_str().unwrap()).scripts.is_empty());
        let wrapped = with("/elsewhere");
        assert!(wrapped.scripts["krb5-config"].contains(&format!("echo {}; exit", dev.display())));
    }

    #[test]
    fn libraries_of_the_compiler_are_found_by_what_it_links() {
        let bench = Bench::new(&["cc"]);
        let own = bench.folder.path().join("gcc-lib");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("libstdc++.so.6.0.33"), "").unwrap();
        for name in ["libstdc++.so", "libstdc++.so.6"] {
            std::os::unix::fs::symlink("libstdc++.so.6.0.33", own.join(name)).unwrap();
        }
        let line = |name: &str| own.join(name).display().to_string();
        let trace = vec![line("libstdc++.so"), line("libstdc++.a"), line("gone/libgcc_s.so.1"), "-lm".to_owned()];
        let tried = Tried { trace, ..Tried::default() };
        let folders = runtime(&bench.found, Path::new("/loader"), &[&tried]);
        assert_eq!(folders, [bench.folder.path().join("lib"), own]);
    }
}
