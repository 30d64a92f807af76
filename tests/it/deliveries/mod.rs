//! Webhook deliveries: each event arrives at least once, signed and in order, even if processes die or receivers hang.

mod crash_recovery;
mod order;
mod ownership;
mod responses;
mod sending;

use crate::support::server::TestServer;

/// Waits until no delivery is open.
pub async fn wait_for_all_deliveries(server: &TestServer) {
    const OPEN: &str = "select count(*) from deliveries where state in ('queued', 'running')";
    let none = async || (server.query_number(OPEN).await == 0).then_some(());
    crate::support::wait::wait_for("all deliveries to end", none).await;
}
