//! What each kind of derivation does.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::attributes::{AttributeError, Attributes};
use super::propagated::{self, PropagatedError};
use super::store::{Store, StorePath};
use crate::cache::CacheError;
use crate::digest::Sha256;
use crate::explain::{ExitCode, Explain};
use crate::fetch::{self, FetchError, Want};
use crate::inputs::debian::relocate::{Outputs, Place};
use crate::inputs::debian::{self, DebianError};
use crate::inputs::prefixes::{self, Prefix, PrefixError, Wish};
use crate::pipeline::{self, Order, PipelineError, Project, Subject, Tools};
use crate::plan::{Choice, FileId, Roots, Selection};
use crate::request::PythonVersion;
use crate::tree::{self, TreeError};
use crate::verify::{self, Finding, Options, VerifyError};

/// Kinds of derivations: the attribute `stage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Fixed-output: the wheels, source distributions and build requirements of a lock, in one flat folder.
    Fetch,
    /// Fixed-output: the packages of the inputs, in one flat folder.
    FetchInputs,
    /// Fixed-output, flat: one file.
    FetchFile,
    /// The packages of the inputs as store paths that run from there: outputs `out` and `dev`.
    Inputs,
    /// One wheel.
    Wheel,
    /// The environment.
    Build,
    /// Fixed-output: what is installed, without an interpreter and without a reference to the store.
    Site,
    /// The environment, from a site.
    Relink,
}

impl Stage {
    const ALL: [(&str, Self); 8] = [
        ("fetch", Self::Fetch),
        ("fetch-inputs", Self::FetchInputs),
        ("fetch-file", Self::FetchFile),
        ("inputs", Self::Inputs),
        ("wheel", Self::Wheel),
        ("build", Self::Build),
        ("site", Self::Site),
        ("relink", Self::Relink),
    ];

    /// What the attributes ask for.
    pub fn of(attributes: &Attributes<'_>) -> Result<Self, AttributeError> {
        let Some(said) = attributes.text("stage")? else { return Ok(Self::Build) };
        let names = Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.iter().find(|(name, _)| *name == said).map(|(_, stage)| *stage);
        found.ok_or(AttributeError::Wrong { name: "stage", found: said, expected: format!("one of {names}") })
    }

    /// Whether it uses the network, which Nix grants to fixed-output derivations alone.
    pub fn fetches(self) -> bool {
        matches!(self, Self::Fetch | Self::FetchInputs | Self::FetchFile | Self::Site)
    }
}

