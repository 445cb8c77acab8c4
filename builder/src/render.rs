//! Events as a person sees them: bars on a terminal, plain lines elsewhere, or JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use akb::nix::Log;
use akb::report::{Event, Reporter, Stage};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::failure::Failure;

/// Shows events on standard error.
pub(crate) struct Renderer {
    mode: Mode,
    verbose: u8,
    colour: bool,
    state: Mutex<State>,
}

#[derive(PartialEq, Eq)]
enum Mode {
    Quiet,
    Json,
    Plain,
    Bars(MultiProgressEq),
    Nix(LogEq),
}

/// `MultiProgress` has no equality; two renderers never meet.
struct MultiProgressEq(MultiProgress);
impl PartialEq for MultiProgressEq {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for MultiProgressEq {}

/// Nor has the log of a Nix build.
struct LogEq(Log);
impl PartialEq for LogEq {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for LogEq {}

#[derive(Default)]
struct State {
    stages: BTreeMap<Stage, Running>,
    items: BTreeMap<(Stage, String), ProgressBar>,
}

struct Running {
    bar: ProgressBar,
    bytes: BTreeMap<String, u64>,
    total: u64,
}

impl Renderer {
    /// `log`: what is written is kept, even if it looks like a terminal.
    pub(crate) fn new(json: bool, quiet: bool, verbose: u8, log: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !log;
        let mode = match (json, quiet, terminal) {
            (true, ..) => Mode::Json,
            (_, true, _) => Mode::Quiet,
            // With -vv the compilers' own lines are the progress.
            (.., true) if verbose < 2 => Mode::Bars(MultiProgressEq(MultiProgress::new())),
            _ => Mode::Plain,
        };
        let colour = terminal && !matches!(mode, Mode::Json);
        Self { mode, verbose, colour, state: Mutex::default() }
    }

    /// For the log of a Nix build; `protocol` says whether Nix listens to more than lines.
    pub(crate) fn nix(protocol: bool) -> Self {
        let mode = Mode::Nix(LogEq(Log::new(Box::new(std::io::stderr()), protocol)));
        Self { mode, verbose: 0, colour: false, state: Mutex::default() }
    }

    /// Runs `write` with the bars out of the way.
    pub(crate) fn suspend(&self, write: impl FnOnce()) {
        match &self.mode {
            Mode::Bars(bars) => bars.0.suspend(write),
            _ => write(),
        }
    }

    /// Shows a failure as the last thing.
    pub(crate) fn fail(&self, failure: &Failure) {
        if self.mode == Mode::Json {
            let event = serde_json::json!({
                "event": "failed",
                "message": failure.message,
                "hint": failure.hint,
                "output": failure.output,
                "code": failure.code as u8,
            });
            return self.write(&format!("{event}\n"));
        }
        self.clear();
        self.write(&failure.render(|code, text| self.paint(code, text)));
    }

