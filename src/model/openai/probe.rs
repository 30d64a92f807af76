//! Checks whether an endpoint is reachable and accepts the key, by listing its models, which costs nothing.

use std::time::Duration;

use reqwest::{StatusCode, Url, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{HttpClient, http};
use crate::domain::chat::ModelError;

/// Requests `/models`. An endpoint that does not list its models is reachable too.
pub async fn probe(
    client: &HttpClient,
    base_url: &Url,
    key: Option<&SecretString>,
    limit: Duration,
) -> Result<(), ModelError> {
    let url = format!("{}/models", base_url.as_str().trim_end_matches('/'));
    let mut request = client.0.get(url);
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
    }
    let response = timeout(limit, request.send()).await.map_err(|_| ModelError::Timeout)?;
    let status = response.map_err(|_| ModelError::Unavailable)?.status();
    let is_reachable =
        status.is_success() || matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    if is_reachable { Ok(()) } else { Err(http::status_error(status, None)) }
}
