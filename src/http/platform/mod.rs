//! The platform API: a back end that authenticates with a bearer key.

mod bookings;
mod calendars;
mod conversations;
mod deliveries;
mod documents;
mod erasures;
mod events;
mod knowledge_bases;
mod list;
mod messages;
mod money;
mod tools;
mod turns;
mod webhook_endpoints;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authentication::{WithKey, refuse};
use super::describe::{Errors, Overloaded, Unavailable, WriteUnavailable};
use super::envelope::{ApiError, Platform};
use super::extract::{ConfigWrite, Read};
use super::state::AppState;
use crate::domain::render::Success;

pub(super) use messages::EnqueueOptions;

/// A successful response with this data, or an error.
type Answer<T> = Result<Success<T>, ApiError<Platform>>;

/// The errors of a read, with those of `S`.
type ReadErrors<S> = Errors<Platform, (Read, Unavailable, S)>;

/// The errors of a change of the configuration, with those of `S`.
type ConfigErrors<S> = Errors<Platform, (ConfigWrite, Overloaded, WriteUnavailable, S)>;

/// The API's routes without their prefix, in the order of the `OpenAPI` document.
pub(super) fn routes(with_key: WithKey<'_>) -> OpenApiRouter<AppState> {
    let sending = OpenApiRouter::new().routes(routes!(messages::send));
    OpenApiRouter::new()
        .merge(with_key(refuse::<EnqueueOptions>, sending))
        .merge(with_key(refuse::<Platform>, other_routes()))
}

fn other_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::read, conversations::update, erasures::delete_conversation))
        .routes(routes!(messages::list))
        .routes(routes!(conversations::renew_link))
        .routes(routes!(erasures::list, erasures::create))
        .routes(routes!(erasures::read))
        .routes(routes!(turns::read))
        .routes(routes!(turns::read_of_message))
        .routes(routes!(turns::stream))
        .routes(routes!(turns::cancel))
        .routes(routes!(money::balance))
        .routes(routes!(money::ledger))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .routes(routes!(knowledge_bases::list, knowledge_bases::create))
        .routes(routes!(knowledge_bases::read, knowledge_bases::update, knowledge_bases::delete))
        .routes(routes!(knowledge_bases::search))
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(documents::read, documents::put, documents::delete))
        .routes(routes!(tools::list))
        .routes(routes!(tools::read))
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
        .routes(routes!(calendars::list))
        .routes(routes!(calendars::read))
        .routes(routes!(bookings::list))
        .routes(routes!(bookings::read))
        .routes(routes!(bookings::cancel))
        .routes(routes!(calendars::renew_link, calendars::remove_link))
}
