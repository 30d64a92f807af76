//! The private hosts that the tools and webhooks of a workspace may reach. The list is checked when a
//! workspace file is applied; a stored list that does not parse is a fault of this server, and allows nothing.

use crate::domain::ids::WorkspaceId;
use crate::domain::workspace::Workspace;
use crate::outbound::AllowHosts;
use crate::store::{Conn, StoreError, workspaces};

/// Reads the list of a workspace.
pub(super) async fn load(conn: Conn<'_>, workspace: WorkspaceId) -> Result<AllowHosts, StoreError> {
    let settings = workspaces::settings(conn, &[workspace].into()).await?.pop();
    settings.as_ref().map_or_else(|| Ok(AllowHosts::default()), parse)
}

/// The list of a workspace that was read.
pub(super) fn parse(workspace: &Workspace) -> Result<AllowHosts, StoreError> {
    AllowHosts::parse(&workspace.allow_hosts).map_err(StoreError::unreadable)
}
