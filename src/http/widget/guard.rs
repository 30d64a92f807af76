//! The guard in front of a visitor's requests: the API key, if one is sent, the rate limits, and the scope of the key.

use std::time::Instant;

use axum::RequestExt as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header;
use http::request::Parts;
use uuid::Uuid;

use super::identity::identity_token;
use super::link::link;
use super::messages::ReplyOptions;
use super::own_origin::is_own_origin;
use crate::domain::account::{Account, Scope};
use crate::domain::error::Error;
use crate::http::authentication::{RequestHead, authenticate_request, bearer, refuse};
use crate::http::describe::{ErrorCase, ErrorSet, LimitReached, error_sets};
use crate::http::envelope::{ApiError, Widget};
use crate::http::extract::PathParam;
use crate::http::query;
use crate::http::server::{Caller, Peer, RateLimitStatus, RequestKind, insert_headers};
use crate::http::state::AppState;
use crate::service::visitors::Visitor;

/// What the requests of a route do: it decides the rate limits that they count towards, and the scope that a key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RouteClass {
    Request,
    NewConversation,
    Message,
    /// A change that is no message.
    Change,
}

impl RouteClass {
    /// The scope that a key needs, as on the platform API.
    fn scope(self) -> Scope {
        match self {
            Self::Request => Scope::Read,
            Self::NewConversation | Self::Message | Self::Change => Scope::MessagesWrite,
        }
    }

    /// Whether this is the account of a key that lifts the limits by address.
    pub(super) fn is_unlimited(self, account: Option<&Account>) -> bool {
        account.is_some_and(|account| account.has_scope(self.scope()))
    }

    /// Whether a key without the scope is refused. To read, the conversation's UUID is enough.
    fn requires_scope(self) -> bool {
        match self {
            Self::Request => false,
            Self::NewConversation | Self::Message | Self::Change => true,
        }
    }

    /// The response to a request that is refused before its handler runs.
    fn refuse(self, error: Error) -> Response {
        match self {
            Self::Request | Self::NewConversation | Self::Change => refuse::<Widget>(error),
            Self::Message => refuse::<ReplyOptions>(error),
        }
    }
}

/// The sender of a request that the guard has passed.
#[derive(Clone, Debug)]
pub(super) struct FromVisitor(pub(super) Visitor);

impl FromRequestParts<AppState> for FromVisitor {
    type Rejection = ApiError<Widget>;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<Widget>> {
        // Only a route that was mounted without the guard lacks it, which is a bug.
        let missing_guard = || Error::internal("the route has no guard");
        let visitor = parts.extensions.remove::<Self>().ok_or_else(missing_guard)?;
        query::check(parts)?;
        Ok(visitor)
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

error_sets! {
    /// An API key that may not make the change.
    KeyWithoutScope {
        "An API key was sent that lacks the scope" => Error::MissingScope(Scope::MessagesWrite.as_str()),
    }
}

/// The errors of the guard in front of a change.
pub(super) type GuardedChange = (Guarded, KeyWithoutScope);

/// Passes a request on with its visitor, or rejects it.
pub(in crate::http) async fn guard(
    State((state, class)): State<(AppState, RouteClass)>,
    mut request: Request,
    next: Next,
) -> Response {
    let arrived = Instant::now();
    let (account, status) = admit(&state, class, &mut request).await;
    let mut response = match account {
        Ok(account) => {
            let origin = request.headers().get(header::ORIGIN).map(|origin| {
                // An origin that is not UTF-8 is in no list.
                origin.to_str().unwrap_or("null").to_owned()
            });
            let origin = origin.filter(|origin| !is_own_origin(origin, &request, &state.public_url));
            let identity = identity_token(request.headers());
            let visitor = Visitor { account, origin, identity, arrived };
            request.extensions_mut().insert(FromVisitor(visitor));
            next.run(request).await
        }
        Err(error) => class.refuse(error),
    };
    if let Some(status) = status {
        insert_headers(&mut response, &status, state.services.clock.now());
    }
    response
}

/// The account of the request's key, if it has one; an error if the key is invalid, if a limit is exceeded, or if the key lacks the
/// scope, in this order. With the state of the limit that is nearest.
async fn admit(
    state: &AppState,
    class: RouteClass,
    request: &mut Request,
) -> (Result<Option<Account>, Error>, Option<RateLimitStatus>) {
    let account = match bearer(request.headers()) {
        None => None,
        Some(_) => match authenticate_request(state, RequestHead::from(&*request)).await {
            (Ok(account), _) => Some(account),
            (Err(error), status) => return (Err(error), status),
        },
    };
    let has_scope = class.is_unlimited(account.as_ref());
    let status = count(state, class, account.as_ref().filter(|_| has_scope), request).await;
    let admitted = match status.and_then(|status| status.check().err()) {
        Some(error) => Err(error),
        None if account.is_some() && !has_scope && class.requires_scope() => {
            Err(Error::MissingScope(class.scope().as_str()))
        }
        None => Ok(account),
    };
    (admitted, status)
}

/// Counts the request. `account` is that of a key that lifts the limits by address.
async fn count(
    state: &AppState,
    class: RouteClass,
    account: Option<&Account>,
    request: &mut Request,
) -> Option<RateLimitStatus> {
    let limits = state.limits.as_ref()?;
    let kind = match class {
        RouteClass::Request => RequestKind::Request,
        RouteClass::NewConversation => RequestKind::NewConversation,
        RouteClass::Message => RequestKind::Message(uuid_of(request).await),
        RouteClass::Change => RequestKind::Change(uuid_of(request).await),
    };
    let peer = request.extensions().get::<Peer>().copied();
    let visitor = || Caller::Visitor(limits.address(peer, request.headers()));
    limits.count(kind, account.map_or_else(visitor, Caller::from))
}

/// The UUID of the conversation in the request's path, if it is one.
async fn uuid_of(request: &mut Request) -> Option<Uuid> {
    let Ok(PathParam(name)) = request.extract_parts().await;
    link(&name).ok().map(|link| link.0)
}
