//! The webhook endpoints of a file. Those that the API made have no slug, and are let be.

use super::{Action, ApplyError, Before, MadeSecret, Run};
use crate::domain::batch::{EndpointAction, EndpointChange, EndpointWrite, Item, NewEndpoint, Switch};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::domain::seal::Sealed;
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint, USUAL_OVERLAP};
use crate::domain::workspace_file::FileEndpoint;
use crate::service::webhook_endpoints::make_secret;
use crate::store::{Conn, StoreError, webhook_endpoints};

const SECTION: &str = "webhook endpoint";

/// The endpoints that a file made, archived ones too.
pub(super) async fn of_file(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<Endpoint>, StoreError> {
    let mut all = webhook_endpoints::of_workspaces(conn, &[workspace].into()).await?;
    all.retain(|endpoint| endpoint.from_file);
    Ok(all)
}

impl Run<'_> {
    pub(super) fn put_endpoints(&mut self, before: &Before) -> Result<Vec<Item>, ApplyError> {
        let files = &self.prepared.file.webhook_endpoints;
        let mut items = Vec::new();
        let is_gone = |old: &&Endpoint| {
            let is_it = |file: &FileEndpoint| old.slug.as_ref() == Some(&file.slug);
            old.archived_at.is_none() && !files.iter().any(is_it)
        };
        // First, to make room for those that are new.
        for old in before.endpoints.iter().filter(is_gone) {
            items.push(self.write(old.id, EndpointAction::Archive { by_file: true }));
            self.changed(SECTION, old.slug.as_deref().unwrap_or_default(), Action::Archived);
        }
        for file in files {
            match before.endpoints.iter().find(|old| old.slug.as_ref() == Some(&file.slug)) {
                Some(old) => items.extend(self.change_endpoint(file, old)?),
                None => items.push(self.make_endpoint(file)?),
            }
        }
        Ok(items)
    }

    fn write(&self, endpoint: EndpointId, action: EndpointAction) -> Item {
        Item::Endpoint(Box::new(EndpointWrite { workspace: self.workspace, endpoint, action }))
    }

    fn make_endpoint(&mut self, file: &FileEndpoint) -> Result<Item, ApplyError> {
        let secret = match &file.secret {
            Some(name) => self.seal(name, None)?,
            None => self.make_secret(&file.slug)?,
        };
        let new = NewEndpoint {
            slug: Some(file.slug.clone()),
            description: file.description.clone(),
            url: file.url.clone(),
            types: file.types.clone(),
            secret,
            disabled: (file.enabled == Some(false)).then_some(DisabledReason::File),
        };
        self.changed(SECTION, &file.slug, Action::Made);
        let id = EndpointId(self.site.ids.ordered(self.site.clock));
        Ok(self.write(id, EndpointAction::Make(Box::new(new))))
    }

    fn make_secret(&mut self, slug: &str) -> Result<Sealed, ApplyError> {
        let secret = make_secret(self.site.ids).to_text();
        let key = self.site.seal.ok_or(ApplyError::NoSecretKey)?;
        let sealed = key.seal(&secret, self.site.ids.bytes()).map_err(|_| ApplyError::Seal)?;
        self.secrets.push(MadeSecret { endpoint: slug.to_owned(), secret });
        Ok(sealed)
    }

    fn change_endpoint(&mut self, file: &FileEndpoint, old: &Endpoint) -> Result<Option<Item>, ApplyError> {
        let secret = file.secret.as_ref().map(|name| self.seal(name, old.kept_secrets())).transpose()?;
        let secret = secret.filter(|secret| *secret != old.secret);
        let switch = switch(file, old);
        let keys = [
            ("url", old.url != file.url),
            ("description", old.description != file.description),
            ("events", old.types != file.types),
            ("secret", secret.is_some()),
            ("enabled", switch.is_some()),
        ];
        let keys: Vec<_> = keys.into_iter().filter(|(_, differs)| *differs).collect();
        let action = if old.archived_at.is_some() {
            Action::Restored
        } else if keys.is_empty() {
            return Ok(None);
        } else {
            Action::Changed(keys.into_iter().map(|(key, _)| key.to_owned()).collect())
        };
        let change = EndpointChange {
            url: Some(file.url.clone()),
            types: Some(file.types.clone()),
            description: Some(file.description.clone()),
            secret: secret.map(|secret| (secret, USUAL_OVERLAP)),
            switch,
            restores: true,
        };
        self.changed(SECTION, &file.slug, action);
        Ok(Some(self.write(old.id, EndpointAction::Change(Box::new(change)))))
    }
}

/// What the file says; where it says nothing, what it has disabled before is enabled again, and what
/// was disabled otherwise stays so.
fn switch(file: &FileEndpoint, old: &Endpoint) -> Option<Switch> {
    match file.enabled {
        Some(false) => old.enabled.then_some(Switch::Off(DisabledReason::File)),
        Some(true) => (!old.enabled).then_some(Switch::On),
        None => (old.disabled_reason == Some(DisabledReason::File)).then_some(Switch::On),
    }
}
