//! Webhook endpoints: where the events of a workspace are sent, and the secrets that sign them.

use std::time::Duration;

use super::clock::Micros;
use super::event::EventType;
use super::ids::{EndpointId, WorkspaceId};
use super::seal::SealedSecret;
use super::string_enum::string_enum;

/// The time without a success after which a failing endpoint is disabled.
pub const DISABLE_AFTER: Duration = Duration::from_hours(5 * 24);

/// The most endpoints of a workspace: each event is written once for each.
pub const MAX_ENDPOINTS: usize = 32;

/// The default overlap of a rotation, in which the old secret also signs.
pub const DEFAULT_ROTATION_OVERLAP: Duration = Duration::from_hours(24);

/// The longest URL, in characters.
pub const MAX_URL: usize = 2048;

string_enum! {
    /// Why an endpoint is disabled.
    DisabledReason {
        /// It answered 410.
        Gone = "gone",
        /// It failed for [`DISABLE_AFTER`].
        Failing = "failing",
        /// By a request of the workspace.
        Api = "api",
        /// By the workspace file.
        File = "file",
    }
}

/// A stored endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub workspace: WorkspaceId,
    pub id: EndpointId,
    /// Its name in the workspace file; none for an endpoint of the API.
    pub slug: Option<String>,
    pub description: Option<String>,
    pub url: String,
    /// Empty: all.
    pub types: Vec<EventType>,
    /// A `whsec_…` text.
    pub secret: SealedSecret,
    pub previous: Option<PreviousSecret>,
    pub enabled: bool,
    /// Set exactly when it is not enabled.
    pub disabled_reason: Option<DisabledReason>,
    /// The first failure since the last success at this URL, by the clock of the database.
    pub failing_since: Option<Micros>,
    /// Whether a workspace file created it.
    pub from_file: bool,
    /// Archived: removed from the workspace file, or deleted.
    pub archived_at: Option<Micros>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// An older secret, which signs besides the newest for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    pub secret: SealedSecret,
    /// The end of the overlap, by the clock of the database.
    pub until: Micros,
}

impl Endpoint {
    /// Whether it gets events now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.enabled && self.archived_at.is_none()
    }

    /// The secrets that sign at `now` (by the clock of the database), newest first.
    #[must_use]
    pub fn secrets(&self, now: Micros) -> Vec<&SealedSecret> {
        let previous = self.previous.as_ref().filter(|previous| now < previous.until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret)).collect()
    }

    /// All stored secrets, newest first, whether they sign or not.
    pub fn stored_secrets(&self) -> impl Iterator<Item = &SealedSecret> {
        std::iter::once(&self.secret).chain(self.previous.as_ref().map(|previous| &previous.secret))
    }

    /// Rotates to a new secret at `now` (by the clock of the database); for `overlap` an old one also signs. That is
    /// the replaced secret, or, within an overlap, the one that already signed before it: if the response with the
    /// secret in between was lost, its receiver only has that one. So repeating the same secret rotates once.
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

    /// Removes an old secret that no longer signs at `now` (by the clock of the database).
    pub fn drop_expired_secret(&mut self, now: Micros) {
        self.previous = self.previous.take().filter(|previous| now < previous.until);
    }

    /// Whether it has failed for so long that it must be disabled, at `now` (by the clock of the database).
    #[must_use]
    pub fn should_disable(&self, now: Micros) -> bool {
        self.failing_since.is_some_and(|since| now.since(since) >= DISABLE_AFTER)
    }
}

/// A new webhook endpoint.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Its name in the workspace file that creates it; none if the API creates it.
    pub slug: Option<String>,
    pub description: Option<String>,
    pub url: String,
    /// Empty: all.
    pub types: Vec<EventType>,
    pub secret: SealedSecret,
    /// If set, it starts disabled for this reason.
    pub disabled: Option<DisabledReason>,
}

/// Changes to a webhook endpoint. Absent fields do not change.
#[derive(Clone, Debug, Default)]
pub struct EndpointPatch {
    pub url: Option<String>,
    /// Empty: all.
    pub types: Option<Vec<EventType>>,
    pub description: Option<Option<String>>,
    /// A new secret, and for how long the old one also signs.
    pub secret: Option<(SealedSecret, Duration)>,
    pub switch: Option<Switch>,
    /// Whether it is restored if it was archived.
    pub restores: bool,
}

/// Enables or disables an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Also resets its failures.
    On,
    Off(DisabledReason),
}
