//! The balance and the ledger.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use super::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use crate::domain::ids::TurnId;
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::money::{Currency, Money};
use crate::domain::render::Success;
use crate::http::describe::{Errors, Unavailable};
use crate::http::envelope::Platform;
use crate::http::extract::{BillingRead, QueryParams};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::read_money;

type BillingErrors = Errors<Platform, (BillingRead, Unavailable)>;
type LedgerErrors = Errors<Platform, (BillingRead, Unavailable, InvalidQuery)>;
type LedgerCursor = Cursor<i64, 'l'>;

/// The workspace's balance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub(super) struct BalanceOut {
    balance: Money,
    currency: Currency,
}

/// An entry of the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub(super) struct LedgerEntryOut {
    number: i64,
    kind: LedgerKind,
    amount: Money,
    balance_after: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
}

impl From<LedgerEntry> for LedgerEntryOut {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            number: entry.number,
            kind: entry.kind,
            amount: entry.amount,
            balance_after: entry.balance_after,
            turn_id: entry.turn,
            reference: entry.reference,
            created_at: entry.created_at.to_string(),
        }
    }
}

/// Read the balance.
#[utoipa::path(
    get, path = "/balance", tag = "platform", operation_id = "readBalance", security(("bearer" = ["billing:read"])),
    responses((status = 200, description = "The balance", body = Success<BalanceOut>), BillingErrors),
)]
pub(super) async fn balance(
    State(state): State<AppState>,
    BillingRead(account, _): BillingRead,
) -> Answer<BalanceOut> {
    let balance = read_money::balance(&state.services, &account).await?;
    Ok(Success::new("Balance retrieved successfully.", BalanceOut { balance, currency: Currency::Usd }))
}

/// List the ledger.
///
/// The oldest entry comes first.
#[utoipa::path(
    get, path = "/ledger", tag = "platform", operation_id = "listLedger", security(("bearer" = ["billing:read"])),
    params(PageParams::<LedgerCursor>),
    responses((status = 200, description = "A page", body = Success<Page<LedgerEntryOut>>), LedgerErrors),
)]
pub(super) async fn ledger(
    State(state): State<AppState>,
    BillingRead(account, _): BillingRead,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<LedgerEntryOut>> {
    let limit = limit(query.limit.as_deref())?;
    let after = LedgerCursor::decode(query.cursor.as_deref())?.unwrap_or(0);
    let page = read_money::list_entries(&state.services, &account, after, limit).await?;
    let entries = Page::new(page.items, page.next.map(LedgerCursor::encode));
    Ok(Success::new("Ledger retrieved successfully.", entries))
}
