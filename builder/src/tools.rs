//! Options that say where things come from, and what is made of them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use akb::cache::Cache;
use akb::index::Indexes;
use akb::inputs::Inputs;
use akb::inputs::debian::{self, Archive, Keyring, Trust, address};
use akb::inputs::prefixes::{self, Prefix};
use akb::net::{Net, NetConfig};
use akb::pipeline::{Given, Order, Project, Subject, Tools};
use akb::recipe::Provider;
use akb::request::PythonVersion;

use crate::commands::plan::SelectionArgs;
use crate::context::{Context, absolute};
use crate::failure::Failure;

/// Options that say where packages, Python and compilers come from.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct SourceArgs {
    /// Index to find Python packages in, as URL or NAME=URL; repeatable [default: what the lock,
    /// UV_DEFAULT_INDEX, PIP_INDEX_URL, pip.conf or uv.toml name]
    #[arg(long = "index", value_name = "URL", help_heading = "Sources")]
    indexes: Vec<String>,
    /// Who gives Python, compilers and libraries: debian (packages of a Debian archive, pinned in akb.lock) or host
    /// (what is installed on this machine; the result is not reproducible elsewhere), or a folder with bin, include,
    /// lib …, repeatable, the earlier one counts: the result refers to it where it is [default: what the recipe says,
    /// else debian]
    #[arg(long, value_name = "PROVIDER|PREFIX", help_heading = "Sources")]
    inputs: Vec<InputsArg>,
    /// Suite of the Debian archive, such as forky [default: what the recipe says, else the first of stable,
    /// testing, unstable that has the wanted Python]
    #[arg(long, value_name = "SUITE", help_heading = "Sources")]
    suite: Option<String>,
    /// Debian archive to fetch from; several are tried in turn [default: AKB_DEBIAN_MIRROR, else what this
    /// machine's apt is configured for, else the public archive]
    #[arg(long, value_name = "URL", help_heading = "Sources")]
    debian_mirror: Option<String>,
    /// OpenPGP keys whose signature of the archive counts [default: Debian's, compiled in]
    #[arg(long, value_name = "FILE", help_heading = "Sources")]
    keyring: Option<PathBuf>,
    /// Folder that builds see beside the prefixes, since those refer to it; repeatable
    #[arg(long = "show", value_name = "DIR", help_heading = "Sources", requires = "inputs")]
    shown: Vec<PathBuf>,
    /// Roots beside those of the environment.
    #[arg(skip)]
    certificates: Option<PathBuf>,
}

/// A provider of inputs, or a folder with some.
#[derive(Clone, Debug, PartialEq, Eq)]
enum InputsArg {
    Provider(Provider),
    Prefix(PathBuf),
}

impl FromStr for InputsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "debian" => Ok(Self::Provider(Provider::Debian)),
            "host" => Ok(Self::Provider(Provider::Host)),
            path if path.contains('/') => Ok(Self::Prefix(PathBuf::from(path))),
            _ => Err("expected debian, host, or a folder with a slash in its name".to_owned()),
        }
    }
}

/// Options that say what is built.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct SubjectArgs {
    /// Folder with a uv.lock, or the name of a release whose lock is compiled in, such as
    /// authentik-deps@2026.2.0
    #[arg(value_name = "DIR|RELEASE", default_value = ".")]
    subject: String,
    /// Python to build for, such as 3.14 [default: the recipe, .python-version, akb.lock, or the only one
    /// that the project allows]
    #[arg(long, value_name = "X.Y", help_heading = "Selection")]
    python: Option<PythonVersion>,
    /// Recipe to follow [default: akb.toml in DIR, or tool.akb in its pyproject.toml]
    #[arg(long, value_name = "FILE", help_heading = "Selection")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    sources: SourceArgs,
}

/// What [`Tools`] borrow.
pub(crate) struct Workbench<'a> {
    cx: &'a Context,
    cache: Cache,
    net: Net,
    indexes: Indexes,
    keyring: Keyring,
    mirrors: Vec<url::Url>,
    strict: bool,
}

impl SourceArgs {
    /// What a derivation says of where packages come from.
    pub(crate) fn for_nix(indexes: Vec<String>, debian_mirror: Option<String>, certificates: Option<PathBuf>) -> Self {
        Self { indexes, debian_mirror, certificates, ..Self::default() }
    }

    /// The provider that the user named.
    pub(crate) fn provider(&self) -> Option<Provider> {
        self.inputs.iter().find_map(|inputs| match inputs {
            InputsArg::Provider(provider) => Some(*provider),
            InputsArg::Prefix(_) => None,
        })
    }

