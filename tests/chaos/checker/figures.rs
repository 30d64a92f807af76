//! The figures of a test's evidence, in one line and as a row of the table of `scripts/chaos`.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use super::{messages, money, turns};
use crate::evidence::Evidence;

/// The variable with the file to which each test appends its row.
const VARIABLE: &str = "CHAOS_FIGURES";

pub(super) struct Figures<'a> {
    test: &'a str,
    columns: [(&'static str, String); 9],
}

impl<'a> Figures<'a> {
    pub(super) fn of(evidence: &Evidence, test: &'a str) -> Self {
        let kills = evidence.outages.iter().filter(|outage| outage.until.is_none()).count();
        let doubled = messages::no_copies(evidence).len() + messages::one_reply_each(evidence).len();
        let open = evidence.turns.values().filter(|turn| turn.get("ended_at").is_none()).count();
        let count = |number: usize| number.to_string();
        let columns = [
            ("messages", count(evidence.done.len())),
            ("kills", count(kills)),
            ("frozen", count(evidence.outages.len() - kills)),
            ("lost", count(messages::acknowledged_is_stored(evidence).len())),
            ("doubled", count(doubled)),
            ("charged twice", count(money::each_charge_has_reply_or_refund(evidence).len())),
            ("open", count(open)),
            ("takeover max", turns::slowest_takeover(evidence).map_or_else(|| "-".to_owned(), seconds)),
            ("took", seconds(evidence.took)),
        ];
        Self { test, columns }
    }

    /// Appends the row if `scripts/chaos` has set the variable.
    pub(super) fn hand_over(&self) {
        let Ok(path) = std::env::var(VARIABLE) else { return };
        let values: Vec<_> = self.columns.iter().map(|(_, value)| value.as_str()).collect();
        let mut file = File::options().create(true).append(true).open(path).expect("a file of figures");
        writeln!(file, "{}\t{}", self.test, values.join("\t")).expect("the figures are written");
    }
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.test)?;
        for (nth, (name, value)) in self.columns.iter().enumerate() {
            write!(f, "{} {name} {value}", if nth == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
