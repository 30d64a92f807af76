//! The bearer key. Each extractor requires one scope of the key.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::domain::account::{Account, Scope};
use crate::domain::error::Error;
use crate::http::describe::{ErrorCase, ErrorSet};
use crate::http::envelope::{ApiError, Platform, RouteOptions};
use crate::http::state::AppState;
use crate::service::authenticate::authenticate;

/// The bearer token of a request.
pub(in crate::http) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

macro_rules! scope_extractor {
    ($(#[$doc:meta])* $name:ident, $scope:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::http) struct $name<O = Platform>(pub(in crate::http) Account, pub(in crate::http) PhantomData<fn() -> O>);

        impl<O: RouteOptions> FromRequestParts<AppState> for $name<O> {
            type Rejection = ApiError<O>;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError<O>> {
                let token = bearer(&parts.headers).ok_or(Error::Unauthenticated)?;
                let account = authenticate(&state.services, token).await?;
                if !account.has_scope($scope) {
                    return Err(Error::MissingScope($scope.as_str()).into());
                }
                Ok(Self(account, PhantomData))
            }
        }

        impl<O> ErrorSet for $name<O> {
            fn cases() -> Vec<ErrorCase> {
                vec![
                    ErrorCase::new(
                        "The API key is missing, invalid, revoked or expired",
                        Error::Unauthenticated,
                    ),
                    ErrorCase::new("The API key lacks the scope", Error::MissingScope($scope.as_str())),
                ]
            }
        }
    };
}

scope_extractor!(/// Sends messages, and creates, changes and ends conversations.
    MessagesWrite, Scope::MessagesWrite);
scope_extractor!(/// Reads the balance and the ledger.
    BillingRead, Scope::BillingRead);
scope_extractor!(/// Changes the workspace's configuration.
    ConfigWrite, Scope::Config);
scope_extractor!(/// Reads everything else.
    Read, Scope::Read);
