//! What was sent to a webhook endpoint, and what is sent again.

use axum::extract::State;
use axum::response::Response;

use super::wire::{DeliveriesQuery, DeliveryDetailsOut, DeliveryOut, ReplayIn, ReplayOut};
use super::{ApiResult, validate};
use crate::domain::delivery_log::DeliveryDetails;
use crate::http::envelope::Platform;
use crate::http::extract::{Body, ConfigWrite, NestedPathParams, PathParam, QueryParams, Read};
use crate::http::openapi::{
    ConfigErrors, DeliveryInProgress, DeliveryNotFound, DeliveryPage, EndpointDisabled, EndpointErrors,
    EndpointNotFound, EventsRemoved, OneDelivery, OneReplay, QueryErrors, ReadErrors,
};
use crate::http::platform::cursor::{SequenceCursor, limit};
use crate::http::platform::wire::PageOut;
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::webhook_endpoints::deliveries;

fn delivery(message: &str, details: DeliveryDetails) -> Response {
    success(message, &DeliveryDetailsOut::from(details))
}

/// Send a test event to a webhook endpoint alone, whatever types it takes.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/test", tag = "platform", operation_id = "testWebhookEndpoint",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")),
    responses((status = 200, description = "The test's delivery", body = OneDelivery), ConfigErrors, EndpointDisabled, EndpointNotFound),
)]
pub(in crate::http::platform) async fn test(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let details = deliveries::test(&state.services, &account, &name).await?;
    Ok(delivery("Test event sent successfully.", details))
}

/// List the deliveries to a webhook endpoint, the newest event's first.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}/deliveries", tag = "platform", operation_id = "listDeliveries",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…"), DeliveriesQuery),
    responses((status = 200, description = "A page", body = DeliveryPage), ReadErrors, QueryErrors, EndpointNotFound),
)]
pub(in crate::http::platform) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<DeliveriesQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let filter = validate::deliveries(&query)?;
    let page = deliveries::list(&state.services, &account, &name, filter, limit).await?;
    let items: Vec<DeliveryOut> = page.items.into_iter().map(Into::into).collect();
    let data =
        PageOut { items, next_cursor: page.next.map(|cursor| SequenceCursor::Deliveries.encode(cursor)) };
    Ok(success("Deliveries retrieved successfully.", &data))
}

/// Read a delivery with its attempts.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}/deliveries/{delivery_id}", tag = "platform",
    operation_id = "readDelivery", security(("bearer" = [])),
    params(("id" = String, Path, description = "whe_…"), ("delivery_id" = String, Path, description = "dlv_…")),
    responses((status = 200, description = "The delivery", body = OneDelivery), ReadErrors, EndpointNotFound, DeliveryNotFound),
)]
pub(in crate::http::platform) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    NestedPathParams(endpoint, name): NestedPathParams,
) -> ApiResult {
    let details = deliveries::read(&state.services, &account, &endpoint, &name).await?;
    Ok(delivery("Delivery retrieved successfully.", details))
}

/// Send a delivery again: with the same `webhook-id` and body, and `webhook-replay: true`. One that is
/// under way is refused.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/deliveries/{delivery_id}/resend", tag = "platform",
    operation_id = "resendDelivery", security(("bearer" = [])),
    params(("id" = String, Path, description = "whe_…"), ("delivery_id" = String, Path, description = "dlv_…")),
    responses((status = 200, description = "The delivery as it now is", body = OneDelivery), ConfigErrors, EndpointDisabled, DeliveryInProgress, EndpointNotFound, DeliveryNotFound),
)]
pub(in crate::http::platform) async fn resend(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    NestedPathParams(endpoint, name): NestedPathParams,
) -> ApiResult {
    let details = deliveries::resend(&state.services, &account, &endpoint, &name).await?;
    Ok(delivery("Delivery queued again successfully.", details))
}

/// Send all kept events since a time, or after a cursor, to a webhook endpoint again. One request takes
/// 10,000 of them.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/replay", tag = "platform", operation_id = "replayEvents",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")), request_body = ReplayIn,
    responses((status = 200, description = "How many are sent", body = OneReplay), ConfigErrors, EndpointErrors, EndpointDisabled, EventsRemoved, EndpointNotFound),
)]
pub(in crate::http::platform) async fn replay(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let request = validate::replay(&body)?;
    let replayed = deliveries::replay(&state.services, &account, &name, request).await?;
    let next_cursor = replayed.next.map(|cursor| cursor.to_string());
    let data = ReplayOut { deliveries: replayed.deliveries, next_cursor };
    Ok(success("Events queued again successfully.", &data))
}
