//! Decisions without a database: one batch decides like many batches of one command, and the ledger balances.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rejoinder::domain::assistant::AssistantSummary;
use rejoinder::domain::audit::Actor;
use rejoinder::domain::clock::{Clock, FixedClock, Micros};
use rejoinder::domain::conversation::{Conversation, ConversationKind, ConversationPatch, SenderType};
use rejoinder::domain::failure::Failure;
use rejoinder::domain::idempotency::{IdempotencyKey, IdempotencyRequest};
use rejoinder::domain::ids::{
    AssistantId, ConversationId, IdGenerator, KeyId, MessageId, ProcessId, TurnId, WorkspaceId,
};
use rejoinder::domain::ledger::LedgerEntry;
use rejoinder::domain::money::Money;
use rejoinder::domain::retention::Retention;
use rejoinder::domain::token_budget::TokenBudgets;
use rejoinder::domain::turn::{Api, Reply, TurnEnd, TurnRef, TurnState};
use rejoinder::domain::workspace::{Pricing, Workspace, WorkspaceState};
use rejoinder::writer::batch::{
    Batch, ChangeSet, DecisionContext, Effects, PerApi, SlotBudget, Tables, WorkspaceConfig, WorkspaceRow,
};
use rejoinder::writer::{
    Admission, Decision, EndAuthority, EndTurn, HandBackTurn, RerunTurn, RetryTurn, Target, TopUp,
    UpdateConversation,
};
use uuid::Uuid;

use crate::support::writer_process::BOUNDS;

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
const ASSISTANT: AssistantId = AssistantId(Uuid::from_u128(2));
const PROCESS: ProcessId = ProcessId(Uuid::from_u128(3));
const MONEY: i64 = 60_000;

