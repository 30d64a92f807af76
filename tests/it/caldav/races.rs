//! Conversations, processes and another program race for the same time.

use std::sync::Arc;

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::{book, result, setup_at, setup_on};
use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::fake_model::Reply;
use crate::support::radicale::{CalDavProxy, ProxyAction, Radicale, event};
use crate::support::server::{TestServer, WIDGET};
use crate::support::store;

fn book_once(server: &TestServer) {
    server.model.script().respond_with(|request| {
        if request.messages().last().is_some_and(|last| last["role"] == "tool") {
            return Reply::text("Done.");
        }
        Reply::tool_calls([book("2026-03-18T10:00")])
    });
}

async fn exactly_one_booking_succeeds(servers: &[&TestServer], radicale: &Radicale) {
    let mut asked = Vec::new();
    for turn in 0..8 {
        let server = servers[turn % servers.len()];
        asked.push((server, server.create_conversation().await));
    }
    let tell = |(server, uuid): &(&TestServer, String)| server.post_message(uuid, "At ten, please").send();
    let answers = join_all(asked.iter().map(tell)).await;
    let results: Vec<Value> =
        answers.iter().map(|answer| answer.json()["function_calls"][0]["result"].clone()).collect();

    let (booked, refused): (Vec<_>, Vec<_>) = results.iter().partition(|result| result["success"] == true);
    assert_eq!((booked.len(), refused.len()), (1, 7), "{results:?}");
    assert!(refused.iter().all(|result| result["available_slots"].is_array()), "{refused:?}");
    assert_eq!(radicale.count().await, 1);
}

both_backends!(
    async fn one_of_eight_conversations_gets_a_time(db: TestDb) {
        let radicale = Radicale::start().await;
        let server = setup_on(&radicale).start(&db).await;
        book_once(&server);

        exactly_one_booking_succeeds(&[&server], &radicale).await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_conversation_of_two_processes_gets_a_time() {
    let db = TestDb::copy_of(&store::STORE, Backend::Postgres).await;
    let radicale = Radicale::start().await;
    let server = setup_on(&radicale).start(&db).await;
    let peer = server.start_peer(&db, setup_on(&radicale)).await;
    book_once(&server);

    exactly_one_booking_succeeds(&[&server, &peer], &radicale).await;
}

both_backends!(
    async fn losing_a_race_to_another_program_withdraws_the_booking(db: TestDb) {
        let radicale = Arc::new(Radicale::start().await);
        let proxy = CalDavProxy::start(&radicale).await;
        let server = setup_at(&proxy.url(), &proxy.host()).start(&db).await;
        let other = event("other", "DTSTART:20260318T091500Z\nDTEND:20260318T093000Z");
        proxy.script().respond_with(move |method| {
            if *method == Method::PUT {
                ProxyAction::WriteFirst("other.ics".to_owned(), other.clone())
            } else {
                ProxyAction::Forward
            }
        });

        let refused = result(&server, WIDGET, book("2026-03-18T10:00")).await;

        assert_eq!(refused["error"], "2026-03-18 10:00 is already taken");
        assert!(
            refused["available_slots"].as_array().unwrap().contains(&json!("2026-03-18 11:00")),
            "{refused}"
        );
        assert!(radicale.all().await.contains("UID:other"));
        assert_eq!(radicale.count().await, 1, "our booking is withdrawn");
        assert_eq!(server.query_number("select count(*) from bookings where cancelled_at is null").await, 0);
    }
);
