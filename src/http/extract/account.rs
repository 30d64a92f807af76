//! The account of the bearer key. Each extractor requires one scope of the key.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::domain::account::{Account, Scope};
use crate::domain::error::Error;
use crate::http::authentication::Authenticated;
use crate::http::describe::{ErrorCase, ErrorSet, LimitReached};
use crate::http::envelope::{ApiError, Platform, RouteOptions};
use crate::http::state::AppState;

macro_rules! scope_extractor {
    ($(#[$doc:meta])* $name:ident, $scope:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::http) struct $name<O = Platform>(pub(in crate::http) Account, pub(in crate::http) PhantomData<fn() -> O>);

        impl<O: RouteOptions> FromRequestParts<AppState> for $name<O> {
            type Rejection = ApiError<O>;

            async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<O>> {
                // Only a route that was mounted without the guard lacks it, which is a bug.
                let missing_guard = || Error::internal("the route has no guard");
                let Authenticated(account) = parts.extensions.remove().ok_or_else(missing_guard)?;
                if !account.has_scope($scope) {
                    return Err(Error::MissingScope($scope.as_str()).into());
                }
                Ok(Self(account, PhantomData))
            }
        }

        impl<O> ErrorSet for $name<O> {
            fn cases() -> Vec<ErrorCase> {
                let key = ErrorCase::new(
                    "The API key is missing, invalid, revoked or expired",
                    Error::Unauthenticated,
                );
                let scope =
                    ErrorCase::new("The API key lacks the scope", Error::MissingScope($scope.as_str()));
                [key, scope].into_iter().chain(LimitReached::cases()).collect()
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
scope_extractor!(/// Creates, rolls and revokes keys.
    KeysWrite, Scope::Keys);
scope_extractor!(/// Exports conversations.
    Export, Scope::Export);
scope_extractor!(/// Deletes conversations, and what is stored about a person.
    Erase, Scope::Erase);
scope_extractor!(/// Reads everything else.
    Read, Scope::Read);
