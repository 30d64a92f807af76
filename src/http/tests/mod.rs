//! The doors over real HTTP: a server on a port of its own, over an SQLite database in a folder
//! of its own. Turns are ended by a stand-in for the engine, with whatever a test scripted.

mod api_messages;
mod api_neighbours;
mod app;
mod client;
mod document;
mod edges;
mod limits;
mod v1_messages;
mod v1_reading;
