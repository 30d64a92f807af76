//! The guard in front of a visitor's requests: the API key, if one is sent, and then the rate limits.

use std::time::Instant;

use axum::RequestExt as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use http::request::Parts;

use super::link::link;
use super::messages::ReplyOptions;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::http::describe::{ErrorCase, ErrorSet, LimitReached};
use crate::http::envelope::{ApiError, Widget};
use crate::http::extract::{PathParam, bearer};
use crate::http::server::{Peer, RateLimitStatus, RequestKind, insert_headers};
use crate::http::state::AppState;
use crate::service::authenticate::authenticate;

/// The rate limits that the requests of a route count towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RouteClass {
    Request,
    NewConversation,
    Message,
}

impl RouteClass {
    /// The response to a request that is refused before its handler runs.
    fn refuse(self, error: Error) -> Response {
        match self {
            Self::Request | Self::NewConversation => ApiError::<Widget>::from(error).into_response(),
            Self::Message => ApiError::<ReplyOptions>::from(error).into_response(),
        }
    }
}

/// The sender of a request that the guard has passed.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The account of the API key, if one was sent.
    pub(super) account: Option<Account>,
    pub(super) origin: Option<String>,
    /// The time at which the head of the request was read.
    pub(super) arrived: Instant,
}

impl FromRequestParts<AppState> for Visitor {
    type Rejection = ApiError<Widget>;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<Widget>> {
        // Only a route that was mounted without the guard lacks it, which is a bug.
        let missing_guard = || Error::internal("the route has no guard");
        parts.extensions.remove::<Self>().ok_or_else(|| missing_guard().into())
    }
}

/// The errors of the guard and of the origin check behind it.
#[derive(Debug)]
pub(super) struct Guarded;

impl ErrorSet for Guarded {
    fn cases() -> Vec<ErrorCase> {
        let key =
            ErrorCase::new("An API key was sent that is invalid, revoked or expired", Error::Unauthenticated);
        let origin = ErrorCase::new("The origin of the page is not allowed", Error::OriginRefused);
        [key, origin].into_iter().chain(LimitReached::cases()).collect()
    }
}

/// Passes a request on with its [`Visitor`], or rejects it.
pub(in crate::http) async fn guard(
    State((state, class)): State<(AppState, RouteClass)>,
    mut request: Request,
    next: Next,
) -> Response {
    let arrived = Instant::now();
    let account = match bearer(request.headers()) {
        None => None,
        Some(token) => match authenticate(&state.services, token).await {
            Ok(account) => Some(account),
            Err(error) => return class.refuse(error),
        },
    };
    let status = count(&state, class, account.is_some(), &mut request).await;
    let mut response = if let Some(retry_after) = status.and_then(|status| status.retry_after) {
        class.refuse(Error::LimitReached { retry_after })
    } else {
        let origin = request.headers().get(header::ORIGIN).map(|origin| {
            // An origin that is not UTF-8 is in no list.
            origin.to_str().unwrap_or("null").to_owned()
        });
        request.extensions_mut().insert(Visitor { account, origin, arrived });
        next.run(request).await
    };
    if let Some(status) = status {
        insert_headers(&mut response, &status, state.services.clock.now());
    }
    response
}

async fn count(
    state: &AppState,
    class: RouteClass,
    has_key: bool,
    request: &mut Request,
) -> Option<RateLimitStatus> {
    let limits = state.limits.as_ref()?;
    let kind = match class {
        RouteClass::Request => RequestKind::Request,
        RouteClass::NewConversation => RequestKind::NewConversation,
        RouteClass::Message => {
            let Ok(PathParam(name)) = request.extract_parts().await;
            RequestKind::Message(link(&name).ok().map(|link| link.0))
        }
    };
    let peer = request.extensions().get::<Peer>().copied();
    let address = (!has_key).then(|| limits.resolver.resolve(peer, request.headers()));
    limits.count(kind, address)
}
