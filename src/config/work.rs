//! Sections about the work: turns, widget requests, events, webhooks, limits, the outbound client.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::value::{Rate, optional, required};
use crate::domain::allow_hosts::AllowHosts;
use crate::domain::money::Money;

/// `[turn]`: limits of turns.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Turn {
    /// Time for one attempt.
    #[serde(deserialize_with = "required")]
    pub deadline: Duration,
    /// From a platform turn's first start.
    #[serde(deserialize_with = "required")]
    pub max_age: Duration,
    /// For a platform turn that is queued and never started.
    #[serde(deserialize_with = "required")]
    pub max_wait: Duration,
    /// Model calls in one turn.
    #[serde(deserialize_with = "required")]
    pub max_rounds: u32,
    /// Tool calls in one turn.
    #[serde(deserialize_with = "required")]
    pub max_tool_calls: u32,
    /// Attempts at one turn.
    #[serde(deserialize_with = "required")]
    pub max_attempts: u32,
    /// The time after which the turns of a silent process are taken over.
    #[serde(deserialize_with = "required")]
    pub lease: Duration,
    /// Takeovers after which a turn fails.
    #[serde(deserialize_with = "required")]
    pub max_takeovers: u32,
    /// Slots of this process.
    #[serde(deserialize_with = "required")]
    pub max_in_flight: usize,
    /// Slots of this process that one workspace may hold.
    #[serde(deserialize_with = "optional")]
    pub max_in_flight_per_workspace: Option<usize>,
    /// Open turns of a conversation.
    #[serde(deserialize_with = "required")]
    pub max_open_per_conversation: u32,
    /// Open turns of a workspace.
    #[serde(deserialize_with = "required")]
    pub max_open: u32,
}

/// `[widget]`: widget requests that wait for their turn.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Widget {
    /// From the arrival of a request to its response.
    #[serde(deserialize_with = "required")]
    pub deadline: Duration,
    /// Requests that wait concurrently in this process.
    #[serde(deserialize_with = "required")]
    pub max_waiting: usize,
}

/// `[events]`: the event log and its followers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Events {
    /// The retention of events, closed deliveries and their attempts.
    #[serde(deserialize_with = "required")]
    pub retention: Duration,
    /// Concurrent streams and long polls of this process.
    #[serde(deserialize_with = "required")]
    pub max_followers: usize,
    /// The same for one workspace.
    #[serde(deserialize_with = "required")]
    pub max_followers_per_workspace: usize,
}

/// `[audit]`: the audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Audit {
    /// The time after which an entry loses the client's address.
    #[serde(deserialize_with = "required")]
    pub address_retention: Duration,
}

/// `[webhooks]`: deliveries to webhook endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Webhooks {
    /// Concurrent deliveries of this process.
    #[serde(deserialize_with = "required")]
    pub max_in_flight: usize,
    /// The same to one endpoint.
    #[serde(deserialize_with = "required")]
    pub max_in_flight_per_endpoint: usize,
    /// From a request to the end of the response.
    #[serde(deserialize_with = "required")]
    pub timeout: Duration,
}

/// `[limits]`: limits of the widget API, whose only credential is a UUID, and rates and token budgets of both APIs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Limits {
    /// `false`: none of these limits apply.
    #[serde(deserialize_with = "required")]
    pub enabled: bool,
    /// Messages.
    #[serde(deserialize_with = "required")]
    pub per_conversation: Rate,
    /// Requests.
    #[serde(deserialize_with = "required")]
    pub per_address: Rate,
    /// New conversations.
    #[serde(deserialize_with = "required")]
    pub new_conversations_per_address: Rate,
    /// Open event streams of visitors.
    #[serde(deserialize_with = "required")]
    pub streams_per_address: usize,
    /// Requests with an API key that is invalid, or that this process has not seen before.
    #[serde(deserialize_with = "required")]
    pub failed_authentications_per_address: Rate,
    /// Requests of an API key.
    #[serde(deserialize_with = "required")]
    pub per_key: Rate,
    /// Requests of all API keys of a workspace.
    #[serde(deserialize_with = "required")]
    pub per_workspace: Rate,
    /// Messages of a conversation.
    #[serde(deserialize_with = "required")]
    pub messages_per_conversation: u32,
    /// Cost of a conversation, including refunded turns.
    #[serde(deserialize_with = "optional")]
    pub spend_per_conversation: Option<Money>,
    /// Cost of the widget conversations of a workspace a day, including refunded turns.
    #[serde(deserialize_with = "optional")]
    pub spend_per_day: Option<Money>,
    /// Tokens of models in a conversation, of both APIs.
    #[serde(deserialize_with = "optional")]
    pub tokens_per_conversation: Option<NonZeroU64>,
    /// Tokens of models in a workspace a day, of both APIs.
    #[serde(deserialize_with = "optional")]
    pub tokens_per_day: Option<NonZeroU64>,
    /// Free test turns of a workspace a day.
    #[serde(deserialize_with = "required")]
    pub test_turns_per_day: u32,
    /// Conversations of a workspace that visitors created and in which nothing has happened since.
    #[serde(deserialize_with = "required")]
    pub untouched_conversations: u32,
    /// The time after which they are removed.
    #[serde(deserialize_with = "required")]
    pub untouched_retention: Duration,
    /// The networks of the proxies whose `X-Forwarded-For` is trusted.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Arc<[IpNet]>,
}

/// `[outbound]`: the client for URLs that tenants choose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Outbound {
    /// Private hosts that are allowed: `host` or `host:port`, as URLs write them.
    #[serde(deserialize_with = "hosts")]
    pub allow_hosts: AllowHosts,
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AllowHosts, D::Error> {
    let entries = Vec::<String>::deserialize(deserializer)?;
    AllowHosts::parse(entries)
        .map_err(|_| D::Error::custom("expected `host` or `host:port`, without scheme or path"))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[IpNet]>, D::Error> {
    let entries = Vec::<String>::deserialize(deserializer)?;
    let networks = entries.iter().map(|entry| network(entry.trim()));
    let networks: Option<Arc<[IpNet]>> = networks.collect();
    let expected = "expected networks such as `10.0.0.0/8` and `fd00::/8`, or addresses";
    networks.ok_or_else(|| D::Error::custom(expected))
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}
