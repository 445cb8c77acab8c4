//! Inputs that are installed here, for people who want their own Python, compiler and libraries.
//!
//! What is built from them is as reproducible as the machine is: the identity covers the interpreter, the C
//! compiler, the C library and the list of installed packages, so that a cache is not used across upgrades, but
//! nobody else has the same files. `debian` is the provider to share results with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Inputs, View};
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::request::{Arch, Libc, Platform, PythonVersion, Target};

/// What is wanted of this machine.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The interpreter's version.
    pub python: PythonVersion,
    /// The interpreter; `None`: the first `pythonX.Y` in `path`.
    pub program: Option<PathBuf>,
    /// Folders to look for programs in (`PATH`).
    pub path: Vec<PathBuf>,
    /// Whether something is compiled: then a C compiler and Python's headers must be here.
    pub compiles: bool,
}

/// This machine does not have what is wanted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HostError {
    #[error("no python{} on this machine", .0.short())]
    NoPython(PythonVersion),
    #[error("{} is Python {found}, expected {expected}", program.display())]
    OtherPython { program: PathBuf, expected: PythonVersion, found: String },
    #[error("{} cannot say what it is: {reason}", program.display())]
    Mute { program: PathBuf, reason: String, output: String },
    #[error("no C compiler in {}", shown(.path))]
    NoCompiler { path: Vec<PathBuf> },
    #[error("no header {}", header.display())]
    NoHeader { header: PathBuf, python: PythonVersion },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no program for this machine", .0.display())]
    NotElf(PathBuf),
    #[error("{} stands in a folder that the sandbox needs for itself", .0.display())]
    Place(PathBuf),
}

impl Explain for HostError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPython(python) | Self::OtherPython { expected: python, .. } => Some(format!(
                "install it (Debian: apt install python{}), name it with --interpreter PATH, or let akb bring one: [inputs] provider = \"debian\"",
                python.short()
            )),
            Self::NoCompiler { .. } => {
                Some("install one (Debian: apt install gcc libc6-dev), or use [inputs] provider = \"debian\"".into())
            }
            Self::NoHeader { python, .. } => Some(format!(
                "install it (Debian: apt install python{}-dev), or use [inputs] provider = \"debian\"",
                python.short()
            )),
            Self::Place(_) | Self::NotElf(_) | Self::Mute { .. } => {
                Some("name another interpreter with --interpreter PATH".into())
            }
            Self::Read { .. } => None,
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Mute { output, .. } => Some(output),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Machine
    }
}

fn shown(path: &[PathBuf]) -> String {
    path.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}

/// What an interpreter says of itself.
#[derive(Debug, Deserialize)]
struct Facts {
    version: (u8, u8, u8),
    text: String,
    executable: PathBuf,
    prefix: PathBuf,
    stdlib: PathBuf,
    include: PathBuf,
    libdir: Option<PathBuf>,
}

/// Isolated (`-I`), so that no file of the working folder or of the user decides. The virtual environment that it
/// may be run from is left out of it: `sys._base_executable`.
const ASK: &str = "\
import json, sys, sysconfig
print(json.dumps({
    'version': sys.version_info[:3],
    'text': sys.version,
    'executable': getattr(sys, '_base_executable', None) or sys.executable,
    'prefix': sys.base_prefix,
    'stdlib': sysconfig.get_path('stdlib'),
    'include': sysconfig.get_config_var('INCLUDEPY'),
    'libdir': sysconfig.get_config_var('LIBDIR'),
}))";

/// Folders of a root file system that hold programs and libraries.
const SYSTEM: [&str; 10] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "nix", "gnu"];
/// Files in which package managers list what is installed.
const LISTS: [&str; 3] = ["/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed"];

/// The inputs that this machine has: the first `pythonX.Y` in the folders `path`, whatever compilers there are.
pub fn inputs(python: PythonVersion, path: &[PathBuf]) -> Result<Inputs, HostError> {
    choose(&Wish { python, program: None, path: path.to_owned(), compiles: false })
}

/// The inputs that `wish` wants of this machine.
pub fn choose(wish: &Wish) -> Result<Inputs, HostError> {
    let arch = Arch::host().ok_or_else(|| HostError::NotElf(PathBuf::from("this machine")))?;
    let program = match &wish.program {
        Some(program) => program.clone(),
        None => find(&format!("python{}", wish.python.short()), &wish.path).ok_or(HostError::NoPython(wish.python))?,
    };
    let facts = ask(&program)?;
    let (major, minor, patch) = facts.version;
    let patch_fits = wish.python.patch.is_none_or(|wanted| wanted == patch);
    if (major, minor) != (wish.python.major, wish.python.minor) || !patch_fits {
        let found = format!("{major}.{minor}.{patch}");
        return Err(HostError::OtherPython { program, expected: wish.python, found });
    }
    let compiler = ["cc", "gcc", "clang"].iter().find_map(|name| find(name, &wish.path));
    if wish.compiles {
        if compiler.is_none() {
            return Err(HostError::NoCompiler { path: wish.path.clone() });
        }
        let header = facts.include.join("Python.h");
        if !header.is_file() {
            return Err(HostError::NoHeader { header, python: wish.python });
        }
    }
    assemble(wish, arch, &facts, compiler.as_deref())
}

