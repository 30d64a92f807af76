//! The input of a turn: its assistant's version, its conversation, the messages before it, and its journal.

use std::sync::Arc;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::Engine;
use crate::domain::assistant::{AssistantVersion, MAX_PROMPT};
use crate::domain::chat::ChatMessage;
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::conversation_variables::ConversationVariables;
use crate::domain::error::Error;
use crate::domain::history::{
    HistoryEntry, MAX_UNANSWERED_RESULT, STOPPED, Speaker, arrange, build_history, parse_function_calls,
    unanswered_entry,
};
use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::journal::JournalRow;
use crate::domain::message::Message;
use crate::domain::template::fill_system_prompt;
use crate::domain::tool::{CompiledTool, ToolConfig};
use crate::domain::tool_loop::{CallResult, JournalEntry, JournalRecord};
use crate::domain::trace::JournalledAnswer;
use crate::domain::turn::{Turn, TurnRef};
use crate::outbound::AllowHosts;
use crate::service::create_conversation::first_message;
use crate::service::workspace_hosts;
use crate::store::turns::journal;
use crate::store::{Conn, ReadLimit, StoreError, conversations, messages, turns, workspaces};
use crate::tools::Toolset;
use crate::writer::TurnSnapshot;

/// Earlier turns without a reply whose calls are read.
const MAX_UNANSWERED: usize = 200;
/// How many times that one of these was run again are followed.
const MAX_RETRIES: usize = 10;
/// The most bytes of such calls that are read, the newest ones. The calls of one answer fit.
const MAX_UNANSWERED_BYTES: i64 = 512 * 1024;

/// The input of a turn, which does not change while the turn runs.
pub(super) struct Context {
    pub version: Arc<AssistantVersion>,
    pub toolset: Arc<Toolset>,
    /// Arranged, up to the message that the turn answers.
    pub history: Arc<[ChatMessage]>,
    pub journal: Vec<JournalEntry>,
    /// Variables that tools may use: of the assistant, a key or an identity token, never of a visitor.
    pub trusted: Map<String, Value>,
    pub allow_hosts: AllowHosts,
    /// A token budget was used up before the attempt.
    pub is_over_budget: bool,
}

pub(super) fn turn_ref(turn: &Turn) -> TurnRef {
    TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id }
}

/// Reads the context; `None` if the turn's conversation or assistant version no longer exists.
pub(super) async fn load(
    engine: &Engine,
    turn: &Turn,
    snapshot: Option<&TurnSnapshot>,
) -> Result<Option<Context>, Error> {
    let services = &engine.services;
    let version =
        services.versions.get(services, turn.workspace, turn.assistant, turn.assistant_version).await?;
    let Some(version) = version else { return Ok(None) };
    let toolset = engine.toolset(turn, &version)?;

    let stored = match snapshot.and_then(|snapshot| known(engine, turn, snapshot)) {
        Some(known) => Some(known.map_err(Error::from)?),
        None => services.db.read(turn.workspace, async |conn| read(conn, engine, turn).await).await?,
    };
    let Some(stored) = stored else { return Ok(None) };
    let StoredContext { conversation, messages, unanswered, calls, journal, allow_hosts, is_over_budget } =
        stored;

    let variables = variables(&version, &conversation, services.clock.now());
    let prompt = prompt(engine, &version, &variables);
    let mut entries: Vec<HistoryEntry> = messages.iter().map(|message| entry(message)).collect();
    if conversation.visitor_variables != "{}" {
        replace_first_message(&mut entries, &version, &variables);
    }
    entries.extend(unanswered.iter().filter_map(|(turns, position)| {
        let of_turns = |row: &&JournalRow| turns.contains(&row.turn.turn);
        let rows: Vec<JournalRow> = calls.iter().filter(of_turns).cloned().collect();
        (!rows.is_empty()).then(|| unanswered_entry(*position, &rows))
    }));
    let history = arrange(build_history(&prompt, entries, turn.position, engine.settings.history)).into();
    let journal = journal.iter().map(journal_entry).collect::<Result<_, _>>()?;
    let trusted = variables.trusted;
    Ok(Some(Context { version, toolset, history, journal, trusted, allow_hosts, is_over_budget }))
}

/// The rows that a turn needs.
struct StoredContext {
    conversation: Conversation,
    messages: Vec<Arc<Message>>,
    /// The earlier turns of each message without a reply, with its position.
    unanswered: Vec<(Vec<TurnId>, i64)>,
    /// Their calls.
    calls: Vec<JournalRow>,
    journal: Vec<JournalRow>,
    allow_hosts: AllowHosts,
    is_over_budget: bool,
}

