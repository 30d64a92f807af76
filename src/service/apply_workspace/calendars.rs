//! The calendars of a file. Their rows are what bookings lock.

use std::collections::HashMap;

use super::{ApplyError, Before, Run, refuse_made_by_api};
use crate::domain::calendar::CalendarRules;
use crate::domain::ids::{CalendarId, WorkspaceId};
use crate::store::configured::{self, Configured, Section};
use crate::store::{Conn, StoreError};

/// The file's calendars as the store has them.
#[derive(Default)]
pub(super) struct Calendars {
    pub by_slug: HashMap<String, CalendarId>,
    pub rules: HashMap<CalendarId, CalendarRules>,
}

/// Locks all calendars of the workspace, in order of their ids, and reads them.
pub(super) async fn lock(mut conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<Configured>, StoreError> {
    let rows = configured::list(conn.reborrow(), Section::Calendars, workspace).await?;
    let ids = rows.iter().map(|row| (workspace, CalendarId(row.id))).collect();
    crate::store::calendars::lock(conn.reborrow(), &ids).await?;
    configured::list(conn, Section::Calendars, workspace).await
}

impl Run<'_> {
    pub(super) async fn put_calendars(
        &mut self,
        mut conn: Conn<'_>,
        before: &Before,
    ) -> Result<Calendars, ApplyError> {
        let prepared = self.prepared;
        let mut calendars = Calendars::default();
        for calendar in &prepared.file.calendars {
            let old = before.calendars.iter().find(|row| row.slug == calendar.slug);
            refuse_made_by_api("calendar", &calendar.slug, old.is_none_or(|old| old.from_file))?;
            let id = old.map_or_else(|| self.site.ids.ordered(self.site.clock), |old| old.id);
            let text = serde_json::to_string(&calendar.rules)?;
            let slug = calendar.slug.clone();
            let row = Configured { id, slug, text, from_file: true, archived: false };
            self.put_configured(conn.reborrow(), Section::Calendars, row, old).await?;
            calendars.by_slug.insert(calendar.slug.clone(), CalendarId(id));
            calendars.rules.insert(CalendarId(id), calendar.rules.clone());
        }
        let has = |slug: &str| calendars.by_slug.contains_key(slug);
        self.archive_rest(conn, Section::Calendars, &before.calendars, has).await?;
        Ok(calendars)
    }
}
