//! The clients of model providers.

mod embeddings;
mod families;
mod vendors;
