//! The MCP servers of a file: what each listed before anything was locked becomes what
//! assistants have. A server that cannot be asked keeps its earlier list.

use super::{ApplyError, Run};
use crate::domain::mcp::{FoundTool, McpServer, McpTools};
use crate::domain::tool::{Tool, Uses};
use crate::domain::workspace_file::FileMcp;
use crate::tools::mcp::NotListed;

impl Run<'_> {
    pub(super) fn list_mcp(
        &mut self,
        slug: &str,
        file: &FileMcp,
        old: Option<&McpTools>,
    ) -> Result<McpTools, ApplyError> {
        let old_headers = old.map_or(&[][..], |old| &old.server.headers);
        let server = McpServer {
            url: file.url.clone(),
            headers: self.seal_headers(&file.headers, old_headers)?,
            timeout_ms: file.timeout_ms,
        };
        let prepared = self.prepared;
        let found = match prepared.listings.get(slug) {
            Some(Ok(listing)) => {
                let warnings = listing.warnings.iter();
                self.warnings
                    .extend(warnings.map(|text| format!("the MCP server of tool \"{slug}\": {text}")));
                listing.tools.clone()
            }
            Some(Err(problem)) => {
                let may_be_so = matches!(problem, NotListed::Away(_));
                let kept = old.filter(|_| may_be_so).and_then(|old| kept(old, file));
                let told = format!("the MCP server of tool \"{slug}\": {problem}");
                let Some(kept) = kept else { return Err(ApplyError::Refused(told)) };
                self.warnings.push(format!("{told}; the tools that it listed before are kept"));
                kept
            }
            None => {
                return Err(ApplyError::Refused(format!("the MCP server of tool \"{slug}\" was not asked")));
            }
        };
        let now = self.now.timestamp();
        let found_at = old.filter(|old| old.found == found).map_or(now, |old| old.found_at);
        Ok(McpTools { server, allow: file.allow.clone(), found, found_at })
    }
}

/// What the same server listed before, where that is all that is wanted of it now.
fn kept(old: &McpTools, file: &FileMcp) -> Option<Vec<FoundTool>> {
    if old.server.url != file.url {
        return None;
    }
    let Some(allow) = &file.allow else {
        return old.allow.is_none().then(|| old.found.clone());
    };
    let find = |name: &String| old.found.iter().find(|tool| tool.name == *name);
    if allow.iter().any(|name| find(name).is_none()) {
        return None;
    }
    Some(old.found.iter().filter(|tool| allow.contains(&tool.name)).cloned().collect())
}

pub(super) fn old_mcp(text: &str) -> Option<Box<McpTools>> {
    match serde_json::from_str::<Tool>(text).ok()?.uses {
        Uses::Mcp(tools) => Some(tools),
        Uses::CalendarAvailability { .. }
        | Uses::CalendarBooking { .. }
        | Uses::CalendarCancel { .. }
        | Uses::Knowledge { .. }
        | Uses::Webhook(_) => None,
    }
}
