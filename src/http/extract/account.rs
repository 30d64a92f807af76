//! The bearer key: an extractor's type is the scope that the key must have.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::domain::account::{Account, Scope};
use crate::domain::error::Error;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::state::AppState;
use crate::service::authenticate::authenticate;

/// The bearer token that a request sends, if it sends one.
pub(in crate::http) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

macro_rules! scope_extractor {
    ($(#[$doc:meta])* $name:ident, $scope:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::http) struct $name<E>(pub(in crate::http) Account, pub(in crate::http) PhantomData<fn() -> E>);

        impl<E: Envelope> FromRequestParts<AppState> for $name<E> {
            type Rejection = ApiError<E>;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError<E>> {
                let token = bearer(&parts.headers).ok_or(Error::Unauthenticated)?;
                let account = authenticate(&state.services, token).await?;
                if !account.has_scope($scope) {
                    return Err(Error::MissingScope($scope.as_str()).into());
                }
                Ok(Self(account, PhantomData))
            }
        }
    };
}

scope_extractor!(/// Sends, creates, changes and ends.
    MessagesWrite, Scope::MessagesWrite);
scope_extractor!(/// Reads balance and ledger.
    BillingRead, Scope::BillingRead);
scope_extractor!(/// Changes how the workspace is set up.
    ConfigWrite, Scope::Config);
scope_extractor!(/// Reads all else.
    Read, Scope::Read);