fn assemble(wish: &Wish, arch: Arch, facts: &Facts, compiler: Option<&Path>) -> Result<Inputs, HostError> {
    let executable = fs::canonicalize(&facts.executable)
        .map_err(|source| HostError::Read { path: facts.executable.clone(), source })?;
    let interpreter = program_interpreter(&executable)?;
    let libraries = libraries(facts, arch);
    let (libc, libc_file) = libc(&interpreter, &libraries)?;
    let mut parts = BTreeMap::from([("version".to_owned(), facts.text.clone())]);
    for (name, file) in [("python", Some(executable.as_path())), ("compiler", compiler), ("libc", Some(&libc_file))] {
        if let Some(file) = file {
            parts.insert(name.to_owned(), hash(file)?.to_string());
        }
    }
    for list in LISTS.map(Path::new).into_iter().filter(|list| list.is_file()) {
        parts.insert(list.display().to_string(), hash(list)?.to_string());
    }
    let mut view = system_view();
    let mut path: Vec<PathBuf> = Vec::new();
    for place in [Some(facts.prefix.as_path()), executable.parent()].into_iter().flatten() {
        bind(&mut view, place)?;
    }
    for folder in executable.parent().into_iter().chain(["/usr/local/bin", "/usr/bin", "/bin"].map(Path::new)) {
        if folder.is_dir() && !path.iter().any(|known| known == folder) {
            path.push(folder.to_owned());
        }
    }
    let target = Target {
        python: PythonVersion { patch: Some(facts.version.2), ..wish.python },
        platform: Platform { arch, libc },
    };
    let lines: Vec<_> = parts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    Ok(Inputs {
        identity: Sha256::of(format!("akb host inputs\n{}", lines.concat()).as_bytes()),
        description: format!("host, Python {} in {}", target.python, executable.display()),
        view,
        python: executable,
        stdlib: facts.stdlib.clone(),
        target,
        path,
        include: Vec::new(),
        libraries,
        pkg_config: Vec::new(),
        interpreter,
        runtime: super::Runtime::Copied,
        building: Vec::new(),
        named: BTreeMap::new(),
        tools: BTreeMap::new(),
        env: BTreeMap::new(),
    })
}

fn find(name: &str, path: &[PathBuf]) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |file: &PathBuf| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    path.iter().map(|folder| folder.join(name)).find(runs)
}

fn ask(program: &Path) -> Result<Facts, HostError> {
    let mute = |reason: String, output: &[u8]| HostError::Mute {
        program: program.to_owned(),
        reason,
        output: String::from_utf8_lossy(output).into_owned(),
    };
    let output = Command::new(program)
        .args(["-I", "-S", "-c", ASK])
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| mute(error.to_string(), b""))?;
    if !output.status.success() {
        return Err(mute(output.status.to_string(), &output.stderr));
    }
    let facts: Facts =
        serde_json::from_slice(&output.stdout).map_err(|error| mute(error.to_string(), &output.stdout))?;
    let all = [Some(&facts.executable), Some(&facts.prefix), Some(&facts.stdlib), Some(&facts.include)];
    if all.into_iter().flatten().any(|path| !path.is_absolute()) {
        return Err(mute("its folders are not absolute".to_owned(), &output.stdout));
    }
    Ok(facts)
}

/// The root's folders of programs and libraries, links as links.
fn system_view() -> Vec<View> {
    let mut view = Vec::new();
    for name in SYSTEM {
        let at = Path::new("/").join(name);
        match fs::read_link(&at) {
            Ok(to) => view.push(View::Link { to, at }),
            Err(_) if at.is_dir() => view.push(View::Bind { from: at.clone(), at }),
            Err(_) => {}
        }
    }
    view
}

/// Shows `folder` at its own place, unless it is seen already.
fn bind(view: &mut Vec<View>, folder: &Path) -> Result<(), HostError> {
    let seen = view.iter().any(|entry| match entry {
        View::Bind { at, .. } | View::Link { at, .. } => folder.starts_with(at),
    });
    if seen {
        return Ok(());
    }
    let first = folder.components().find_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    if first.is_none_or(|first| ["proc", "dev", "sys", "tmp", "build"].contains(&first)) {
        return Err(HostError::Place(folder.to_owned()));
    }
    view.push(View::Bind { from: folder.to_owned(), at: folder.to_owned() });
    Ok(())
}

fn libraries(facts: &Facts, arch: Arch) -> Vec<PathBuf> {
    let triplet = super::debian::arch::port(arch).triplet;
    let system = ["/usr/local/lib", &format!("/usr/lib/{triplet}"), "/usr/lib64", "/usr/lib", "/lib64", "/lib"];
    let mut found: Vec<PathBuf> = Vec::new();
    let mut resolved: Vec<PathBuf> = Vec::new();
    for folder in facts.libdir.iter().cloned().chain(system.map(PathBuf::from)) {
        let Ok(real) = fs::canonicalize(&folder) else { continue };
        if real.is_dir() && !resolved.contains(&real) {
            resolved.push(real);
            found.push(folder);
        }
    }
    found
}

