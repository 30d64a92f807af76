//! Every event is sent as the stored bytes and signed, and a retry sends the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use rejoinder::service::webhook_endpoints::{self, EndpointAndSecret};
use secrecy::ExposeSecret as _;

use super::wait_for_all_deliveries;
use crate::support::db::both_backends;
use crate::support::fake_tool::ToolReply;
use crate::support::receiver::{FakeReceiver, header, is_signed, setup};
use crate::support::server::{TestServer, WIDGET};
use crate::support::wait::wait_for;

const FAILING: &str = "select count(*) from webhook_endpoints where failing_since is not null";
const SECOND: &str = "select count(*) from attempts where number = 2 and outcome = 'delivered'";

both_backends!(
    async fn every_event_is_delivered_as_stored_and_signed(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let endpoint = receiver.create_endpoint(&server, &db, "/hook").await;
        let before = server.query_number("select count(*) from events").await;

        for number in 0..5 {
            server.store_message(None, &format!("Message {number}")).await;
        }
        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
        wait_for_all_deliveries(&server).await;

        let stored = bodies(&server).await;
        let arrived = receiver.received("/hook");
        let bodies: BTreeMap<_, _> = arrived
            .iter()
            .map(|request| (header(request, "webhook-id").to_owned(), request.body.clone()))
            .collect();
        assert_eq!(bodies.len(), stored.len() - usize::try_from(before).unwrap());
        assert_eq!(arrived.len(), bodies.len(), "no event arrived twice");
        for request in &arrived {
            let id = header(request, "webhook-id");
            assert_eq!(request.json(), stored[id], "{id}");
            assert!(is_signed(request, &endpoint.secret));
            assert_eq!(header(request, "content-type"), "application/json");
            assert_eq!(header(request, "webhook-timestamp"), "1773584531");
            assert!(header(request, "user-agent").starts_with("rejoinder/"));
            assert_eq!(header(request, "webhook-replay"), "");
        }
        assert_eq!(server.query_number("select count(*) from attempts where outcome = 'delivered' and status = 200 and number = 1").await, i64::try_from(arrived.len()).unwrap());
    }
);

/// The bodies of the feed's events by their ids.
async fn bodies(server: &TestServer) -> BTreeMap<String, serde_json::Value> {
    let listed = server.get("/v1/events?limit=200").await.json();
    let items = listed["data"]["items"].as_array().unwrap().clone();
    items.into_iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event)).collect()
}

both_backends!(
    async fn a_retry_has_the_same_id_and_bytes_and_a_new_timestamp(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let endpoint = receiver.create_endpoint(&server, &db, "/hook").await;
        receiver.script().queue([ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR)]);

        server.store_message(None, "Hi").await;
        let failing = async || (server.query_number(FAILING).await == 1).then_some(());
        wait_for("the failure to be recorded", failing).await;
        server.advance_clock(&db, Duration::from_secs(7)).await;
        wait_for_all_deliveries(&server).await;

        let arrived = receiver.received("/hook");
        let [failed, again, _behind] = arrived.as_slice() else { panic!("{arrived:?}") };
        assert_eq!(header(failed, "webhook-id"), header(again, "webhook-id"));
        assert_eq!(failed.body, again.body);
        assert_eq!(header(failed, "webhook-timestamp"), "1773584531");
        assert_eq!(header(again, "webhook-timestamp"), "1773584538");
        assert!(is_signed(failed, &endpoint.secret) && is_signed(again, &endpoint.secret));
        assert_eq!(server.query_number(SECOND).await, 1);
        assert_eq!(server.query_number(FAILING).await, 0);
    }
);

both_backends!(
    async fn both_secrets_sign_while_one_is_rotated(db: TestDb) {
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let endpoint = receiver.create_endpoint(&server, &db, "/hook").await;
        let (name, overlap) = (endpoint.id.to_string(), Duration::from_mins(1));
        let rotated =
            webhook_endpoints::rotate_secret(server.services(), &endpoint.account, &name, None, overlap)
                .await;
        let EndpointAndSecret { secret: new, .. } = rotated.unwrap();

        let conversation = server.store_message(None, "In the overlap").await;
        wait_for_all_deliveries(&server).await;
        server.advance_clock(&db, Duration::from_secs(61)).await;
        server.store_message(Some(&conversation), "After it").await;
        wait_for_all_deliveries(&server).await;

        let arrived = receiver.received("/hook");
        let (last, first) = arrived.split_last().unwrap();
        for request in first {
            assert!(is_signed(request, &endpoint.secret) && is_signed(request, new.expose_secret()));
        }
        assert!(is_signed(last, new.expose_secret()) && !is_signed(last, &endpoint.secret));
    }
);
