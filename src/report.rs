//! What happens while a build runs, as data. The library never prints: it tells a [`Reporter`].

use std::time::Duration;

use serde::Serialize;

/// The stages of a build in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reading locks, choosing files.
    Plan,
    /// Resolving build requirements and input packages (`akb lock`, or a build without pins).
    Lock,
    /// Python, compilers and libraries.
    Inputs,
    /// Downloads.
    Fetch,
    /// Archives to folders.
    Unpack,
    /// Source distributions to wheels.
    Compile,
    /// Wheels to a site.
    Install,
    /// Files that become what the recipe says.
    Replace,
    /// References to where things were built.
    Strip,
    /// Interpreter, RUNPATH, runtime libraries.
    Relink,
    /// Bytecode, modes, times, hash.
    Finish,
    /// Putting the tree in its place.
    Place,
    /// Reading the result again.
    Verify,
}

impl Stage {
    /// The name that a person and `--json` see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Lock => "lock",
            Self::Inputs => "inputs",
            Self::Fetch => "fetch",
            Self::Unpack => "unpack",
            Self::Compile => "compile",
            Self::Install => "install",
            Self::Replace => "replace",
            Self::Strip => "strip",
            Self::Relink => "relink",
            Self::Finish => "finish",
            Self::Place => "place",
            Self::Verify => "verify",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// A stage began; `items` is how many things it will do, where that is known.
    StageStarted {
        /// Which.
        stage: Stage,
        /// Number of things to do.
        items: Option<u64>,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// Wall time.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
        /// One line for the summary, such as `171 files, 98.2 MB, 171 from cache`.
        summary: String,
    },
    /// One thing inside a stage began (a download, a package that is compiled).
    ItemStarted {
        /// The stage.
        stage: Stage,
        /// File or package name, unique within the stage while it runs.
        item: &'a str,
        /// Size in bytes for downloads.
        size: Option<u64>,
    },
    /// Progress of an item: bytes so far, or the text of what it does now (the file that is compiled).
    ItemProgress {
        /// The stage.
        stage: Stage,
        /// The item.
        item: &'a str,
        /// Bytes so far.
        done: Option<u64>,
        /// What it does now.
        doing: Option<&'a str>,
    },
    /// An item ended well.
    ItemFinished {
        /// The stage.
        stage: Stage,
        /// The item.
        item: &'a str,
        /// Whether a cache had it.
        cached: bool,
    },
    /// A line of a child's output.
    Output {
        /// The package that is built.
        item: &'a str,
        /// The line, without its newline.
        line: &'a str,
    },
    /// Something that the user should know, though the build goes on.
    Warning {
        /// Message, lower case, no full stop.
        message: String,
        /// The exact next step.
        hint: Option<String>,
    },
    /// A remark for `-v`.
    Note {
        /// Message, lower case, no full stop.
        message: String,
    },
}

fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// Takes events from any thread.
pub trait Reporter: Sync {
    /// Called for each event, in the order in which they happen on one thread.
    fn event(&self, event: &Event<'_>);

    /// A warning without a hint.
    fn warn(&self, message: String, hint: Option<String>) {
        self.event(&Event::Warning { message, hint });
    }

    /// A remark for `-v`.
    fn note(&self, message: String) {
        self.event(&Event::Note { message });
    }
}

/// Tells downloads as items of the stage that they are made for.
pub struct Within<'a> {
    /// The stage.
    pub stage: Stage,
    /// Who is told.
    pub reporter: &'a dyn Reporter,
}

impl Reporter for Within<'_> {
    fn event(&self, event: &Event<'_>) {
        let stage = self.stage;
        self.reporter.event(&match event.clone() {
            Event::ItemStarted { item, size, .. } => Event::ItemStarted { stage, item, size },
            Event::ItemProgress { item, done, doing, .. } => Event::ItemProgress { stage, item, done, doing },
            Event::ItemFinished { item, cached, .. } => Event::ItemFinished { stage, item, cached },
            other => other,
        });
    }
}

/// Drops all events.
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event<'_>) {}
}