    fn clear(&self) {
        if let (Mode::Bars(bars), Ok(mut state)) = (&self.mode, self.state.lock()) {
            state.items.clear();
            state.stages.clear();
            let _ = bars.0.clear();
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&self, text: &str) {
        self.suspend(|| {
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        });
    }

    fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn plain(&self, event: &Event<'_>) {
        match event {
            Event::StageFinished { stage, elapsed, summary } => {
                let name = self.paint("32", &format!("{:>8}", stage.name()));
                self.line(&format!("{name}  {summary} ({})", time(*elapsed)));
            }
            Event::ItemStarted { stage: Stage::Compile, item, .. } if self.mode == Mode::Plain => {
                self.line(&format!(" compile  {item} …"));
            }
            Event::ItemProgress { stage: Stage::Compile, item, doing: Some(doing), .. }
                if self.mode == Mode::Plain && self.verbose == 1 =>
            {
                self.line(&format!(" compile  {item}: {doing}"));
            }
            Event::ItemFinished { stage: Stage::Compile, item, cached } => {
                let how = if *cached { "from the cache" } else { "built" };
                self.line(&format!("{}  {item} {how}", self.paint("32", " compile")));
            }
            Event::Output { item, line } if self.verbose >= 2 => self.line(&format!("{item}| {line}")),
            Event::Warning { message, hint } => {
                let mut text = format!("{} {message}", self.paint("33", "warning:"));
                if let Some(hint) = hint {
                    let _ = write!(text, "\n{} {hint}", self.paint("36", "   hint:"));
                }
                self.line(&text);
            }
            Event::Note { message } if self.verbose >= 1 => self.line(&format!("    note: {message}")),
            _ => {}
        }
    }

    fn bars(&self, bars: &MultiProgress, event: &Event<'_>) {
        let Ok(mut state) = self.state.lock() else { return };
        match event {
            Event::StageStarted { stage, items } => {
                let bar = bars.add(ProgressBar::new(items.unwrap_or(0)));
                bar.set_style(style(match items {
                    Some(_) => "{prefix:>8.bold} {bar:24} {pos}/{len} {msg} ({elapsed})",
                    None => "{prefix:>8.bold} {spinner} {msg} ({elapsed})",
                }));
                bar.set_prefix(stage.name());
                bar.enable_steady_tick(Duration::from_millis(120));
                state.stages.insert(*stage, Running { bar, bytes: BTreeMap::new(), total: 0 });
            }
            Event::StageFinished { stage, .. } => {
                if let Some(running) = state.stages.remove(stage) {
                    running.bar.finish_and_clear();
                }
                let left: Vec<_> = state.items.keys().filter(|(of, _)| of == stage).cloned().collect();
                for key in left {
                    if let Some(bar) = state.items.remove(&key) {
                        bar.finish_and_clear();
                    }
                }
            }
            Event::ItemStarted { stage, item, .. } => {
                if *stage == Stage::Compile {
                    let bar = bars.add(ProgressBar::new_spinner());
                    bar.set_style(style("         {spinner} {prefix} {msg:.dim} ({elapsed})"));
                    bar.set_prefix((*item).to_owned());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    state.items.insert((*stage, (*item).to_owned()), bar);
                } else if let Some(running) = state.stages.get(stage) {
                    running.bar.set_message((*item).to_owned());
                }
            }
            Event::ItemProgress { stage, item, done, doing } => {
                if let (Some(bar), Some(doing)) = (state.items.get(&(*stage, (*item).to_owned())), doing) {
                    bar.set_message((*doing).to_owned());
                }
                if let (Some(running), Some(done)) = (state.stages.get_mut(stage), done) {
                    let before = running.bytes.insert((*item).to_owned(), *done).unwrap_or(0);
                    running.total = (running.total + done).saturating_sub(before);
                    running.bar.set_message(size(running.total));
                }
            }
            Event::ItemFinished { stage, item, .. } => {
                if let Some(bar) = state.items.remove(&(*stage, (*item).to_owned())) {
                    bar.finish_and_clear();
                }
                if let Some(running) = state.stages.get(stage) {
                    running.bar.inc(1);
                }
            }
            _ => {}
        }
    }
}

impl Reporter for Renderer {
    fn event(&self, event: &Event<'_>) {
        match &self.mode {
            Mode::Json => {
                if let Ok(text) = serde_json::to_string(event) {
                    self.write(&format!("{text}\n"));
                }
            }
            // Warnings are what a quiet person must still hear.
            Mode::Quiet => {
                if matches!(event, Event::Warning { .. }) {
                    self.plain(event);
                }
            }
            Mode::Plain => self.plain(event),
            Mode::Nix(log) => log.0.event(event),
            Mode::Bars(bars) => {
                self.bars(&bars.0, event);
                self.plain(event);
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

/// `1.2 s`, `2 min 5 s`.
pub(crate) fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", elapsed.as_secs_f64())
    }
}

/// `98.2 MB`; decimal units, as indexes show them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_000), "1.0 kB");
        assert_eq!(size(98_200_000), "98.2 MB");
        assert_eq!(size(5_000_000_000_000_000), "5000.0 TB");
        assert_eq!(time(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(time(Duration::from_secs(125)), "2 min 5 s");
    }
}
