//! Calendars are created, changed and archived. The workspace's state guards its configuration; bookings lock the calendar.

use serde_json::{Value, json};

use super::audit_object;
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::audit_fields::REDACTED;
use crate::domain::calendar::{
    Caldav, CaldavPatch, Calendar, CalendarDefinition, CalendarRulesIn, CalendarRulesPatch, CalendarSettings,
};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, ResourceId as _, WorkspaceId};
use crate::domain::invalid_field::InvalidField;
use crate::domain::seal::SecretContext;
use crate::outbound::{AllowHosts, check_url};
use crate::service::assistants::compile::{Incompatible, recompile_users_of_calendar};
use crate::service::audit_log;
use crate::service::configuration::managed_by_file;
use crate::service::tools::users::name_users;
use crate::service::webhook_endpoints::NO_KEY;
use crate::service::write_error::write_error;
use crate::service::{Services, workspace_hosts};
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, calendars, resource, stored_json, workspaces};
use crate::tools::MIN_SECRET_BYTES;

/// Maximum number of calendars of a workspace, archived ones included: an apply reads them all.
const MAX_CALENDARS: usize = 200;

/// A new calendar. Its rules are not checked yet.
#[derive(Debug)]
pub struct CreateCalendar {
    pub slug: String,
    pub rules: CalendarRulesIn,
    pub caldav: Option<CaldavPatch>,
}

/// Changes to a calendar.
#[derive(Debug, Default)]
pub struct UpdateCalendar {
    pub rules: CalendarRulesPatch,
    /// An empty one removes the server.
    pub caldav: Option<CaldavPatch>,
}

/// The result of a write that may be refused.
type Written<T> = Result<Result<T, Error>, StoreError>;

/// Creates a calendar. One that was archived through the API and has this slug is restored with the new settings.
pub async fn create(
    services: &Services,
    account: &Account,
    request: CreateCalendar,
) -> Result<Calendar, Error> {
    let rules = request.rules.try_into().map_err(|error| invalid(&error))?;
    let caldav = request.caldav.filter(|caldav| !caldav.is_empty());
    let caldav = caldav.map(|caldav| caldav.apply(None)).transpose().map_err(invalid_server)?;
    let caldav = caldav.map(|(caldav, _)| Box::new(caldav));
    let definition = CalendarDefinition { slug: request.slug, rules, caldav };
    let id = CalendarId(services.ids.uuid_v7(services.clock.as_ref()));
    let insert = async |conn: Conn<'_>| insert(services, account, conn, &definition, id).await;
    services.db.write(account.workspace, insert).await.map_err(write_error)?
}

async fn insert(
    services: &Services,
    account: &Account,
    mut conn: Conn<'_>,
    definition: &CalendarDefinition<String>,
    id: CalendarId,
) -> Written<Calendar> {
    let (workspace, slug, now) = (account.workspace, &definition.slug, services.clock.now());
    workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    if let Some(caldav) = &definition.caldav
        && let Err(error) = check_server(services, conn.reborrow(), workspace, caldav, false).await?
    {
        return Ok(Err(error));
    }
    let rows = workspace_config::list(conn.reborrow(), Section::Calendars, workspace).await?;
    let old = rows.iter().find(|row| row.slug == *slug);
    if old.is_some_and(|old| old.from_file || !old.archived) {
        let text =
            format!("The slug '{slug}' is taken by another calendar of the API or of a workspace file.");
        return Ok(Err(Error::Conflict(text)));
    }
    if old.is_none() && rows.len() >= MAX_CALENDARS {
        let text = format!("A workspace takes {MAX_CALENDARS} calendars at most, archived ones included.");
        return Ok(Err(Error::Conflict(text)));
    }
    let id = old.map_or(id, |old| CalendarId(old.id));
    calendars::lock(conn.reborrow(), &[(workspace, id)].into()).await?;
    let caldav = match definition.caldav.as_deref() {
        Some(caldav) => match seal(services, workspace, id, caldav, None) {
            Ok(caldav) => Some(Box::new(caldav)),
            Err(error) => return Ok(Err(error)),
        },
        None => None,
    };
    let settings = CalendarSettings { rules: definition.rules.clone(), caldav };
    put(conn.reborrow(), workspace, (id, slug), &settings, now).await?;
    let entry = AuditEntry::new(workspace, &account.actor, AuditAction::Created, audit_object(id, slug));
    audit_log::record(
        conn.reborrow(),
        services.clock.as_ref(),
        &services.ids,
        &entry.with_changes(Value::Null, shown(slug, &settings)),
    )
    .await?;
    let created = resource::find::<Calendar>(conn, workspace, id).await?;
    Ok(created.ok_or_else(|| Error::internal("a calendar that was just written is missing")))
}

