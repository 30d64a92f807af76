//! Webhook endpoints: made, changed, disabled, tried out and taken out of use.

use super::{Batch, DisableEndpoint, EndpointAction, EndpointWrite, Outcome};
use crate::domain::error::{Error, ResourceKind};
use crate::domain::event::{EventType, Subscriber};
use crate::domain::render::EventData;
use crate::domain::webhook_endpoint::{
    DisabledReason, Endpoint, EndpointPatch, MAX_ENDPOINTS, NewEndpoint, Switch,
};

impl Batch<'_> {
    pub(super) fn endpoint(&mut self, write: &EndpointWrite) -> Result<Outcome, Error> {
        let before = match (&write.action, self.find_endpoint(write)) {
            (EndpointAction::Create(new), None) => return self.create_endpoint(write, new),
            // Made by the same item, before a commit whose outcome was unknown.
            (EndpointAction::Create(_), Some(existing)) => return Ok(Outcome::Endpoint(Box::new(existing))),
            (_, Some(before)) => before,
            (_, None) => return Err(not_found(write)),
        };
        if before.archived_at.is_some() && !may_be_archived(&write.action) {
            return Err(not_found(write));
        }
        if before.archived_at.is_some() && matches!(write.action, EndpointAction::Update(_)) {
            self.check_endpoint_limit(write)?;
        }
        match &write.action {
            EndpointAction::Create(_) => Ok(Outcome::Endpoint(Box::new(before))),
            EndpointAction::Update(patch) => Ok(self.update_endpoint(before, patch)),
            EndpointAction::Disable(disable) => Ok(self.disable_endpoint(before, disable)),
            EndpointAction::Archive { by_file } => Ok(self.archive_endpoint(before, *by_file)),
            EndpointAction::Test => self.test_endpoint(&before),
        }
    }

    fn find_endpoint(&self, write: &EndpointWrite) -> Option<Endpoint> {
        let endpoint = self.tables.endpoints.get(&write.endpoint);
        endpoint.filter(|endpoint| endpoint.workspace == write.workspace).cloned()
    }

    fn create_endpoint(&mut self, write: &EndpointWrite, new: &NewEndpoint) -> Result<Outcome, Error> {
        self.check_endpoint_limit(write)?;
        let now = self.context.clock.now();
        let endpoint = Endpoint {
            workspace: write.workspace,
            id: write.endpoint,
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
        self.changes.new_endpoints.push(endpoint.id);
        Ok(self.put_endpoint(endpoint))
    }

    fn check_endpoint_limit(&self, write: &EndpointWrite) -> Result<(), Error> {
        let of_workspace =
            |endpoint: &&Endpoint| endpoint.workspace == write.workspace && endpoint.archived_at.is_none();
        if self.tables.endpoints.values().filter(of_workspace).count() < MAX_ENDPOINTS {
            return Ok(());
        }
        let text = format!("A workspace can have at most {MAX_ENDPOINTS} webhook endpoints.");
        Err(Error::invalid("webhook_endpoints", text))
    }

    fn update_endpoint(&mut self, before: Endpoint, patch: &EndpointPatch) -> Outcome {
        let mut after = before.clone();
        if let Some(url) = patch.url.as_ref().filter(|url| **url != before.url) {
            after.url.clone_from(url);
            // Those were the failures of another place.
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
            Some(Switch::Off(reason)) if before.enabled => return self.mark_disabled(after, reason),
            Some(Switch::Off(_)) | None => {}
        }
        if after == before { Outcome::Endpoint(Box::new(before)) } else { self.save_endpoint(after) }
    }

    /// Disables an endpoint whose answers ask for it; where that no longer holds, nothing changes.
    fn disable_endpoint(&mut self, before: Endpoint, disable: &DisableEndpoint) -> Outcome {
        let DisableEndpoint { reason, ref url } = *disable;
        let has_recovered = reason == DisabledReason::Failing && !before.should_disable(self.context.now);
        let is_stale = has_recovered || *url != before.url;
        if !before.is_active() || is_stale {
            return Outcome::Endpoint(Box::new(before));
        }
        self.mark_disabled(before, reason)
    }

    /// Tells the others.
    fn mark_disabled(&mut self, mut endpoint: Endpoint, reason: DisabledReason) -> Outcome {
        endpoint.enabled = false;
        endpoint.disabled_reason = Some(reason);
        let (workspace, id) = (endpoint.workspace, endpoint.id);
        let outcome = self.save_endpoint(endpoint);
        let data = EventData::Endpoint { endpoint: id, reason: Some(reason) };
        self.emit(workspace, EventType::WebhookEndpointDisabled, &data);
        outcome
    }

    fn archive_endpoint(&mut self, mut endpoint: Endpoint, by_file: bool) -> Outcome {
        if endpoint.archived_at.is_none() {
            endpoint.archived_at = Some(self.context.now);
        }
        if !by_file {
            // What the API deletes is not found again by its slug: an apply makes a new one.
            endpoint.slug = None;
            endpoint.from_file = false;
        }
        self.save_endpoint(endpoint)
    }

    /// An event for this endpoint alone, whatever types it takes.
    fn test_endpoint(&mut self, endpoint: &Endpoint) -> Result<Outcome, Error> {
        let data = EventData::Endpoint { endpoint: endpoint.id, reason: None };
        let is_target = |subscriber: &Subscriber| subscriber.endpoint == endpoint.id;
        let deliveries = self.changes.deliveries.len();
        if !endpoint.is_active() {
            return Err(Error::invalid("enabled", "The webhook endpoint is disabled."));
        }
        self.emit_to(endpoint.workspace, EventType::WebhookEndpointTest, &data, is_target);
        self.changes
            .deliveries
            .get(deliveries)
            .map(|delivery| Outcome::Tested(delivery.id))
            .ok_or_else(|| Error::not_found(ResourceKind::WebhookEndpoint, endpoint.id.to_string()))
    }

    fn save_endpoint(&mut self, mut endpoint: Endpoint) -> Outcome {
        endpoint.updated_at = self.context.clock.now();
        endpoint.drop_expired_secret(self.context.now);
        if !self.changes.new_endpoints.contains(&endpoint.id) {
            self.changes.endpoints.insert(endpoint.id);
        }
        self.put_endpoint(endpoint)
    }

    /// Enters it as it now is; the batch's next events go to it, or no longer.
    fn put_endpoint(&mut self, endpoint: Endpoint) -> Outcome {
        if let Some(row) = self.tables.workspaces.get_mut(&endpoint.workspace) {
            row.subscribers.retain(|subscriber| subscriber.endpoint != endpoint.id);
            if endpoint.is_active() {
                let types = endpoint.types.clone();
                row.subscribers.push(Subscriber { endpoint: endpoint.id, types });
            }
        }
        self.tables.endpoints.insert(endpoint.id, endpoint.clone());
        Outcome::Endpoint(Box::new(endpoint))
    }
}

fn mark_enabled(endpoint: &mut Endpoint) {
    if !endpoint.enabled {
        endpoint.enabled = true;
        endpoint.disabled_reason = None;
        endpoint.failing_since = None;
    }
}

/// The workspace file brings one back; what is deleted may be deleted again, after a commit whose
/// outcome was unknown.
fn may_be_archived(action: &EndpointAction) -> bool {
    match action {
        EndpointAction::Update(patch) => patch.restores,
        EndpointAction::Archive { .. } | EndpointAction::Disable(_) => true,
        EndpointAction::Create(_) | EndpointAction::Test => false,
    }
}

fn not_found(write: &EndpointWrite) -> Error {
    Error::not_found(ResourceKind::WebhookEndpoint, write.endpoint.to_string())
}
