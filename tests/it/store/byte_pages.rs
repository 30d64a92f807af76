//! Lists whose pages are cut by rows and by bytes: a walk finds each row once, and each page is as large as it may be.

use rejoinder::domain::clock::TimeRange;
use rejoinder::domain::conversation::{ConversationFilter, ConversationSort};
use rejoinder::domain::event::{EventFilter, EventType};
use rejoinder::domain::ids::{ConversationId, EndpointId, TurnId};
use rejoinder::domain::turn::TurnRef;
use rejoinder::domain::webhook_endpoint::Endpoint;
use rejoinder::store::turns::journal;
use rejoinder::store::{PageRows, ReadLimit, conversations, events, messages, resource};
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, Seed, literal};
use crate::support::store;

const LIMIT: ReadLimit = ReadLimit { rows: 5, bytes: 100_000 };
const ROWS: i64 = 40;
const CONVERSATION: ConversationId = ConversationId(Uuid::from_u128(1));

/// The bytes of a row: some rows fill a page, some are larger, and some series are cut by their number.
fn size(number: i64) -> usize {
    const SIZES: [usize; 13] = [1, 30_000, 60_000, 10_001, 250_000, 10, 99_990, 5, 20, 1, 1, 2, 100_000];
    SIZES[usize::try_from(number).unwrap() % SIZES.len()]
}

/// So many bytes, half as many characters or slightly more.
fn text(bytes: usize) -> String {
    "ü".repeat(bytes / 2) + &"x".repeat(bytes % 2)
}

/// The pages of rows in this order.
fn expected_pages(numbers: impl IntoIterator<Item = i64>) -> Vec<Vec<i64>> {
    let mut pages: Vec<Vec<i64>> = Vec::new();
    let bytes = |page: &Vec<i64>| page.iter().map(|number| size(*number)).sum::<usize>();
    for number in numbers {
        let has_room = |page: &&mut Vec<i64>| page.len() < 5 && bytes(page) + size(number) <= 100_000;
        match pages.last_mut().filter(has_room) {
            Some(page) => page.push(number),
            None => pages.push(vec![number]),
        }
    }
    pages
}

/// Reads a list to its end, and returns the numbers of the rows of each page.
async fn walk<T, P: Copy>(
    mut position: P,
    read: impl AsyncFn(P) -> PageRows<T>,
    position_of: impl Fn(&T) -> (P, i64),
) -> Vec<Vec<i64>> {
    let mut pages = Vec::new();
    loop {
        let page = read(position).await;
        position = position_of(page.rows.last().unwrap()).0;
        pages.push(page.rows.iter().map(|row| position_of(row).1).collect());
        if !page.has_more {
            return pages;
        }
    }
}

/// Runs an insert for each row.
async fn insert(db: &TestDb, insert: impl Fn(i64, &str) -> String) {
    for number in 1..=ROWS {
        seed::configure(db, &insert(number, &text(size(number)))).await;
    }
}

async fn insert_messages(db: &TestDb, seeded: &Seed) {
    let [workspace, conversation] = [seeded.workspace.0, CONVERSATION.0].map(|id| literal(db, id));
    let row = |number: i64, text: &str| {
        let id = literal(db, Uuid::new_v4());
        format!(
            "insert into messages values ({workspace}, {conversation}, {number}, {id}, 'user', 'visitor', '', null, null, \
             null, '{text}', false, null, 0, false, null, null, null)"
        )
    };
    insert(db, row).await;
}

both_backends!(
    async fn pages_of_messages_are_cut_by_bytes_in_both_directions(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        insert_messages(&db, &seeded).await;
        let (store, workspace) = (store::open(&db).await, seeded.workspace);

        let read = async |after: i64| {
            let mut conn = store.acquire_read().await.unwrap();
            messages::list_after(conn.conn(), workspace, CONVERSATION, after, LIMIT).await.unwrap()
        };
        let pages = walk(0, &read, |message| (message.position, message.position)).await;
        assert_eq!(pages, expected_pages(1..=ROWS));

        let (mut up_to, mut pages) = (i64::MAX, Vec::new());
        loop {
            let mut conn = store.acquire_read().await.unwrap();
            let newest = messages::list_newest(conn.conn(), workspace, CONVERSATION, up_to, LIMIT);
            let page = newest.await.unwrap();
            up_to = page.rows[0].position - 1;
            pages.push(page.rows.iter().rev().map(|message| message.position).collect::<Vec<_>>());
            if !page.has_more {
                break;
            }
        }
        assert_eq!(pages, expected_pages((1..=ROWS).rev()));

        let at_end = read(ROWS).await;
        assert!(at_end.rows.is_empty() && !at_end.has_more);
    }
);

