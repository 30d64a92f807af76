//! All stored secrets are encrypted with another key, while others read and write them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use rejoinder::domain::clock::SystemClock;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::seal::{SealKey, SealKeys};
use rejoinder::service::reencrypt::{self, Reencrypted};
use rejoinder::store::{Db, StoreError};

use super::operator::Operator;
use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

async fn reencrypt(db: &Db, keys: &SealKeys) -> Result<Reencrypted, StoreError> {
    reencrypt::reencrypt(db, keys, &SystemClock, &IdGenerator::random()).await
}

const FILE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"

[[assistants]]
slug = "desk"
name = "Desk"
system_prompt = "You answer."
tools = ["booking", "orders"]
identity_secrets = [{ env = "IDENTITY" }]

[[calendars]]
slug = "visits"
time_zone = "Europe/Berlin"
caldav = { url = "https://dav.example/me/", username = "me", password = { env = "CALDAV_PASSWORD" } }
hours = { mon = ["09:00-17:00"] }

[[tools]]
slug = "booking"
kind = "calendar_booking"
calendar = "visits"

[[tools]]
slug = "orders"
kind = "webhook"
description = "Looks up an order"
url = "https://shop.example/orders?key={{key}}"
headers = { Authorization = { env = "TOKEN" }, x-other = { env = "TOKEN" } }
secrets = { key = { env = "TOKEN" } }
secret = { env = "SIGNING" }

[[webhook_endpoints]]
slug = "crm"
url = "https://crm.example/hook"
secret = { env = "SIGNING" }
"#;

/// Of the calendar, the tool, the version of the assistant, two of the endpoint, and of the site's back end.
const VALUES: usize = 1 + 4 + 5 + 2 + 1;

const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SIGNING: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn key(byte: u8) -> SealKey {
    SealKey::new([byte; 32])
}

/// The keys of a rotation from the operator's key.
fn rotated() -> SealKeys {
    SealKeys::new(key(8), vec![key(7)])
}

/// An operator whose file is applied, with an endpoint in the overlap of two secrets.
async fn operator(db: &TestDb) -> Operator {
    let operator = Operator::of(store::open(db).await);
    for (name, secret) in [
        ("TOKEN", "Bearer s3cret"),
        ("CALDAV_PASSWORD", "pa55"),
        ("SIGNING", OTHER_SIGNING),
        ("IDENTITY", "an-identity-secret-of-more-than-32-bytes"),
    ] {
        operator.set(name, secret);
    }
    operator.apply(FILE).await;
    operator.set("SIGNING", SIGNING);
    operator.apply(FILE).await;
    operator
}

/// The number of columns with a secret of the key of this byte.
async fn rows_of(db: &TestDb, byte: u8) -> i64 {
    let like = format!("like '%v1.{}.%'", SealKeys::from(key(byte)).current_id());
    let counts = [
        format!("(select count(*) from calendars where rules {like})"),
        format!("(select count(*) from tools where definition {like})"),
        format!("(select count(*) from assistant_versions where compiled {like})"),
        format!("(select count(*) from webhook_endpoints where secret {like})"),
        format!("(select count(*) from webhook_endpoints where previous_secret {like})"),
        format!("(select count(*) from identity_secrets where secret {like})"),
    ];
    seed::query_number(db, &format!("select {}", counts.join(" + "))).await
}

async fn assert_rotated(db: &TestDb, operator: Operator) {
    assert_eq!(rows_of(db, 7).await, 0);
    let operator = Operator { seal: Some(SealKeys::from(key(8))), ..operator };
    assert_eq!(operator.apply(FILE).await, Vec::<String>::new(), "all secrets open, and copies are equal");
}

both_backends!(
    async fn all_secrets_get_the_current_key_and_nothing_else_changes(db: TestDb) {
        let operator = operator(&db).await;
        let rows = rows_of(&db, 7).await;

        let first = reencrypt(&operator.db, &rotated()).await.unwrap();
        let second = reencrypt(&operator.db, &rotated()).await.unwrap();

        let done = |values: usize| Reencrypted { values, is_complete: true, ..Reencrypted::default() };
        // The second apply made a second version of the assistant.
        assert_eq!((first, second), (done(VALUES + 5), done(0)));
        assert_eq!(rows_of(&db, 8).await, rows);
        assert_rotated(&db, operator).await;
    }
);

