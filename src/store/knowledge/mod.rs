//! Knowledge bases: their documents, the passages of these, and the passages' vectors.

pub mod documents;
pub mod embedding_jobs;
pub mod embedding_models;
pub mod knowledge_bases;
pub mod passage_vectors;
pub mod passages;
