//! Rejoinder: a self-hosted conversation server. The rooms and their one-way
//! doors are described in `docs/ARCHITECTURE.md`.

pub mod domain;
pub mod model;