/// The context of a turn that starts for the first time, without a read; `None` if something is not known here.
fn known(
    engine: &Engine,
    turn: &Turn,
    TurnSnapshot { conversation, config, is_over_budget }: &TurnSnapshot,
) -> Option<Result<StoredContext, StoreError>> {
    let histories = &engine.services.histories;
    let messages = histories.get(turn.conversation, turn.position, conversation.next_position)?;
    let is_known = turn.fence <= 1 && first_turn(&messages, turn).is_none();
    if !is_known || !unanswered(&messages, turn.position).is_empty() {
        return None;
    }
    Some(workspace_hosts::parse(&config.settings).map(|allow_hosts| StoredContext {
        conversation: conversation.clone(),
        messages,
        unanswered: Vec::new(),
        calls: Vec::new(),
        journal: Vec::new(),
        allow_hosts,
        is_over_budget: *is_over_budget,
    }))
}

async fn read(mut conn: Conn<'_>, engine: &Engine, turn: &Turn) -> Result<Option<StoredContext>, StoreError> {
    let conversation = conversations::find(conn.reborrow(), turn.workspace, turn.conversation).await?;
    let Some(conversation) = conversation else { return Ok(None) };
    let messages = read_messages(conn.reborrow(), engine, turn, conversation.next_position).await?;
    let first_turns = unanswered(&messages, turn.position);
    let own = first_turn(&messages, turn).map(|first| (first, turn.position));
    let unanswered = with_retries(conn.reborrow(), turn, first_turns.into_iter().chain(own)).await?;
    let ids: Vec<TurnId> = unanswered.iter().flat_map(|(turns, _)| turns).copied().collect();
    // One character more shows that a result is longer.
    let max_result = to_i64(MAX_UNANSWERED_RESULT + 1);
    let calls =
        journal::list_calls(conn.reborrow(), turn.workspace, &ids, MAX_UNANSWERED_BYTES, max_result).await?;
    // A turn that starts for the first time has no journal. A journal is read whole, because without one of its rows a call would be
    // made again; it was bounded when it was written.
    let journal =
        if turn.fence > 1 { journal::list(conn.reborrow(), turn_ref(turn)).await? } else { Vec::new() };
    let clock = engine.services.clock.as_ref();
    let found = workspaces::find_with_tokens(conn, turn.workspace, clock).await?;
    let Some((workspace, tokens)) = found else { return Ok(None) };
    let allow_hosts = workspace_hosts::parse(&workspace)?;
    let budgets = engine.settings.token_budgets.lowest(workspace.token_budgets);
    let is_over_budget = budgets.exhausted_by(conversation.tokens, tokens).is_some();
    Ok(Some(StoredContext {
        conversation,
        messages,
        unanswered,
        calls,
        journal,
        allow_hosts,
        is_over_budget,
    }))
}

async fn read_messages(
    mut conn: Conn<'_>,
    engine: &Engine,
    turn: &Turn,
    next_position: i64,
) -> Result<Vec<Arc<Message>>, StoreError> {
    let bounds = engine.settings.history;
    let mut limit = ReadLimit { rows: to_i64(bounds.max_messages), bytes: to_i64(bounds.max_bytes()) };
    let (workspace, id) = (turn.workspace, turn.conversation);
    let newest = messages::list_newest(conn.reborrow(), workspace, id, turn.position, limit).await?;
    // The message was committed before its turn started. Rows without it are old, and a reply to them would answer another message.
    if newest.rows.last().is_none_or(|message| message.position != turn.position) {
        return Err(StoreError::Stale);
    }
    let mut messages: Vec<_> = newest.rows.into_iter().map(Arc::new).collect();
    if next_position == turn.position + 1 {
        engine.services.histories.insert(id, &messages);
        return Ok(messages);
    }
    // Replies to earlier messages may have later positions.
    limit.bytes -= to_i64(messages.iter().map(|message| message.content_bytes()).sum());
    let late = messages::list_late_replies(conn, workspace, id, turn.position, limit).await?;
    messages.extend(late.into_iter().map(Arc::new));
    Ok(messages)
}

fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The newest turns before a position whose message has no reply.
fn unanswered(messages: &[Arc<Message>], before: i64) -> Vec<(TurnId, i64)> {
    let has_reply = |position| messages.iter().any(|message| message.answers == Some(position));
    let requests = messages.iter().filter(|message| message.answers.is_none() && message.position < before);
    let unanswered = requests.filter(|message| !has_reply(message.position));
    unanswered
        .filter_map(|message| Some((message.turn?, message.position)))
        .rev()
        .take(MAX_UNANSWERED)
        .collect()
}

/// The first turn of the message that a turn answers, if the turn runs a failed one again.
fn first_turn(messages: &[Arc<Message>], turn: &Turn) -> Option<TurnId> {
    let message = messages.iter().find(|message| message.id == turn.message)?;
    message.turn.filter(|first| *first != turn.id)
}