/// Why a derivation failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the transparent variants are the errors that they name")]
pub enum NixError {
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    #[error(transparent)]
    Propagated(#[from] PropagatedError),
    /// A fetching stage in a derivation without a hash: there is no network.
    #[error("the derivation fetches and has no hash, so that Nix gives it no network")]
    NotFixed {
        /// The key of `akb.lock` with the hash.
        key: &'static str,
        /// `recursive` or `flat`.
        mode: &'static str,
    },
    /// The lock is for another kind of machine.
    #[error("akb.lock is for {locked}, and the derivation is for {system}")]
    System {
        /// Platform of the lock.
        locked: String,
        /// The derivation's.
        system: String,
    },
    /// Nothing says where Python comes from.
    #[error("the derivation has neither `debs` nor `inputs`: nothing gives it Python {}", python.short())]
    NoInputs {
        /// The lock's.
        python: PythonVersion,
    },
    /// The finished tree is not in order.
    #[error("{} wrong with the result:{}", count(.0.len()), lines(.0))]
    Findings(Vec<Finding>),
    /// A file could not be read or written.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn count(findings: usize) -> String {
    if findings == 1 { "one thing is".to_owned() } else { format!("{findings} things are") }
}

fn lines(findings: &[Finding]) -> String {
    let line = |finding: &Finding| format!("\n  {}: {}: {}", finding.check, finding.subject, finding.problem);
    findings.iter().map(line).collect()
}

impl NixError {
    fn next_step(&self) -> Option<String> {
        match self {
            Self::Pipeline(PipelineError::NotLocked { .. }) => Some(
                "run `akb lock` in the project's folder and keep akb.lock beside uv.lock; a flake sees it after `git add`, \
                 and `src` must hold it, or the attribute `lock` name it"
                    .into(),
            ),
            Self::Pipeline(PipelineError::Fetch(FetchError::Offline(_))) | Self::Fetch(FetchError::Offline(_)) => Some(
                "a build has no network: give the attribute `files` the output of a derivation with stage = \"fetch\", \
                 made for the same akb.lock"
                    .into(),
            ),
            Self::Pipeline(PipelineError::Debian(DebianError::Offline { .. })) => Some(
                "a build has no network: give the attribute `debs` the output of a derivation with \
                 stage = \"fetch-inputs\", made for the same akb.lock, or `inputs` store paths with Python, a C compiler \
                 and the libraries"
                    .into(),
            ),
            Self::Attribute(error) => error.hint(),
            Self::Pipeline(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::Verify(error) => error.hint(),
            Self::Prefix(error) => error.hint(),
            Self::Propagated(error) => error.hint(),
            Self::NoInputs { python } => Some(format!(
                "give the attribute `debs` the output of a derivation with stage = \"fetch-inputs\", or `inputs` store \
                 paths such as [ pkgs.python{} pkgs.stdenv.cc pkgs.libxml2 pkgs.libxml2.dev ]",
                python.short().replace('.', "")
            )),
            Self::NotFixed { key, mode } => Some(format!(
                "write in the derivation: outputHashMode = \"{mode}\"; outputHashAlgo = \"sha256\"; outputHash = {key};"
            )),
            Self::System { .. } => Some("lock on a machine of that kind, with `akb lock`".into()),
            Self::Findings(_) => Some("`verify = false` in the derivation keeps the result all the same".into()),
            Self::Io { .. } => None,
        }
    }
}

impl Explain for NixError {
    fn hint(&self) -> Option<String> {
        let hint = self.next_step()?;
        // A derivation sees no variable and no file of the machine that it does not name.
        let certificates = hint.contains("SSL_CERT_FILE");
        Some(if certificates { hint + "\nin a derivation: caBundle = ./roots.pem;" } else { hint })
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Pipeline(error) => error.output(),
            Self::Prefix(error) => error.output(),
            Self::Verify(error) => error.output(),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Attribute(error) => error.exit_code(),
            Self::Pipeline(error) => error.exit_code(),
            Self::Fetch(error) => error.exit_code(),
            Self::Verify(error) => error.exit_code(),
            Self::Prefix(error) => error.exit_code(),
            Self::NoInputs { .. } | Self::NotFixed { .. } | Self::System { .. } => ExitCode::Usage,
            Self::Findings(_) => ExitCode::Finding,
            _ => ExitCode::Failed,
        }
    }
}

/// Does what the derivation is for. `tools` have their cache below [`Attributes::top`].
pub fn run(attributes: &Attributes<'_>, mut tools: Tools<'_>) -> Result<(), NixError> {
    let stage = Stage::of(attributes)?;
    let out = attributes.out()?;
    match stage {
        Stage::Fetch => {
            fixed(attributes, "(builtins.fromTOML (builtins.readFile ./akb.lock)).fetch-hash", "recursive")?;
            let files = pipeline::fetch(&order(attributes, &out)?, &tools)?;
            fetch::copy(&files.files, &out)?;
        }
        Stage::FetchInputs => {
            fixed(attributes, "(builtins.fromTOML (builtins.readFile ./akb.lock)).inputs-hash", "recursive")?;
            let files = pipeline::fetch_inputs(&order(attributes, &out)?, &tools)?;
            fetch::copy(&files.files, &out)?;
        }
        Stage::FetchFile => one_file(attributes, &out, &tools)?,
        Stage::Inputs => {
            let order = offline(attributes, &out, &mut tools)?;
            let dev = attributes.output("dev")?.ok_or(AttributeError::Missing {
                name: "dev",
                purpose: "compilers and headers go to an output of their own, so that no result keeps them alive",
                example: "outputs = [ \"out\" \"dev\" ];",
            })?;
            let outputs = Outputs { runtime: Place::at(&out), dev: Place::at(&dev) };
            pipeline::prefixes(&order, &outputs, &tools)?;
        }
        Stage::Wheel => {
            let order = offline(attributes, &out, &mut tools)?;
            give_inputs(attributes, &order, true, &mut tools)?;
            let package = attributes.text("package")?.ok_or(AttributeError::Missing {
                name: "package",
                purpose: "it says which package of akb.lock is built",
                example: "package = \"lxml\";",
            })?;
            pipeline::wheel(&order, &package, &out, &tools)?;
        }
        Stage::Build => {
            let order = offline(attributes, &out, &mut tools)?;
            let compiles = pipeline::compiles(&order, &tools)?;
            give_inputs(attributes, &order, compiles, &mut tools)?;
            pipeline::build(&order, &tools)?;
            verified(attributes, &out, &tools)?;
        }
        Stage::Site => {
            fixed(attributes, "\"\"; and then the hash that Nix says it got", "recursive")?;
            let order = offline(attributes, &out, &mut tools)?;
            give_inputs(attributes, &order, true, &mut tools)?;
            let store = Store { prefix: attributes.store(), folder: attributes.store() };
            let known = store.list()?;
            pipeline::site(&order, &store.needles(&known), &tools)?;
        }
        Stage::Relink => {
            let order = offline(attributes, &out, &mut tools)?;
            give_inputs(attributes, &order, false, &mut tools)?;
            let site = attributes.text("site")?.ok_or(AttributeError::Missing {
                name: "site",
                purpose: "it is the output of a derivation with stage = \"site\"",
                example: "site = \"${site}\";",
            })?;
            pipeline::relink(&order, Path::new(&site), &tools)?;
            verified(attributes, &out, &tools)?;
        }
    }
    Ok(())
}

/// Only derivations with a hash may fetch.
fn fixed(attributes: &Attributes<'_>, key: &'static str, mode: &'static str) -> Result<(), NixError> {
    if attributes.is_fixed_output()? { Ok(()) } else { Err(NixError::NotFixed { key, mode }) }
}

/// What is built, by the attributes.
fn order(attributes: &Attributes<'_>, out: &Path) -> Result<Order, NixError> {
    let path = |name| attributes.text(name).map(|text| text.map(PathBuf::from));
    let (src, lock) = (path("src")?, path("lock")?);
    let subject = match (attributes.text("release")?, src, &lock) {
        (Some(release), ..) => Subject::Known(release),
        (None, Some(src), Some(lock)) if !src.join("uv.lock").exists() => Subject::Lock(lock.clone()),
        (None, Some(src), _) => Subject::Folder(src),
        (None, None, Some(lock)) => Subject::Lock(lock.clone()),
        (None, None, None) => {
            return Err(NixError::Attribute(AttributeError::Missing {
                name: "src",
                purpose: "it is the folder with uv.lock and akb.lock",
                example: "src = ./.;   (or lock = ./akb.lock;   or release = \"authentik-deps@2026.2.0\";)",
            }));
        }
    };
    let roots: BTreeSet<String> = match Stage::of(attributes)? {
        // There it is the package to build.
        Stage::Wheel => BTreeSet::new(),
        _ => attributes.list("package")?.into_iter().collect(),
    };
    let names =
        |name| attributes.list(name).map(|names| Choice { names: names.into_iter().collect(), ..Choice::default() });
    let python = attributes.text("python")?.map(|text| {
        text.parse().map_err(|_| AttributeError::Wrong { name: "python", found: text, expected: "such as 3.14".into() })
    });
    Ok(Order {
        subject,
        out: out.to_owned(),
        selection: Selection {
            roots: if roots.is_empty() { Roots::Default } else { Roots::Named(roots) },
            extras: names("extras")?,
            groups: names("groups")?,
            ..Selection::default()
        },
        python: python.transpose()?,
        provider: None,
        suite: None,
        recipe: path("recipe")?,
        lock,
        locked: true,
        bytecode: attributes.flag("bytecode", true)?,
    })
}

/// The order of a stage without network, with everything that the attributes hand over at its place.
fn offline(attributes: &Attributes<'_>, out: &Path, tools: &mut Tools<'_>) -> Result<Order, NixError> {
    let order = order(attributes, out)?;
    check_system(attributes, &order)?;
    let mut given = attributes.paths("files")?;
    given.extend(attributes.paths("debs")?);
    fill(&given, tools)?;
    tools.given.wheels = attributes.paths("wheels")?;
    tools.given.sources = attributes.map("sources")?.into_iter().map(|(name, path)| (name, path.into())).collect();
    Ok(order)
}

/// Python, compilers and libraries from store paths, where the derivation names them.
fn give_inputs(
    attributes: &Attributes<'_>,
    order: &Order,
    compiles: bool,
    tools: &mut Tools<'_>,
) -> Result<(), NixError> {
    let paths = attributes.paths("inputs")?;
    let Some(sidecar) = Project::open(order)?.sidecar else { return Ok(()) };
    if paths.is_empty() {
        if sidecar.inputs.is_none() || attributes.list("debs")?.is_empty() {
            return Err(NixError::NoInputs { python: sidecar.target.python });
        }
        return Ok(());
    }
    // A store path never holds anything else, so its name is its identity.
    let prefix = |path: PathBuf| match path.file_name().and_then(OsStr::to_str).map(StorePath::new) {
        Some(Ok(known)) => Prefix::named(path).called(known.name()),
        _ => Prefix::named(path),
    };
    let prefixes: Vec<Prefix> = propagated::closure(&paths)?.into_iter().map(prefix).collect();
    let wish = Wish { python: sidecar.target.python, compiles, shown: vec![attributes.store()] };
    tools.given.outside = vec![attributes.store()];
    tools.given.unique = true;
    tools.given.inputs = Some(prefixes::inputs(&prefixes, &wish, tools.reporter)?);
    Ok(())
}

fn check_system(attributes: &Attributes<'_>, order: &Order) -> Result<(), NixError> {
    let Some(sidecar) = Project::open(order)?.sidecar else { return Ok(()) };
    let system = attributes.text("system")?.unwrap_or_default();
    let expected = format!("{}-linux", sidecar.target.platform.arch.name());
    if system.is_empty() || system == expected {
        return Ok(());
    }
    Err(NixError::System { locked: sidecar.target.platform.to_string(), system })
}

/// Puts all files of `given`, files and flat folders of files, into the cache, by their hashes.
fn fill(given: &[PathBuf], tools: &Tools<'_>) -> Result<(), NixError> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            files.extend(tree::list(path)?);
        } else {
            files.push(path.clone());
        }
    }
    files.par_iter().try_for_each(|path| {
        let read = |source| NixError::Io { doing: "read", path: path.clone(), source };
        let (sha256, _) = fs::File::open(path).and_then(Sha256::of_reader).map_err(read)?;
        tools.cache.link_file(path, &sha256)?;
        Ok(())
    })
}

