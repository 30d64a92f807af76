//! The calendars of a file. Bookings lock their rows.

use std::collections::HashMap;

use super::{Applier, ApplyError, CurrentState, reject_api_owned};
use crate::domain::calendar::{Caldav, CalendarSettings};
use crate::domain::ids::{CalendarId, WorkspaceId};
use crate::domain::seal::SecretContext;
use crate::formats::workspace_file::{EnvName, FileCalendar};
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, stored_json};

/// The stored calendars of the file.
#[derive(Default)]
pub(super) struct Calendars {
    pub by_slug: HashMap<String, CalendarId>,
    pub settings: HashMap<CalendarId, CalendarSettings>,
}

/// Locks all calendars of the workspace, in order of their ids, and reads them.
pub(super) async fn lock(mut conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<ConfigRow>, StoreError> {
    let rows = workspace_config::list(conn.reborrow(), Section::Calendars, workspace).await?;
    let ids = rows.iter().map(|row| (workspace, CalendarId(row.id))).collect();
    crate::store::calendars::lock(conn.reborrow(), &ids).await?;
    workspace_config::list(conn, Section::Calendars, workspace).await
}

impl Applier<'_> {
    pub(super) async fn put_calendars(
        &mut self,
        mut conn: Conn<'_>,
        current: &CurrentState,
    ) -> Result<Calendars, ApplyError> {
        let prepared = self.prepared;
        let mut calendars = Calendars::default();
        for calendar in &prepared.file.calendars {
            let old = current.calendars.iter().find(|row| row.slug == calendar.slug);
            reject_api_owned("calendar", &calendar.slug, old.is_none_or(|old| old.from_file))?;
            let id = old.map_or_else(|| self.context.ids.uuid_v7(self.context.clock), |old| old.id);
            self.record_id("calendar", &calendar.slug, CalendarId(id));
            let settings = self.settings(CalendarId(id), calendar, old)?;
            let text = serde_json::to_string(&settings)?;
            let slug = calendar.slug.clone();
            let row = ConfigRow { id, slug, text, from_file: true, archived: false };
            self.put_config_row(conn.reborrow(), Section::Calendars, row, old).await?;
            calendars.by_slug.insert(calendar.slug.clone(), CalendarId(id));
            calendars.settings.insert(CalendarId(id), settings);
        }
        let has = |slug: &str| calendars.by_slug.contains_key(slug);
        self.archive_missing(conn, Section::Calendars, &current.calendars, has).await?;
        Ok(calendars)
    }

    fn settings(
        &self,
        id: CalendarId,
        file: &FileCalendar,
        old: Option<&ConfigRow>,
    ) -> Result<CalendarSettings, ApplyError> {
        let context = SecretContext::of_calendar(self.workspace, id);
        let seal = |caldav: &Caldav<EnvName>| -> Result<Box<Caldav>, ApplyError> {
            let old = old.and_then(|old| stored_json::from_str::<CalendarSettings>(&old.text).ok());
            let old = old.and_then(|old| old.caldav?.password);
            let password = caldav.password.as_ref();
            let password = password.map(|name| self.seal(&context, name, &old)).transpose()?;
            Ok(Box::new(Caldav { url: caldav.url.clone(), username: caldav.username.clone(), password }))
        };
        let caldav = file.caldav.as_deref().map(seal).transpose()?;
        Ok(CalendarSettings { rules: file.rules.clone(), caldav })
    }
}
