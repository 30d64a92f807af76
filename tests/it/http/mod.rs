//! Both doors over real HTTP, to a whole server that speaks to a fake model.

mod api_messages;
mod api_neighbours;
mod app;
mod client;
mod document;
mod edges;
mod limits;
mod v1_messages;
mod v1_reading;
