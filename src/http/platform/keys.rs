//! The keys of a workspace. The operator's API has the same bodies.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Schema};

use super::Answer;
use super::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use crate::domain::account::Scope;
use crate::domain::api_key::{ApiKey, DEFAULT_ROLL_OVERLAP, KeySecret, MAX_KEY_NAME};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::KeyId;
use crate::domain::render::Success;
use crate::domain::schema::words;
use crate::http::describe::{Errors, NotFound, Overloaded, Unavailable, WriteUnavailable, error_sets};
use crate::http::envelope::Platform;
use crate::http::extract::{Input, KeysWrite, NoInput, OptionalInput, PathParam, QueryParams};
use crate::http::fields::{Choice, Integer, Text, Time, Words, request};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::manage_keys::{self, KeyExpiry, KeyManager, NewKey, OLD_SECRET, OUTLIVES};

/// The cursors of lists of keys.
pub(in crate::http) type KeyCursor = Cursor<KeyId, 'y'>;

type KeyReadErrors<S> = Errors<Platform, (KeysWrite, Unavailable, S)>;
type KeyErrors<S> = Errors<Platform, (KeysWrite, Overloaded, WriteUnavailable, S)>;

/// The scopes of keys.
#[derive(Debug)]
pub(in crate::http) enum Scopes {}

impl Choice for Scopes {
    type Value = Scope;

    fn words() -> Vec<&'static str> {
        Scope::ALL.iter().map(|scope| scope.as_str()).collect()
    }
}

fn scopes_schema() -> Schema {
    let items: Schema = words(Scopes::words()).into();
    ArrayBuilder::new().items(RefOr::T(items)).build().into()
}

request! {
    /// A new key.
    pub(in crate::http) struct KeyIn as NewApiKey not_both(expires_in_seconds, expires_at) {
        /// What the key is for. The audit log keeps it.
        name: Text<MAX_KEY_NAME> = "Back end",
        /// At least one. A key gives only scopes that it has itself.
        scopes: Words<Scopes> = ["messages:write", "read"],
        /// The number of seconds after which it expires. Without it and `expires_at` the key expires with the one that
        /// creates it, or never.
        expires_in_seconds: Option<Integer<i64, 1, 3_155_760_000>> = 7_776_000,
        /// The time at which it expires, in place of `expires_in_seconds`. Not later than the key that creates it.
        expires_at: Option<Time>,
    }
}

impl KeyIn {
    /// The key that is asked for.
    pub(in crate::http) fn request(self) -> NewKey {
        let Self { name, scopes, expires_in_seconds, expires_at } = self;
        let after = |seconds: i64| KeyExpiry::After(Duration::from_secs(seconds.unsigned_abs()));
        NewKey { name, scopes, expiry: expires_at.map(KeyExpiry::At).or(expires_in_seconds.map(after)) }
    }
}

request! {
    /// The roll of a key.
    pub(in crate::http) struct RollIn as ApiKeyRoll {
        /// The number of seconds during which the previous secret is valid, too: 0 to 604800, 86400 by default.
        overlap_seconds: Option<Integer<i64, 0, 604_800>> = 86_400,
    }
}

impl RollIn {
    pub(in crate::http) fn overlap(&self) -> Duration {
        let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        self.overlap_seconds.map_or(DEFAULT_ROLL_OVERLAP, seconds)
    }
}

error_sets! {
    /// The workspace has as many keys as it may.
    TooManyKeys {
        "The workspace has 100 keys that are neither revoked nor expired" => Error::Conflict(
            "The workspace has 100 keys already. Revoke one first.".to_owned(),
        ),
    }

    /// The secret was replaced by a roll.
    OldSecret {
        "The secret is the one before the last roll" => Error::Conflict(OLD_SECRET.to_owned()),
    }

    /// The key is not valid any more.
    InvalidKey {
        "The key is revoked or has expired" => Error::Conflict("The key is revoked or has expired.".to_owned()),
    }

    /// The key outlives the one that manages it.
    OutlivesManager {
        "The key expires later than the one that rolls it" => Error::Conflict(OUTLIVES.to_owned()),
    }
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(in crate::http) struct KeyOut {
    #[schema(example = "key_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: KeyId,
    #[schema(example = "Back end")]
    name: String,
    /// The first characters of its secret.
    #[schema(example = "sk_7Hk2pQ")]
    prefix: String,
    #[schema(schema_with = scopes_schema)]
    scopes: Vec<Scope>,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    /// Null if it never expires.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
    /// Up to a minute late.
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
    /// The time until which the secret before the last roll is valid, too.
    #[schema(required, format = DateTime)]
    previous_secret_until: Option<String>,
}

impl From<ApiKey> for KeyOut {
    fn from(key: ApiKey) -> Self {
        let time = |at: Option<Micros>| at.map(|at| at.to_string());
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            created_at: key.created_at.to_string(),
            expires_at: time(key.expires_at),
            revoked_at: time(key.revoked_at),
            last_used_at: time(key.last_used_at),
            previous_secret_until: time(key.previous_until),
        }
    }
}

/// A key with its secret, which is only returned once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeyWithSecret)]
pub(in crate::http) struct KeyWithSecretOut {
    #[serde(flatten)]
    #[schema(inline)]
    key: KeyOut,
    /// The bearer token.
    #[schema(example = "sk_7Hk2pQvN0sXyZ1a8b9c0d1e2f3g4h5i6j7k8l9m0n1o")]
    secret: String,
}

