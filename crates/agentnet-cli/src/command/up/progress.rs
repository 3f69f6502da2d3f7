//! What a person sees while servers start and stop: a wheel on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{
    note,
    style::{BAD, DIM, GOOD, paint},
};

/// What took longer than this says how long.
const NOTEWORTHY: Duration = Duration::from_secs(1);

/// Progress on standard error. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress {
    bars: MultiProgress,
    wheels: bool,
}

impl Progress {
    /// Wheels if standard error is a terminal.
    pub fn new() -> Self {
        let wheels = std::io::stderr().is_terminal();
        let target = if wheels { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), wheels }
    }

    /// A line that stays, above any wheel.
    pub fn say(&self, text: impl std::fmt::Display) {
        // Lines go out by the same way as every other, so that `--color` applies.
        self.bars.suspend(|| note(text));
    }

    /// Begins a step.
    pub fn step(&self, text: impl Into<String>) -> Step {
        let text = text.into();
        let bar = self.wheels.then(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_message(text.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Step { progress: self.clone(), bar, text, began: Instant::now() }
    }
}

/// A step under way. Dropped without an end, its wheel disappears.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    bar: Option<ProgressBar>,
    text: String,
    began: Instant,
}

impl Step {
    /// Something that happens within the step, such as a download.
    pub fn detail(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{} ({text})", self.text)),
            None => self.progress.say(format_args!("  … {text}")),
        }
    }

    /// Ends the step well; `result` replaces its text.
    pub fn done(self, result: &str) {
        let took = self.began.elapsed();
        let took = if took > NOTEWORTHY { format!(" ({:.1} s)", took.as_secs_f64()) } else { String::new() };
        let line = format!("  {} {result}{}", paint(GOOD, "✓"), paint(DIM, took));
        self.end(line);
    }

    /// Ends the step badly.
    pub fn failed(self, result: &str) {
        let line = format!("  {} {result}", paint(BAD, "✗"));
        self.end(line);
    }

    fn end(mut self, line: String) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.progress.say(line);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
