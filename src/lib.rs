//! Rejoinder: a self-hosted conversation server. The rooms and their one-way
//! doors are described in `docs/ARCHITECTURE.md`.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod formats;
pub mod http;
pub mod lifecycle;
pub mod model;
pub mod outbound;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod tools;
pub mod worker;
pub mod writer;
