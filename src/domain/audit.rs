//! The audit log: who changed what. One entry for every write of configuration, keys, money and workspaces, and for every export and
//! deletion, in the transaction of the change.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::audit_fields::fields_of;
use super::clock::{Micros, TimeRange};
use super::ids::{AuditId, KeyId, OperatorKeyId, WorkspaceId};
use super::string_enum::string_enum;

string_enum! {
    /// The credentials that a change was made with.
    ActorKind {
        /// An API key of the workspace.
        Key = "key",
        /// A key of the operator's API.
        Operator = "operator",
        /// The operator's shell.
        CommandLine = "command_line",
        /// The server itself, such as a retention period that has passed.
        Server = "server",
    }
}

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    /// The id of its key.
    pub id: Option<String>,
    /// The name of its key, which the log keeps when the key is deleted.
    pub name: String,
    /// The request, if it is one.
    pub origin: Option<RequestOrigin>,
}

impl Actor {
    /// The owner of a key of a workspace.
    #[must_use]
    pub fn of_key(key: KeyId, name: impl Into<String>) -> Self {
        Self { kind: ActorKind::Key, id: Some(key.to_string()), name: name.into(), origin: None }
    }

    /// The owner of a key of the operator's API.
    #[must_use]
    pub fn of_operator(key: OperatorKeyId, name: impl Into<String>) -> Self {
        Self { kind: ActorKind::Operator, id: Some(key.to_string()), name: name.into(), origin: None }
    }

    /// A command of the command line, such as `rejoinder apply`.
    #[must_use]
    pub fn command(name: impl Into<String>) -> Self {
        Self { kind: ActorKind::CommandLine, id: None, name: name.into(), origin: None }
    }

    /// The server itself.
    #[must_use]
    pub fn server() -> Self {
        Self { kind: ActorKind::Server, id: None, name: "rejoinder".to_owned(), origin: None }
    }
}

/// The request of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The method and the path with its placeholders: `PATCH /v1/assistants/{id}`.
    pub route: String,
    /// The client's address; none if it is not known.
    pub address: Option<IpAddr>,
    /// `x-request-id`.
    pub request_id: String,
}

string_enum! {
    /// What happened to an object.
    AuditAction {
        Created = "created",
        Updated = "updated",
        Archived = "archived",
        Deleted = "deleted",
        /// A key was rolled, or a secret rotated.
        Rotated = "rotated",
        Revoked = "revoked",
        Credited = "credited",
        Suspended = "suspended",
        Resumed = "resumed",
        Exported = "exported",
    }
}

string_enum! {
    /// The kind of an object: the word of its routes in the singular.
    ObjectKind {
        Assistant = "assistant",
        /// An export of the log.
        AuditLog = "audit_log",
        Booking = "booking",
        Calendar = "calendar",
        Conversation = "conversation",
        /// A restore of a backup.
        Database = "database",
        Document = "document",
        /// The deletion of a person.
        Erasure = "erasure",
        IdentitySecret = "identity_secret",
        Key = "key",
        KnowledgeBase = "knowledge_base",
        /// A key of the operator's API.
        OperatorKey = "operator_key",
        /// A sweep of data that is older than a workspace keeps it.
        Retention = "retention",
        /// The key that encrypts stored secrets.
        SecretKey = "secret_key",
        Tool = "tool",
        WebhookEndpoint = "webhook_endpoint",
        Workspace = "workspace",
    }
}

/// The object of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditObject {
    pub kind: ObjectKind,
    pub id: String,
    /// Its slug or name; none for conversations, bookings and persons.
    pub name: Option<String>,
}

impl AuditObject {
    #[must_use]
    pub fn new(kind: ObjectKind, id: impl fmt::Display, name: Option<&str>) -> Self {
        Self { kind, id: id.to_string(), name: name.map(str::to_owned) }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry<'a> {
    /// None if the object belongs to no workspace.
    pub workspace: Option<WorkspaceId>,
    pub actor: &'a Actor,
    pub action: AuditAction,
    pub object: AuditObject,
    /// The fields that differ, before and after, with secrets redacted. Null if there is no other state, and for
    /// conversations, bookings and persons.
    pub before: Value,
    pub after: Value,
}

impl<'a> AuditEntry<'a> {
    /// An entry without fields.
    #[must_use]
    pub fn new(workspace: WorkspaceId, actor: &'a Actor, action: AuditAction, object: AuditObject) -> Self {
        Self { workspace: Some(workspace), actor, action, object, before: Value::Null, after: Value::Null }
    }

