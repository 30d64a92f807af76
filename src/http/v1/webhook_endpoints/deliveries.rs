//! What was sent to a webhook endpoint, and what is sent again.

use axum::extract::State;
use axum::response::Response;

use super::wire::{DeliveriesQuery, DeliveryOut, ReplayIn, ReplayedOut, ToldDeliveryOut};
use super::{Answer, validate};
use crate::domain::delivery_log::Told;
use crate::http::answer::success;
use crate::http::envelope::Platform;
use crate::http::extract::{Body, ConfigWrite, Named, NamedWithin, Read, Search};
use crate::http::openapi::{
    ConfigErrors, DeliveryPage, EndpointDisabled, EndpointErrors, NoDelivery, NoEndpoint, OneDelivery,
    OneReplay, QueryErrors, ReadErrors,
};
use crate::http::state::AppState;
use crate::http::v1::cursor::{Numbered, limit};
use crate::http::v1::wire::PageOut;
use crate::service::webhook_endpoints::deliveries;

fn delivery(message: &str, told: Told) -> Response {
    success(message, &ToldDeliveryOut::from(told))
}

/// Send a test event to a webhook endpoint alone, whatever types it takes.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/test", tag = "platform", operation_id = "testWebhookEndpoint",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")),
    responses((status = 200, description = "The test's delivery", body = OneDelivery), ConfigErrors, EndpointDisabled, NoEndpoint),
)]
pub(in crate::http::v1) async fn test(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    Named(name): Named,
) -> Answer {
    let told = deliveries::test(&state.services, &account, &name).await?;
    Ok(delivery("Test event sent successfully.", told))
}

/// List the deliveries to a webhook endpoint, the newest event's first.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}/deliveries", tag = "platform", operation_id = "listDeliveries",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…"), DeliveriesQuery),
    responses((status = 200, description = "A page", body = DeliveryPage), ReadErrors, QueryErrors, NoEndpoint),
)]
pub(in crate::http::v1) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Named(name): Named,
    Search(query, _): Search<DeliveriesQuery, Platform>,
) -> Answer {
    let limit = limit(query.limit.as_deref())?;
    let wanted = validate::deliveries(&query)?;
    let page = deliveries::list(&state.services, &account, &name, wanted, limit).await?;
    let items: Vec<DeliveryOut> = page.items.into_iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(|cursor| Numbered::Deliveries.cursor(cursor)) };
    Ok(success("Deliveries retrieved successfully.", &data))
}

/// Read a delivery with its attempts.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}/deliveries/{delivery_id}", tag = "platform",
    operation_id = "readDelivery", security(("bearer" = [])),
    params(("id" = String, Path, description = "whe_…"), ("delivery_id" = String, Path, description = "dlv_…")),
    responses((status = 200, description = "The delivery", body = OneDelivery), ReadErrors, NoEndpoint, NoDelivery),
)]
pub(in crate::http::v1) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    NamedWithin(endpoint, name): NamedWithin,
) -> Answer {
    let told = deliveries::read(&state.services, &account, &endpoint, &name).await?;
    Ok(delivery("Delivery retrieved successfully.", told))
}

/// Send a delivery again: with the same `webhook-id` and body, and `webhook-replay: true`. One that is under way
/// is let be; the message says so.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/deliveries/{delivery_id}/resend", tag = "platform",
    operation_id = "resendDelivery", security(("bearer" = [])),
    params(("id" = String, Path, description = "whe_…"), ("delivery_id" = String, Path, description = "dlv_…")),
    responses((status = 200, description = "The delivery as it now is", body = OneDelivery), ConfigErrors, EndpointDisabled, NoEndpoint, NoDelivery),
)]
pub(in crate::http::v1) async fn resend(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NamedWithin(endpoint, name): NamedWithin,
) -> Answer {
    let (told, is_queued) = deliveries::resend(&state.services, &account, &endpoint, &name).await?;
    let under_way = "Delivery is under way already; it was not queued again.";
    Ok(delivery(if is_queued { "Delivery queued again successfully." } else { under_way }, told))
}

/// Send all kept events since a time, or after a cursor, to a webhook endpoint again. One request takes
/// 10,000 of them.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/replay", tag = "platform", operation_id = "replayEvents",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")), request_body = ReplayIn,
    responses((status = 200, description = "How many are sent", body = OneReplay), ConfigErrors, EndpointErrors, EndpointDisabled, NoEndpoint),
)]
pub(in crate::http::v1) async fn replay(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    Named(name): Named,
    Body(body, _): Body<Platform>,
) -> Answer {
    let wanted = validate::replay(&body)?;
    let replayed = deliveries::replay(&state.services, &account, &name, wanted).await?;
    let next_cursor = replayed.next.map(|cursor| cursor.to_string());
    let data = ReplayedOut { deliveries: replayed.deliveries, next_cursor };
    Ok(success("Events queued again successfully.", &data))
}
