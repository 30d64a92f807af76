//! The tools of a workspace, as the platform API shows them. [`workspace_config`](super::workspace_config) writes them.

use super::resource::{Resource, resource_page};
use super::{from_row, stored_json};
use crate::domain::ids::ToolId;
use crate::domain::tool::NamedTool;

from_row!(NamedTool, |row| {
    let tool = stored_json::from_str(row.try_get("definition")?);
    Self {
        id: row.try_get("id")?,
        slug: row.try_get("slug")?,
        tool: tool.map_err(|error| sqlx::Error::Decode(error.into()))?,
    }
});

impl Resource for NamedTool {
    type Id = ToolId;
    const FIND: &'static str =
        "select id, slug, definition from tools where archived_at is null and workspace_id = $1 and id = $2";
    const LIST: &'static str = concat!(
        "select id, slug, definition, candidates from ",
        resource_page!("tools", "octet_length(definition)"),
        " cross join tools where workspace_id = $1 and id = page_id order by id"
    );

    fn id(&self) -> ToolId {
        self.id
    }
}
