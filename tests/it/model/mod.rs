//! The clients of model providers.

mod embeddings;
mod vendors;
