//! Sections about the work: turns, the widget door that waits for them, events, limits, the outbound client.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::value::{Rate, optional, required};
use crate::domain::allow_hosts::AllowHosts;
use crate::domain::money::Money;

/// `[turn]`: how long a turn may take, how often it is tried, how many there may be.
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
    /// How long a silent process keeps its turns.
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

/// `[widget]`: requests of the widget door that wait for their turn.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Widget {
    /// From a request's arrival to its answer.
    #[serde(deserialize_with = "required")]
    pub deadline: Duration,
    /// Requests that wait at once in this process.
    #[serde(deserialize_with = "required")]
    pub max_waiting: usize,
}

/// `[events]`: the log of events, and who follows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Events {
    /// How long events, closed deliveries and their attempts are kept.
    #[serde(deserialize_with = "required")]
    pub retention: Duration,
    /// Streams and long polls that follow at once in this process.
    #[serde(deserialize_with = "required")]
    pub max_followers: usize,
    /// The same, of one workspace.
    #[serde(deserialize_with = "required")]
    pub max_followers_per_workspace: usize,
}

/// `[webhooks]`: events on their way to webhook endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Webhooks {
    /// Deliveries under way at once from this process.
    #[serde(deserialize_with = "required")]
    pub max_in_flight: usize,
    /// Of these, to one endpoint.
    #[serde(deserialize_with = "required")]
    pub max_in_flight_per_endpoint: usize,
    /// From a request to the end of its answer.
    #[serde(deserialize_with = "required")]
    pub timeout: Duration,
}

/// `[limits]`: guards of the widget door, whose only credential is a UUID.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Limits {
    /// `false`: none of these hold.
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
    /// Messages that a conversation may hold.
    #[serde(deserialize_with = "required")]
    pub messages_per_conversation: u32,
    /// Cost of a conversation.
    #[serde(deserialize_with = "optional")]
    pub spend_per_conversation: Option<Money>,
    /// Cost of a workspace's widget door a day.
    #[serde(deserialize_with = "optional")]
    pub spend_per_day: Option<Money>,
    /// Free test turns of a workspace a day.
    #[serde(deserialize_with = "required")]
    pub test_turns_per_day: u32,
    /// Proxies in front whose `X-Forwarded-For` entry is believed.
    #[serde(deserialize_with = "required")]
    pub trusted_proxy_hops: usize,
}

/// `[outbound]`: the guarded client for addresses that tenants choose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Outbound {
    /// Private hosts that may be reached: `host` or `host:port`, as URLs write them.
    #[serde(deserialize_with = "hosts")]
    pub allow_hosts: AllowHosts,
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AllowHosts, D::Error> {
    let entries = Vec::<String>::deserialize(deserializer)?;
    AllowHosts::parse(entries)
        .map_err(|_| D::Error::custom("expected `host` or `host:port`, without scheme or path"))
}
