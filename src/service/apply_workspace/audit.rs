//! The entries of the audit log for what an apply changes. Those of webhook endpoints and of credit are written by their commands.

use std::fmt;

use serde_json::Value;

use super::{Action, Applier, ApplyError, Change};
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::audit_fields::{names_only, stored_fields};
use crate::service::audit_log;
use crate::store::Conn;

/// The JSON of an object before and after a change, if the log may show it.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
}

impl Values<'_> {
    pub(super) const NONE: Self = Self { before: None, after: None };
}

/// A change to be written to the log.
pub(super) struct AuditedChange {
    object: AuditObject,
    action: AuditAction,
    before: Value,
    after: Value,
}

impl Applier<'_> {
    /// Adds a change to the report, and to the audit log.
    pub(super) fn record_change(
        &mut self,
        kind: ObjectKind,
        id: impl fmt::Display,
        name: impl fmt::Display,
        action: Action,
        values: Values<'_>,
    ) {
        let name = name.to_string();
        // People are behind conversations, and the link that names one gives access to it.
        let shown = Some(name.as_str()).filter(|_| kind != ObjectKind::Conversation);
        let (before, after) = shown_values(&action, values);
        self.audited.push(AuditedChange {
            object: AuditObject::new(kind, id, shown),
            action: audit_action(&action),
            before,
            after,
        });
        self.report_change(section(kind), name, action);
    }

    /// Adds a change to the report.
    pub(super) fn report_change(&mut self, section: &'static str, name: impl fmt::Display, action: Action) {
        self.changes.push(Change { section, name: name.to_string(), action });
    }

    pub(super) async fn write_audit_log(&self, mut conn: Conn<'_>) -> Result<(), ApplyError> {
        for AuditedChange { object, action, before, after } in &self.audited {
            let entry = AuditEntry::new(self.workspace, self.actor, *action, object.clone());
            let entry = AuditEntry { before: before.clone(), after: after.clone(), ..entry };
            audit_log::record(conn.reborrow(), self.context.clock, self.context.ids, &entry).await?;
        }
        Ok(())
    }
}

/// The section of the report for a kind of objects.
fn section(kind: ObjectKind) -> &'static str {
    if kind == ObjectKind::KnowledgeBase { "knowledge base" } else { kind.as_str() }
}

fn audit_action(action: &Action) -> AuditAction {
    match action {
        Action::Created => AuditAction::Created,
        Action::Changed(_) | Action::Restored => AuditAction::Updated,
        Action::Archived => AuditAction::Archived,
        Action::Removed => AuditAction::Deleted,
    }
}

/// All fields of a new object, the fields of a changed object that differ, and otherwise none.
fn shown_values(action: &Action, values: Values<'_>) -> (Value, Value) {
    let all = |text: Option<&str>| text.map_or(Value::Null, stored_fields);
    match action {
        Action::Created => (Value::Null, all(values.after)),
        Action::Changed(keys) if values.after.is_none() => (Value::Null, names_only(keys)),
        Action::Changed(keys) => {
            let changed = |text: Option<&str>| {
                let mut fields = all(text);
                if let Some(fields) = fields.as_object_mut() {
                    fields.retain(|name, _| keys.contains(name));
                }
                fields
            };
            (changed(values.before), changed(values.after))
        }
        Action::Archived | Action::Removed | Action::Restored => (Value::Null, Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_shows_the_fields_that_differ_without_secrets() {
        let old = r#"{"url": "a", "token": {"sealed": "1"}, "same": 1}"#;
        let new = r#"{"url": "b", "token": {"sealed": "2"}, "same": 1}"#;
        let keys = vec!["url".to_owned(), "token".to_owned()];
        let values = Values { before: Some(old), after: Some(new) };

        let changed = shown_values(&Action::Changed(keys.clone()), values);
        let created = shown_values(&Action::Created, Values { before: None, after: Some(new) });
        let hidden = shown_values(&Action::Changed(keys), Values::NONE);

        assert_eq!(changed, (json!({"url": "a", "token": "***"}), json!({"url": "b", "token": "***"})));
        assert_eq!(created, (Value::Null, json!({"url": "b", "token": "***", "same": 1})));
        assert_eq!(hidden, (Value::Null, json!({"url": "***", "token": "***"})));
    }
}