both_backends!(
    async fn two_at_once_do_the_same(db: TestDb) {
        let operator = operator(&db).await;
        let peer = store::open(&db).await;
        let keys = rotated();

        let (one, two) = tokio::join!(reencrypt(&operator.db, &keys), reencrypt(&peer, &keys));

        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one.is_complete && two.is_complete, "{one:?} {two:?}");
        assert_eq!(one.values + two.values, VALUES + 5, "each value is counted once");
        assert_rotated(&db, operator).await;
    }
);

both_backends!(
    async fn it_goes_on_after_a_kill(db: TestDb) {
        let operator = operator(&db).await;
        let keys = rotated();
        let mut killed = Box::pin(reencrypt(&operator.db, &keys));
        while rows_of(&db, 8).await == 0 {
            let is_pending = poll_fn(|context| Poll::Ready(killed.as_mut().poll(context).is_pending())).await;
            assert!(is_pending, "it is killed in the middle");
        }
        drop(killed);
        assert!(rows_of(&db, 7).await > 0);

        let rest = reencrypt(&operator.db, &keys).await.unwrap();

        assert!(rest.is_complete && rest.values < VALUES + 5, "{rest:?}");
        assert_rotated(&db, operator).await;
    }
);

both_backends!(
    async fn what_only_a_newer_version_knows_stays_and_its_secrets_get_the_current_key(db: TestDb) {
        let operator = operator(&db).await;
        let rows = rows_of(&db, 7).await;
        let widen = |table: &str, column: &str| {
            let widened = format!("'{{\"of_a_newer_version\":{{\"nested\":[1]}},' || substr({column}, 2)");
            format!("update {table} set {column} = {widened}")
        };
        let columns = [("calendars", "rules"), ("tools", "definition"), ("assistant_versions", "compiled")];
        for (table, column) in columns {
            seed::execute(&db, &widen(table, column)).await;
        }

        let result = reencrypt(&operator.db, &rotated()).await.unwrap();

        assert_eq!(result, Reencrypted { values: VALUES + 5, is_complete: true, ..Reencrypted::default() });
        assert_eq!((rows_of(&db, 7).await, rows_of(&db, 8).await), (0, rows));
        for (table, column) in columns {
            let texts = seed::query_texts(&db, &format!("select {column} from {table}")).await;
            let starts_wider = |text: &String| text.starts_with(r#"{"of_a_newer_version":{"nested":[1]},"#);
            assert!(texts.iter().all(starts_wider), "{texts:?}");
        }
    }
);

both_backends!(
    async fn a_row_that_cannot_be_parsed_keeps_the_earlier_keys(db: TestDb) {
        let operator = operator(&db).await;
        let rename = |from: &str, to: &str| {
            format!("update tools set definition = replace(definition, '\"{from}\":', '\"{to}\":')")
        };
        seed::execute(&db, &rename("webhook", "kind_of_a_newer_version")).await;

        let first = reencrypt(&operator.db, &rotated()).await.unwrap();
        seed::execute(&db, &rename("kind_of_a_newer_version", "webhook")).await;
        let second = reencrypt(&operator.db, &rotated()).await.unwrap();

        assert_eq!((first.unparsable_rows, first.is_complete), (1, false));
        // The tool has four secrets.
        assert_eq!((first.values, second.values), (VALUES + 5 - 4, 4));
        assert!(second.is_complete, "{second:?}");
        assert_rotated(&db, operator).await;
    }
);

both_backends!(
    async fn values_that_do_not_open_stay_and_are_reported(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(&FILE.replace("\"shop\"", "\"other\"")).await;
        let moved = "update calendars set rules = (select min(rules) from calendars)";
        seed::execute(&db, moved).await;

        let result = reencrypt(&operator.db, &rotated()).await.unwrap();

        let rejected = "a stored secret was changed, or belongs to another workspace, object or field";
        assert_eq!(result.unreadable, BTreeMap::from([(rejected.to_owned(), 1)]));
        assert_eq!(rows_of(&db, 7).await, 1);
    }
);