/// One file of an index, by its name and the derivation's own hash.
fn one_file(attributes: &Attributes<'_>, out: &Path, tools: &Tools<'_>) -> Result<(), NixError> {
    fixed(attributes, "\"<sha256 of the file>\"", "flat")?;
    let needed =
        |name, purpose, example| attributes.text(name)?.ok_or(AttributeError::Missing { name, purpose, example });
    let hash = needed("outputHash", "it is the hash of the file", "outputHash = \"sha256-…\";")?;
    let sha256 = hash.parse::<Sha256>().or_else(|_| format!("sha256:{hash}").parse());
    let sha256 = sha256.map_err(|_| AttributeError::Wrong {
        name: "outputHash",
        found: hash.clone(),
        expected: "a SHA-256 in hexadecimal or SRI form".into(),
    })?;
    let name = needed("file", "it is the name of the file", "file = \"lxml-6.0.2.tar.gz\";")?;
    let path = match attributes.text("pool")? {
        Some(pool) => {
            let file = FileId { name, size: None, sha256 };
            debian::file(&pool, &file, &tools.archive).map_err(PipelineError::from)?
        }
        None => {
            let project = needed("project", "it is the name of the package", "project = \"lxml\";")?;
            let want =
                Want { file: FileId { name, size: None, sha256 }, project, url: attributes.text("url")?, index: None };
            let offline = tools.settings.offline;
            let mut files = fetch::fetch(&[want], tools.net, tools.indexes, tools.cache, offline, tools.reporter)?;
            files.remove(&sha256).unwrap_or_default()
        }
    };
    fs::copy(&path, out).map(drop).map_err(|source| NixError::Io { doing: "write", path: out.to_owned(), source })
}

/// Reads the result again.
fn verified(attributes: &Attributes<'_>, out: &Path, tools: &Tools<'_>) -> Result<(), NixError> {
    if !attributes.flag("verify", true)? {
        return Ok(());
    }
    let options = Options { imports: true, jobs: tools.settings.jobs };
    let report = verify::verify(out, options, tools.reporter)?;
    for (check, looked) in &report.looked {
        tools.reporter.note(format!("{check}: {looked}"));
    }
    if report.findings.is_empty() { Ok(()) } else { Err(NixError::Findings(report.findings)) }
}
