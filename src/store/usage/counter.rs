//! Reads the rows of a part, and sums them up.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use uuid::Uuid;

use super::PART;
use crate::domain::clock::Micros;
use crate::domain::conversation::SenderType;
use crate::domain::event::EventType;
use crate::domain::ids::{AssistantId, KeyId, MessageId, TurnId, WorkspaceId};
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::usage::{Figures, UsageKey, UsageRow, quarter};
use crate::store::{Conn, StoreError, fetch, key_columns, on_conn};

/// An event that counts.
#[derive(sqlx::FromRow)]
pub(super) struct CountedEvent {
    pub(super) cursor: i64,
    kind: EventType,
    created_at: Micros,
    /// The assistant of its conversation.
    assistant_id: Option<AssistantId>,
    /// The conversation begins with a message of its assistant.
    has_first_message: bool,
    /// The beginning of its body, which has the ids.
    head: String,
}

impl CountedEvent {
    /// The message that it tells of.
    fn message(&self) -> Option<MessageId> {
        id_after(&self.head, r#""message":{"id":""#).filter(|_| self.kind == EventType::MessageCreated)
    }

    /// The turn that has ended without a reply.
    fn turn(&self) -> Option<TurnId> {
        id_after(&self.head, r#""turn_id":""#).filter(|_| self.kind != EventType::MessageCreated)
    }
}

/// The id behind the first occurrence of a text. What a client wrote comes after it in the body of an event.
fn id_after<I: FromStr>(head: &str, start: &str) -> Option<I> {
    let (_, rest) = head.split_once(start)?;
    rest.split_once('"')?.0.parse().ok()
}

/// A message, as far as it counts.
#[derive(sqlx::FromRow)]
struct CountedMessage {
    id: MessageId,
    sender_type: SenderType,
    turn_id: Option<TurnId>,
}

/// The answers of one model in the journal of a turn.
#[derive(sqlx::FromRow)]
struct CountedAnswers {
    turn_id: TurnId,
    connection: String,
    model: String,
    model_calls: i64,
    input_tokens: i64,
    cached_tokens: i64,
    output_tokens: i64,
    reasoning_tokens: i64,
    tool_calls: i64,
}

/// To whom a turn belongs.
#[derive(Clone, Copy, sqlx::FromRow)]
struct TurnOwner {
    id: TurnId,
    assistant_id: AssistantId,
    api_key_id: Option<KeyId>,
}

/// The events after a cursor that tell of messages and of the ends of turns. Only the beginnings of their bodies are read, which may be
/// large, and may have characters that the JSON functions of PostgreSQL refuse.
pub(super) async fn list_events(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: i64,
) -> Result<Vec<CountedEvent>, StoreError> {
    const LIST: &str = "select e.cursor, e.type as kind, e.created_at, c.assistant_id, \
        e.type = 'conversation.created' and exists (select 1 from messages m where m.workspace_id = e.workspace_id \
        and m.conversation_id = e.conversation_id and m.position = 1 and m.sender_type = 'assistant' \
        and m.turn_id is null) as has_first_message, substr(e.body, 1, 512) as head from events e \
        left join conversations c on c.workspace_id = e.workspace_id and c.id = e.conversation_id \
        where e.workspace_id = $1 and e.cursor > $2 and e.type in \
        ('message.created', 'conversation.created', 'reply.failed', 'reply.discarded') order by e.cursor limit $3";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).bind(after).bind(PART).fetch_all(c).await?))
}

/// The messages among these that are stored.
async fn list_messages(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    ids: impl Iterator<Item = MessageId>,
) -> Result<HashMap<MessageId, CountedMessage>, StoreError> {
    const LIST: &str = "select id, sender_type, turn_id from new cross join messages \
        where workspace_id = key_workspace and id = key_id";
    let keys: Vec<_> = ids.map(|id| (workspace, id)).collect();
    let found: Vec<CountedMessage> = fetch(conn, &key_columns(), &keys, LIST).await?;
    Ok(found.into_iter().map(|message| (message.id, message)).collect())
}

async fn list_owners(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    turns: &BTreeSet<TurnId>,
) -> Result<HashMap<TurnId, TurnOwner>, StoreError> {
    const LIST: &str = "select id, assistant_id, api_key_id from new cross join turns \
        where workspace_id = key_workspace and id = key_id";
    let keys: Vec<_> = turns.iter().map(|turn| (workspace, *turn)).collect();
    let found: Vec<TurnOwner> = fetch(conn, &key_columns(), &keys, LIST).await?;
    Ok(found.into_iter().map(|owner| (owner.id, owner)).collect())
}

