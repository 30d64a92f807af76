//! The keys of a workspace, which an operator may give any scope.

use axum::extract::State;

use super::{Answer, ReadErrors, WriteErrors};
use crate::domain::ids::{KeyId, WorkspaceId};
use crate::domain::render::Success;
use crate::http::describe::NotFound;
use crate::http::extract::{
    Input, NestedPathParams, NoInput, Operator, OptionalInput, PathParam, QueryParams,
};
use crate::http::platform::keys::{
    InvalidKey, KeyCursor, KeyIn, KeyOut, KeyWithSecretOut, RollIn, TooManyKeys,
};
use crate::http::platform::list::{InvalidQuery, PageParams, PageQuery, limit};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::manage_keys::{self, KeyManager};
use crate::service::workspaces;

type Found = (NotFound<WorkspaceId>, NotFound<KeyId>);

/// List a workspace's keys.
///
/// The oldest comes first. Of the keys that are revoked or have expired, the newest 100 are kept.
#[utoipa::path(
    get, path = "/workspaces/{id}/keys", tag = "operator", operation_id = "operatorListKeys", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…"), PageParams::<KeyCursor>),
    responses((status = 200, description = "A page", body = Success<Page<KeyOut>>), ReadErrors<(InvalidQuery, NotFound<WorkspaceId>)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    _operator: Operator,
    PathParam(workspace): PathParam,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<KeyOut>> {
    let limit = limit(query.limit.as_deref())?;
    let after = KeyCursor::decode(query.cursor.as_deref())?;
    let workspace = workspaces::find(&state.services, &workspace).await?.workspace.id;
    let page = manage_keys::list(&state.services, workspace, after, limit).await?;
    let keys = Page::new(page.items, page.next.map(KeyCursor::encode));
    Ok(Success::new("Keys retrieved successfully.", keys))
}

/// Create a workspace's key.
///
/// With any scopes. Its secret is only returned in this response.
#[utoipa::path(
    post, path = "/workspaces/{id}/keys", tag = "operator", operation_id = "operatorCreateKey", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")), request_body = KeyIn,
    responses((status = 200, description = "The key, with its secret", body = Success<KeyWithSecretOut>), WriteErrors<(Input<KeyIn>, TooManyKeys, NotFound<WorkspaceId>)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(workspace): PathParam,
    Input { value: input, .. }: Input<KeyIn>,
) -> Answer<KeyWithSecretOut> {
    let workspace = workspaces::find_present(&state.services, &workspace).await?.id;
    let manager = KeyManager::operator(workspace, &operator);
    let created = manage_keys::create(&state.services, manager, input.request()).await?;
    Ok(Success::new("Key created successfully.", KeyWithSecretOut::from(created)))
}

/// Read a workspace's key.
#[utoipa::path(
    get, path = "/workspaces/{id}/keys/{key_id}", tag = "operator", operation_id = "operatorReadKey", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…"), ("key_id" = inline(KeyId), Path, description = "key_…")),
    responses((status = 200, description = "The key", body = Success<KeyOut>), ReadErrors<Found>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    _operator: Operator,
    NestedPathParams(workspace, key): NestedPathParams,
) -> Answer<KeyOut> {
    let workspace = workspaces::find(&state.services, &workspace).await?.workspace.id;
    let key = manage_keys::find(&state.services, workspace, &key).await?;
    Ok(Success::new("Key retrieved successfully.", KeyOut::from(key)))
}

/// Roll a workspace's key.
///
/// The new secret is only returned in this response; the old one stays valid for a while.
#[utoipa::path(
    post, path = "/workspaces/{id}/keys/{key_id}/roll", tag = "operator", operation_id = "operatorRollKey", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…"), ("key_id" = inline(KeyId), Path, description = "key_…")), request_body = Option<RollIn>,
    responses((status = 200, description = "The key, with its new secret", body = Success<KeyWithSecretOut>), WriteErrors<(Input<RollIn>, Found, InvalidKey)>),
)]
pub(super) async fn roll(
    State(state): State<AppState>,
    Operator(operator): Operator,
    NestedPathParams(workspace, key): NestedPathParams,
    OptionalInput(input): OptionalInput<RollIn>,
) -> Answer<KeyWithSecretOut> {
    let workspace = workspaces::find_present(&state.services, &workspace).await?.id;
    let manager = KeyManager::operator(workspace, &operator);
    let rolled = manage_keys::roll(&state.services, manager, &key, input.overlap()).await?;
    Ok(Success::new("Key rolled successfully.", KeyWithSecretOut::from(rolled)))
}

/// Revoke a workspace's key.
///
/// Within 5 s every process rejects it.
#[utoipa::path(
    delete, path = "/workspaces/{id}/keys/{key_id}", tag = "operator", operation_id = "operatorRevokeKey", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…"), ("key_id" = inline(KeyId), Path, description = "key_…")),
    responses((status = 200, description = "The key, revoked", body = Success<KeyOut>), WriteErrors<(NoInput, Found)>),
)]
pub(super) async fn revoke(
    State(state): State<AppState>,
    Operator(operator): Operator,
    NestedPathParams(workspace, key): NestedPathParams,
    _: NoInput,
) -> Answer<KeyOut> {
    let workspace = workspaces::find(&state.services, &workspace).await?.workspace.id;
    let manager = KeyManager::operator(workspace, &operator);
    let key = manage_keys::revoke(&state.services, manager, &key).await?;
    Ok(Success::new("Key revoked successfully.", KeyOut::from(key)))
}
