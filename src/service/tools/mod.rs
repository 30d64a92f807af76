//! Tools of a workspace: a test call, and a new list of the tools of an MCP server.

pub mod refresh;
pub mod test_call;
