//! Webhook endpoints: made, changed, disabled, tried out and taken out of use.

use super::{Batch, Disabling, EndpointAction, EndpointChange, EndpointWrite, NewEndpoint, Outcome, Switch};
use crate::domain::error::{Error, Thing};
use crate::domain::event::{EventType, Subscriber};
use crate::domain::rendered::EventData;
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint, MAX_ENDPOINTS};

impl Batch<'_> {
    pub(super) fn endpoint(&mut self, write: &EndpointWrite) -> Result<Outcome, Error> {
        let before = match (&write.action, self.endpoint_named(write)) {
            (EndpointAction::Make(new), None) => return self.make_endpoint(write, new),
            // Made by the same item, before a commit whose outcome was unknown.
            (EndpointAction::Make(_), Some(made)) => return Ok(Outcome::Endpoint(Box::new(made))),
            (_, Some(before)) => before,
            (_, None) => return Err(not_found(write)),
        };
        if before.archived_at.is_some() && !may_be_archived(&write.action) {
            return Err(not_found(write));
        }
        if before.archived_at.is_some() && matches!(write.action, EndpointAction::Change(_)) {
            self.check_room(write)?;
        }
        match &write.action {
            EndpointAction::Make(_) => Ok(Outcome::Endpoint(Box::new(before))),
            EndpointAction::Change(change) => Ok(self.change_endpoint(before, change)),
            EndpointAction::Disable(disabling) => Ok(self.disable_endpoint(before, disabling)),
            EndpointAction::Archive { by_file } => Ok(self.archive_endpoint(before, *by_file)),
            EndpointAction::Test => self.test_endpoint(&before),
        }
    }

    fn endpoint_named(&self, write: &EndpointWrite) -> Option<Endpoint> {
        let endpoint = self.tables.endpoints.get(&write.endpoint);
        endpoint.filter(|endpoint| endpoint.workspace == write.workspace).cloned()
    }

    fn make_endpoint(&mut self, write: &EndpointWrite, new: &NewEndpoint) -> Result<Outcome, Error> {
        self.check_room(write)?;
        let now = self.setting.clock.now();
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
        self.written.new_endpoints.push(endpoint.id);
        Ok(self.put_endpoint(endpoint))
    }

    fn check_room(&self, write: &EndpointWrite) -> Result<(), Error> {
        let of_workspace =
            |endpoint: &&Endpoint| endpoint.workspace == write.workspace && endpoint.archived_at.is_none();
        if self.tables.endpoints.values().filter(of_workspace).count() < MAX_ENDPOINTS {
            return Ok(());
        }
        let text = format!("A workspace can have at most {MAX_ENDPOINTS} webhook endpoints.");
        Err(Error::invalid("webhook_endpoints", text))
    }

    fn change_endpoint(&mut self, before: Endpoint, change: &EndpointChange) -> Outcome {
        let mut after = before.clone();
        if let Some(url) = change.url.as_ref().filter(|url| **url != before.url) {
            after.url.clone_from(url);
            // Those were the failures of another place.
            after.failing_since = None;
        }
        if let Some(types) = &change.types {
            after.types.clone_from(types);
        }
        if let Some(description) = &change.description {
            after.description.clone_from(description);
        }
        if let Some((secret, overlap)) = &change.secret {
            after.rotate(secret, *overlap, self.setting.now);
        }
        after.archived_at = None;
        match change.switch {
            Some(Switch::On) => switch_on(&mut after),
            Some(Switch::Off(reason)) if before.enabled => return self.switch_off(after, reason),
            Some(Switch::Off(_)) | None => {}
        }
        if after == before { Outcome::Endpoint(Box::new(before)) } else { self.update_endpoint(after) }
    }

    /// Disables an endpoint whose answers ask for it; where that no longer holds, nothing changes.
    fn disable_endpoint(&mut self, before: Endpoint, disabling: &Disabling) -> Outcome {
        let Disabling { reason, ref url } = *disabling;
        let is_mended = reason == DisabledReason::Failing && !before.has_failed_for_long(self.setting.now);
        let is_overtaken = is_mended || *url != before.url;
        if !before.takes_events() || is_overtaken {
            return Outcome::Endpoint(Box::new(before));
        }
        self.switch_off(before, reason)
    }

    /// Tells the others.
    fn switch_off(&mut self, mut endpoint: Endpoint, reason: DisabledReason) -> Outcome {
        endpoint.enabled = false;
        endpoint.disabled_reason = Some(reason);
        let (workspace, id) = (endpoint.workspace, endpoint.id);
        let outcome = self.update_endpoint(endpoint);
        let data = EventData::Endpoint { endpoint: id, reason: Some(reason) };
        self.emit(workspace, EventType::WebhookEndpointDisabled, &data);
        outcome
    }

    fn archive_endpoint(&mut self, mut endpoint: Endpoint, by_file: bool) -> Outcome {
        if endpoint.archived_at.is_none() {
            endpoint.archived_at = Some(self.setting.now);
        }
        if !by_file {
            // What the API deletes is not found again by its slug: an apply makes a new one.
            endpoint.slug = None;
            endpoint.from_file = false;
        }
        self.update_endpoint(endpoint)
    }

    /// An event for this endpoint alone, whatever types it takes.
    fn test_endpoint(&mut self, endpoint: &Endpoint) -> Result<Outcome, Error> {
        let data = EventData::Endpoint { endpoint: endpoint.id, reason: None };
        let is_it = |subscriber: &Subscriber| subscriber.endpoint == endpoint.id;
        let deliveries = self.written.deliveries.len();
        if !endpoint.takes_events() {
            return Err(Error::invalid("enabled", "The webhook endpoint is disabled."));
        }
        self.emit_to(endpoint.workspace, EventType::WebhookEndpointTest, &data, is_it);
        self.written
            .deliveries
            .get(deliveries)
            .map(|delivery| Outcome::Tested(delivery.id))
            .ok_or_else(|| Error::not_found(Thing::WebhookEndpoint, endpoint.id.to_string()))
    }

    fn update_endpoint(&mut self, mut endpoint: Endpoint) -> Outcome {
        endpoint.updated_at = self.setting.clock.now();
        endpoint.forget_expired(self.setting.now);
        if !self.written.new_endpoints.contains(&endpoint.id) {
            self.written.endpoints.insert(endpoint.id);
        }
        self.put_endpoint(endpoint)
    }

    /// Enters it as it now is; the batch's next events go to it, or no longer.
    fn put_endpoint(&mut self, endpoint: Endpoint) -> Outcome {
        if let Some(row) = self.tables.workspaces.get_mut(&endpoint.workspace) {
            row.subscribers.retain(|subscriber| subscriber.endpoint != endpoint.id);
            if endpoint.takes_events() {
                let types = endpoint.types.clone();
                row.subscribers.push(Subscriber { endpoint: endpoint.id, types });
            }
        }
        self.tables.endpoints.insert(endpoint.id, endpoint.clone());
        Outcome::Endpoint(Box::new(endpoint))
    }
}

fn switch_on(endpoint: &mut Endpoint) {
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
        EndpointAction::Change(change) => change.restores,
        EndpointAction::Archive { .. } | EndpointAction::Disable(_) => true,
        EndpointAction::Make(_) | EndpointAction::Test => false,
    }
}

fn not_found(write: &EndpointWrite) -> Error {
    Error::not_found(Thing::WebhookEndpoint, write.endpoint.to_string())
}
