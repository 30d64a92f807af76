//! The widget API: a chat widget in a browser, whose only credential is a conversation's UUID.

mod assistants;
mod automate;
mod cancel;
mod chat;
mod conversations;
mod events;
mod feedback;
mod guard;
mod identity;
mod link;
mod messages;
mod own_origin;

use std::time::Duration;

use http::{HeaderName, Method, header};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authentication::{WithKey, refuse};
use super::error::REJOINDER_ERROR;
use super::ignored_key::warn_of_ignored_key;
use super::query;
use super::response::{IDEMPOTENT_REPLAYED, REJOINDER_TURN, REJOINDER_WARNING};
use super::server::X_REQUEST_ID;
use super::state::AppState;

pub(super) use automate::AutomateOptions;
pub(super) use events::VisitorEvent;
pub(super) use guard::{RouteClass, guard};
#[cfg(test)]
pub(super) use messages::ReplyOptions;

/// Adds the guard to routes of one class.
type WithGuard<'a> = &'a dyn Fn(RouteClass, OpenApiRouter<AppState>) -> OpenApiRouter<AppState>;

/// The API's routes without their prefix, in the order of the `OpenAPI` document.
pub(super) fn routes(with_guard: WithGuard<'_>, with_key: WithKey<'_>) -> OpenApiRouter<AppState> {
    let sending = OpenApiRouter::new().routes(routes!(messages::send)).routes(routes!(chat::send));
    let strict = |routes| query::refuse_unknown("/api", routes);
    let creating = strict(OpenApiRouter::new().routes(routes!(conversations::create)));
    let changing = OpenApiRouter::new().routes(routes!(cancel::cancel));
    let changing = strict(changing.routes(routes!(feedback::put, feedback::withdraw)));
    let reading =
        OpenApiRouter::new().routes(routes!(conversations::list)).routes(routes!(conversations::read));
    let reading = reading.routes(routes!(chat::resume)).routes(routes!(events::stream));
    let reading = strict(reading.routes(routes!(assistants::read)));
    let switching = OpenApiRouter::new().routes(routes!(automate::disable)).routes(routes!(automate::enable));
    let warning = |routes| warn_of_ignored_key("/api", routes);
    OpenApiRouter::new()
        .merge(with_guard(RouteClass::Message, sending))
        .merge(with_guard(RouteClass::NewConversation, warning(creating)))
        .merge(with_guard(RouteClass::Change, warning(changing)))
        .merge(with_guard(RouteClass::Request, reading))
        .merge(with_key(refuse::<AutomateOptions>, warning(strict(switching))))
}

/// Allows every origin: the use case checks it against the list of the assistant.
pub(super) fn cors() -> CorsLayer {
    let exposed = [
        REJOINDER_ERROR,
        REJOINDER_TURN,
        REJOINDER_WARNING,
        IDEMPOTENT_REPLAYED,
        X_REQUEST_ID,
        header::RETRY_AFTER,
        HeaderName::from_static("ratelimit"),
        HeaderName::from_static("ratelimit-policy"),
        HeaderName::from_static("x-ratelimit-limit"),
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(Duration::from_hours(1))
}