/// The answers and calls in the journals of turns, by model.
async fn list_answers(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    turns: impl Iterator<Item = TurnId>,
) -> Result<Vec<CountedAnswers>, StoreError> {
    macro_rules! list {
        ($answer:literal, $connection:literal, $model:literal, $input:literal, $cached:literal, $output:literal, $reasoning:literal) => {
            concat!(
                "select turn_id, coalesce(",
                $connection,
                ", '') as connection, coalesce(",
                $model,
                ", '') as model, count(*) as model_calls, cast(sum(coalesce(",
                $input,
                ", 0)) as bigint) as input_tokens, cast(sum(coalesce(",
                $cached,
                ", 0)) as bigint) as cached_tokens, cast(sum(coalesce(",
                $output,
                ", 0)) as bigint) as output_tokens, cast(sum(coalesce(",
                $reasoning,
                ", 0)) as bigint) as reasoning_tokens, cast(sum(calls) as bigint) as tool_calls from (select turn_id, ",
                $answer,
                " as answer, (select count(*) from journal c where c.workspace_id = a.workspace_id \
                 and c.turn_id = a.turn_id and c.step = a.step and c.position > 0) as calls \
                 from new cross join journal a where a.workspace_id = key_workspace and a.turn_id = key_id \
                 and a.position = 0) as answers group by 1, 2, 3"
            )
        };
    }
    let list = conn.pick(
        list!(
            // The JSON functions of PostgreSQL refuse U+0000 anywhere in their argument; the escape follows an even number of backslashes.
            r"(case when strpos(content, '\u0000') > 0 then regexp_replace(content, '(?<!\\)((\\\\)*)\\u0000', '\1', 'g') else content end)::json",
            "answer ->> 'connection'",
            "answer ->> 'model'",
            "(answer #>> '{answer,usage,input}')::bigint",
            "(answer #>> '{answer,usage,cached}')::bigint",
            "(answer #>> '{answer,usage,output}')::bigint",
            "(answer #>> '{answer,usage,reasoning}')::bigint"
        ),
        list!(
            "content",
            "json_extract(answer, '$.connection')",
            "json_extract(answer, '$.model')",
            "json_extract(answer, '$.answer.usage.input')",
            "json_extract(answer, '$.answer.usage.cached')",
            "json_extract(answer, '$.answer.usage.output')",
            "json_extract(answer, '$.answer.usage.reasoning')"
        ),
    );
    let keys: Vec<_> = turns.map(|turn| (workspace, turn)).collect();
    fetch(conn, &key_columns(), &keys, list).await
}

/// Sums up the rows of a part.
pub(super) struct Counter {
    workspace: WorkspaceId,
    owners: HashMap<TurnId, TurnOwner>,
    rows: HashMap<UsageKey, Figures>,
}

impl Counter {
    pub(super) async fn read(
        mut conn: Conn<'_>,
        workspace: WorkspaceId,
        events: &[CountedEvent],
        entries: &[LedgerEntry],
    ) -> Result<Vec<UsageRow>, StoreError> {
        let message_ids = events.iter().filter_map(CountedEvent::message);
        let messages = list_messages(conn.reborrow(), workspace, message_ids).await?;
        let ends: Vec<_> =
            events.iter().filter_map(|event| Some((ended_turn(event, &messages)?, event))).collect();
        let of_messages = messages.values().filter_map(|message| message.turn_id);
        let of_entries = entries.iter().filter_map(|entry| entry.turn);
        let turns = of_messages.chain(of_entries).chain(ends.iter().map(|(turn, _)| *turn)).collect();
        let owners = list_owners(conn.reborrow(), workspace, &turns).await?;
        let answers = list_answers(conn, workspace, ends.iter().map(|(turn, _)| *turn)).await?;

        let mut counter = Self { workspace, owners, rows: HashMap::new() };
        for event in events {
            counter.count_message(event, &messages);
        }
        let ended_at: HashMap<_, _> = ends.iter().map(|(turn, event)| (*turn, event.created_at)).collect();
        for (turn, event) in ends {
            counter.count_end(turn, event);
        }
        for answers in answers {
            counter.count_answers(&answers, ended_at.get(&answers.turn_id).copied());
        }
        for entry in entries {
            counter.count_entry(entry);
        }
        Ok(counter.rows.into_iter().map(|(key, figures)| UsageRow { key, figures }).collect())
    }

    /// The figures to add to: of a turn or, without one, of an assistant.
    fn figures(
        &mut self,
        at: Micros,
        turn: Option<TurnId>,
        assistant: Option<AssistantId>,
        (connection, model): (&str, &str),
    ) -> &mut Figures {
        let owner = turn.and_then(|turn| self.owners.get(&turn));
        let assistant = owner.map(|owner| owner.assistant_id).or(assistant);
        let key = UsageKey {
            start: quarter(at),
            workspace: self.workspace,
            assistant: assistant.unwrap_or(AssistantId(Uuid::nil())),
            key: owner.and_then(|owner| owner.api_key_id).unwrap_or(KeyId(Uuid::nil())),
            connection: connection.to_owned(),
            model: model.to_owned(),
        };
        self.rows.entry(key).or_default()
    }

