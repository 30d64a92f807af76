//! The header with which an identified visitor proves who they are.

use http::{HeaderMap, HeaderName};
use secrecy::SecretString;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};

use crate::domain::error::Error;
use crate::domain::identity::InvalidIdentity;
use crate::http::describe::error_sets;
use crate::http::fields::string_schema;

const REJOINDER_IDENTITY: HeaderName = HeaderName::from_static("rejoinder-identity");

error_sets! {
    /// The token of an identified visitor.
    IdentityRefused {
        "The identity token is invalid; the text says why" => Error::InvalidIdentity(InvalidIdentity::Expired),
    }
}

/// The token of a request; none if it has no such header. One that is no text is no token either.
pub(super) fn identity_token(headers: &HeaderMap) -> Option<SecretString> {
    headers.get(REJOINDER_IDENTITY).map(|value| value.to_str().unwrap_or_default().into())
}

/// The header, for the description of the API.
#[derive(Debug)]
pub(super) enum IdentityHeader {}

impl IntoParams for IdentityHeader {
    fn into_params(_parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The identity token of the visitor. A conversation that was started with one is not found without a valid token of the \
            same visitor; other conversations ignore it";
        let header = ParameterBuilder::new().name("Rejoinder-Identity").parameter_in(ParameterIn::Header);
        let header = header.required(Required::False).description(Some(about));
        vec![header.schema(Some(string_schema(None))).build()]
    }
}
