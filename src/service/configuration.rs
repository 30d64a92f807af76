//! What the writes of a workspace's configuration through the API share: bodies, slugs, errors, and the audit log.

use serde_json::{Map, Value};

use super::{Services, audit_log};
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject};
use crate::domain::error::Error;
use crate::domain::invalid_field::{InvalidField, check_slug};
use crate::domain::knowledge::slugify;
use crate::formats::json_config::ReadError;
use crate::store::{Conn, StoreError};

/// The fields of a request's body.
pub(in crate::service) type Fields = Map<String, Value>;

/// How many names an error shows.
const MAX_SHOWN: usize = 10;

/// The error of a body.
pub(super) fn invalid(error: impl Into<ReadError>) -> Error {
    Error::invalid("body", error.into().to_string())
}

/// The error of a write to what a workspace file has made.
pub(super) fn managed_by_file(resource: &str, slug: &str) -> Error {
    Error::Conflict(format!("The {resource} '{slug}' is set up by a workspace file: change it there."))
}

/// Lists the first of some slugs.
pub(super) fn quote(slugs: &[String]) -> String {
    let shown: Vec<String> = slugs.iter().take(MAX_SHOWN).map(|slug| format!("'{slug}'")).collect();
    match slugs.len().saturating_sub(MAX_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Removes the fields that are null: in a new resource they count as absent.
pub(super) fn without_nulls(mut fields: Fields) -> Fields {
    fields.retain(|_, value| !value.is_null());
    fields
}

/// Takes the slug of a new resource; without one, it is made from the name. No slug may be an id of the resource.
pub(super) fn take_slug(fields: &mut Fields, is_id: impl Fn(&str) -> bool) -> Result<String, Error> {
    let slug = match fields.remove("slug") {
        Some(Value::String(slug)) => slug,
        Some(_) => return Err(invalid(InvalidField::new("slug", "expected a string"))),
        None => {
            let name = fields.get("name").and_then(Value::as_str);
            name.and_then(slugify).ok_or_else(|| invalid(ReadError::Missing("slug".to_owned())))?
        }
    };
    check_slug(&slug).map_err(invalid)?;
    if is_id(&slug) {
        return Err(invalid(InvalidField::new("slug", "an id is no slug")));
    }
    Ok(slug)
}

/// A change for the audit log.
pub(super) struct Change {
    pub action: AuditAction,
    pub object: AuditObject,
    /// Null for a new object.
    pub before: Value,
    pub after: Value,
}

impl Change {
    /// Records it in the transaction that makes it.
    pub(super) async fn record(
        self,
        conn: Conn<'_>,
        services: &Services,
        account: &Account,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry::new(account.workspace, &account.actor, self.action, self.object);
        let entry = entry.with_changes(self.before, self.after);
        audit_log::record(conn, services.clock.as_ref(), &services.ids, &entry).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slug(fields: Value) -> Result<String, String> {
        let Value::Object(mut fields) = fields else { return Err(String::new()) };
        take_slug(&mut fields, |slug| slug == "an_id").map_err(|error| error.to_string())
    }

    #[test]
    fn a_slug_is_given_or_made_from_the_name() {
        assert_eq!(slug(json!({ "slug": "a_b-1", "name": "X" })), Ok("a_b-1".to_owned()));
        assert_eq!(slug(json!({ "name": "Café & Bar" })), Ok("cafe-bar".to_owned()));
        assert_eq!(slug(json!({ "name": "???" })), Err("Field 'slug' is required.".to_owned()));
        assert_eq!(slug(json!({ "slug": "an_id" })), Err("Field 'slug': an id is no slug.".to_owned()));
        assert!(slug(json!({ "slug": "A" })).is_err());
        assert!(slug(json!({ "slug": 5 })).is_err());
    }

    #[test]
    fn a_long_list_is_cut_short() {
        let slugs: Vec<String> = (0..12).map(|number| format!("a{number}")).collect();

        assert_eq!(quote(&slugs[..2]), "'a0', 'a1'");
        assert!(quote(&slugs).ends_with("'a9' and 2 more"));
    }
}