/// The program interpreter that an ELF file names.
fn program_interpreter(program: &Path) -> Result<PathBuf, HostError> {
    let bytes = fs::read(program).map_err(|source| HostError::Read { path: program.to_owned(), source })?;
    let elf = goblin::elf::Elf::parse(&bytes).map_err(|_| HostError::NotElf(program.to_owned()))?;
    elf.interpreter.map(PathBuf::from).ok_or_else(|| HostError::NotElf(program.to_owned()))
}

/// Version and file of the C library that goes with a program interpreter.
fn libc(interpreter: &Path, libraries: &[PathBuf]) -> Result<(Libc, PathBuf), HostError> {
    let musl = interpreter.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-musl-"));
    let file = if musl {
        interpreter.to_owned()
    } else {
        let near = interpreter.parent().into_iter().chain(libraries.iter().map(PathBuf::as_path));
        near.map(|folder| folder.join("libc.so.6"))
            .find(|file| file.is_file())
            .ok_or_else(|| HostError::NotElf(interpreter.to_owned()))?
    };
    // Both tell their version when they are run: glibc on standard output, musl's linker on standard error.
    let output = Command::new(&file)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|source| HostError::Read { path: file.clone(), source })?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let version = if musl { text.split("Version ").nth(1) } else { text.split("release version ").nth(1) };
    let numbers = version.and_then(|rest| {
        let mut parts = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    let (major, minor) = numbers.ok_or_else(|| HostError::Mute {
        program: file.clone(),
        reason: "no version".to_owned(),
        output: text,
    })?;
    Ok((if musl { Libc::Musl(major, minor) } else { Libc::Glibc(major, minor) }, file))
}

fn hash(path: &Path) -> Result<Sha256, HostError> {
    let read = |source| HostError::Read { path: path.to_owned(), source };
    let (digest, _) = Sha256::of_reader(File::open(path).map_err(read)?).map_err(read)?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 14, patch: None };

    /// A folder with programs that answer as Python does, saying that they are `/bin/sh`.
    fn programs(version: &str) -> (tempfile::TempDir, Wish) {
        let folder = tempfile::tempdir().unwrap();
        let include = folder.path().join("include");
        let answer = format!(
            r#"{{"version": [{version}], "text": "t", "executable": "/bin/sh", "prefix": "/usr", "stdlib": "/usr/lib/python3.14", "include": "{}", "libdir": null}}"#,
            include.display()
        );
        let program = folder.path().join("python3.14");
        fs::write(&program, format!("#!/bin/sh\n[ -z \"$HOME$PATHS\" ] && echo '{answer}'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let wish = Wish { python: PYTHON, program: None, path: vec![folder.path().to_owned()], compiles: false };
        (folder, wish)
    }

    #[test]
    fn takes_what_is_here() {
        let (_folder, wish) = programs("3, 14, 2");
        let inputs = choose(&wish).unwrap();
        assert_eq!(inputs.target.python.to_string(), "3.14.2");
        assert!(inputs.description.starts_with("host, Python 3.14.2 in /"));
        assert!(inputs.locate(&inputs.interpreter).is_some());
        assert!(inputs.locate(&inputs.python).is_some());
        assert!(inputs.locate(Path::new("/usr/bin")).is_some());
        assert_eq!(inputs.identity, choose(&wish).unwrap().identity);
    }

    #[test]
    fn says_what_is_missing() {
        let (folder, wish) = programs("3, 13, 1");
        let found = choose(&wish).unwrap_err();
        assert_eq!(
            found.to_string(),
            format!("{}/python3.14 is Python 3.13.1, expected 3.14", folder.path().display())
        );
        assert!(found.hint().unwrap().contains("apt install python3.14"));
        let nowhere = Wish { path: vec!["/nonexistent".into()], ..wish };
        assert_eq!(choose(&nowhere).unwrap_err().to_string(), "no python3.14 on this machine");
        let (folder, wish) = programs("3, 14, 2");
        let compiles = Wish { compiles: true, ..wish.clone() };
        assert!(choose(&compiles).unwrap_err().to_string().starts_with("no C compiler in "));
        fs::copy(folder.path().join("python3.14"), folder.path().join("gcc")).unwrap();
        assert!(choose(&compiles).unwrap_err().hint().unwrap().contains("python3.14-dev"));
        let exact = Wish { python: PythonVersion { patch: Some(3), ..PYTHON }, ..wish };
        assert!(matches!(choose(&exact), Err(HostError::OtherPython { .. })));
    }

    #[test]
    fn keeps_what_a_broken_interpreter_says() {
        let (folder, wish) = programs("3, 14, 2");
        fs::write(folder.path().join("python3.14"), "#!/bin/sh\necho no module named json >&2\nexit 1\n").unwrap();
        let error = choose(&wish).unwrap_err();
        assert_eq!(error.output(), Some("no module named json\n"));
    }
}
