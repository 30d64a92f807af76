//! What the workspace has and what it spent.

use axum::extract::State;
use axum::response::Response;

use super::cursor::{SequenceCursor, limit};
use super::wire::{BalanceOut, LedgerEntryOut, PageOut, PageQuery};
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{BillingRead, QueryParams};
use crate::http::openapi::{BillingErrors, LedgerPage, OneBalance, QueryErrors};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::read_money;

/// Read the balance.
#[utoipa::path(
    get, path = "/balance", tag = "platform", operation_id = "readBalance", security(("bearer" = [])),
    responses((status = 200, description = "The balance", body = OneBalance), BillingErrors),
)]
pub(super) async fn balance(
    State(state): State<AppState>,
    BillingRead(account, _): BillingRead<Platform>,
) -> Result<Response, ApiError<Platform>> {
    let balance = read_money::balance(&state.services, &account).await?;
    Ok(success("Balance retrieved successfully.", &BalanceOut { balance, currency: "USD" }))
}

/// List the ledger, the oldest entry first.
#[utoipa::path(
    get, path = "/ledger", tag = "platform", operation_id = "listLedger", security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page", body = LedgerPage), BillingErrors, QueryErrors),
)]
pub(super) async fn ledger(
    State(state): State<AppState>,
    BillingRead(account, _): BillingRead<Platform>,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> Result<Response, ApiError<Platform>> {
    let limit = limit(query.limit.as_deref())?;
    let after = SequenceCursor::Ledger.decode(query.cursor.as_deref())?;
    let page = read_money::list_entries(&state.services, &account, after, limit).await?;
    let items: Vec<LedgerEntryOut> = page.items.into_iter().map(Into::into).collect();
    let next_cursor = page.next.map(|number| SequenceCursor::Ledger.encode(number));
    Ok(success("Ledger retrieved successfully.", &PageOut { items, next_cursor }))
}
