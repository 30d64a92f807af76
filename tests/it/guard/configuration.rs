//! A URL that is refused when it is checked can be configured neither by API nor by file.

use rejoinder::domain::clock::SystemClock;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::outbound::{AllowHosts, GuardedClient};
use rejoinder::service::apply_workspace::{self, ApplyContext, Mode};
use serde_json::{Value, json};

use super::address_encodings::{named, urls};
use super::canary::Canary;
use crate::support::server::TestServer;
use crate::support::{document_extractor, store};

/// Workspace files with this URL in a webhook tool, a webhook endpoint and a calendar.
fn files(url: &str) -> [String; 3] {
    // A JSON string is a TOML string, except for its escape of U+007F.
    let url = Value::from(url).to_string();
    let head = "[workspace]\nslug = \"guard\"\nname = \"Guard\"\n";
    [
        format!("{head}[[tools]]\nslug = \"t\"\nkind = \"webhook\"\ndescription = \"x\"\nurl = {url}\n"),
        format!("{head}[[webhook_endpoints]]\nslug = \"e\"\nurl = {url}\n"),
        format!(
            "{head}[[calendars]]\nslug = \"c\"\ntime_zone = \"UTC\"\nhours = {{ mon = [\"09:00-17:00\"] }}\ncaldav = {{ url = {url} }}\n"
        ),
    ]
}

/// A workspace file with this URL in an MCP tool. If the URL is accepted, the server's tools are listed.
fn mcp_file(url: &str) -> String {
    files(url)[0].replace("kind = \"webhook\"\ndescription = \"x\"", "kind = \"mcp\"")
}

/// The error of a dry run of a file.
async fn refusal(server: &TestServer, outbound: &GuardedClient, file: &str) -> Option<String> {
    let ids = IdGenerator::random();
    let allow_hosts = AllowHosts::default();
    let context = ApplyContext {
        progress: &|_| {},
        db: server.db(),
        clock: &SystemClock,
        ids: &ids,
        seal: server.services().seal_keys.as_deref(),
        outbound,
        allow_hosts: &allow_hosts,
        document_extractor: &document_extractor::child_process(),
        folder: None,
        has_connection: &|_| true,
        secret: &|_| Ok(None),
    };
    apply_workspace::apply(&context, file, Mode::DryRun).await.err().map(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_encoding_of_a_private_address_can_be_configured() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let canary = Canary::start();
    // One for all, because building a client takes long.
    let outbound = GuardedClient::new(AllowHosts::default()).unwrap();
    let post = |path: &str, method: &str, url: &str| {
        let request = server.request(method, path).bearer(&server.keys.full);
        request.json(&json!({ "url": url })).send()
    };
    let public = "https://public.example/hooks";
    let created = post("/v1/webhook_endpoints", "POST", public).await.json();
    let endpoint = format!("/v1/webhook_endpoints/{}", created["data"]["id"].as_str().unwrap());
    for file in files(public) {
        assert_eq!(
            refusal(&server, &outbound, &file).await,
            None,
            "the files are valid except for their URL"
        );
    }

    let all = urls(canary.port());
    for url in &all {
        let create = post("/v1/webhook_endpoints", "POST", url).await;
        let change = post(&endpoint, "PATCH", url).await;
        assert_eq!((create.status, change.status), (400, 400), "{url:?}");
        let text = create.json()["message"].as_str().unwrap().to_owned();
        assert!(text.starts_with("Field 'url' is refused: the URL"), "{url:?}: {text}");
        for file in files(url).into_iter().chain([mcp_file(url)]) {
            let refused = refusal(&server, &outbound, &file).await;
            let says_so = |text: &String| {
                ["the URL", "cannot be read as a URL", "the address of a calendar has"]
                    .iter()
                    .any(|why| text.contains(why))
            };
            assert!(refused.as_ref().is_some_and(says_so), "{url:?}: {refused:?}");
        }
    }
    for url in named(canary.port()) {
        assert_eq!(
            refusal(&server, &outbound, &files(&url)[0]).await,
            None,
            "{url:?}: names are resolved at the call"
        );
        let refused = refusal(&server, &outbound, &mcp_file(&url)).await.unwrap();
        assert!(refused.contains("not a public address"), "{url:?}: {refused}");
    }

    assert!(all.len() >= 80, "{}", all.len());
    assert_eq!(server.get(&endpoint).await.json()["data"]["url"], public);
    assert_eq!(canary.connections(), 0);
}
