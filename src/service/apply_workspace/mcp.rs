//! The MCP servers of a file. Their tools are listed before anything is locked. An unreachable server keeps its previous
//! list.

use super::{Applier, ApplyError};
use crate::domain::chat::ToolSpec;
use crate::domain::tool::{McpListing, McpServer, Tool};
use crate::tools::mcp::ListError;

impl Applier<'_> {
    pub(super) fn mcp_listing(
        &mut self,
        slug: &str,
        server: &McpServer,
        old: Option<&Tool>,
    ) -> Result<McpListing, ApplyError> {
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
                let previous = old.filter(|_| is_unreachable).and_then(|old| previous_listing(old, server));
                let message = format!("the MCP server of tool \"{slug}\": {problem}");
                let Some(previous) = previous else { return Err(ApplyError::Refused(message)) };
                self.warnings.push(format!("{message}; the tools that it listed before are kept"));
                previous
            }
            None => {
                return Err(ApplyError::Refused(format!("the MCP server of tool \"{slug}\" was not listed")));
            }
        };
        let old = old.and_then(|old| old.listing.as_ref());
        Ok(McpListing::next(found, old, self.now.timestamp()))
    }
}

/// The previous list of the same server, if it contains all tools that the file allows.
fn previous_listing(old: &Tool, server: &McpServer) -> Option<Vec<ToolSpec>> {
    let (old, found) = (old.config.mcp()?, &old.listing.as_ref()?.tools);
    if old.url != server.url {
        return None;
    }
    let Some(allow) = &server.allow else {
        return old.allow.is_none().then(|| found.clone());
    };
    let find = |name: &String| found.iter().find(|tool| tool.name == *name);
    if allow.iter().any(|name| find(name).is_none()) {
        return None;
    }
    Some(found.iter().filter(|tool| allow.contains(&tool.name)).cloned().collect())
}
