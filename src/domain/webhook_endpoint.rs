//! Webhook endpoints: where a workspace's events are sent, and with which secrets they are signed.

use std::time::Duration;

use super::clock::Micros;
use super::event::EventType;
use super::ids::{EndpointId, WorkspaceId};
use super::seal::SealedSecret;
use super::string_enum::string_enum;

/// How long an endpoint may fail without one success before it is disabled.
pub const DISABLE_AFTER: Duration = Duration::from_hours(5 * 24);

/// How many endpoints a workspace may have: each of its events is written once for each.
pub const MAX_ENDPOINTS: usize = 32;

/// For how long an old secret signs too, unless said otherwise.
pub const DEFAULT_ROTATION_OVERLAP: Duration = Duration::from_hours(24);

/// The longest URL, in characters.
pub const MAX_URL: usize = 2048;

string_enum! {
    /// Why an endpoint takes no events.
    DisabledReason {
        /// It answered 410.
        Gone = "gone",
        /// It has failed for [`DISABLE_AFTER`].
        Failing = "failing",
        /// By a request of the workspace.
        Api = "api",
        /// By the workspace file.
        File = "file",
    }
}

/// An endpoint, as its row keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub workspace: WorkspaceId,
    pub id: EndpointId,
    /// Its name in the workspace file; none for one that the API made.
    pub slug: Option<String>,
    pub description: Option<String>,
    pub url: String,
    /// Empty: all.
    pub types: Vec<EventType>,
    /// A `whsec_…` text.
    pub secret: SealedSecret,
    pub previous: Option<PreviousSecret>,
    pub enabled: bool,
    /// There where, and only where, it is not enabled.
    pub disabled_reason: Option<DisabledReason>,
    /// The first failure since the last success at this URL: the store's time.
    pub failing_since: Option<Micros>,
    /// A workspace file made it.
    pub from_file: bool,
    /// Out of use: no longer in the workspace file, or deleted.
    pub archived_at: Option<Micros>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// An older secret, which signs beside the newest for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    pub secret: SealedSecret,
    /// Until when it signs too: the store's time.
    pub until: Micros,
}

impl Endpoint {
    /// Whether events go to it now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.enabled && self.archived_at.is_none()
    }

    /// The secrets that sign at `now` (the store's time), the newest first.
    #[must_use]
    pub fn secrets(&self, now: Micros) -> Vec<&SealedSecret> {
        let previous = self.previous.as_ref().filter(|previous| now < previous.until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret)).collect()
    }

    /// The secrets that its row holds, the newest first, whether they sign or not.
    pub fn stored_secrets(&self) -> impl Iterator<Item = &SealedSecret> {
        std::iter::once(&self.secret).chain(self.previous.as_ref().map(|previous| &previous.secret))
    }

    /// Gives it a new secret at `now` (the store's time); for `overlap` an old one signs too. That is the
    /// one that was replaced, but within an overlap the one that signs from before it: its receiver has
    /// no other, where the answer that showed the one between was lost. So the same secret twice is once.
    pub fn rotate(&mut self, secret: &SealedSecret, overlap: Duration, now: Micros) {
        if overlap.is_zero() {
            self.secret = secret.clone();
            self.previous = None;
        } else if *secret != self.secret {
            let replaced = std::mem::replace(&mut self.secret, secret.clone());
            let signing = self.previous.take().filter(|previous| now < previous.until);
            let signing = signing.map(|previous| previous.secret).filter(|signing| signing != secret);
            let until = now.plus(overlap);
            self.previous = Some(PreviousSecret { secret: signing.unwrap_or(replaced), until });
        }
    }

    /// Forgets an old secret that does not sign any more at `now` (the store's time).
    pub fn drop_expired_secret(&mut self, now: Micros) {
        self.previous = self.previous.take().filter(|previous| now < previous.until);
    }

    /// Whether it has failed for so long, at `now` (the store's time), that it is to be disabled.
    #[must_use]
    pub fn should_disable(&self, now: Micros) -> bool {
        self.failing_since.is_some_and(|since| now.since(since) >= DISABLE_AFTER)
    }
}

/// A webhook endpoint to be made.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Its name in the workspace file, which makes it; none for one that the API makes.
    pub slug: Option<String>,
    pub description: Option<String>,
    pub url: String,
    /// Empty: all.
    pub types: Vec<EventType>,
    pub secret: SealedSecret,
    /// It begins disabled.
    pub disabled: Option<DisabledReason>,
}

/// What changes in a webhook endpoint; what is not named stays as it is.
#[derive(Clone, Debug, Default)]
pub struct EndpointPatch {
    pub url: Option<String>,
    /// Empty: all.
    pub types: Option<Vec<EventType>>,
    pub description: Option<Option<String>>,
    /// A new secret, and for how long the old one signs too.
    pub secret: Option<(SealedSecret, Duration)>,
    pub switch: Option<Switch>,
    /// Whether it is brought back where it was archived.
    pub restores: bool,
}

/// Whether an endpoint is to take events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Its failures are forgotten.
    On,
    Off(DisabledReason),
}
