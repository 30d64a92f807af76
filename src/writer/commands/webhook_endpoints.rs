//! Creates, updates, archives, tests and disables webhook endpoints.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Command, Decision};
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::audit_fields::REDACTED;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::event::{EventType, Subscriber};
use crate::domain::ids::{DeliveryId, EndpointId, ResourceId as _, WorkspaceId};
use crate::domain::render::EventData;
use crate::domain::webhook_endpoint::{
    DisabledReason, Endpoint, EndpointPatch, MAX_ENDPOINTS, NewEndpoint, Switch,
};
use crate::writer::batch::{Batch, LoadPlan};

/// Sealed secrets, URL and text of an endpoint, roughly.
const BYTES: usize = 8192;

/// Creates, updates or archives a webhook endpoint; the reply is its new state.
#[derive(Clone, Debug)]
pub struct WriteEndpoint {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    pub action: EndpointAction,
    pub actor: Arc<Actor>,
}

#[derive(Clone, Debug)]
pub enum EndpointAction {
    Create(NewEndpoint),
    Update(EndpointPatch),
    /// By the workspace file, which may restore the endpoint, or for good.
    Archive {
        by_file: bool,
    },
}

/// Sends a test event to one endpoint; the reply is its delivery.
#[derive(Clone, Copy, Debug)]
pub struct TestEndpoint {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
}

/// Disables an endpoint because of its responses. Nothing changes if it is inactive, has another URL now, or no longer
/// [fails for long enough](Endpoint::should_disable).
#[derive(Clone, Debug)]
pub struct DisableEndpoint {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    pub reason: DisabledReason,
    /// The URL that gave the responses.
    pub url: String,
}

impl Decision for WriteEndpoint {
    type Reply = Endpoint;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_endpoints(self.workspace);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Endpoint, Error> {
        let found = batch.find_endpoint(self.workspace, self.endpoint);
        match (&self.action, found) {
            // The same command created it, before a commit whose outcome was unknown.
            (EndpointAction::Create(_), Ok(existing)) => Ok(existing),
            (EndpointAction::Create(new), Err(_)) => self.create(batch, new),
            (EndpointAction::Update(patch), Ok(before)) => {
                if before.archived_at.is_some() {
                    if !patch.restores {
                        return Err(not_found(self.endpoint));
                    }
                    batch.check_endpoint_limit(self.workspace)?;
                }
                let after = batch.update_endpoint(before.clone(), patch);
                let is_rotated = patch.secret.is_some();
                let action = if is_rotated { AuditAction::Rotated } else { AuditAction::Updated };
                batch.audit_endpoint(&self.actor, action, Some(&before), &after);
                Ok(after)
            }
            // Repeated after a commit whose outcome was unknown, it may find the endpoint archived.
            (EndpointAction::Archive { by_file }, Ok(before)) => {
                let after = batch.archive_endpoint(before.clone(), *by_file);
                let action = if *by_file { AuditAction::Archived } else { AuditAction::Deleted };
                batch.audit_endpoint(&self.actor, action, Some(&before), &after);
                Ok(after)
            }
            (EndpointAction::Update(_) | EndpointAction::Archive { .. }, Err(error)) => Err(error),
        }
    }
}

impl Command for WriteEndpoint {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn bytes(&self) -> usize {
        BYTES
    }
}

impl WriteEndpoint {
    fn create(&self, batch: &mut Batch<'_>, new: &NewEndpoint) -> Result<Endpoint, Error> {
        batch.check_endpoint_limit(self.workspace)?;
        let now = batch.context.clock.now();
        let endpoint = Endpoint {
            workspace: self.workspace,
            id: self.endpoint,
            slug: new.slug.clone(),
            description: new.description.clone(),
            url: new.url.clone(),
            types: new.types.clone(),
            secret: new.secret.clone(),
            previous: None,
            enabled: new.disabled.is_none(),
            disabled_reason: new.disabled,
            failing_since: None,
            from_file: new.slug.is_some(),
            archived_at: None,
            created_at: now,
            updated_at: now,
        };
        batch.changes.new_endpoints.push(endpoint.id);
        let endpoint = batch.put_endpoint(endpoint);
        batch.audit_endpoint(&self.actor, AuditAction::Created, None, &endpoint);
        Ok(endpoint)
    }
}

