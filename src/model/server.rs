//! The server of a connection, as traces name it.

use url::Url;

use crate::telemetry::traces::SpanDescription;

/// Vendors by the end of their hosts, with the names of OpenTelemetry's `gen_ai.provider.name`.
const PROVIDERS: [(&str, &str); 12] = [
    ("openai.azure.com", "azure.ai.openai"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    ("api.cohere.ai", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    ("amazonaws.com", "aws.bedrock"),
];

/// A host and port, without credentials and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    pub host: String,
    pub port: u16,
}

impl ServerAddress {
    pub(super) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().to_owned();
        Self { host, port: url.port_or_known_default().unwrap_or_default() }
    }

    /// The vendor; `openai`, whose API it has, if the vendor is unknown.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        let known = PROVIDERS.iter().find(|(host, _)| self.host.ends_with(host));
        known.map_or("openai", |(_, provider)| provider)
    }

    /// Adds the address to the description of a span.
    #[must_use]
    pub fn describe(self, description: SpanDescription) -> SpanDescription {
        description.with("server.address", self.host).with("server.port", i64::from(self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_known_by_the_host() {
        let provider = |url: &str| ServerAddress::of(&url.parse().unwrap()).provider();

        assert_eq!(provider("https://api.mistral.ai/v1"), "mistral_ai");
        assert_eq!(provider("https://mine.openai.azure.com/openai/v1"), "azure.ai.openai");
        assert_eq!(provider("http://127.0.0.1:8000/v1"), "openai");
    }
}
