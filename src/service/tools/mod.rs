//! Tools of a workspace: written, tested, and refreshed from an MCP server.

pub mod draft;
pub mod refresh;
pub mod test_call;
pub(in crate::service) mod users;
pub mod write;