/// Each turn with those that ran it again, except for `turn` itself.
async fn with_retries(
    mut conn: Conn<'_>,
    turn: &Turn,
    first_turns: impl Iterator<Item = (TurnId, i64)>,
) -> Result<Vec<(Vec<TurnId>, i64)>, StoreError> {
    let mut found: Vec<(Vec<TurnId>, i64)> =
        first_turns.map(|(first, position)| (vec![first], position)).collect();
    for _ in 0..MAX_RETRIES {
        let last = |(turns, _): &(Vec<TurnId>, i64)| turns.last().map(|last| (turn.workspace, *last));
        let last: Vec<(WorkspaceId, TurnId)> = found.iter().filter_map(last).collect();
        let retried = turns::list_retried(conn.reborrow(), &last).await?;
        if retried.is_empty() {
            break;
        }
        for (turns, _) in &mut found {
            let next = retried.iter().find(|(failed, _)| turns.last() == Some(failed));
            turns.extend(next.map(|(_, next)| *next));
        }
    }
    for (turns, _) in &mut found {
        turns.retain(|id| *id != turn.id);
    }
    Ok(found)
}

fn variables(version: &AssistantVersion, conversation: &Conversation, now: Micros) -> ConversationVariables {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let trusted = conversation.trusted_variables(now).into_iter().flat_map(read).collect();
    version.rank_variables(trusted, read(&conversation.visitor_variables))
}

/// The visitor has chosen the values in the first message, so the model sees it with others: it believes what it has said itself.
fn replace_first_message(
    entries: &mut [HistoryEntry],
    version: &AssistantVersion,
    variables: &ConversationVariables,
) {
    // A reply comes after the message that it answers, so nothing else of the assistant is the first.
    let is_first = |entry: &&mut HistoryEntry| entry.position == 1 && entry.speaker == Speaker::Assistant;
    if let Some(first) = entries.iter_mut().find(is_first) {
        first.text = first_message(version, &variables.without_visitor()).unwrap_or_default();
    }
}

/// The system prompt, followed by the dates, so that its prefix stays cacheable. Values of the visitor that would make it too
/// long are left out: they must not displace those that others have set.
fn prompt(engine: &Engine, version: &AssistantVersion, variables: &ConversationVariables) -> String {
    let (without_visitor, empty) = (variables.without_visitor(), Map::new());
    let fill = |(values, visitor): (&Map<String, Value>, &Map<String, Value>)| {
        fill_system_prompt(&version.system_prompt, values, visitor, MAX_PROMPT).ok()
    };
    let filled = [(&without_visitor, &variables.visitor), (&without_visitor, &empty), (&empty, &empty)]
        .into_iter()
        .find_map(fill)
        .unwrap_or_else(|| version.system_prompt.clone());
    let offers_times = |tool: &&CompiledTool| !matches!(tool.kind, ToolConfig::CalendarCancel { .. });
    let calendar = version.tools.iter().filter(offers_times).find_map(|tool| tool.kind.calendar());
    let name = calendar.map_or("UTC", |calendar| calendar.settings.rules.time_zone());
    let zone = TimeZone::get(name).unwrap_or(TimeZone::UTC);
    let today = engine.services.clock.now().timestamp().to_zoned(zone).date();
    let date = |day: Date| day.strftime("%A, %Y-%m-%d").to_string();
    let prompt = format!("{filled}\n\nToday is {} ({name}).", date(today));
    if calendar.is_none() {
        return prompt;
    }
    // Small models miscount days: they look up a Sunday for a visitor who asks for Tuesday.
    let week: Vec<String> = today.series(1.day()).skip(1).take(7).map(date).collect();
    format!("{prompt} The next days are {}.", week.join("; "))
}

fn entry(message: &Message) -> HistoryEntry {
    let speaker = match message.sender_type {
        SenderType::User => Speaker::User,
        SenderType::Agent => Speaker::Agent,
        SenderType::System => Speaker::System,
        SenderType::Assistant => Speaker::Assistant,
    };
    let calls = message.function_calls.as_deref().and_then(|calls| serde_json::from_str(calls).ok());
    let text =
        if message.is_stopped { format!("{}\n\n{STOPPED}", message.text) } else { message.text.clone() };
    HistoryEntry {
        position: message.position,
        answers: message.answers,
        speaker,
        text,
        calls: calls.map(|calls| parse_function_calls(&calls)).unwrap_or_default(),
    }
}

/// A row of the journal for the tool loop. An unreadable row is an error, because without it a call that was made
/// would be made again.
fn journal_entry(row: &JournalRow) -> Result<JournalEntry, StoreError> {
    let record = match (row.position, &row.result) {
        (0, _) => {
            let journalled: JournalledAnswer =
                serde_json::from_str(&row.content).map_err(StoreError::unreadable)?;
            JournalRecord::Answer(journalled.answer)
        }
        (_, Some(result)) => {
            let result = serde_json::from_str(result).map_err(StoreError::unreadable)?;
            JournalRecord::Finished(CallResult::new(result))
        }
        (_, None) => JournalRecord::Started,
    };
    let (step, position) = (u32::try_from(row.step), u32::try_from(row.position));
    Ok(JournalEntry {
        step: step.map_err(StoreError::unreadable)?,
        position: position.map_err(StoreError::unreadable)?,
        record,
    })
}
