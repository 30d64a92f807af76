//! The processes that serve the database.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, ReadErrors};
use crate::domain::ids::ProcessId;
use crate::domain::render::Success;
use crate::http::extract::Operator;
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::processes;

/// A process of the server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Process)]
pub(super) struct ProcessOut {
    #[schema(example = "prc_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: ProcessId,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    started_at: String,
    /// A process whose lease has expired is stopped or cut off; others take over its work. Null for the only process of the embedded
    /// database.
    #[schema(required, format = DateTime)]
    lease_expires_at: Option<String>,
    /// Whether it is the process that has answered.
    is_this: bool,
}

/// List the processes.
///
/// The newest comes first. Those that stopped in order are not listed, those that died for a day; at most 200.
#[utoipa::path(
    get, path = "/processes", tag = "operator", operation_id = "operatorListProcesses", security(("operator" = [])),
    responses((status = 200, description = "All of them", body = Success<Page<ProcessOut>>), ReadErrors<()>),
)]
pub(super) async fn list(State(state): State<AppState>, _operator: Operator) -> Answer<Page<ProcessOut>> {
    let own = state.process;
    let processes = processes::list(&state.services, own).await?;
    let processes = processes.into_iter().map(|process| ProcessOut {
        id: process.id,
        started_at: process.started_at.to_string(),
        lease_expires_at: process.lease_expires_at.map(|at| at.to_string()),
        is_this: process.id == own.id,
    });
    Ok(Success::new("Processes retrieved successfully.", Page::new(processes, None)))
}
