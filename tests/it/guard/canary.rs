//! A listener that must never be reached.

use std::io::ErrorKind;
use std::net::TcpListener;

/// Listens on all IPv4 addresses and, if the machine has IPv6, on its loopback address, on the same port. The kernel completes
/// connections before they are accepted, so none is missed.
pub struct Canary {
    v4: TcpListener,
    v6: Option<TcpListener>,
}

impl Canary {
    pub fn start() -> Self {
        let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = match TcpListener::bind(("::1", port)) {
            Ok(listener) => Some(listener),
            // This machine has no IPv6.
            Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => {
                None
            }
            Err(error) => panic!("the canary cannot listen on [::1]:{port}: {error}"),
        };
        for listener in [Some(&v4), v6.as_ref()].into_iter().flatten() {
            listener.set_nonblocking(true).unwrap();
        }
        Self { v4, v6 }
    }

    pub fn port(&self) -> u16 {
        self.v4.local_addr().unwrap().port()
    }

    /// The number of connections since the last call.
    pub fn connections(&self) -> usize {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten().map(count).sum()
    }
}

fn count(listener: &TcpListener) -> usize {
    let reached = std::iter::from_fn(|| match listener.accept() {
        Ok(_) => Some(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("the canary cannot accept: {error}"),
    });
    reached.count()
}

#[test]
fn the_canary_counts_connections() {
    let canary = Canary::start();

    let callers = ["127.0.0.1", "127.0.0.2"].map(|host| std::net::TcpStream::connect((host, canary.port())));

    assert!(callers.iter().all(Result::is_ok));
    assert_eq!((canary.connections(), canary.connections()), (2, 0));
}
