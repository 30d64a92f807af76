//! The tools of a workspace, as the platform API shows them. [`workspace_config`](super::workspace_config) writes them.

use super::from_row;
use super::resource::Resource;
use crate::domain::ids::ToolId;
use crate::domain::tool::NamedTool;

from_row!(NamedTool, |row| {
    let tool = serde_json::from_str(row.try_get("definition")?);
    Self {
        id: row.try_get("id")?,
        slug: row.try_get("slug")?,
        tool: tool.map_err(|error| sqlx::Error::Decode(error.into()))?,
    }
});

macro_rules! active {
    () => {
        "select id, slug, definition from tools where archived_at is null and workspace_id = $1"
    };
}

impl Resource for NamedTool {
    type Id = ToolId;
    const FIND: &'static str = concat!(active!(), " and id = $2");
    const LIST: &'static str = concat!(active!(), " and id > $2 order by id limit $3");

    fn id(&self) -> ToolId {
        self.id
    }
}
