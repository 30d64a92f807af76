//! The webhook tool: an HTTP endpoint of the operator, called through the guarded client. `docs/tools.md` describes
//! requests and results.

mod capture;
mod endpoint;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use super::secrets::{Secrets, ToolSecrets};
use super::{Adapters, Call, CallContext, Exchange, Tool, ToolOutcome};
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Clock;
use crate::domain::seal::{SealKeys, SecretField};
use crate::domain::tool::{CompiledTool, WebhookTool};
use crate::domain::tool_loop::CallResult;
use crate::outbound::{GuardedClient, OutboundRequest};

use endpoint::Endpoint;
use request::RequestBuilder;

/// The largest response, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

pub(super) struct Webhook {
    spec: ToolSpec,
    slug: String,
    endpoint: Endpoint,
    outbound: GuardedClient,
    seal_keys: Option<Arc<SealKeys>>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    pub(super) fn new(
        tool: &CompiledTool,
        config: &WebhookTool,
        adapters: &Adapters,
    ) -> Result<Self, String> {
        Ok(Self {
            spec: tool.spec.clone(),
            slug: tool.slug.clone(),
            endpoint: Endpoint::read(config)?,
            outbound: adapters.outbound.clone(),
            seal_keys: adapters.seal_keys.clone(),
            clock: Arc::clone(&adapters.clock),
        })
    }

    /// `exchange` records the HTTP exchange.
    async fn send(
        &self,
        call: &Call,
        context: &CallContext<'_>,
        mut exchange: Option<&mut Exchange>,
    ) -> CallResult {
        let stored = self.seal_keys.as_deref().map(|keys| ToolSecrets {
            keys,
            workspace: context.workspace,
            tool: &self.slug,
        });
        let mut secrets = Secrets::new(stored);
        let request = match self.request(call, context, &mut secrets) {
            Ok(request) => request,
            Err(error) => return CallResult::failed(format!("The call was not sent: {error}.")),
        };
        if let Some(exchange) = &mut exchange {
            exchange.request = Some(capture::request(&request, &secrets));
        }
        let outcome = self.outbound.send(request, context.allow_hosts).await;
        if let Some(exchange) = &mut exchange {
            exchange.response = capture::response(&outcome, &secrets);
        }
        match outcome {
            Ok(response) => response::read(&response, &secrets),
            Err(error) => {
                tracing::info!(
                    tool.name = self.spec.name,
                    call.id = call.id,
                    error = &error as &dyn std::error::Error,
                    "a webhook tool got no answer"
                );
                CallResult::failed(response::describe(&error, &self.endpoint))
            }
        }
    }
}

impl Webhook {
    /// The error is for the model.
    fn request(
        &self,
        call: &Call,
        context: &CallContext<'_>,
        secrets: &mut Secrets<'_>,
    ) -> Result<OutboundRequest, String> {
        let mut variables = Cow::Borrowed(context.variables);
        for (name, sealed) in &self.endpoint.secrets {
            let secret = secrets.open(SecretField::Placeholder(name), sealed)?;
            variables.to_mut().insert(name.clone(), secret.expose_secret().trim().into());
        }
        let timestamp = self.clock.now().0.div_euclid(1_000_000);
        RequestBuilder { endpoint: &self.endpoint, call, variables: &variables, timestamp }.build(secrets)
    }
}

#[async_trait]
impl Tool for Webhook {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        self.endpoint.is_repeatable()
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome {
        ToolOutcome::Result(self.send(call, context, None).await)
    }

    async fn call_traced(&self, call: &Call, context: &CallContext<'_>) -> (ToolOutcome, Option<Exchange>) {
        let mut exchange = Exchange::default();
        let result = self.send(call, context, Some(&mut exchange)).await;
        // A refused request was not sent.
        let exchange = if exchange.request.is_some() { Some(exchange) } else { None };
        (ToolOutcome::Result(result), exchange)
    }
}