/// An operation. A turn is named by the index of the operation that admitted it.
#[derive(Clone, Debug)]
enum Op {
    Admit {
        conversation: u8,
        widget: bool,
        key: Option<u8>,
        auto_reply: Option<bool>,
        agent: bool,
    },
    End {
        admitted_by: u8,
        fence: Option<i64>,
        completes: bool,
    },
    Update {
        conversation: u8,
        patch: ConversationPatch,
    },
    RetryTurn {
        admitted_by: u8,
        fence: i64,
    },
    HandBackTurn {
        admitted_by: u8,
        fence: i64,
    },
    /// Runs a failed turn again. It admits a turn, too.
    RerunTurn {
        admitted_by: u8,
        key: Option<u8>,
    },
    TopUp {
        reference: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let switch = prop_oneof![2 => Just(None), 4 => Just(Some(true)), 2 => Just(Some(false))];
    let metadata = proptest::option::of(prop_oneof![Just(r#"{"a":1}"#.to_owned()), Just("{}".to_owned())]);
    let patch = (switch, metadata, proptest::bool::weighted(0.15))
        .prop_map(|(ai_enabled, metadata, ends)| ConversationPatch { ai_enabled, metadata, ends });
    let admitted_by = || 0..24_u8;
    let admit = (
        0..3_u8,
        any::<bool>(),
        proptest::option::weighted(0.3, 0..2_u8),
        proptest::option::of(any::<bool>()),
    );
    prop_oneof![
        8 => (admit, proptest::bool::weighted(0.1)).prop_map(|((conversation, widget, key, auto_reply), agent)| {
            Op::Admit { conversation, widget, key, auto_reply, agent: agent && !widget }
        }),
        6 => (admitted_by(), proptest::option::of(1..4_i64), any::<bool>())
            .prop_map(|(admitted_by, fence, completes)| Op::End { admitted_by, fence, completes }),
        2 => (0..3_u8, patch).prop_map(|(conversation, patch)| Op::Update { conversation, patch }),
        2 => (admitted_by(), 1..4_i64).prop_map(|(admitted_by, fence)| Op::RetryTurn { admitted_by, fence }),
        2 => (admitted_by(), 1..4_i64).prop_map(|(admitted_by, fence)| Op::HandBackTurn { admitted_by, fence }),
        4 => (admitted_by(), proptest::option::weighted(0.3, 0..2_u8))
            .prop_map(|(admitted_by, key)| Op::RerunTurn { admitted_by, key }),
        1 => (0..2_u8).prop_map(|reference| Op::TopUp { reference }),
    ]
}

fn conversation_id(index: u8) -> ConversationId {
    ConversationId(Uuid::from_u128(100 + u128::from(index)))
}

/// Decides a command and returns its outcome as text.
type Decide = Box<dyn Fn(&mut Batch<'_>) -> String>;

fn decide<D: Decision<Reply: std::fmt::Debug> + 'static>(command: D) -> Decide {
    Box::new(move |batch| format!("{:?}", command.decide(batch)))
}

fn commands(ops: &[Op]) -> Vec<Decide> {
    let mut conversations: HashMap<u8, u8> = HashMap::new();
    for (index, op) in (0_u8..).zip(ops) {
        let conversation = match op {
            Op::Admit { conversation, .. } => Some(*conversation),
            Op::RerunTurn { admitted_by, .. } => conversations.get(admitted_by).copied(),
            _ => None,
        };
        conversations.extend(conversation.map(|conversation| (index, conversation)));
    }
    let turn = |admitted_by: u8| TurnRef {
        workspace: WORKSPACE,
        conversation: conversation_id(conversations.get(&admitted_by).copied().unwrap_or(0)),
        turn: TurnId(Uuid::from_u128(1000 + u128::from(admitted_by))),
    };
    (0_u8..).zip(ops).map(|(index, op)| command(index, op, &turn)).collect()
}

fn command(index: u8, op: &Op, turn: &dyn Fn(u8) -> TurnRef) -> Decide {
    let delay = Duration::from_secs(1);
    match *op {
        Op::Admit { conversation, widget, key, auto_reply, agent } => decide(Admission {
            workspace: WORKSPACE,
            api: if widget { Api::Widget } else { Api::Platform },
            target: Target::Existing { id: conversation_id(conversation), name: String::new() },
            message: MessageId(Uuid::from_u128(2000 + u128::from(index))),
            turn: turn(index).turn,
            sender_type: if agent { SenderType::Agent } else { SenderType::User },
            sender_id: String::new(),
            text: "Hello".to_owned(),
            metadata: None,
            reply_to: None,
            auto_reply: auto_reply.filter(|_| !widget),
            idempotency: key.map(|key| IdempotencyRequest {
                key: IdempotencyKey {
                    workspace: WORKSPACE,
                    scope: format!("{conversation} {widget}"),
                    key: key.to_string(),
                },
                fingerprint: vec![key],
                warning: None,
            }),
            deadline: None,
            key: None,
            identity: None,
            runs_here: false,
        }),
        Op::End { admitted_by, fence, completes } => {
            let reply = Reply {
                id: MessageId(Uuid::from_u128(3000 + u128::from(index))),
                text: "Yes".to_owned(),
                function_calls: "[]".to_owned(),
                is_truncated: false,
                is_stopped: false,
                earlier_texts: None,
            };
            let end = if completes { TurnEnd::Completed(reply) } else { TurnEnd::Failed(Failure::Timeout) };
            let authority = fence.map_or(EndAuthority::ClientGone, |fence| EndAuthority::Owner { fence });
            let (turn, tokens) = (turn(admitted_by), 7);
            decide(EndTurn { turn, authority, end, journal: None, model_error: None, tokens })
        }
        Op::Update { conversation, ref patch } => decide(UpdateConversation {
            workspace: WORKSPACE,
            conversation: conversation_id(conversation),
            patch: patch.clone(),
        }),
        Op::RetryTurn { admitted_by, fence } => {
            decide(RetryTurn { turn: turn(admitted_by), fence, delay, model_error: None, tokens: 0 })
        }
        Op::HandBackTurn { admitted_by, fence } => {
            decide(HandBackTurn { turn: turn(admitted_by), fence, delay, is_takeover: false })
        }
        Op::RerunTurn { admitted_by, key } => decide(RerunTurn {
            failed: turn(admitted_by),
            message: MessageId(Uuid::from_u128(2000 + u128::from(admitted_by))),
            turn: turn(index).turn,
            idempotency: key.map(|key| IdempotencyRequest {
                key: IdempotencyKey { workspace: WORKSPACE, scope: "rerun".to_owned(), key: key.to_string() },
                fingerprint: vec![admitted_by],
                warning: None,
            }),
            key: KeyId(Uuid::from_u128(7)),
        }),
        Op::TopUp { reference } => decide(TopUp {
            workspace: WORKSPACE,
            amount: Money(25_000),
            reference: reference.to_string(),
            actor: Arc::new(Actor::server()),
        }),
    }
}

fn tables(clock: &FixedClock) -> Tables {
    let settings = Workspace {
        id: WORKSPACE,
        slug: String::new(),
        name: String::new(),
        auto_create_conversations: true,
        default_assistant: None,
        pricing: Pricing { widget: Money(10_000), test: Money::ZERO, api: Money(7_000) },
        balance_low: Some(Money(15_000)),
        allow_hosts: Vec::new(),
        token_budgets: TokenBudgets::UNLIMITED,
        from_file: true,
        created_at: Micros(0),
        suspended_at: None,
        deleted_at: None,
        retention: Retention::default(),
    };
    let state = WorkspaceState { balance: Money(MONEY), ..WorkspaceState::new(0) };
    let mut tables = Tables::default();
    tables.workspaces.insert(
        WORKSPACE,
        WorkspaceRow { config: Arc::new(WorkspaceConfig { settings, subscribers: Vec::new() }), state },
    );
    let assistant = AssistantSummary {
        workspace: WORKSPACE,
        current_version: 1,
        archived: false,
        pause_on_agent_message: true,
    };
    tables.assistants.insert(ASSISTANT, assistant);
    for (index, kind) in (0_u8..).zip(ConversationKind::ALL) {
        let id = conversation_id(index);
        let conversation = Conversation::new(WORKSPACE, id, *kind, ASSISTANT, clock.now());
        tables.conversations.insert(conversation.id, conversation);
    }
    tables
}

/// The rows as the next batch reads them.
fn read_again(old: Tables) -> Tables {
    let mut tables = Tables {
        workspaces: old.workspaces,
        conversations: old.conversations,
        assistants: old.assistants,
        messages: old.messages,
        idempotency: old.idempotency,
        bookings: old.bookings,
        references: old.references,
        ..Tables::default()
    };
    for turn in old.turns.into_values() {
        tables.put_turn(turn);
    }
    tables
}

/// The results of all commands.
struct Run {
    outcomes: Vec<String>,
    tables: Tables,
    changes: Vec<ChangeSet>,
    effects: Vec<Effects>,
}

impl Run {
    fn ledger(&self) -> Vec<&LedgerEntry> {
        self.changes.iter().flat_map(|changes| &changes.ledger).collect()
    }

    /// The results that must not depend on the batches.
    fn summary(&self) -> String {
        let mut turns: Vec<_> = self.tables.turns.values().collect();
        turns.sort_by_key(|turn| turn.id);
        let mut conversations: Vec<_> = self.tables.conversations.values().collect();
        conversations.sort_by_key(|conversation| conversation.id);
        let mut records: Vec<_> = self.tables.idempotency.values().collect();
        records.sort_by_key(|record| record.key.clone());
        let events: Vec<_> = self.changes.iter().flat_map(|changes| &changes.events).collect();
        let messages: Vec<_> = self.changes.iter().flat_map(|changes| &changes.messages).collect();
        let ended: Vec<_> = self.effects.iter().flat_map(|effects| &effects.ended).collect();
        let state = self.tables.workspaces[&WORKSPACE].state;
        format!(
            "{:#?}",
            (&self.outcomes, turns, conversations, records, events, messages, self.ledger(), ended, state)
        )
    }
}

fn run(commands: &[Decide], batch_size: usize, slots: usize) -> Run {
    let clock = FixedClock::at("2026-03-16T10:00:00Z".parse().unwrap());
    let ids = IdGenerator::seeded(7);
    let mut run =
        Run { outcomes: Vec::new(), tables: tables(&clock), changes: Vec::new(), effects: Vec::new() };
    for commands in commands.chunks(batch_size) {
        let context = DecisionContext {
            now: clock.now(),
            instant: Instant::now(),
            clock: &clock,
            ids: &ids,
            process: PROCESS,
            bounds: rejoinder::writer::Bounds { max_open_per_conversation: 4, ..BOUNDS },
        };
        let slots = PerApi { widget: slots, platform: slots };
        let budget = SlotBudget { slots, by_workspace: [(WORKSPACE, (slots, usize::MAX))].into() };
        let mut batch = Batch::new(context, budget, read_again(std::mem::take(&mut run.tables)));
        run.outcomes.extend(commands.iter().map(|decide| decide(&mut batch)));
        let (tables, changes, effects) = batch.finish();
        run.tables = tables;
        run.changes.push(changes);
        run.effects.push(effects);
    }
    run
}

fn check(run: &Run) {
    let state = run.tables.workspaces[&WORKSPACE].state;
    let ledger = run.ledger();
    assert_eq!(MONEY + ledger.iter().map(|entry| entry.amount.0).sum::<i64>(), state.balance.0);
    assert!(ledger.iter().all(|entry| entry.balance_after >= Money::ZERO));
    let numbers: Vec<i64> = ledger.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..state.next_ledger_number).collect::<Vec<_>>());
    let cursors: Vec<i64> =
        run.changes.iter().flat_map(|changes| &changes.events).map(|event| event.cursor).collect();
    assert_eq!(cursors, (1..state.next_cursor).collect::<Vec<_>>());
    let open = |turn: &&rejoinder::domain::turn::Turn| turn.state.is_open();
    assert_eq!(state.open_turns, i64::try_from(run.tables.turns.values().filter(open).count()).unwrap());
    for conversation in run.tables.conversations.values() {
        let mut turns: Vec<_> = run
            .tables
            .turns
            .values()
            .filter(|turn| turn.conversation == conversation.id && open(turn))
            .collect();
        turns.sort_by_key(|turn| turn.position);
        assert_eq!(conversation.open_turns, i64::try_from(turns.len()).unwrap());
        let active: Vec<_> = turns.iter().filter(|turn| turn.state != TurnState::Waiting).collect();
        assert_eq!(active.len(), usize::from(!turns.is_empty()), "one of them runs or may run: {turns:?}");
        let positions: HashSet<i64> = turns.iter().map(|turn| turn.position).collect();
        assert_eq!(positions.len(), turns.len(), "a message has one open turn at most: {turns:?}");
        let messages = run.changes.iter().flat_map(|changes| &changes.messages);
        let positions: Vec<i64> = messages
            .filter(|message| message.conversation == conversation.id)
            .map(|message| message.position)
            .collect();
        assert_eq!(positions, (1..conversation.next_position).collect::<Vec<_>>());
    }
    let reruns: Vec<TurnId> = run.tables.turns.values().filter_map(|turn| turn.retried_by).collect();
    assert_eq!(reruns.len(), reruns.iter().collect::<HashSet<_>>().len());
    for turn in run.tables.turns.values() {
        let rerun = turn.retried_by.map(|next| &run.tables.turns[&next]);
        assert!(rerun.is_none_or(|next| turn.state == TurnState::Failed && next.message == turn.message));
        let moved: i64 =
            ledger.iter().filter(|entry| entry.turn == Some(turn.id)).map(|entry| entry.amount.0).sum();
        let charged =
            if turn.state.is_open() || turn.state == TurnState::Completed { -turn.price.0 } else { 0 };
        assert_eq!(moved, charged, "{turn:?}");
        assert_eq!(turn.owner.is_some(), turn.state == TurnState::Running);
    }
    for effects in &run.effects {
        for started in &effects.started {
            let ended = effects.ended.iter().any(|(turn, _)| turn.id == started.turn.id);
            assert!(!ended, "a turn that has ended must not start: {started:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn one_batch_decides_like_many_batches_of_one_command(ops in proptest::collection::vec(op(), 1..24), has_slots: bool) {
        let commands = commands(&ops);
        let slots = if has_slots { 1000 } else { 0 };

        let together = run(&commands, commands.len(), slots);
        let singly = run(&commands, 1, slots);

        prop_assert_eq!(together.summary(), singly.summary());
        check(&together);
        check(&singly);
    }
}