both_backends!(
    async fn pages_of_events_are_cut_by_bytes_with_any_filter(db: TestDb) {
        const KINDS: [EventType; 3] =
            [EventType::MessageCreated, EventType::ReplyFailed, EventType::ConversationCreated];
        let kind = |number: i64| KINDS[usize::try_from(number).unwrap() % 3];
        let seeded = seed::workspace(&db, 0).await;
        let workspace = literal(&db, seeded.workspace.0);
        let row = |number: i64, text: &str| {
            let (id, kind) = (literal(&db, Uuid::new_v4()), kind(number));
            format!(
                "insert into events values ({workspace}, {number}, {id}, '{}', null, '{text}', 0)",
                kind.as_str()
            )
        };
        insert(&db, row).await;
        seed::execute(&db, &format!("update workspace_state set next_cursor = {}", ROWS + 1)).await;
        let store = store::open(&db).await;

        for types in [vec![], vec![KINDS[0]], vec![KINDS[0], KINDS[1]], KINDS.to_vec()] {
            let filter = EventFilter { types: types.clone(), conversation: None };
            let read = async |after: i64| {
                let mut conn = store.acquire_read().await.unwrap();
                let found = events::read_after(conn.conn(), seeded.workspace, after, &filter, LIMIT).await;
                let (range, page) = found.unwrap();
                assert_eq!((range.oldest, range.latest), (1, ROWS));
                page
            };

            let pages = walk(0, &read, |event| (event.cursor, event.cursor)).await;

            let matching = (1..=ROWS).filter(|number| types.is_empty() || types.contains(&kind(*number)));
            assert_eq!(pages, expected_pages(matching), "{types:?}");
            let at_end = read(ROWS).await;
            assert!(at_end.rows.is_empty() && !at_end.has_more);
        }
    }
);

both_backends!(
    async fn pages_of_conversations_are_cut_by_bytes(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let [workspace, assistant] = [seeded.workspace.0, seeded.assistant.0].map(|id| literal(&db, id));
        let row = |number: i64, text: &str| {
            let id = literal(&db, Uuid::from_u128(u128::try_from(number).unwrap()));
            // Pairs of the same age.
            let created_at = number / 2;
            format!(
                "insert into conversations (workspace_id, id, kind, assistant_id, ai_enabled, created_at, next_position, \
                 open_turns, spent, key_variables, visitor_variables, identity_variables, metadata) values ({workspace}, {id}, 'api', \
                 {assistant}, true, {created_at}, 1, 0, 0, '', '', '', '{text}')"
            )
        };
        insert(&db, row).await;
        let store = store::open(&db).await;

        let read = async |after| {
            let filter = ConversationFilter {
                kind: None,
                assistant: None,
                external_identifier: None,
                identity: None,
                widget: None,
                ai_enabled: None,
                ended: None,
                created: TimeRange::default(),
                updated: TimeRange::default(),
                metadata: Vec::new(),
                search: None,
                sort: ConversationSort::Newest,
                after,
            };
            let mut conn = store.acquire_read().await.unwrap();
            let page = conversations::list(conn.conn(), seeded.workspace, &filter, LIMIT).await.unwrap();
            PageRows { rows: page.rows, has_more: page.next.is_some() }
        };
        let pages = walk(None, read, |conversation| {
            let number = i64::try_from(conversation.id.0.as_u128()).unwrap();
            (Some((conversation.created_at, conversation.id)), number)
        });

        assert_eq!(pages.await, expected_pages((1..=ROWS).rev()));
    }
);

both_backends!(
    async fn pages_of_resources_are_cut_by_bytes(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let workspace = literal(&db, seeded.workspace.0);
        seed::configure(&db, "delete from webhook_endpoints").await;
        let row = |number: i64, text: &str| {
            let id = literal(&db, Uuid::from_u128(u128::try_from(number).unwrap()));
            format!(
                "insert into webhook_endpoints values ({workspace}, {id}, 'e{number}', '{text}', '', '', '', null, null, \
                 true, null, null, true, null, 0, 0)"
            )
        };
        insert(&db, row).await;
        let store = store::open(&db).await;

        let read = async |after: Option<EndpointId>| {
            let mut conn = store.acquire_read().await.unwrap();
            resource::list::<Endpoint>(conn.conn(), seeded.workspace, after, LIMIT).await.unwrap()
        };
        let pages =
            walk(None, read, |endpoint| (Some(endpoint.id), i64::try_from(endpoint.id.0.as_u128()).unwrap()));

        assert_eq!(pages.await, expected_pages(1..=ROWS));
    }
);

both_backends!(
    async fn the_first_rows_of_a_journal_are_cut_by_bytes(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let turn = TurnRef {
            workspace: seeded.workspace,
            conversation: CONVERSATION,
            turn: TurnId(Uuid::from_u128(2)),
        };
        let [workspace, id, conversation] =
            [turn.workspace.0, turn.turn.0, turn.conversation.0].map(|id| literal(&db, id));
        let row = |number: i64, text: &str| {
            let (step, position) = (number / 4, number % 4);
            format!(
                "insert into journal values ({workspace}, {id}, {step}, {position}, {conversation}, 1, 0, 0, '', '{text}')"
            )
        };
        insert(&db, row).await;
        let store = store::open(&db).await;
        let read = async |rows: i64, bytes: i64| {
            let mut conn = store.acquire_read().await.unwrap();
            let page = journal::list_first(conn.conn(), turn, ReadLimit { rows, bytes }).await.unwrap();
            let numbers: Vec<_> = page.rows.iter().map(|row| 4 * row.step + row.position).collect();
            (numbers, page.has_more)
        };

        assert_eq!(read(5, 100_000).await, (expected_pages(1..=ROWS).remove(0), true));
        assert_eq!(read(1, 1).await, (vec![1], true));
        assert_eq!(read(ROWS, i64::MAX).await, ((1..=ROWS).collect(), false));
        assert_eq!(read(ROWS - 1, i64::MAX).await, ((1..ROWS).collect(), true));
    }
);
