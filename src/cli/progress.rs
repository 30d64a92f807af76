//! Progress of a command on standard error: a bar on a terminal, and plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::app::commands::{ApplyStep, Step};

/// How often the bar is redrawn while a step takes its time.
const REDRAW_INTERVAL: Duration = Duration::from_millis(120);
/// At most one line for each interval counts documents, because a file may have thousands.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Shows the steps of a command.
pub(super) enum Progress {
    Terminal(ProgressBar),
    /// With the time of the last line.
    Lines(Mutex<Instant>),
}

impl Progress {
    /// Shows nothing before the first step.
    pub(super) fn on_stderr() -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines(Mutex::new(Instant::now()));
        }
        Self::Terminal(ProgressBar::no_length())
    }

    /// Shows the step that begins.
    pub(super) fn show(&self, step: Step) {
        match self {
            Self::Terminal(bar) => draw(bar, step),
            Self::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if is_worth_a_line(step, last.elapsed()) {
                    *last = Instant::now();
                    // A closed stream is ignored.
                    let _ = writeln!(io::stderr(), "{}", describe(step));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, step: Step) {
    let template = match step {
        Step::Apply(ApplyStep::ReadDocument { total, .. }) => {
            bar.set_length(u64::try_from(total).unwrap_or(u64::MAX));
            "{spinner} {msg} {wide_bar} {pos}/{len} {elapsed}"
        }
        Step::Migrate | Step::Apply(ApplyStep::ListTools { .. } | ApplyStep::Write) => {
            "{spinner} {msg} {elapsed}"
        }
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if let Step::Apply(ApplyStep::ReadDocument { number, .. }) = step {
        bar.set_position(u64::try_from(number).unwrap_or(u64::MAX));
    }
    bar.set_message(describe(step));
    // Not before the first step, which has the first line to show.
    bar.enable_steady_tick(REDRAW_INTERVAL);
}

fn is_worth_a_line(step: Step, since_last: Duration) -> bool {
    match step {
        Step::Apply(ApplyStep::ReadDocument { number, .. }) => number == 1 || since_last >= LINE_INTERVAL,
        Step::Migrate | Step::Apply(ApplyStep::ListTools { .. } | ApplyStep::Write) => true,
    }
}

fn describe(step: Step) -> String {
    match step {
        Step::Migrate => "migrating the database".to_owned(),
        Step::Apply(ApplyStep::ReadDocument { number, total }) => {
            format!("reading document {number} of {total}")
        }
        Step::Apply(ApplyStep::ListTools { servers }) => {
            format!("listing the tools of MCP servers ({servers})")
        }
        Step::Apply(ApplyStep::Write) => "writing the workspace".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_counted_at_intervals() {
        let step = |number| Step::Apply(ApplyStep::ReadDocument { number, total: 9 });

        assert!(is_worth_a_line(step(1), Duration::ZERO));
        assert!(!is_worth_a_line(step(2), Duration::from_secs(1)));
        assert!(is_worth_a_line(step(3), LINE_INTERVAL));
        assert!(is_worth_a_line(Step::Apply(ApplyStep::Write), Duration::ZERO));
        assert_eq!(describe(step(3)), "reading document 3 of 9");
    }
}
