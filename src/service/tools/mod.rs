//! Tools of a workspace: test calls, refreshing the tool list of an MCP server, and the assistants that use changed tools.

pub(in crate::service) mod recompile;
pub mod refresh;
pub mod test_call;