    fn count_message(&mut self, event: &CountedEvent, messages: &HashMap<MessageId, CountedMessage>) {
        let stored = event.message().and_then(|id| messages.get(&id));
        let is_message = match event.kind {
            EventType::MessageCreated => true,
            EventType::ConversationCreated => event.has_first_message,
            EventType::ConversationUpdated
            | EventType::ConversationEnded
            | EventType::ConversationDeleted
            | EventType::MessageFeedback
            | EventType::ReplyFailed
            | EventType::ReplyDiscarded
            | EventType::BalanceLow
            | EventType::WebhookEndpointDisabled
            | EventType::WebhookEndpointTest => false,
        };
        if is_message {
            let turn = stored.and_then(|message| message.turn_id);
            self.figures(event.created_at, turn, event.assistant_id, ("", "")).messages += 1;
        }
    }

    fn count_end(&mut self, turn: TurnId, event: &CountedEvent) {
        let figures = self.figures(event.created_at, Some(turn), event.assistant_id, ("", ""));
        match event.kind {
            EventType::ReplyFailed => figures.turns_failed += 1,
            EventType::ReplyDiscarded => figures.turns_discarded += 1,
            EventType::MessageCreated
            | EventType::ConversationCreated
            | EventType::ConversationUpdated
            | EventType::ConversationEnded
            | EventType::ConversationDeleted
            | EventType::MessageFeedback
            | EventType::BalanceLow
            | EventType::WebhookEndpointDisabled
            | EventType::WebhookEndpointTest => figures.turns_completed += 1,
        }
    }

    fn count_answers(&mut self, answers: &CountedAnswers, ended_at: Option<Micros>) {
        let Some(at) = ended_at else { return };
        let model = (answers.connection.as_str(), answers.model.as_str());
        *self.figures(at, Some(answers.turn_id), None, model) += Figures {
            model_calls: answers.model_calls,
            input_tokens: answers.input_tokens,
            cached_tokens: answers.cached_tokens,
            output_tokens: answers.output_tokens,
            reasoning_tokens: answers.reasoning_tokens,
            tool_calls: answers.tool_calls,
            ..Figures::default()
        };
    }

    fn count_entry(&mut self, entry: &LedgerEntry) {
        let figures = match entry.kind {
            LedgerKind::TopUp => Figures { credited: entry.amount, ..Figures::default() },
            LedgerKind::Charge => Figures { charged: entry.amount.negated(), ..Figures::default() },
            LedgerKind::Refund => Figures { refunded: entry.amount, ..Figures::default() },
        };
        *self.figures(entry.created_at, entry.turn, None, ("", "")) += figures;
    }
}

/// The turn that an event ends: with its reply, or without one.
fn ended_turn(event: &CountedEvent, messages: &HashMap<MessageId, CountedMessage>) -> Option<TurnId> {
    let reply = || {
        let message = messages.get(&event.message()?)?;
        message.turn_id.filter(|_| message.sender_type == SenderType::Assistant)
    };
    event.turn().or_else(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ConversationId, EventId};
    use crate::domain::message::Message;
    use crate::domain::render::{self, EventData};

    fn counted(kind: EventType, data: &EventData<'_>) -> CountedEvent {
        let body = render::event(EventId(Uuid::nil()), kind, Micros(0), i64::MAX, data);
        let head = body.chars().take(512).collect();
        CountedEvent {
            cursor: 1,
            kind,
            created_at: Micros(0),
            assistant_id: None,
            has_first_message: false,
            head,
        }
    }

    #[test]
    fn the_head_of_an_event_has_its_ids() {
        let (id, turn) = (MessageId(Uuid::from_u128(5)), TurnId(Uuid::from_u128(6)));
        let conversation = ConversationId(Uuid::from_u128(7));
        let message = Message {
            workspace: WorkspaceId(Uuid::nil()),
            conversation,
            position: 1,
            id,
            sender_type: SenderType::User,
            sender_id: r#""message":{"id":"msg_00000000000000000000000001""#.to_owned(),
            text: r#""turn_id":"trn_00000000000000000000000001""#.repeat(99),
            metadata: None,
            reply_to: None,
            answers: None,
            function_calls: None,
            is_truncated: false,
            is_stopped: false,
            earlier_texts: None,
            turn: None,
            created_at: Micros(0),
            rating: None,
            rating_comment: None,
        };
        let no_reply = EventData::NoReply { conversation, turn, message: id, reason: "model_timeout" };

        let sent = counted(EventType::MessageCreated, &EventData::Message(&message));
        let failed = counted(EventType::ReplyFailed, &no_reply);

        assert_eq!((sent.message(), sent.turn()), (Some(id), None));
        assert_eq!((failed.message(), failed.turn()), (None, Some(turn)));
        let redacted = CountedEvent { head: r#"{"id":"evt_","type":"message.created"}"#.to_owned(), ..sent };
        assert_eq!((redacted.message(), redacted.turn()), (None, None));
    }
}
