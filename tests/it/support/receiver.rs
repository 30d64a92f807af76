//! A scriptable receiver of webhooks, whose signatures the reference library checks, and broken receivers.

use std::sync::Arc;

use rejoinder::domain::account::{Account, KeyHash};
use rejoinder::domain::audit::Actor;
use rejoinder::domain::ids::{EndpointId, KeyId, WorkspaceId};
use rejoinder::service::webhook_endpoints::{self, CreateEndpoint, EndpointAndSecret};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::calls::Calls;
use super::db::TestDb;
use super::fake_tool::{FakeTool, ToolReply, ToolRequest};
use super::script::Script;
use super::seed;
use super::server::{Setup, TestServer};

/// A receiver of webhooks, on every path.
pub struct FakeReceiver(FakeTool);

/// A webhook endpoint of the workspace.
pub struct TestEndpoint {
    pub account: Account,
    pub id: EndpointId,
    /// `whsec_…`.
    pub secret: String,
}

/// The configuration of a server that may send webhooks to this machine.
pub fn setup() -> Setup {
    Setup::default().env("REJOINDER_OUTBOUND__ALLOW_HOSTS", "127.0.0.1")
}

impl FakeReceiver {
    /// Answers 200 until the script changes that.
    pub async fn start() -> Self {
        Self(FakeTool::start().await)
    }

    /// Creates an endpoint that receives all events at a path of this receiver.
    pub async fn create_endpoint(&self, server: &TestServer, db: &TestDb, path: &str) -> TestEndpoint {
        create_endpoint(server, db, self.0.url(path)).await
    }

    pub fn script(&self) -> &Script<ToolRequest, ToolReply> {
        self.0.script()
    }

    pub fn calls(&self) -> &Calls<ToolRequest> {
        self.0.calls()
    }

    /// The requests to a path, in order.
    pub fn received(&self, path: &str) -> Vec<ToolRequest> {
        let of_path = |request: &ToolRequest| request.uri.path() == path;
        self.0.calls().all().into_iter().map(|call| call.request).filter(of_path).collect()
    }
}

/// Creates an endpoint that receives all events.
pub async fn create_endpoint(server: &TestServer, db: &TestDb, url: String) -> TestEndpoint {
    let id = "replace(cast(id as text), '-', '')";
    let id = if server.db().is_shared() { id } else { "hex(id)" };
    let workspace = seed::query_texts(db, &format!("select {id} from workspaces where slug = 'demo'")).await;
    let workspace = WorkspaceId(Uuid::parse_str(&workspace[0]).unwrap());
    let actor = Arc::new(Actor::server());
    let (key, secret) = (KeyId(Uuid::nil()), KeyHash([0; 32]));
    let account = Account { workspace, key, secret, scopes: Vec::new(), is_suspended: false, actor };
    let request = CreateEndpoint { url, types: Vec::new(), description: None, secret: None, enabled: true };
    let created = webhook_endpoints::create(server.services(), &account, request).await.unwrap();
    let EndpointAndSecret { endpoint, secret } = created;
    TestEndpoint { account, id: endpoint.id, secret: secret.expose_secret().to_owned() }
}

/// Starts a server that reads the beginning of a request and closes the connection. Returns its URL.
pub async fn start_disconnecting_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.readable().await;
            let _ = socket.try_read(&mut [0; 64]);
        }
    });
    format!("http://{address}/")
}

/// Starts a server that answers 200 with the beginning of a body and never sends the rest. Returns its URL.
pub async fn start_stalling_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open_sockets = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 8192]).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nTo be").await;
            open_sockets.push(socket);
        }
    });
    format!("http://{address}/")
}

pub fn header<'r>(request: &'r ToolRequest, name: &str) -> &'r str {
    request.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// True if one of the signatures is the reference library's with this secret. (The library itself verifies only recent
/// timestamps.)
pub fn is_signed(request: &ToolRequest, secret: &str) -> bool {
    let timestamp = header(request, "webhook-timestamp").parse().unwrap();
    let library = Webhook::new(secret).unwrap();
    let expected = library.sign(header(request, "webhook-id"), timestamp, &request.body).unwrap();
    header(request, "webhook-signature").split(' ').any(|signature| signature == expected)
}

/// The texts of the messages in these requests, in order.
pub fn texts(requests: &[ToolRequest]) -> Vec<String> {
    let text = |request: &ToolRequest| {
        let event: Value = request.json();
        event["data"]["message"]["text"].as_str().map(str::to_owned)
    };
    requests.iter().filter_map(text).collect()
}
