//! The client in child processes with their own environment.

use std::process::Command;

use super::server::{Canary, Server};
use super::{get, send};

/// Runs the ignored test below in a process with these variables.
fn run_alone(variables: &[(&str, &str)]) {
    let outcome = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "outbound::tests::environment::a_call_in_the_given_environment", "--ignored"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();

    let printed = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success() && printed.contains("1 passed"), "{printed}");
}

#[tokio::test]
#[ignore = "run by the other tests, in processes of their own"]
async fn a_call_in_the_given_environment() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");

    assert_eq!(send(get(server.url())).await.unwrap().status, 200);
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    let canary = Canary::new();
    let proxy = format!("http://127.0.0.1:{}", canary.port());

    run_alone(&[
        ("http_proxy", &proxy),
        ("HTTP_PROXY", &proxy),
        ("https_proxy", &proxy),
        ("all_proxy", &proxy),
        ("ALL_PROXY", &proxy),
        ("no_proxy", ""),
        ("NO_PROXY", ""),
    ]);

    canary.assert_untouched();
}

#[test]
fn a_machine_without_certificates_is_no_obstacle() {
    run_alone(&[("SSL_CERT_FILE", "/nonexistent/ca.pem"), ("SSL_CERT_DIR", "/nonexistent/certs")]);
}