    /// An entry without fields about something that belongs to no workspace.
    #[must_use]
    pub fn of_server(actor: &'a Actor, action: AuditAction, object: AuditObject) -> Self {
        Self { workspace: None, actor, action, object, before: Value::Null, after: Value::Null }
    }

    /// Adds the fields in which two JSON objects differ, at their first level, with secrets redacted and long values cut. A new object
    /// has no `before` (null).
    #[must_use]
    pub fn with_changes(mut self, before: Value, after: Value) -> Self {
        let (before, after) = match (before, after) {
            (Value::Object(before), Value::Object(after)) => {
                let only = |fields: &Map<String, Value>, others: &Map<String, Value>| {
                    let differs = |(name, value): &(&String, &Value)| others.get(*name) != Some(*value);
                    fields.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
                };
                (Value::Object(only(&before, &after)), Value::Object(only(&after, &before)))
            }
            both => both,
        };
        (self.before, self.after) = (shown(before), shown(after));
        self
    }
}

fn shown(fields: Value) -> Value {
    match fields {
        Value::Object(fields) => fields_of(fields),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            other
        }
    }
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAuditEntry {
    pub id: AuditId,
    pub workspace: Option<WorkspaceId>,
    pub created_at: Micros,
    pub actor_kind: ActorKind,
    pub actor_id: Option<String>,
    /// None only where the reader may not see it.
    pub actor_name: Option<String>,
    pub route: Option<String>,
    /// Removed after `audit.address_retention`.
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub action: AuditAction,
    pub object_kind: ObjectKind,
    pub object_id: String,
    pub object_name: Option<String>,
    /// JSON objects.
    pub before: Option<String>,
    pub after: Option<String>,
}

impl StoredAuditEntry {
    /// The entry as a reader with this kind of key sees it. The owner of a workspace does not see which operator acted, and from where.
    #[must_use]
    pub fn visible_to(mut self, reader: ActorKind) -> Self {
        if self.actor_kind == ActorKind::Operator && reader != ActorKind::Operator {
            (self.actor_id, self.actor_name, self.address) = (None, None, None);
        }
        self
    }
}

/// A filter of entries, which match all given fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// None: entries of all workspaces, and those without a workspace.
    pub workspace: Option<WorkspaceId>,
    /// The id of a key.
    pub actor: Option<String>,
    pub action: Option<AuditAction>,
    pub object_kind: Option<ObjectKind>,
    pub object_id: Option<String>,
    pub created: TimeRange,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn entry(before: Value, after: Value) -> (Value, Value) {
        let actor = Actor::server();
        let object = AuditObject::new(ObjectKind::Tool, "tool_1", Some("orders"));
        let entry = AuditEntry::new(WorkspaceId(Uuid::nil()), &actor, AuditAction::Updated, object);
        let entry = entry.with_changes(before, after);
        (entry.before, entry.after)
    }

    #[test]
    fn an_update_has_only_the_fields_that_differ() {
        let (before, after) =
            entry(json!({"name": "a", "url": "x", "gone": 1}), json!({"name": "a", "url": "y", "new": 2}));

        assert_eq!(before, json!({"url": "x", "gone": 1}));
        assert_eq!(after, json!({"url": "y", "new": 2}));
    }

    #[test]
    fn a_long_value_that_differs_at_its_end_is_shown_cut() {
        let prompt = |end: &str| json!({"prompt": format!("{}{end}", "x".repeat(5000))});

        let (before, after) = entry(prompt("a"), prompt("b"));

        for fields in [before, after] {
            assert!(fields["prompt"].as_str().is_some_and(|text| text.ends_with("(5003 bytes)")), "{fields}");
        }
    }

    #[test]
    fn a_creation_has_all_fields() {
        assert_eq!(entry(Value::Null, json!({"name": "a"})), (Value::Null, json!({"name": "a"})));
    }
}
