//! The programs of `docs/widget.md` that make identity tokens, with the standard libraries of their languages alone.

use std::process::Command;

use serde_json::json;

use super::blocks::of;
use crate::support::db::TestDb;
use crate::support::identity::SECRET;
use crate::support::server::{ASSISTANT, Setup, TestServer};
use crate::support::store;

async fn server() -> (TestDb, TestServer) {
    let db = store::sqlite().await;
    let secret = "name = \"Front desk\"\nidentity_secrets = [{ env = \"IDENTITY\" }]";
    let edit = move |text: String| text.replace("name = \"Front desk\"", secret);
    let setup = Setup::default().system_clock().workspace(edit);
    let server = setup.start(&db).await;
    (db, server)
}

/// Runs a program that ends with a line that prints a token, and starts a conversation with it.
async fn names_a_visitor(program: &str, file: &str, language: &str, print: &str) {
    let (_db, server) = server().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, format!("{}\n{print}\n", of("docs/widget.md", language)[0].text)).unwrap();

    let output = Command::new(program).arg(&path).output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).unwrap();
    let body = json!({ "assistant_id": ASSISTANT, "identity_token": token.trim() });
    let created = server.request("POST", "/api/conversations").json(&body).send().await;
    assert_eq!(created.status, 200, "{}", created.text());
    let uuid = created.json()["conversation_id"].as_str().unwrap().to_owned();
    let con = server.conversation_id(&uuid).await;
    let read = server.get(&format!("/v1/conversations/{con}")).await.json()["data"].clone();
    assert_eq!(read["identity"], "42");
    assert_eq!(read["variables"], json!({ "customer_name": "Zoë" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_for_node_makes_a_token() {
    let print =
        format!("console.log(identityToken('{SECRET}', '{ASSISTANT}', {{ id: '42', name: 'Zoë' }}));");
    names_a_visitor("node", "identity.mjs", "javascript", &print).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_for_python_makes_a_token() {
    let print = format!("print(identity_token(\"{SECRET}\", \"{ASSISTANT}\", \"42\", \"Zoë\"))");
    names_a_visitor("python3", "identity_token.py", "python", &print).await;
}
