//! Rejoinder: a self-hosted conversation server. `docs/ARCHITECTURE.md` describes the rooms and their dependencies.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod fair_semaphore;
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
