//! Builds and checks the configured models.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::join_all;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::config::{Config, ModelChoice};
use crate::domain::clock::Clock;
use crate::model::embeddings::{Embedder, EmbeddingsConnection};
use crate::model::offline::Offline;
use crate::model::openai::{Connection, HttpClient, OpenAi, probe};
use crate::model::{DEFAULT_CONNECTION, Models};

/// The model name of the offline model.
const OFFLINE: &str = "offline";

/// Whether [`build`] makes a connection of this name.
pub(super) fn has_connection(config: &Config, name: &str) -> bool {
    connections(config).contains(name)
}

/// The names of the connections that [`build`] makes.
pub(super) fn connections(config: &Config) -> BTreeSet<String> {
    config.connections.keys().cloned().chain([DEFAULT_CONNECTION.to_owned()]).collect()
}

/// The model of assistants that name none, and its host.
pub(super) fn describe(choice: &ModelChoice) -> String {
    match choice {
        ModelChoice::OpenAi { base_url, model, .. } => {
            format!("{model} at {}", base_url.host_str().unwrap_or_default())
        }
        ModelChoice::Offline { .. } => OFFLINE.to_owned(),
        ModelChoice::Missing(_) => "none".to_owned(),
    }
}

/// All connections, and the model of assistants that name none.
pub(super) fn build(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<(Models, String)> {
    let client = HttpClient::new(config.model.connect_timeout)?;
    let mut models = Models::default();
    let open = |base_url: &url::Url, api_key| {
        OpenAi::new(
            &client,
            &Connection {
                base_url: base_url.to_string(),
                api_key,
                first_byte: config.model.first_byte_timeout,
                idle: config.model.idle_timeout,
                max_body: config.model.max_body.0,
            },
        )
    };
    let max_in_flight = config.model.max_in_flight;
    let default_model = match config.model_choice() {
        ModelChoice::OpenAi { base_url, key, model } => {
            let openai = open(&base_url, key).context("model.base_url or model.api_key cannot be used")?;
            models.add(
                DEFAULT_CONNECTION,
                Arc::new(openai),
                max_in_flight,
                config.model.begins_with_thoughts,
            );
            model
        }
        ModelChoice::Offline { .. } => {
            let clock = Arc::clone(clock);
            let offline = Offline::new(Arc::new(move || clock.now().timestamp()), TimeZone::UTC);
            models.add(DEFAULT_CONNECTION, Arc::new(offline), max_in_flight, false);
            OFFLINE.to_owned()
        }
        ModelChoice::Missing(text) => bail!(text),
    };
    for (name, connection) in &config.connections {
        let openai = open(&connection.base_url, connection.api_key.clone());
        let openai = openai.with_context(|| format!("connections.{name} cannot be used"))?;
        let begins_with_thoughts = connection.begins_with_thoughts.unwrap_or(false);
        models.add(name.as_str(), Arc::new(openai), max_in_flight, begins_with_thoughts);
    }
    Ok((models, default_model))
}

/// Checks the model of assistants that name none, and describes it or the problem.
pub(super) async fn check(config: &Config, timeout: Duration) -> Result<String, String> {
    match config.model_choice() {
        ModelChoice::Offline { is_explicit: true } => Ok("the built-in demonstration".to_owned()),
        ModelChoice::Offline { is_explicit: false } => {
            Ok("the built-in demonstration, since neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"
                .to_owned())
        }
        ModelChoice::Missing(text) => Err(text.to_owned()),
        ModelChoice::OpenAi { base_url, key, model } => {
            let (reached, models) = reach(config, &base_url, key.as_ref(), timeout).await?;
            // Some endpoints also accept names that they do not list.
            let is_listed = models.is_empty() || models.contains(&model);
            let warning = if is_listed { "" } else { "; warning: its list of models does not contain it" };
            Ok(format!("{reached}, for {model}{warning}"))
        }
    }
}

/// Checks each further connection at the same time, by name.
pub(super) async fn check_connections(
    config: &Config,
    timeout: Duration,
) -> Vec<(String, Result<String, String>)> {
    let checks = config.connections.iter().map(async |(name, connection)| {
        let key = connection.api_key.as_ref();
        let reached = reach(config, &connection.base_url, key, timeout).await;
        (name.as_str().to_owned(), reached.map(|(reached, _)| reached))
    });
    join_all(checks).await
}

/// Describes the endpoint, and lists its models.
async fn reach(
    config: &Config,
    base_url: &url::Url,
    key: Option<&SecretString>,
    timeout: Duration,
) -> Result<(String, Vec<String>), String> {
    let client = HttpClient::new(config.model.connect_timeout).map_err(|error| error.to_string())?;
    let host = base_url.host_str().unwrap_or_default();
    let reached = probe(&client, base_url, key, timeout).await;
    reached.map(|models| (format!("{host} reached"), models)).map_err(|error| {
        // The request had nothing that people wrote.
        let message = error.foreign_message().map(|text| format!(" “{text}”")).unwrap_or_default();
        format!("{host}: {error}{message}")
    })
}

/// The embedder, if an endpoint is configured.
pub(super) fn embedder(config: &Config) -> anyhow::Result<Option<Embedder>> {
    let Some(choice) = config.embeddings_choice() else { return Ok(None) };
    let client = HttpClient::new(config.model.connect_timeout)?;
    let connection = EmbeddingsConnection {
        base_url: choice.base_url.to_string(),
        api_key: choice.key,
        model: choice.model,
    };
    let embedder = Embedder::new(&client, connection);
    Ok(Some(embedder.context("embeddings.base_url or embeddings.api_key cannot be used")?))
}