/// Changes a calendar, and the assistants that use it. Turns that are already running continue with its old rules.
pub async fn update(
    services: &Services,
    account: &Account,
    name: &str,
    request: UpdateCalendar,
) -> Result<Calendar, Error> {
    let id = CalendarId::parse(name)?;
    let update = async |conn: Conn<'_>| update_in_tx(services, account, conn, id, request).await;
    services.db.write(account.workspace, update).await.map_err(write_error)?
}

async fn update_in_tx(
    services: &Services,
    account: &Account,
    mut conn: Conn<'_>,
    id: CalendarId,
    request: UpdateCalendar,
) -> Written<Calendar> {
    let (workspace, now) = (account.workspace, services.clock.now());
    let row = match lock(conn.reborrow(), workspace, id).await? {
        Ok(row) => row,
        Err(error) => return Ok(Err(error)),
    };
    let old: CalendarSettings = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    let settings = match change(services, conn.reborrow(), (workspace, id), &old, request).await? {
        Ok(settings) => settings,
        Err(error) => return Ok(Err(error)),
    };
    if settings != old {
        let recompiled =
            recompile_users_of_calendar(conn.reborrow(), workspace, (id, &settings), now).await?;
        if let Err(Incompatible { assistant, problem }) = recompiled {
            return Ok(Err(Error::Conflict(format!("The assistant '{assistant}' is not valid: {problem}."))));
        }
        put(conn.reborrow(), workspace, (id, &row.slug), &settings, now).await?;
        let object = audit_object(id, &row.slug);
        let entry = AuditEntry::new(workspace, &account.actor, AuditAction::Updated, object);
        let mut after = shown(&row.slug, &settings);
        let passwords = [&old, &settings].map(|settings| settings.caldav.as_ref()?.password.as_ref());
        if passwords[0] != passwords[1] && passwords[1].is_some() {
            after["caldav"]["password"] = json!("*** (changed)");
        }
        let entry = entry.with_changes(shown(&row.slug, &old), after);
        audit_log::record(conn.reborrow(), services.clock.as_ref(), &services.ids, &entry).await?;
    }
    let updated = resource::find::<Calendar>(conn, workspace, id).await?;
    Ok(updated.ok_or_else(|| CalendarId::not_found(id)))
}

/// The settings after a change, with a sealed password.
async fn change(
    services: &Services,
    conn: Conn<'_>,
    (workspace, id): (WorkspaceId, CalendarId),
    old: &CalendarSettings,
    request: UpdateCalendar,
) -> Written<CalendarSettings> {
    let rules = match request.rules.apply(old.rules.source().clone()) {
        Ok(rules) => rules,
        Err(error) => return Ok(Err(invalid(&error))),
    };
    let old_server = old.caldav.as_deref();
    let caldav = match request.caldav {
        None => old.caldav.clone(),
        Some(patch) if patch.is_empty() => None,
        Some(patch) => {
            let (caldav, keeps_password) = match patch.apply(old_server) {
                Ok(changed) => changed,
                Err(error) => return Ok(Err(invalid_server(error))),
            };
            if let Err(error) = check_server(services, conn, workspace, &caldav, keeps_password).await? {
                return Ok(Err(error));
            }
            let kept = old_server.filter(|_| keeps_password);
            match seal(services, workspace, id, &caldav, kept) {
                Ok(caldav) => Some(Box::new(caldav)),
                Err(error) => return Ok(Err(error)),
            }
        }
    };
    Ok(Ok(CalendarSettings { rules, caldav }))
}

/// Archives a calendar and returns it as it was. Its bookings stay; its iCalendar URL stops working.
pub async fn archive(services: &Services, account: &Account, name: &str) -> Result<Calendar, Error> {
    let (id, workspace) = (CalendarId::parse(name)?, account.workspace);
    let archive = async |mut conn: Conn<'_>| {
        let row = match lock(conn.reborrow(), workspace, id).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let users =
            name_users(conn.reborrow(), workspace, |tool| tool.config.calendar() == Some(&id)).await?;
        if let Some(users) = users {
            let slug = &row.slug;
            let text = format!("The calendar '{slug}' is used by these tools: {users}. Archive them first.");
            return Ok(Err(Error::Conflict(text)));
        }
        let Some(calendar) = resource::find::<Calendar>(conn.reborrow(), workspace, id).await? else {
            return Ok(Err(CalendarId::not_found(id)));
        };
        let now = services.clock.now();
        calendars::set_link(conn.reborrow(), workspace, id, None, now).await?;
        workspace_config::archive(conn.reborrow(), Section::Calendars, workspace, id.0, now).await?;
        let object = audit_object(id, &row.slug);
        let entry = AuditEntry::new(workspace, &account.actor, AuditAction::Archived, object);
        audit_log::record(conn, services.clock.as_ref(), &services.ids, &entry).await?;
        Ok(Ok(calendar))
    };
    services.db.write(workspace, archive).await.map_err(write_error)?
}

