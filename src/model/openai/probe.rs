//! Checks whether an endpoint is reachable and accepts the key, by listing its models, which costs nothing.

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use super::http::Patience;
use super::{Connection, Endpoint, HttpClient, http};
use crate::domain::chat::{ModelError, ModelErrorKind};

/// The largest list that is read.
const MAX_LIST: usize = 4 << 20;

/// The names of the models of an endpoint. None if it does not list them; then it is reachable too.
pub async fn probe(
    client: &HttpClient,
    base_url: &Url,
    key: Option<&SecretString>,
    limit: Duration,
) -> Result<Vec<String>, ModelError> {
    let connection = Connection::new(base_url.as_str(), key.cloned());
    let endpoint = Endpoint::new(client, &connection, &["models"], "application/json")
        .map_err(|_| ModelErrorKind::Refused)?;
    let listed = http::get(&endpoint, limit).await.map_err(|error| endpoint.describe(error));
    let response = match listed {
        Ok(response) => response,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let body = http::bounded_body(response, Patience::bounded(limit), MAX_LIST);
    let list = http::read_to_end(body).await.unwrap_or_default();
    let list = serde_json::from_slice::<List>(&list).map(|list| list.data).unwrap_or_default();
    Ok(list.into_iter().map(|model| model.id).collect())
}

#[derive(Deserialize)]
struct List {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

/// Whether the endpoint does not list its models.
fn is_missing(error: &ModelError) -> bool {
    let status = error.detail.as_ref().and_then(|detail| detail.status);
    matches!(status, Some(404 | 405))
}
