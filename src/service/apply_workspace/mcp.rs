//! The MCP servers of a file. Each is listed before anything is locked; a server that is unreachable keeps its
//! previous list.

use super::{Applier, ApplyError};
use crate::domain::mcp::{McpServer, McpToolSpec, McpTools};
use crate::formats::workspace_file::FileMcp;
use crate::tools::mcp::ListError;

impl Applier<'_> {
    pub(super) fn resolve_mcp_tools(
        &mut self,
        slug: &str,
        file: &FileMcp,
        old: Option<&McpTools>,
    ) -> Result<McpTools, ApplyError> {
        let old_headers = old.map_or(&[][..], |old| &old.server.headers);
        let server = McpServer {
            url: file.server.url.clone(),
            headers: self.seal_headers(&file.server.headers, old_headers)?,
            timeout_ms: file.server.timeout_ms,
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
                let is_unreachable = matches!(problem, ListError::Unavailable(_));
                let previous = old.filter(|_| is_unreachable).and_then(|old| previous_listing(old, file));
                let message = format!("the MCP server of tool \"{slug}\": {problem}");
                let Some(previous) = previous else { return Err(ApplyError::Refused(message)) };
                self.warnings.push(format!("{message}; the tools that it listed before are kept"));
                previous
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

/// The tools that the same server listed before, if they include all that the file allows.
fn previous_listing(old: &McpTools, file: &FileMcp) -> Option<Vec<McpToolSpec>> {
    if old.server.url != file.server.url {
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
