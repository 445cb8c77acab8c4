//! How a builder speaks: plain lines, and between them Nix's own protocol on the same descriptor, one JSON object a
//! line after `@nix ` (nix/src/libutil/logging.cc). Phases, and downloads as activities that `nix` shows as progress.
//!
//! Standard output is a pseudo-terminal in a build; nothing here moves a cursor or paints.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::report::{Event, Reporter, Stage};

/// A download, by the protocol's number; others are dropped without a word when they come from a builder.
const FILE_TRANSFER: u32 = 101;
/// A result that says how far an activity is.
const PROGRESS: u32 = 105;
/// The verbosity at which activities are told: informational.
const LEVEL: u32 = 3;
/// Bytes between two words on the progress of a download.
const STEP: u64 = 1 << 18;

/// Tells events to Nix.
pub struct Log {
    state: Mutex<State>,
    /// Whether whoever reads understands the protocol.
    protocol: bool,
}

struct State {
    sink: Box<dyn Write + Send>,
    next: u64,
    /// Downloads that are under way.
    transfers: BTreeMap<(Stage, String), Transfer>,
    /// Sizes of what was announced.
    sizes: BTreeMap<(Stage, String), u64>,
}

struct Transfer {
    id: u64,
    size: u64,
    told: u64,
}

impl Log {
    /// Writes to `sink`, which is what `NIX_LOG_FD` names; `protocol` says whether it is set.
    pub fn new(sink: Box<dyn Write + Send>, protocol: bool) -> Self {
        let state = State { sink, next: 1, transfers: BTreeMap::new(), sizes: BTreeMap::new() };
        Self { state: Mutex::new(state), protocol }
    }

    /// A line of text.
    pub fn line(&self, text: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).line(text);
    }
}

impl State {
    /// A reader that is gone is no reason to fail: the build's result counts.
    fn line(&mut self, text: &str) {
        let _ = self.sink.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.sink.flush());
    }

    fn say(&mut self, what: &Value) {
        self.line(&format!("@nix {what}"));
    }

    fn progress(&mut self, stage: Stage, item: &str, done: u64) {
        let key = (stage, item.to_owned());
        let Some(transfer) = self.transfers.get_mut(&key) else {
            let (id, size) = (self.next, self.sizes.get(&key).copied().unwrap_or(0));
            self.next += 1;
            self.transfers.insert(key, Transfer { id, size, told: done });
            let text = format!("downloading {item}");
            self.say(&json!({
                "action": "start", "id": id, "level": LEVEL, "type": FILE_TRANSFER, "text": text, "parent": 0,
                "fields": [item],
            }));
            return self.say(&result(id, done, size));
        };
        if done >= transfer.told.saturating_add(STEP) {
            transfer.told = done;
            let said = result(transfer.id, done, transfer.size);
            self.say(&said);
        }
    }

    fn end(&mut self, stage: Stage, item: &str) {
        let key = (stage, item.to_owned());
        self.sizes.remove(&key);
        if let Some(Transfer { id, size, .. }) = self.transfers.remove(&key) {
            self.say(&result(id, size, size));
            self.say(&json!({"action": "stop", "id": id}));
        }
    }
}

fn result(id: u64, done: u64, expected: u64) -> Value {
    json!({"action": "result", "id": id, "type": PROGRESS, "fields": [done, expected, 0, 0]})
}

impl Reporter for Log {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StageStarted { stage, .. } if self.protocol => {
                state.say(&json!({"action": "setPhase", "phase": stage.name()}));
            }
            Event::StageFinished { stage, elapsed, summary } => {
                state.line(&format!("{:>8}  {summary} ({:.1} s)", stage.name(), elapsed.as_secs_f64()));
            }
            Event::ItemStarted { stage: Stage::Compile, item, .. } => state.line(&format!(" compile  {item} …")),
            Event::ItemFinished { stage: Stage::Compile, item, cached } => {
                let how = if *cached { "from the cache" } else { "built" };
                state.line(&format!(" compile  {item} {how}"));
            }
            Event::ItemStarted { stage, item, size: Some(size) } if self.protocol => {
                state.sizes.insert((*stage, (*item).to_owned()), *size);
            }
            Event::ItemProgress { stage, item, done: Some(done), .. } if self.protocol => {
                state.progress(*stage, item, *done);
            }
            Event::ItemFinished { stage, item, .. } if self.protocol => state.end(*stage, item),
            // Its name goes first on every line: what a child prints is never taken for the protocol.
            Event::Output { item, line } => state.line(&format!("{item}> {line}")),
            Event::Warning { message, hint } => {
                state.line(&format!("warning: {message}"));
                for line in hint.iter().flat_map(|hint| hint.lines()) {
                    state.line(&format!("   hint: {line}"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn told(protocol: bool) -> String {
        let sink = Sink::default();
        let log = Log::new(Box::new(sink.clone()), protocol);
        let (stage, item) = (Stage::Fetch, "a-1.whl");
        log.event(&Event::StageStarted { stage, items: Some(1) });
        log.event(&Event::ItemStarted { stage, item, size: Some(1 << 20) });
        for done in [1000, 2000, 1 << 19] {
            log.event(&Event::ItemProgress { stage, item, done: Some(done), doing: None });
        }
        log.event(&Event::ItemFinished { stage, item, cached: false });
        log.event(&Event::ItemStarted { stage, item: "b", size: Some(5) });
        log.event(&Event::ItemFinished { stage, item: "b", cached: true });
        log.event(&Event::StageFinished { stage, elapsed: Duration::from_millis(1500), summary: "2 files".into() });
        log.event(&Event::Output { item: "a 1", line: "@nix {\"action\":\"msg\"}" });
        log.event(&Event::Warning { message: "odd".into(), hint: Some("do\nthat".into()) });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn phases_and_downloads_are_told_in_the_protocol() {
        insta::assert_snapshot!(told(true), @r#"
        @nix {"action":"setPhase","phase":"fetch"}
        @nix {"action":"start","fields":["a-1.whl"],"id":1,"level":3,"parent":0,"text":"downloading a-1.whl","type":101}
        @nix {"action":"result","fields":[1000,1048576,0,0],"id":1,"type":105}
        @nix {"action":"result","fields":[524288,1048576,0,0],"id":1,"type":105}
        @nix {"action":"result","fields":[1048576,1048576,0,0],"id":1,"type":105}
        @nix {"action":"stop","id":1}
           fetch  2 files (1.5 s)
        a 1> @nix {"action":"msg"}
        warning: odd
           hint: do
           hint: that
        "#);
    }

    #[test]
    fn without_a_listener_there_are_lines_only() {
        insta::assert_snapshot!(told(false), @r#"
           fetch  2 files (1.5 s)
        a 1> @nix {"action":"msg"}
        warning: odd
           hint: do
           hint: that
        "#);
    }
}
