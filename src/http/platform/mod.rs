//! The platform door: a back end with a bearer key.

pub(super) mod calendars;
mod conversations;
mod cursor;
mod events;
pub(super) mod knowledge_bases;
mod messages;
mod money;
pub(super) mod tools;
pub(super) mod turns;
mod validate;
pub(super) mod webhook_endpoints;
pub(super) mod wire;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;

/// The door's routes, without its prefix, in the order in which the document tells of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(messages::send))
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::read, conversations::update))
        .routes(routes!(conversations::list_messages))
        .routes(routes!(conversations::renew_link))
        .merge(turns::routes())
        .routes(routes!(money::balance))
        .routes(routes!(money::ledger))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .merge(knowledge_bases::routes())
        .merge(tools::routes())
        .merge(webhook_endpoints::routes())
        .merge(calendars::routes())
}