    /// The folders with inputs that the user named.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.inputs.iter().filter_map(|inputs| match inputs {
            InputsArg::Prefix(path) => Some(path.as_path()),
            InputsArg::Provider(_) => None,
        })
    }

    /// The suite that the user named.
    pub(crate) fn suite(&self) -> Option<&str> {
        self.suite.as_deref()
    }

    /// Whether the user wants what is installed here.
    pub(crate) fn wants_host(&self) -> bool {
        self.provider() == Some(Provider::Host)
    }

    /// The inputs in the folders that `--inputs` names, if it names any.
    pub(crate) fn prefixes(
        &self,
        python: PythonVersion,
        compiles: bool,
        cx: &Context,
    ) -> Result<Option<Inputs>, Failure> {
        let prefixes = self.folders().map(|path| Ok::<_, Failure>(Prefix::hashed(absolute(path)?)?));
        let prefixes = prefixes.collect::<Result<Vec<_>, _>>()?;
        if prefixes.is_empty() {
            return Ok(None);
        }
        let shown = self.shown.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
        Ok(Some(prefixes::inputs(&prefixes, &prefixes::Wish { python, compiles, shown }, cx.reporter())?))
    }

    /// Opens everything. `strict`: an archive's index past its date is refused.
    pub(crate) fn open<'a>(&self, cx: &'a Context, strict: bool) -> Result<Workbench<'a>, Failure> {
        let env = |name: &str| cx.env(name);
        let home = cx.home();
        let cache = Cache::open(&cx.settings.cache)?;
        let mut config = NetConfig::from_env(&env, home.as_deref());
        config.certificates.extend(self.certificates.clone().map(|path| ("caBundle".to_owned(), path)));
        let net = Net::new(config, cx.reporter())?;
        let indexes = Indexes::configured(&self.indexes, &env, home.as_deref(), cx.reporter())?;
        let keyring = match &self.keyring {
            Some(path) => std::fs::read(path).map_err(|error| Failure::io("read", path, &error))?,
            None => debian::KEYRING.to_vec(),
        };
        let keyring = Keyring::parse(&keyring).map_err(|error| {
            Failure::usage(error.to_string(), "name a file of OpenPGP certificates, armored or not: --keyring FILE")
        })?;
        let hosts = address::hosts_archive(Path::new("/"));
        let mirrors =
            address::addresses(self.debian_mirror.as_deref(), cx.env("AKB_DEBIAN_MIRROR").as_deref(), hosts.as_deref())
                .map_err(|error| {
                    Failure::usage(error.to_string(), "name an archive by its address: --debian-mirror URL")
                })?;
        Ok(Workbench { cx, cache, net, indexes, keyring, mirrors, strict })
    }
}

impl Workbench<'_> {
    /// What the library works with.
    pub(crate) fn tools(&self) -> Tools<'_> {
        let settings = &self.cx.settings;
        Tools {
            settings,
            cache: &self.cache,
            net: &self.net,
            indexes: &self.indexes,
            archive: Archive {
                addresses: self.mirrors.clone(),
                net: (!settings.offline).then_some(&self.net),
                cache: &self.cache,
                reporter: self.cx.reporter(),
            },
            trust: Trust { keyring: &self.keyring, now: self.cx.now(), strict: self.strict },
            host_path: self.cx.env("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
            given: Given::default(),
            reporter: self.cx.reporter(),
        }
    }
}

impl SubjectArgs {
    /// What is to be built; `out` is where it goes.
    pub(crate) fn order(&self, out: &Path, locked: bool, bytecode: bool) -> Result<Order, Failure> {
        Ok(Order {
            subject: self.subject()?,
            out: absolute(out)?,
            selection: self.selection.selection(),
            python: self.python,
            provider: self.sources.provider(),
            suite: self.sources.suite.clone(),
            recipe: self.recipe.as_deref().map(absolute).transpose()?,
            lock: None,
            locked,
            bytecode,
        })
    }

    /// What `order` is built with where the user names that.
    pub(crate) fn given(&self, order: &Order, cx: &Context) -> Result<Given, Failure> {
        if self.sources.folders().next().is_none() {
            return Ok(Given::default());
        }
        let project = Project::open(order)?;
        let python = project.python.ok_or_else(|| {
            Failure::usage("the project allows several versions of Python", "say which: --python X.Y")
        })?;
        let compiles = project.sidecar.is_none_or(|lock| lock.packages.iter().any(|entry| entry.build.is_some()));
        let outside = self.sources.folders().chain(self.sources.shown.iter().map(PathBuf::as_path));
        let outside = outside.map(absolute).collect::<Result<_, _>>()?;
        Ok(Given { inputs: self.sources.prefixes(python, compiles, cx)?, outside, ..Given::default() })
    }

    /// Opens what `order` needs.
    pub(crate) fn open<'a>(&self, cx: &'a Context, strict: bool) -> Result<Workbench<'a>, Failure> {
        self.sources.open(cx, strict)
    }

    /// A folder that exists is a folder; a name with an `@` is a release.
    fn subject(&self) -> Result<Subject, Failure> {
        let path = Path::new(&self.subject);
        if path.is_dir() || !self.subject.contains('@') {
            return Ok(Subject::Folder(absolute(path)?));
        }
        Ok(Subject::Known(self.subject.clone()))
    }
}
