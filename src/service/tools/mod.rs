//! Tools of a workspace: test calls, and refreshing the tool list of an MCP server.

pub mod refresh;
pub mod test_call;
