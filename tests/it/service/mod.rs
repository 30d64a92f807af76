//! Use cases on both databases: what `apply`, keys, credit and the demo promise.

mod apply;
mod apply_endpoints;
mod apply_knowledge;
mod demo;
mod keys;
mod operator;
