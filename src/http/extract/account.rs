//! The account of the bearer key. Each extractor requires one scope of the key.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::domain::account::{Account, OperatorAccount, Scope};
use crate::domain::error::Error;
use crate::http::authentication::{Authenticated, AuthenticatedOperator};
use crate::http::describe::{ErrorCase, ErrorSet, LimitReached, WorkspaceSuspended};
use crate::http::envelope::{ApiError, Platform, RouteOptions};
use crate::http::query;
use crate::http::state::AppState;

macro_rules! scope_extractor {
    ($(#[$doc:meta])* $name:ident, $scope:expr, suspended: $suspended:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::http) struct $name<O = Platform>(pub(in crate::http) Account, pub(in crate::http) PhantomData<fn() -> O>);

        impl<O: RouteOptions> FromRequestParts<AppState> for $name<O> {
            type Rejection = ApiError<O>;

            async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<O>> {
                let account = authenticated(parts)?;
                if !account.has_scope($scope) {
                    return Err(Error::MissingScope($scope.as_str()).into());
                }
                if Suspended::$suspended.is_refused() {
                    account.check_not_suspended()?;
                }
                query::check(parts)?;
                Ok(Self(account, PhantomData))
            }
        }

        impl<O> ErrorSet for $name<O> {
            fn cases() -> Vec<ErrorCase> {
                let scope =
                    ErrorCase::new("The API key lacks the scope", Error::MissingScope($scope.as_str()));
                let suspended = Suspended::$suspended.is_refused().then(WorkspaceSuspended::cases);
                let suspended = suspended.into_iter().flatten();
                [key_case(), scope].into_iter().chain(suspended).chain(LimitReached::cases()).collect()
            }
        }
    };
}

/// Whether a suspended workspace may use the routes of an extractor. Reading, exports, erasure and the keys for these stay possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspended {
    Accepted,
    Refused,
}

impl Suspended {
    fn is_refused(self) -> bool {
        matches!(self, Self::Refused)
    }
}

/// The account that the guard in front of the route has checked.
fn authenticated(parts: &mut Parts) -> Result<Account, Error> {
    // Only a route that was mounted without the guard lacks it, which is a bug.
    let missing_guard = || Error::internal("the route has no guard");
    let Authenticated(account) = parts.extensions.remove().ok_or_else(missing_guard)?;
    Ok(account)
}

fn key_case() -> ErrorCase {
    ErrorCase::new("The API key is missing, invalid, revoked or expired", Error::Unauthenticated)
}

scope_extractor!(/// Sends messages, and creates, changes and ends conversations.
    MessagesWrite, Scope::MessagesWrite, suspended: Refused);
scope_extractor!(/// Reads the balance, the ledger and the usage.
    BillingRead, Scope::BillingRead, suspended: Accepted);
scope_extractor!(/// Changes the workspace's configuration.
    ConfigWrite, Scope::Config, suspended: Refused);
scope_extractor!(/// Creates, rolls and revokes keys.
    KeysWrite, Scope::Keys, suspended: Accepted);
scope_extractor!(/// Exports conversations.
    Export, Scope::Export, suspended: Accepted);
scope_extractor!(/// Deletes conversations, and what is stored about a person.
    Erase, Scope::Erase, suspended: Accepted);
scope_extractor!(/// Reads everything else.
    Read, Scope::Read, suspended: Accepted);

/// Any valid key, whatever its scopes.
#[derive(Debug)]
pub(in crate::http) struct AnyKey(pub(in crate::http) Account);

impl FromRequestParts<AppState> for AnyKey {
    type Rejection = ApiError<Platform>;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<Platform>> {
        let account = authenticated(parts)?;
        query::check(parts)?;
        Ok(Self(account))
    }
}

impl ErrorSet for AnyKey {
    fn cases() -> Vec<ErrorCase> {
        [key_case()].into_iter().chain(LimitReached::cases()).collect()
    }
}

/// A valid key of the operator's API.
#[derive(Debug)]
pub(in crate::http) struct Operator(pub(in crate::http) OperatorAccount);

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError<Platform>;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError<Platform>> {
        let missing_guard = || Error::internal("the route has no guard");
        let AuthenticatedOperator(account) = parts.extensions.remove().ok_or_else(missing_guard)?;
        query::check(parts)?;
        Ok(Self(account))
    }
}

impl ErrorSet for Operator {
    fn cases() -> Vec<ErrorCase> {
        let key = "The operator's key is missing, invalid, revoked or expired";
        let key = ErrorCase::new(key, Error::Unauthenticated);
        [key].into_iter().chain(LimitReached::cases()).collect()
    }
}
