//! The platform API: a back end that authenticates with a bearer key.

mod assistant_versions;
mod assistants;
pub(super) mod audit;
mod availability;
mod bookings;
mod calendars;
mod conversation_export;
mod conversations;
mod deliveries;
mod document_forms;
mod documents;
mod erasures;
mod events;
mod identity_secrets;
pub(super) mod keys;
mod knowledge_bases;
pub(super) mod list;
mod me;
mod message_search;
mod messages;
mod money;
mod tool_bodies;
mod tool_writes;
mod tools;
mod turn_actions;
mod turns;
mod typing;
pub(super) mod usage;
mod webhook_endpoints;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authentication::{WithKey, refuse};
use super::describe::{Errors, Overloaded, Unavailable, WriteUnavailable};
use super::envelope::{ApiError, Platform, RouteOptions};
use super::extract::{ConfigWrite, Read};
use super::ignored_key::warn_of_ignored_key;
use super::query;
use super::state::AppState;
use crate::domain::render::Success;

pub(super) use messages::EnqueueOptions;

/// A successful response with this data, or an error.
type Answer<T> = Result<Success<T>, ApiError<Platform>>;

/// A route whose body has prompts or schemas.
#[derive(Debug)]
enum ConfigurationOptions {}

impl RouteOptions for ConfigurationOptions {
    type Envelope = Platform;
    const MAX_BODY: usize = 1024 * 1024;
    const REQUIRES_JSON: bool = true;
}

/// The errors of a read, with those of `S`.
type ReadErrors<S> = Errors<Platform, (Read, Unavailable, S)>;

/// The errors of a change of the configuration, with those of `S`.
type ConfigErrors<S> = Errors<Platform, (ConfigWrite, Overloaded, WriteUnavailable, S)>;

/// The API's routes without their prefix, in the order of the `OpenAPI` document.
pub(super) fn routes(with_key: WithKey<'_>) -> OpenApiRouter<AppState> {
    let sending = OpenApiRouter::new().routes(routes!(messages::send));
    OpenApiRouter::new()
        .merge(with_key(refuse::<EnqueueOptions>, sending))
        .merge(with_key(refuse::<Platform>, query::refuse_unknown("/v1", other_routes())))
}

fn other_routes() -> OpenApiRouter<AppState> {
    let routes = OpenApiRouter::new()
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::read, conversations::update, erasures::delete_conversation))
        .routes(routes!(messages::list))
        .routes(routes!(conversation_export::export))
        .routes(routes!(conversations::renew_link))
        .routes(routes!(typing::set))
        .routes(routes!(message_search::list))
        .routes(routes!(message_search::read))
        .routes(routes!(turns::list))
        .routes(routes!(erasures::list, erasures::create))
        .routes(routes!(erasures::read))
        .routes(routes!(turns::read))
        .routes(routes!(turns::read_of_message))
        .routes(routes!(turns::stream))
        .routes(routes!(turn_actions::cancel))
        .routes(routes!(turn_actions::retry))
        .routes(routes!(me::read))
        .routes(routes!(me::update_workspace))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::read, keys::revoke))
        .routes(routes!(keys::roll))
        .routes(routes!(audit::list))
        .routes(routes!(money::balance))
        .routes(routes!(money::ledger))
        .routes(routes!(usage::read))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .routes(routes!(knowledge_bases::list, knowledge_bases::create))
        .routes(routes!(knowledge_bases::read, knowledge_bases::update, knowledge_bases::delete))
        .routes(routes!(knowledge_bases::search))
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(documents::read, documents::put, documents::delete))
        .routes(routes!(assistants::list, assistants::create))
        .routes(routes!(assistants::read, assistants::update, assistants::archive))
        .routes(routes!(identity_secrets::list, identity_secrets::create))
        .routes(routes!(identity_secrets::delete))
        .routes(routes!(assistant_versions::list))
        .routes(routes!(assistant_versions::read))
        .routes(routes!(assistant_versions::diff))
        .routes(routes!(assistant_versions::restore))
        .routes(routes!(tools::list, tool_writes::create))
        .routes(routes!(tools::read, tool_writes::update, tool_writes::archive))
        .routes(routes!(tools::test))
        .routes(routes!(tools::refresh))
        .routes(routes!(webhook_endpoints::list, webhook_endpoints::create))
        .routes(routes!(webhook_endpoints::read, webhook_endpoints::update, webhook_endpoints::delete))
        .routes(routes!(webhook_endpoints::rotate_secret))
        .routes(routes!(deliveries::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::read))
        .routes(routes!(deliveries::resend))
        .routes(routes!(deliveries::replay))
        .merge(calendar_routes());
    warn_of_ignored_key("/v1", routes)
}

fn calendar_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(calendars::list, calendars::create))
        .routes(routes!(calendars::read, calendars::update, calendars::archive))
        .routes(routes!(availability::list))
        .routes(routes!(bookings::list, bookings::create))
        .routes(routes!(bookings::read))
        .routes(routes!(bookings::cancel))
        .routes(routes!(calendars::renew_link, calendars::remove_link))
}
