//! Proof that the support itself holds: a fake that lies makes every other test worthless.

mod browser;
mod databases;
mod fake_model;
mod fake_tool;
