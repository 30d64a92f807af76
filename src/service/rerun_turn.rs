//! Runs a failed turn again at the request of a back end: a new turn of the same message, charged anew.

use super::Services;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{ResourceId as _, TurnId};
use crate::domain::turn::{Turn, TurnRef};
use crate::store::{Conn, turns};
use crate::telemetry::traces;
use crate::writer::{RerunOutcome, RerunTurn};

/// The scope of idempotency keys on this route.
const ROUTE: &str = "POST /v1/turns/{id}/retry";

/// Runs a failed turn of the account's workspace again. Returns the new turn, and whether the idempotency key had opened it before;
/// then it is as it is now.
pub async fn rerun(
    services: &Services,
    account: &Account,
    name: &str,
    idempotency: Option<(String, Vec<u8>)>,
) -> Result<(Turn, bool), Error> {
    let id = TurnId::parse(name)?;
    let workspace = account.workspace;
    let find = async |id| {
        services.db.read(workspace, async |conn: Conn<'_>| turns::find(conn, workspace, id).await).await
    };
    let failed = find(id).await?.ok_or_else(|| TurnId::not_found(name))?;
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    traces::remember_request(turn.0);
    let command = RerunTurn {
        failed: TurnRef { workspace, conversation: failed.conversation, turn: id },
        message: failed.message,
        turn,
        idempotency: idempotency.map(|sent| IdempotencyRequest::new(workspace, ROUTE, sent, None)),
        key: account.key,
    };
    match services.writer.execute(command).await? {
        RerunOutcome::Opened(turn) => Ok((*turn, false)),
        RerunOutcome::Replayed(turn) => {
            let found = find(turn).await?;
            Ok((found.ok_or_else(|| TurnId::not_found(turn))?, true))
        }
    }
}
