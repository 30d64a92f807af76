//! Tests of the support code, on which all other tests rely.

mod browser;
mod databases;
mod fake_model;
mod fake_tool;
