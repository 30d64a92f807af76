//! A server for a router, on a free port of 127.0.0.1, stopped when it is dropped.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct RouterServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl RouterServer {
    pub async fn start(router: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a spare port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a listener that is never closed");
        });
        Self { address, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for RouterServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
