//! Webhook endpoints: set up, and looked into.

mod deliveries;
mod validate;
pub(in crate::http) mod wire;

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{EndpointIn, EndpointOut, EndpointUpdateIn, EndpointWithSecretOut, RotationIn};
use super::cursor::{decode_endpoint_cursor, endpoint_cursor, limit};
use super::wire::{PageOut, PageQuery};
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{Body, ConfigWrite, OptionalBody, PathParam, QueryParams, Read};
use crate::http::openapi::{
    ConfigErrors, EndpointErrors, EndpointNotFound, EndpointPage, EndpointWithSecret, OneEndpoint,
    QueryErrors, ReadErrors,
};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::webhook_endpoints;

type ApiResult = Result<Response, ApiError<Platform>>;

/// The routes of webhook endpoints.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, update, delete))
        .routes(routes!(rotate_secret))
        .routes(routes!(deliveries::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::read))
        .routes(routes!(deliveries::resend))
        .routes(routes!(deliveries::replay))
}

/// Make a webhook endpoint. Its secret is shown this once.
#[utoipa::path(
    post, path = "/webhook_endpoints", tag = "platform", operation_id = "createWebhookEndpoint",
    security(("bearer" = [])), request_body = EndpointIn,
    responses((status = 200, description = "The endpoint, with its secret", body = EndpointWithSecret), ConfigErrors, EndpointErrors),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let endpoint = webhook_endpoints::create(&state.services, &account, validate::endpoint(&body)?).await?;
    Ok(success("Webhook endpoint created successfully.", &EndpointWithSecretOut::from(endpoint)))
}

/// List webhook endpoints, the oldest first.
#[utoipa::path(
    get, path = "/webhook_endpoints", tag = "platform", operation_id = "listWebhookEndpoints",
    security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "A page", body = EndpointPage), ReadErrors, QueryErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<PageQuery, Platform>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let after = decode_endpoint_cursor(query.cursor.as_deref())?;
    let page = webhook_endpoints::list(&state.services, &account, after, limit).await?;
    let items: Vec<EndpointOut> = page.items.into_iter().map(Into::into).collect();
    let data = PageOut { items, next_cursor: page.next.map(endpoint_cursor) };
    Ok(success("Webhook endpoints retrieved successfully.", &data))
}

/// Read a webhook endpoint.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}", tag = "platform", operation_id = "readWebhookEndpoint",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")),
    responses((status = 200, description = "The endpoint", body = OneEndpoint), ReadErrors, EndpointNotFound),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let endpoint = webhook_endpoints::find(&state.services, &account, &name).await?;
    Ok(success("Webhook endpoint retrieved successfully.", &EndpointOut::from(endpoint)))
}

/// Change a webhook endpoint, or switch it. All that is sent is done at once.
#[utoipa::path(
    patch, path = "/webhook_endpoints/{id}", tag = "platform", operation_id = "changeWebhookEndpoint",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")), request_body = EndpointUpdateIn,
    responses((status = 200, description = "The endpoint as it now is", body = OneEndpoint), ConfigErrors, EndpointErrors, EndpointNotFound),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
    Body(body, _): Body<Platform>,
) -> ApiResult {
    let update = validate::update(&body)?;
    let endpoint = webhook_endpoints::update(&state.services, &account, &name, update).await?;
    Ok(success("Webhook endpoint updated successfully.", &EndpointOut::from(endpoint)))
}

/// Delete a webhook endpoint: nothing more is sent to it, and its deliveries are forgotten.
#[utoipa::path(
    delete, path = "/webhook_endpoints/{id}", tag = "platform", operation_id = "deleteWebhookEndpoint",
    security(("bearer" = [])), params(("id" = String, Path, description = "whe_…")),
    responses((status = 200, description = "The endpoint as it was", body = OneEndpoint), ConfigErrors, EndpointNotFound),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
) -> ApiResult {
    let endpoint = webhook_endpoints::delete(&state.services, &account, &name).await?;
    Ok(success("Webhook endpoint deleted successfully.", &EndpointOut::from(endpoint)))
}

/// Give a webhook endpoint a new secret, which is shown this once; the old one signs too for a while.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/rotate_secret", tag = "platform",
    operation_id = "rotateWebhookSecret", security(("bearer" = [])),
    params(("id" = String, Path, description = "whe_…")), request_body = Option<RotationIn>,
    responses((status = 200, description = "The endpoint, with its new secret", body = EndpointWithSecret), ConfigErrors, EndpointErrors, EndpointNotFound),
)]
pub(super) async fn rotate_secret(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite<Platform>,
    PathParam(name): PathParam,
    OptionalBody(body, _): OptionalBody<Platform>,
) -> ApiResult {
    let (secret, overlap) = validate::rotation(&body)?;
    let endpoint =
        webhook_endpoints::rotate_secret(&state.services, &account, &name, secret, overlap).await?;
    Ok(success("Webhook secret rotated successfully.", &EndpointWithSecretOut::from(endpoint)))
}
