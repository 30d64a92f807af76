//! The tools of a Model Context Protocol server, through the official SDK. All traffic goes through the guarded
//! client (`http_client`); a session is opened once and shared (`sessions`). `docs/tools.md` describes requests and
//! results.

mod error;
mod http_client;
mod list;
mod result;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::CallToolRequestParams;
use secrecy::{ExposeSecret as _, SecretString};

use super::secrets::{Secrets, ToolSecrets};
use super::{Adapters, Call, CallContext, Tool, ToolOutcome};
use crate::domain::chat::ToolSpec;
use crate::domain::seal::SealKeys;
use crate::domain::tool::{CompiledTool, HeaderText, McpServer};
use crate::domain::tool_loop::CallResult;
use crate::outbound::{AllowHosts, GuardedClient};

pub use list::{ListError, Listing, list};
pub use sessions::Sessions;

use error::McpError;
use sessions::SessionKey;

/// A server with its decrypted secrets.
#[derive(Clone, Debug)]
pub struct ServerConnection {
    pub outbound: GuardedClient,
    /// The private hosts that the workspace may reach.
    pub allow_hosts: AllowHosts,
    pub url: String,
    pub headers: HeaderMap,
    pub timeout: Duration,
}

impl ServerConnection {
    /// A connection with these secrets. The error is for the model.
    pub fn new(
        server: &McpServer<SecretString>,
        outbound: &GuardedClient,
        allow_hosts: &AllowHosts,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, text) in &server.headers {
            let (text, is_secret) = match text {
                HeaderText::Secret(secret) => (secret.expose_secret(), true),
                HeaderText::Plain(text) => (text.as_str(), false),
            };
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| "a header of the tool has an invalid name".to_owned())?;
            let mut value = HeaderValue::from_bytes(text.trim().as_bytes()).map_err(|_| {
                "a header of the tool has a line break or another control character".to_owned()
            })?;
            value.set_sensitive(is_secret);
            headers.insert(name, value);
        }
        Ok(Self {
            outbound: outbound.clone(),
            allow_hosts: allow_hosts.clone(),
            url: server.url.clone(),
            headers,
            timeout: server.timeout,
        })
    }

    /// Decrypts the secrets of the server; from then on `secrets` masks them. The error is for the model.
    pub fn open(
        server: &McpServer,
        outbound: &GuardedClient,
        allow_hosts: &AllowHosts,
        secrets: &mut Secrets<'_>,
    ) -> Result<Self, String> {
        Self::new(&server.try_map(|field, sealed| secrets.open(field, sealed))?, outbound, allow_hosts)
    }
}

/// One tool of a server.
pub(super) struct McpTool {
    spec: ToolSpec,
    slug: String,
    server: McpServer,
    sessions: Sessions,
    outbound: GuardedClient,
    seal_keys: Option<Arc<SealKeys>>,
}

impl McpTool {
    pub(super) fn new(tool: &CompiledTool, server: &McpServer, adapters: &Adapters) -> Self {
        Self {
            spec: tool.spec.clone(),
            slug: tool.slug.clone(),
            server: server.clone(),
            sessions: adapters.mcp.clone(),
            outbound: adapters.outbound.clone(),
            seal_keys: adapters.seal_keys.clone(),
        }
    }

    async fn send(&self, call: &Call, context: &CallContext<'_>) -> CallResult {
        let stored = self.seal_keys.as_deref().map(|keys| ToolSecrets {
            keys,
            workspace: context.workspace,
            tool: &self.slug,
        });
        let mut secrets = Secrets::new(stored);
        let connection =
            match ServerConnection::open(&self.server, &self.outbound, context.allow_hosts, &mut secrets) {
                Ok(connection) => connection,
                Err(problem) => return CallResult::failed(format!("The call was not sent: {problem}.")),
            };
        let timeout = connection.timeout;
        let key = SessionKey::new(context.workspace, &self.server, context.allow_hosts);
        let mut active_session = None;
        let calling = async {
            let session = self.sessions.get(&key, connection).await?;
            let session = active_session.insert(session);
            let params = CallToolRequestParams::new(self.spec.name.clone());
            let params = params.with_arguments(call.arguments.clone());
            session.call_tool(params).await.map_err(McpError::from)
        };
        // The SDK has its own timeouts, but calls must not depend on them.
        let outcome = tokio::time::timeout(timeout, calling).await.unwrap_or(Err(McpError::Timeout(timeout)));
        match outcome {
            Ok(response) => result::read(response, &secrets),
            Err(error) => {
                if let Some(session) =
                    active_session.filter(|_| !matches!(error, McpError::ErrorResponse { .. }))
                {
                    self.sessions.discard(&key, &session);
                }
                tracing::info!(
                    tool.name = self.spec.name,
                    call.id = call.id,
                    error = &error as &dyn std::error::Error,
                    "an MCP server gave no result"
                );
                CallResult::failed(error.model_message(&secrets))
            }
        }
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// The `idempotentHint` of a server is only a hint.
    fn is_repeatable(&self) -> bool {
        false
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome {
        ToolOutcome::Result(self.send(call, context).await)
    }
}