impl Decision for TestEndpoint {
    type Reply = DeliveryId;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_endpoints(self.workspace);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<DeliveryId, Error> {
        let endpoint = batch.find_endpoint(self.workspace, self.endpoint)?;
        if endpoint.archived_at.is_some() {
            return Err(not_found(self.endpoint));
        }
        if !endpoint.is_active() {
            return Err(Error::Conflict("The webhook endpoint is disabled.".to_owned()));
        }
        let data = EventData::Endpoint { endpoint: endpoint.id, reason: None };
        let is_target = |subscriber: &Subscriber| subscriber.endpoint == endpoint.id;
        let deliveries = batch.changes.deliveries.len();
        batch.emit_to(endpoint.workspace, EventType::WebhookEndpointTest, &data, is_target);
        let delivery = batch.changes.deliveries.get(deliveries);
        delivery.map(|delivery| delivery.id).ok_or_else(|| not_found(self.endpoint))
    }
}

impl Command for TestEndpoint {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }
}

impl Decision for DisableEndpoint {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.add_endpoints(self.workspace);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let endpoint = batch.find_endpoint(self.workspace, self.endpoint)?;
        let has_recovered =
            self.reason == DisabledReason::Failing && !endpoint.should_disable(batch.context.now);
        if endpoint.is_active() && !has_recovered && self.url == endpoint.url {
            let after = batch.disable_endpoint(endpoint.clone(), self.reason);
            batch.audit_endpoint(&Arc::new(Actor::server()), AuditAction::Updated, Some(&endpoint), &after);
        }
        Ok(())
    }
}

impl Command for DisableEndpoint {
    const IS_REQUEST: bool = false;

    fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn bytes(&self) -> usize {
        BYTES
    }
}