/// Locks a calendar for a change of its configuration. The inner error means that there is none, or that a file manages it.
async fn lock(mut conn: Conn<'_>, workspace: WorkspaceId, id: CalendarId) -> Written<ConfigRow> {
    workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    calendars::lock(conn.reborrow(), &[(workspace, id)].into()).await?;
    let found = workspace_config::find(conn, Section::Calendars, workspace, id.0).await?;
    Ok(match found {
        Some(row) if row.from_file => Err(managed_by_file("calendar", &row.slug)),
        Some(row) => Ok(row),
        None => Err(CalendarId::not_found(id)),
    })
}

async fn put(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    (id, slug): (CalendarId, &str),
    settings: &CalendarSettings,
    now: Micros,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(settings).map_err(StoreError::unreadable)?;
    let row = ConfigRow { id: id.0, slug: slug.to_owned(), text, from_file: false, archived: false };
    workspace_config::put(conn, Section::Calendars, workspace, &row, now).await
}

/// Checks the address of a server against the hosts that the workspace may reach, and the length of a new password.
async fn check_server(
    services: &Services,
    conn: Conn<'_>,
    workspace: WorkspaceId,
    caldav: &Caldav<String>,
    keeps_password: bool,
) -> Written<()> {
    let own = workspace_hosts::load(conn, workspace).await?;
    if let Err(problem) = check_caldav_address(caldav, &[&services.allow_hosts, &own]) {
        return Ok(Err(Error::invalid("caldav", format!("Field 'caldav.url' is refused: {problem}."))));
    }
    let is_short = |password: &String| password.trim().len() < MIN_SECRET_BYTES;
    if !keeps_password && caldav.password.as_ref().is_some_and(is_short) {
        let text = format!("Field 'caldav.password' must have at least {MIN_SECRET_BYTES} bytes.");
        return Ok(Err(Error::invalid("caldav", text)));
    }
    Ok(Ok(()))
}

/// Refuses a server that every call would refuse, or to which the password would be sent in the clear.
pub fn check_caldav_address<S>(caldav: &Caldav<S>, allow: &[&AllowHosts]) -> Result<(), String> {
    check_url(&caldav.url, allow).map_err(|refused| format!("{refused}{}", refused.remedy()))?;
    let is_plain = caldav.url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
    let is_named = allow.iter().any(|hosts| hosts.contains_host_of(&caldav.url));
    if caldav.password.is_some() && is_plain && !is_named {
        return Err("a password is sent over https only, or to a host that allow_hosts names".to_owned());
    }
    Ok(())
}

/// The server with a sealed password: that of `kept`, or its own.
fn seal(
    services: &Services,
    workspace: WorkspaceId,
    id: CalendarId,
    caldav: &Caldav<String>,
    kept: Option<&Caldav>,
) -> Result<Caldav, Error> {
    let password = match (kept, &caldav.password) {
        (Some(kept), _) => kept.password.clone(),
        (None, None) => None,
        (None, Some(password)) => {
            let keys = services.seal_keys.as_deref().ok_or(Error::NotConfigured(NO_KEY))?;
            let context = SecretContext::of_calendar(workspace, id);
            let password = password.as_str().into();
            Some(keys.seal(&context, &password, services.ids.bytes()).map_err(Error::internal)?)
        }
    };
    Ok(Caldav { url: caldav.url.clone(), username: caldav.username.clone(), password })
}

/// A calendar as the audit log shows it.
fn shown(slug: &str, settings: &CalendarSettings) -> Value {
    let mut fields = serde_json::to_value(settings.rules.source()).unwrap_or_default();
    fields["slug"] = json!(slug);
    if let Some(Caldav { url, username, password }) = settings.caldav.as_deref() {
        let password = password.as_ref().map(|_| REDACTED);
        fields["caldav"] = json!({ "url": url, "username": username, "password": password });
    }
    fields
}

fn invalid(error: &InvalidField) -> Error {
    let InvalidField { field, problem } = error;
    Error::invalid("body", format!("Field '{field}' is invalid: {problem}."))
}

fn invalid_server(error: InvalidField) -> Error {
    invalid(&error.within("caldav"))
}
