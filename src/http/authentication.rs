//! Authentication by API key: once for each request, before its handler. Requests with a key count towards the rates of the key and
//! of its workspace; failures count towards a limit of their address.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, HeaderMap, Method, header};
use ipnet::IpNet;
use utoipa_axum::router::OpenApiRouter;

use super::envelope::{ApiError, Platform, RouteOptions};
use super::server::{Address, Caller, Limits, Peer, RateLimitStatus, RequestId, RequestKind, insert_headers};
use super::state::AppState;
use crate::domain::account::{Account, OperatorAccount};
use crate::domain::audit::{Actor, RequestOrigin};
use crate::domain::error::Error;
use crate::service::authenticate;

/// Answers an error in the envelope of a route.
pub(super) type Refuse = fn(Error) -> Response;

/// Adds [`require_key`] to routes with one envelope.
pub(super) type WithKey<'a> = &'a dyn Fn(Refuse, OpenApiRouter<AppState>) -> OpenApiRouter<AppState>;

/// The account of a request that [`require_key`] has passed.
#[derive(Clone, Debug)]
pub(super) struct Authenticated(pub(super) Account);

/// Answers an error in the envelope of routes with the options `O`.
pub(super) fn refuse<O: RouteOptions>(error: Error) -> Response {
    ApiError::<O>::from(error).into_response()
}

/// The account of a request that [`require_operator`] has passed.
#[derive(Clone, Debug)]
pub(super) struct AuthenticatedOperator(pub(super) OperatorAccount);

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Passes a request with a valid key on as [`Authenticated`], or refuses it.
pub(super) async fn require_key(
    State((state, refuse)): State<(AppState, Refuse)>,
    mut request: Request,
    next: Next,
) -> Response {
    let (account, mut status) = authenticate_request(&state, RequestHead::from(&request)).await;
    let account = account.and_then(|account| {
        let limits = state.limits.as_ref();
        status = limits.and_then(|limits| limits.count(RequestKind::Request, Caller::from(&account)));
        check(status)?;
        Ok(account)
    });
    let response = match account {
        Ok(account) => {
            request.extensions_mut().insert(Authenticated(account));
            next.run(request).await
        }
        Err(error) => refuse(error),
    };
    with_headers(&state, response, status)
}

/// Passes a request with a valid key of the operator's API on as [`AuthenticatedOperator`], or refuses it.
pub(super) async fn require_operator(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let (account, mut status) = authenticate_operator(&state, RequestHead::from(&request)).await;
    let account = account.and_then(|account| {
        status = state.limits.as_ref().map(|limits| limits.count_operator(account.key));
        check(status)?;
        Ok(account)
    });
    let response = match account {
        Ok(account) => {
            request.extensions_mut().insert(AuthenticatedOperator(account));
            next.run(request).await
        }
        Err(error) => refuse::<Platform>(error),
    };
    with_headers(&state, response, status)
}

fn with_headers(state: &AppState, mut response: Response, status: Option<RateLimitStatus>) -> Response {
    if let Some(status) = status {
        insert_headers(&mut response, &status, state.services.clock.now());
    }
    response
}

/// The head of a request, without its body, which cannot be shared between threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestHead<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> From<&'a Request> for RequestHead<'a> {
    fn from(request: &'a Request) -> Self {
        Self { method: request.method(), headers: request.headers(), extensions: request.extensions() }
    }
}

impl RequestHead<'_> {
    fn peer(self) -> Option<Peer> {
        self.extensions.get().copied()
    }
}

/// The account of a request's bearer token, and the state of the address's limit of failed authentications, if the request counted
/// towards it.
pub(super) async fn authenticate_request(
    state: &AppState,
    head: RequestHead<'_>,
) -> (Result<Account, Error>, Option<RateLimitStatus>) {
    let attempt = Attempt::new(state, head);
    let mut status = None;
    let count_unknown = || attempt.count_unknown(&mut status);
    let account =
        authenticate::authenticate(&state.services, attempt.token, attempt.client(), count_unknown).await;
    let account = account.map(|account| {
        let actor = Arc::unwrap_or_clone(account.actor);
        Account { actor: attempt.with_origin(actor), ..account }
    });
    (account, status)
}

/// Like [`authenticate_request`], for a key of the operator's API.
async fn authenticate_operator(
    state: &AppState,
    head: RequestHead<'_>,
) -> (Result<OperatorAccount, Error>, Option<RateLimitStatus>) {
    let attempt = Attempt::new(state, head);
    let (client, mut status) = (attempt.client(), None);
    let count_unknown = || attempt.count_unknown(&mut status);
    let (services, token) = (&state.services, attempt.token);
    let account = authenticate::authenticate_operator(services, token, client, count_unknown).await;
    let account = account.map(|account| {
        let actor = Arc::unwrap_or_clone(account.actor);
        OperatorAccount { actor: attempt.with_origin(actor), ..account }
    });
    (account, status)
}

/// A request that is to be authenticated.
struct Attempt<'a> {
    limits: Option<&'a Arc<Limits>>,
    head: RequestHead<'a>,
    address: Option<Address>,
    token: &'a str,
}

impl<'a> Attempt<'a> {
    fn new(state: &'a AppState, head: RequestHead<'a>) -> Self {
        let limits = state.limits.as_ref();
        let address = limits.map(|limits| limits.address(head.peer(), head.headers));
        Self { limits, head, address, token: bearer(head.headers).unwrap_or_default() }
    }

    /// The widest network of its client.
    fn client(&self) -> Option<IpNet> {
        self.address.and_then(|address| address.networks().last())
    }

    /// Counts a token that may be invalid.
    fn count_unknown(&self, status: &mut Option<RateLimitStatus>) -> Result<(), Error> {
        let limits = self.limits.zip(self.address);
        *status = limits.and_then(|(limits, address)| limits.count_failed_authentication(address));
        check(*status)
    }

    /// The actor with its request.
    fn with_origin(&self, actor: Actor) -> Arc<Actor> {
        let head = self.head;
        let path = head.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let peer = || head.peer().map(|peer| peer.0.ip().to_canonical());
        let origin = RequestOrigin {
            route: format!("{} {path}", head.method),
            address: self.address.map(Address::ip).or_else(peer),
            request_id: head.extensions.get().map_or("", RequestId::as_str).to_owned(),
        };
        Arc::new(Actor { origin: Some(origin), ..actor })
    }
}

/// [`Error::LimitReached`] if the request exceeds the limit.
fn check(status: Option<RateLimitStatus>) -> Result<(), Error> {
    status.map_or(Ok(()), |status| status.check())
}
