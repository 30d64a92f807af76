//! Tools on the platform API.

pub mod draft;
pub mod refresh;
pub mod test_call;
pub mod write;
