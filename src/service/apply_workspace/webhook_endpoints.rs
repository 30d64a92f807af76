//! The webhook endpoints of a file. Endpoints created through the API have no slug and stay unchanged.

use std::sync::Arc;

use super::changes::differing;
use super::{Action, Applier, ApplyError, CurrentState, GeneratedSecret};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::domain::seal::{SealedSecret, SecretContext};
use crate::domain::webhook_endpoint::{
    DEFAULT_ROTATION_OVERLAP, DisabledReason, Endpoint, EndpointPatch, NewEndpoint, Switch,
};
use crate::formats::workspace_file::FileEndpoint;
use crate::service::webhook_endpoints::make_secret;
use crate::store::{Conn, StoreError, webhook_endpoints};
use crate::writer::{EndpointAction, WriteEndpoint};

const SECTION: &str = "webhook endpoint";

/// The endpoints that a file created, including archived ones.
pub(super) async fn list_from_file(
    conn: Conn<'_>,
    workspace: WorkspaceId,
) -> Result<Vec<Endpoint>, StoreError> {
    let mut all = webhook_endpoints::list_by_workspaces(conn, &[workspace].into()).await?;
    all.retain(|endpoint| endpoint.from_file);
    Ok(all)
}

impl Applier<'_> {
    pub(super) fn put_endpoints(&mut self, current: &CurrentState) -> Result<Vec<WriteEndpoint>, ApplyError> {
        let files = &self.prepared.file.webhook_endpoints;
        let mut commands = Vec::new();
        let is_removed = |old: &&Endpoint| {
            let is_same = |file: &FileEndpoint| old.slug.as_ref() == Some(&file.slug);
            old.archived_at.is_none() && !files.iter().any(is_same)
        };
        // First, because new endpoints count towards the same limit.
        for old in current.endpoints.iter().filter(is_removed) {
            commands.push(self.command(old.id, EndpointAction::Archive { by_file: true }));
            self.report_change(SECTION, old.slug.as_deref().unwrap_or_default(), Action::Archived);
        }
        for file in files {
            match current.endpoints.iter().find(|old| old.slug.as_ref() == Some(&file.slug)) {
                Some(old) => commands.extend(self.update_endpoint(file, old)?),
                None => commands.push(self.create_endpoint(file)?),
            }
        }
        Ok(commands)
    }

    fn command(&self, endpoint: EndpointId, action: EndpointAction) -> WriteEndpoint {
        WriteEndpoint { workspace: self.workspace, endpoint, action, actor: Arc::clone(self.actor) }
    }

    fn create_endpoint(&mut self, file: &FileEndpoint) -> Result<WriteEndpoint, ApplyError> {
        let id = EndpointId(self.context.ids.uuid_v7(self.context.clock));
        self.record_id(SECTION, &file.slug, id);
        let context = SecretContext::of_endpoint(self.workspace, id);
        let secret = match &file.secret {
            Some(name) => self.seal(&context, name, None)?,
            None => self.generate_secret(&context, &file.slug)?,
        };
        let new = NewEndpoint {
            slug: Some(file.slug.clone()),
            description: file.description.clone(),
            url: file.url.clone(),
            types: file.event_types(),
            secret,
            disabled: (file.enabled == Some(false)).then_some(DisabledReason::File),
        };
        self.report_change(SECTION, &file.slug, Action::Created);
        Ok(self.command(id, EndpointAction::Create(new)))
    }

    fn generate_secret(
        &mut self,
        context: &SecretContext<'_>,
        slug: &str,
    ) -> Result<SealedSecret, ApplyError> {
        let secret = make_secret(self.context.ids).to_text();
        let keys = self.context.seal.ok_or(ApplyError::NoSecretKey)?;
        let sealed = keys.seal(context, &secret, self.context.ids.bytes()).map_err(|_| ApplyError::Seal)?;
        self.secrets.push(GeneratedSecret { endpoint: slug.to_owned(), secret });
        Ok(sealed)
    }

    fn update_endpoint(
        &mut self,
        file: &FileEndpoint,
        old: &Endpoint,
    ) -> Result<Option<WriteEndpoint>, ApplyError> {
        self.record_id(SECTION, &file.slug, old.id);
        let context = SecretContext::of_endpoint(self.workspace, old.id);
        let secret = file.secret.as_ref();
        let secret = secret.map(|name| self.seal(&context, name, old.stored_secrets())).transpose()?;
        let secret = secret.filter(|secret| *secret != old.secret);
        let switch = switch(file, old);
        if let Some(cause) = old.disabled_reason.filter(|_| switch.is_none() && file.enabled.is_none()) {
            self.warnings.push(stays_disabled(&file.slug, cause));
        }
        let keys = differing([
            ("url", old.url != file.url),
            ("description", old.description != file.description),
            ("types", old.types != file.event_types()),
            ("secret", secret.is_some()),
            ("enabled", switch.is_some()),
        ]);
        let Some(action) = Action::of(Some(old.archived_at.is_some()), keys) else { return Ok(None) };
        let change = EndpointPatch {
            url: Some(file.url.clone()),
            types: Some(file.event_types()),
            description: Some(file.description.clone()),
            secret: secret.map(|secret| (secret, DEFAULT_ROTATION_OVERLAP)),
            switch,
            restores: true,
        };
        self.report_change(SECTION, &file.slug, action);
        Ok(Some(self.command(old.id, EndpointAction::Update(change))))
    }
}

/// The warning about an endpoint that the file does not enable.
fn stays_disabled(slug: &str, cause: DisabledReason) -> String {
    let cause = match cause {
        DisabledReason::Gone => "it answered 410",
        DisabledReason::Failing => "it failed for five days",
        DisabledReason::Api => "through the API",
        DisabledReason::File => "by the file",
    };
    format!(
        "webhook endpoint {slug}: it is disabled ({cause}), and gets no events; `enabled = true` in the file enables it"
    )
}

/// The change of `enabled` that the file requires. Without a setting, an endpoint that a file disabled is enabled again;
/// one that was disabled for another reason stays disabled.
fn switch(file: &FileEndpoint, old: &Endpoint) -> Option<Switch> {
    match file.enabled {
        Some(false) => old.enabled.then_some(Switch::Off(DisabledReason::File)),
        Some(true) => (!old.enabled).then_some(Switch::On),
        None => (old.disabled_reason == Some(DisabledReason::File)).then_some(Switch::On),
    }
}
