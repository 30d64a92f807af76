//! Before a visitor's request is looked at: the key, if one is sent, then the limits by rate.

use std::time::Instant;

use axum::RequestExt as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use http::request::Parts;

use super::validate::link;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::http::envelope::{ReplyOptions, Widget};
use crate::http::error::ApiError;
use crate::http::extract::{PathParam, bearer};
use crate::http::server::{Peer, RateLimitStatus, RequestKind, insert_headers};
use crate::http::state::AppState;
use crate::service::authenticate::authenticate;

/// What a route's requests count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RouteClass {
    Request,
    NewConversation,
    Message,
}

impl RouteClass {
    /// The answer to a request that is refused before its handler runs.
    fn refuse(self, error: Error) -> Response {
        match self {
            Self::Request | Self::NewConversation => ApiError::<Widget>::from(error).into_response(),
            Self::Message => ApiError::<ReplyOptions>::from(error).into_response(),
        }
    }
}

/// Who asks, once the guard has let the request through.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The key that was sent, if one was.
    pub(super) account: Option<Account>,
    pub(super) origin: Option<String>,
    /// When the request's head was read.
    pub(super) arrived: Instant,
}

impl FromRequestParts<AppState> for Visitor {
    type Rejection = ApiError<Widget>;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<Widget>> {
        // Only a route that was mounted without the guard lacks it: a fault of ours.
        let missing_guard = || Error::internal("the route has no guard");
        parts.extensions.remove::<Self>().ok_or_else(|| missing_guard().into())
    }
}

/// Lets a request through, with its [`Visitor`], or answers it.
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
            // What is no text is an origin that no list has.
            origin.to_str().unwrap_or("null").to_owned()
        });
        request.extensions_mut().insert(Visitor { account, origin, arrived });
        next.run(request).await
    };
    if let Some(status) = status {
        insert_headers(response.headers_mut(), &status, state.services.clock.now());
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
