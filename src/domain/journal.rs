//! The journal of a turn: the recorded answers of the model and tool calls.

use super::clock::Micros;
use super::turn::TurnRef;

/// A row of the journal: position 0 of a step is the model's answer, 1 and on its calls.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalRow {
    pub turn: TurnRef,
    pub step: i64,
    pub position: i64,
    pub attempt: i64,
    pub started_at: Micros,
    pub finished_at: Option<Micros>,
    /// JSON: the answer with its model and connection, or the call.
    pub content: String,
    /// JSON: the result of the call.
    pub result: Option<String>,
}
