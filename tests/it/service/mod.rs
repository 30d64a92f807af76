//! The use cases of an operator on both databases: `apply`, keys, credit and the demo.

mod apply;
mod apply_endpoints;
mod apply_knowledge;
mod audit;
mod demo;
mod keys;
mod operator;
mod reencrypt;
