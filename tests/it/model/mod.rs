//! The clients of models.

mod embeddings;