impl Batch<'_> {
    fn find_endpoint(&self, workspace: WorkspaceId, id: EndpointId) -> Result<Endpoint, Error> {
        let endpoint = self.tables.endpoints.get(&id).filter(|endpoint| endpoint.workspace == workspace);
        endpoint.cloned().ok_or_else(|| not_found(id))
    }

    /// Adds an entry of the audit log, unless nothing has changed.
    fn audit_endpoint(
        &mut self,
        actor: &Arc<Actor>,
        action: AuditAction,
        before: Option<&Endpoint>,
        after: &Endpoint,
    ) {
        let name = after.slug.as_deref().or(after.description.as_deref());
        let object = AuditObject::new(ObjectKind::WebhookEndpoint, after.id, name);
        let entry = AuditEntry::new(after.workspace, actor, action, object);
        let mut entry = entry.with_changes(before.map_or(Value::Null, fields), fields(after));
        let has_new_secret = before.is_some_and(|before| before.secret != after.secret);
        for fields in [&mut entry.before, &mut entry.after].into_iter().filter_map(Value::as_object_mut) {
            if has_new_secret {
                fields.insert("secret".to_owned(), REDACTED.into());
            }
        }
        let is_changed = |fields: &Value| fields.as_object().is_some_and(|fields| !fields.is_empty());
        if is_changed(&entry.before) || is_changed(&entry.after) {
            self.audit(actor, entry);
        }
    }

    fn check_endpoint_limit(&self, workspace: WorkspaceId) -> Result<(), Error> {
        let of_workspace =
            |endpoint: &&Endpoint| endpoint.workspace == workspace && endpoint.archived_at.is_none();
        if self.tables.endpoints.values().filter(of_workspace).count() < MAX_ENDPOINTS {
            return Ok(());
        }
        let text = format!("A workspace can have at most {MAX_ENDPOINTS} webhook endpoints.");
        Err(Error::Conflict(text))
    }

    fn update_endpoint(&mut self, before: Endpoint, patch: &EndpointPatch) -> Endpoint {
        let mut after = before.clone();
        if let Some(url) = patch.url.as_ref().filter(|url| **url != before.url) {
            after.url.clone_from(url);
            // The failures were those of the old URL.
            after.failing_since = None;
        }
        if let Some(types) = &patch.types {
            after.types.clone_from(types);
        }
        if let Some(description) = &patch.description {
            after.description.clone_from(description);
        }
        if let Some((secret, overlap)) = &patch.secret {
            after.rotate(secret, *overlap, self.context.now);
        }
        after.archived_at = None;
        match patch.switch {
            Some(Switch::On) => mark_enabled(&mut after),
            Some(Switch::Off(reason)) if before.enabled => return self.disable_endpoint(after, reason),
            Some(Switch::Off(_)) | None => {}
        }
        if after == before { before } else { self.save_endpoint(after) }
    }

    /// Disables the endpoint and notifies the others with an event.
    fn disable_endpoint(&mut self, mut endpoint: Endpoint, reason: DisabledReason) -> Endpoint {
        endpoint.enabled = false;
        endpoint.disabled_reason = Some(reason);
        let (workspace, id) = (endpoint.workspace, endpoint.id);
        let endpoint = self.save_endpoint(endpoint);
        let data = EventData::Endpoint { endpoint: id, reason: Some(reason) };
        self.emit(workspace, EventType::WebhookEndpointDisabled, &data);
        endpoint
    }

    fn archive_endpoint(&mut self, mut endpoint: Endpoint, by_file: bool) -> Endpoint {
        if endpoint.archived_at.is_none() {
            endpoint.archived_at = Some(self.context.now);
        }
        if !by_file {
            // An apply must not find a deleted endpoint by its slug: it creates a new one.
            endpoint.slug = None;
            endpoint.from_file = false;
        }
        self.save_endpoint(endpoint)
    }

    fn save_endpoint(&mut self, mut endpoint: Endpoint) -> Endpoint {
        endpoint.updated_at = self.context.clock.now();
        endpoint.drop_expired_secret(self.context.now);
        if !self.changes.new_endpoints.contains(&endpoint.id) {
            self.changes.endpoints.insert(endpoint.id);
        }
        self.put_endpoint(endpoint)
    }

    /// Stores the endpoint in the tables; the next events of the batch follow its new state.
    fn put_endpoint(&mut self, endpoint: Endpoint) -> Endpoint {
        if let Some(row) = self.tables.workspaces.get_mut(&endpoint.workspace) {
            row.state.config_version += 1;
            let subscribers = &mut Arc::make_mut(&mut row.config).subscribers;
            subscribers.retain(|subscriber| subscriber.endpoint != endpoint.id);
            if endpoint.is_active() {
                let types = endpoint.types.clone();
                subscribers.push(Subscriber { endpoint: endpoint.id, types });
            }
        }
        self.changes.touch_workspace(endpoint.workspace);
        self.tables.endpoints.insert(endpoint.id, endpoint.clone());
        endpoint
    }
}

/// The fields of an endpoint that the audit log shows.
fn fields(endpoint: &Endpoint) -> Value {
    json!({
        "url": endpoint.url,
        "types": endpoint.types,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "previous_secret_until": endpoint.previous.as_ref().map(|previous| previous.until.to_string()),
        "archived": endpoint.archived_at.is_some(),
    })
}

fn mark_enabled(endpoint: &mut Endpoint) {
    if !endpoint.enabled {
        endpoint.enabled = true;
        endpoint.disabled_reason = None;
        endpoint.failing_since = None;
    }
}

fn not_found(id: EndpointId) -> Error {
    EndpointId::not_found(id)
}
