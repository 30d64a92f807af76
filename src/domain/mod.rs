//! Types and rules of the field, without I/O. Imports nothing of ours.

pub mod signature;
pub mod template;