impl From<(KeySecret, ApiKey)> for KeyWithSecretOut {
    fn from((secret, key): (KeySecret, ApiKey)) -> Self {
        Self { key: key.into(), secret: secret.expose().to_owned() }
    }
}

/// List the keys.
///
/// The oldest comes first. Of the keys that are revoked or have expired, the newest 100 are kept.
#[utoipa::path(
    get, path = "/keys", tag = "platform", operation_id = "listKeys",
    security(("bearer" = ["keys"])), params(PageParams::<KeyCursor>),
    responses((status = 200, description = "A page", body = Success<Page<KeyOut>>), KeyReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    KeysWrite(account, _): KeysWrite,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<KeyOut>> {
    let limit = limit(query.limit.as_deref())?;
    let after = KeyCursor::decode(query.cursor.as_deref())?;
    let page = manage_keys::list(&state.services, account.workspace, after, limit).await?;
    let keys = Page::new(page.items, page.next.map(KeyCursor::encode));
    Ok(Success::new("Keys retrieved successfully.", keys))
}

/// Create a key.
///
/// Its secret is only returned in this response. A key gives only scopes that it has itself, and no later expiry than its own.
#[utoipa::path(
    post, path = "/keys", tag = "platform", operation_id = "createKey",
    security(("bearer" = ["keys"])), request_body = KeyIn,
    responses((status = 200, description = "The key, with its secret", body = Success<KeyWithSecretOut>), KeyErrors<(Input<KeyIn>, TooManyKeys, OldSecret)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    KeysWrite(account, _): KeysWrite,
    Input { value: input, .. }: Input<KeyIn>,
) -> Answer<KeyWithSecretOut> {
    let manager = KeyManager::of_workspace(&account);
    let created = manage_keys::create(&state.services, manager, input.request()).await?;
    Ok(Success::new("Key created successfully.", KeyWithSecretOut::from(created)))
}

/// Read a key.
#[utoipa::path(
    get, path = "/keys/{id}", tag = "platform", operation_id = "readKey",
    security(("bearer" = ["keys"])), params(("id" = inline(KeyId), Path, description = "key_…")),
    responses((status = 200, description = "The key", body = Success<KeyOut>), KeyReadErrors<NotFound<KeyId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    KeysWrite(account, _): KeysWrite,
    PathParam(name): PathParam,
) -> Answer<KeyOut> {
    let key = manage_keys::find(&state.services, account.workspace, &name).await?;
    Ok(Success::new("Key retrieved successfully.", KeyOut::from(key)))
}

/// Roll a key.
///
/// The new secret is only returned in this response; the old one stays valid for a while. A key rolls itself, and keys that have
/// neither more scopes nor a later expiry.
#[utoipa::path(
    post, path = "/keys/{id}/roll", tag = "platform", operation_id = "rollKey",
    security(("bearer" = ["keys"])), params(("id" = inline(KeyId), Path, description = "key_…")), request_body = Option<RollIn>,
    responses((status = 200, description = "The key, with its new secret", body = Success<KeyWithSecretOut>), KeyErrors<(Input<RollIn>, NotFound<KeyId>, InvalidKey, OldSecret, OutlivesManager)>),
)]
pub(super) async fn roll(
    State(state): State<AppState>,
    KeysWrite(account, _): KeysWrite,
    PathParam(name): PathParam,
    OptionalInput(input): OptionalInput<RollIn>,
) -> Answer<KeyWithSecretOut> {
    let manager = KeyManager::of_workspace(&account);
    let rolled = manage_keys::roll(&state.services, manager, &name, input.overlap()).await?;
    Ok(Success::new("Key rolled successfully.", KeyWithSecretOut::from(rolled)))
}

/// Revoke a key.
///
/// Within 5 s every process rejects it. A key revokes itself, and keys whose scopes it has.
#[utoipa::path(
    delete, path = "/keys/{id}", tag = "platform", operation_id = "revokeKey",
    security(("bearer" = ["keys"])), params(("id" = inline(KeyId), Path, description = "key_…")),
    responses((status = 200, description = "The key, revoked", body = Success<KeyOut>), KeyErrors<(NoInput, NotFound<KeyId>, OldSecret)>),
)]
pub(super) async fn revoke(
    State(state): State<AppState>,
    KeysWrite(account, _): KeysWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<KeyOut> {
    let key = manage_keys::revoke(&state.services, KeyManager::of_workspace(&account), &name).await?;
    Ok(Success::new("Key revoked successfully.", KeyOut::from(key)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::PartialSchema as _;

    use super::*;
    use crate::domain::ignored_names::IgnoredNames;
    use crate::http::fields::read;

    #[test]
    fn a_key_expires_at_a_time_or_after_one() {
        let schema = serde_json::to_value(KeyIn::schema()).unwrap();
        let expiries = [
            (json!({}), true),
            (json!({ "expires_in_seconds": 60, "expires_at": null }), true),
            (json!({ "expires_in_seconds": null, "expires_at": "2026-03-15T14:00:00Z" }), true),
            (json!({ "expires_in_seconds": 60, "expires_at": "2026-03-15T14:00:00Z" }), false),
        ];
        for (mut body, is_accepted) in expiries {
            body["name"] = json!("Back end");
            body["scopes"] = json!(["read"]);
            assert_eq!(jsonschema::is_valid(&schema, &body), is_accepted, "{body}");
            let read = read::<Platform, KeyIn>(body.to_string().as_bytes(), &mut IgnoredNames::default());
            assert_eq!(read.is_ok(), is_accepted, "{body}");
        }
    }
}
