//! The reads for the context of a turn, within a number of bytes.

use rejoinder::domain::ids::{ConversationId, TurnId};
use rejoinder::domain::message::Message;
use rejoinder::store::turns::journal;
use rejoinder::store::{Db, ReadLimit, messages};
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, Seed, literal};
use crate::support::store;

/// The text and the calls of a message together, in bytes; half as many characters.
const MESSAGE: i64 = 100_000;
const CONVERSATION: ConversationId = ConversationId(Uuid::from_u128(1));

/// Stores a message of [`MESSAGE`] bytes.
async fn insert_message(db: &TestDb, seeded: &Seed, position: i64, answers: Option<i64>) {
    let [workspace, conversation, id] =
        [seeded.workspace.0, CONVERSATION.0, Uuid::new_v4()].map(|id| literal(db, id));
    let answers = answers.map_or("null".to_owned(), |answers| answers.to_string());
    let text = "ü".repeat(25_000);
    let insert = format!(
        "insert into messages values ({workspace}, {conversation}, {position}, {id}, 'user', 'visitor', '{text}', \
         null, null, {answers}, '{text}', false, null, 0, false, null, null, null)"
    );
    seed::execute(db, &insert).await;
}

async fn newest(store: &Db, seeded: &Seed, up_to: i64, rows: i64, bytes: i64) -> Vec<Message> {
    let mut read = store.acquire_read().await.unwrap();
    let limit = ReadLimit { rows, bytes };
    messages::list_newest(read.conn(), seeded.workspace, CONVERSATION, up_to, limit).await.unwrap().rows
}

async fn late_replies(store: &Db, seeded: &Seed, position: i64, rows: i64, bytes: i64) -> Vec<Message> {
    let mut read = store.acquire_read().await.unwrap();
    let limit = ReadLimit { rows, bytes };
    messages::list_late_replies(read.conn(), seeded.workspace, CONVERSATION, position, limit).await.unwrap()
}

fn positions(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.position).collect()
}

both_backends!(
    async fn the_newest_messages_are_read_within_a_number_of_bytes_but_at_least_one(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        for position in 1..=20 {
            insert_message(&db, &seeded, position, None).await;
        }
        let store = store::open(&db).await;

        let read = newest(&store, &seeded, 20, 100, 3 * MESSAGE + MESSAGE / 2).await;

        assert_eq!(positions(&read), [18, 19, 20]);
        let bytes: usize = read.iter().map(Message::content_bytes).sum();
        assert_eq!(i64::try_from(bytes).unwrap(), 3 * MESSAGE);
        let cases = [
            (20, 100, 3 * MESSAGE, vec![18, 19, 20]),
            (20, 100, 3 * MESSAGE - 1, vec![19, 20]),
            (19, 100, 3 * MESSAGE, vec![17, 18, 19]),
            (20, 2, i64::MAX, vec![19, 20]),
            (20, 100, 1, vec![20]),
            (0, 100, i64::MAX, vec![]),
        ];
        for (up_to, rows, bytes, expected) in cases {
            let read = newest(&store, &seeded, up_to, rows, bytes).await;
            assert_eq!(positions(&read), expected, "{rows} rows, {bytes} bytes up to {up_to}");
        }
        assert_eq!(newest(&store, &seeded, 20, 100, i64::MAX).await.len(), 20);
    }
);

both_backends!(
    async fn late_replies_are_read_within_a_number_of_bytes(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        for (position, answers) in (1..).zip([None, None, None, Some(1), Some(2), Some(3)]) {
            insert_message(&db, &seeded, position, answers).await;
        }
        let store = store::open(&db).await;

        let cases = [
            (100, i64::MAX, vec![4, 5]),
            (100, 2 * MESSAGE, vec![4, 5]),
            (100, 2 * MESSAGE - 1, vec![5]),
            (100, MESSAGE - 1, vec![]),
            (100, -1, vec![]),
            (1, i64::MAX, vec![5]),
        ];
        for (rows, bytes, expected) in cases {
            let read = late_replies(&store, &seeded, 3, rows, bytes).await;
            assert_eq!(positions(&read), expected, "{rows} rows, {bytes} bytes");
        }
    }
);

both_backends!(
    async fn the_last_calls_are_read_within_a_number_of_bytes_with_short_results(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let turns = [1, 2, 3].map(|number| TurnId(Uuid::from_u128(number)));
        for turn in turns {
            let [workspace, id, conversation] =
                [seeded.workspace.0, turn.0, CONVERSATION.0].map(|id| literal(&db, id));
            let (content, result) = ("x".repeat(1_000), "ü".repeat(50_000));
            for position in 0..=4 {
                let insert = format!(
                    "insert into journal values ({workspace}, {id}, 0, {position}, {conversation}, 1, 0, 0, \
                     '{content}', '{result}')"
                );
                seed::execute(&db, &insert).await;
            }
        }
        let store = store::open(&db).await;
        let list = async |max_bytes: i64| {
            let mut read = store.acquire_read().await.unwrap();
            let calls = journal::list_calls(read.conn(), seeded.workspace, &turns, max_bytes, 101);
            calls.await.unwrap()
        };
        // 101 characters count as four bytes each.
        let each = 1_000 + 4 * 101;

        let calls = list(5 * each).await;

        let read: Vec<_> = calls.iter().map(|call| (call.turn.turn, call.position)).collect();
        assert_eq!(read, [(turns[1], 4), (turns[2], 1), (turns[2], 2), (turns[2], 3), (turns[2], 4)]);
        for call in &calls {
            assert_eq!(call.content.len(), 1_000);
            assert_eq!(call.result.as_deref(), Some("ü".repeat(101).as_str()));
        }
        assert_eq!(list(5 * each - 1).await.len(), 4);
        assert_eq!(list(0).await.len(), 0);
        assert_eq!(list(i64::MAX).await.len(), 12);
    }
);
