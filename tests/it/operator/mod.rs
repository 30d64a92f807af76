//! The operator's API: who may use it, and what it does to workspaces.

mod audit;
mod deletion;
mod keys;
mod suspension;
mod workspaces;

use rejoinder::service::operator_keys;
use serde_json::Value;

use crate::support::described;
use crate::support::http::{Request, Response};
use crate::support::server::TestServer;

/// A server with a key of the operator's API.
pub struct Operator<'a> {
    pub server: &'a TestServer,
    pub key: String,
}

impl<'a> Operator<'a> {
    /// Its responses are compared with the document.
    pub async fn new(server: &'a TestServer) -> Self {
        described::check_responses();
        let services = server.services();
        let clock = services.clock.as_ref();
        let created = operator_keys::create(&services.db, clock, &services.ids, "billing", None).await;
        Self { server, key: created.unwrap().0.expose().to_owned() }
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        self.server.request(method, &format!("/operator/v1{path}")).bearer(&self.key)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path).send().await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path).json(body).send().await
    }

    /// The id of the workspace with this slug.
    pub async fn workspace(&self, slug: &str) -> String {
        let listed = self.get("/workspaces").await.json();
        let workspaces = listed["data"]["items"].as_array().unwrap();
        let found = workspaces.iter().find(|workspace| workspace["slug"] == slug).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }
}
