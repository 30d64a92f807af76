//! The file as it is written, key by key. An unknown key is an error.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::EnvName;
use crate::domain::assistant::ModelRef;
use crate::domain::calendar::HoursIn;
use crate::domain::conversation::ConversationKind;
use crate::domain::money::Money;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileIn {
    pub workspace: WorkspaceIn,
    #[serde(default)]
    pub assistants: Vec<AssistantIn>,
    #[serde(default)]
    pub calendars: Vec<CalendarIn>,
    #[serde(default)]
    pub knowledge_bases: Vec<KnowledgeBaseIn>,
    #[serde(default)]
    pub tools: Vec<ToolIn>,
    #[serde(default)]
    pub webhook_endpoints: Vec<EndpointIn>,
    #[serde(default)]
    pub conversations: Vec<ConversationIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkspaceIn {
    pub slug: String,
    pub name: String,
    #[serde(default)]
    pub balance: Money,
    #[serde(default = "default_true")]
    pub auto_create_conversations: bool,
    pub balance_low: Option<Money>,
    pub default_assistant: Option<String>,
    #[serde(default)]
    pub pricing: PricingIn,
    #[serde(default)]
    pub allow_hosts: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PricingIn {
    pub widget: Option<Money>,
    pub test: Option<Money>,
    pub api: Option<Money>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssistantIn {
    pub slug: String,
    pub id: Option<Uuid>,
    pub name: String,
    pub system_prompt: String,
    pub first_message: Option<String>,
    pub model: Option<String>,
    #[serde(default)]
    pub fallbacks: Vec<ModelRef>,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    #[serde(default)]
    pub pause_on_agent_message: bool,
    #[serde(default)]
    pub variables: Map<String, Value>,
    #[serde(default)]
    pub tools: Vec<String>,
    #[serde(default)]
    pub allowed_origins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CalendarIn {
    pub slug: String,
    pub time_zone: String,
    pub slot_minutes: Option<u32>,
    pub buffer_minutes: Option<u32>,
    pub minimum_notice_minutes: Option<u32>,
    pub horizon_days: Option<u32>,
    #[serde(default)]
    pub hours: HoursIn,
    #[serde(default)]
    pub holidays: Vec<String>,
    pub caldav: Option<CaldavIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaldavIn {
    pub url: String,
    pub username: Option<String>,
    pub password: Option<EnvName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct BaseIn")]
pub(super) struct KnowledgeBaseIn {
    pub slug: String,
    pub name: Option<String>,
    pub language: Option<String>,
    #[serde(default)]
    pub documents: Vec<DocumentIn>,
}

/// A document, with a text or a path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentIn {
    pub slug: Option<String>,
    pub title: String,
    pub url: Option<String>,
    pub text: Option<String>,
    pub path: Option<String>,
}

/// A tool of any kind; which keys its kind takes is checked afterwards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolIn {
    pub slug: String,
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub calendar: Option<String>,
    pub knowledge_base: Option<String>,
    pub method: Option<String>,
    pub url: Option<String>,
    pub headers: Option<BTreeMap<String, TextOrEnv>>,
    pub parameters: Option<Value>,
    pub body: Option<String>,
    pub form: Option<bool>,
    #[serde(rename = "static")]
    pub static_fields: Option<Map<String, Value>>,
    pub timeout: Option<String>,
    pub secret: Option<EnvName>,
    pub secrets: Option<BTreeMap<String, EnvName>>,
    pub idempotent: Option<bool>,
    pub allow: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointIn {
    pub slug: String,
    pub url: String,
    pub description: Option<String>,
    /// The API's word is `types`.
    #[serde(default, alias = "types")]
    pub events: Vec<String>,
    pub secret: Option<EnvName>,
    pub enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConversationIn {
    pub id: Uuid,
    pub assistant: String,
    #[serde(rename = "type")]
    pub kind: ConversationKind,
}

/// A text, or the name of the secret that stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextOrEnv {
    Plain(String),
    Env(EnvName),
}

impl<'de> Deserialize<'de> for TextOrEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrEnvVisitor;

        impl<'de> Visitor<'de> for TextOrEnvVisitor {
            type Value = TextOrEnv;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or { env = \"NAME\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<TextOrEnv, E> {
                Ok(TextOrEnv::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOrEnv, A::Error> {
                EnvName::deserialize(MapAccessDeserializer::new(map)).map(TextOrEnv::Env)
            }
        }

        deserializer.deserialize_any(TextOrEnvVisitor)
    }
}

fn default_true() -> bool {
    true
}
