//! One client, one tenant or one address that takes all it can get: everyone else is served.

mod connections;
mod health;
mod pages;
mod readers;
mod shares;
mod unread;
