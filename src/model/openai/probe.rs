//! Checks whether an endpoint is reachable and accepts the key, by listing its models, which costs nothing.

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::{Connection, Endpoint, HttpClient, http};
use crate::domain::chat::{ModelError, ModelErrorKind};

/// Requests `/models`. An endpoint that does not list its models is reachable too.
pub async fn probe(
    client: &HttpClient,
    base_url: &Url,
    key: Option<&SecretString>,
    limit: Duration,
) -> Result<(), ModelError> {
    let connection = Connection::new(base_url.as_str(), key.cloned());
    let endpoint = Endpoint::new(client, &connection, &["models"], "application/json")
        .map_err(|_| ModelErrorKind::Refused)?;
    let listed = http::get(&endpoint, limit).await.map_err(|error| endpoint.describe(error));
    match listed {
        Err(error) if !is_missing(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether the endpoint does not list its models.
fn is_missing(error: &ModelError) -> bool {
    let status = error.detail.as_ref().and_then(|detail| detail.status);
    matches!(status, Some(404 | 405))
}
