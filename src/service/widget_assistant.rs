//! An assistant as pages see it.

use std::sync::Arc;

use super::Services;
use super::visitors::check_origin;
use crate::domain::account::Account;
use crate::domain::assistant::AssistantVersion;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _, WorkspaceId};

/// The current version of an assistant, archived or not, for a page of this origin. An assistant of another workspace than the
/// API key's is reported as unknown.
pub async fn find(
    services: &Services,
    assistant: AssistantId,
    account: Option<&Account>,
    origin: Option<&str>,
) -> Result<(WorkspaceId, Arc<AssistantVersion>), Error> {
    let not_found = || AssistantId::not_found(assistant.0);
    let current = services.versions.current(services, assistant).await?;
    let (workspace, version) = current.ok_or_else(not_found)?;
    if account.is_some_and(|account| account.workspace != workspace) {
        return Err(not_found());
    }
    check_origin(Some(&version), origin)?;
    Ok((workspace, version))
}
