//! A process as the store sees it: a writer with real shards, its slots, and what follows from its batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rejoinder::domain::calendar::BookingWrite;
use rejoinder::domain::clock::{Clock, FixedClock, Micros};
use rejoinder::domain::conversation::{
    Conversation, ConversationKind, ConversationPatch, CreatedConversation, SenderType,
};
use rejoinder::domain::error::Error;
use rejoinder::domain::idempotency::{IdempotencyKey, IdempotencyRequest};
use rejoinder::domain::ids::{
    ConversationId, IdGenerator, MessageId, ProcessId, TurnId, WidgetUuid, WorkspaceId,
};
use rejoinder::domain::journal::JournalRow;
use rejoinder::domain::token_budget::TokenBudgets;
use rejoinder::domain::turn::{Api, Reply, Turn, TurnEnd, TurnRef};
use rejoinder::lifecycle::lease::{LeaseKeeper, lease_channel};
use rejoinder::store::{Db, turns};
use rejoinder::writer::{
    Admission, AdmitOutcome, AppendJournal, Bounds, ConfigCache, CreateOutcome, Effect, EndAuthority,
    EndTurn, NewConversation, SlotLimits, Target, TurnSlots, TurnWriteOutcome, UpdateConversation, Writer,
    WriterContext,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::db::TestDb;
use super::seed::{self, Seed};
use super::store;
use super::wait::within;

pub const BOUNDS: Bounds = Bounds {
    max_open_per_conversation: 100,
    max_open: 100_000,
    messages_per_conversation: None,
    spend_per_conversation: None,
    spend_per_day: None,
    test_turns_per_day: None,
    untouched_conversations: None,
    token_budgets: TokenBudgets::UNLIMITED,
};

pub struct Process {
    pub id: ProcessId,
    pub db: Db,
    pub clock: Arc<FixedClock>,
    pub slots: TurnSlots,
    pub writer: Writer,
    pub effects: mpsc::UnboundedReceiver<Effect>,
    pub context: WriterContext,
    pub lease: LeaseKeeper,
    stop: CancellationToken,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Process {
    pub async fn start(db: &TestDb) -> Self {
        Self::start_with(db, store::open(db).await, BOUNDS, 1000).await
    }

    pub async fn start_with(test: &TestDb, db: Db, bounds: Bounds, max_in_flight: usize) -> Self {
        let clock = Arc::new(FixedClock::at("2026-03-16T10:00:00Z".parse().unwrap()));
        seed::set_store_clock(test, &format!("{}::bigint", clock.now().0)).await;
        let slots = TurnSlots::new(SlotLimits { max_in_flight, per_workspace: None });
        let (effects, received) = mpsc::unbounded_channel();
        let (keeper, lease) = lease_channel();
        let id = ProcessId(Uuid::new_v4());
        let context = WriterContext {
            db: db.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::new(IdGenerator::random()),
            process: id,
            bounds,
            slots: slots.clone(),
            effects,
            lease,
            config_cache: ConfigCache::default(),
        };
        let stop = CancellationToken::new();
        let (writer, shards) = Writer::new(&context, 2, &stop);
        for shard in shards {
            tokio::spawn(shard);
        }
        Self { id, db, clock, slots, writer, effects: received, context, lease: keeper, stop }
    }

    /// Moves the clock of the process and of the store.
    pub async fn advance_clock(&self, test: &TestDb, by: Duration) {
        self.clock.advance(by);
        seed::set_store_clock(test, &format!("{}::bigint", self.clock.now().0)).await;
    }

    pub async fn conversation(&self, seed: &Seed, kind: ConversationKind) -> Conversation {
        expect_created(self.writer.execute(new_conversation(seed, kind)).await).conversation
    }

    /// Admits a widget message, and returns its turn.
    pub async fn ask(&self, conversation: &Conversation) -> TurnRef {
        let admission = admission(conversation, Api::Widget);
        let turn = turn_ref(conversation, admission.turn);
        assert_eq!(self.writer.execute(admission).await.unwrap(), AdmitOutcome::Waiting(turn.turn));
        turn
    }

    pub async fn turn(&self, turn: TurnRef) -> Turn {
        let mut read = self.db.acquire_read().await.unwrap();
        turns::find(read.conn(), turn.workspace, turn.turn).await.unwrap().unwrap()
    }

    /// Ends a turn with a reply, as its owner.
    pub async fn complete(&self, turn: TurnRef, fence: i64) -> TurnWriteOutcome {
        self.writer
            .execute(end_turn(turn, EndAuthority::Owner { fence }, completed("An answer")))
            .await
            .unwrap()
    }

    pub async fn change(
        &self,
        conversation: &Conversation,
        change: ConversationPatch,
    ) -> Result<Conversation, Error> {
        let command = UpdateConversation {
            workspace: conversation.workspace,
            conversation: conversation.id,
            patch: change,
        };
        self.writer.execute(command).await
    }

    /// At least so many effects on turns, of what was done before: they follow its answers.
    pub async fn effects(&mut self, at_least: usize) -> Vec<Effect> {
        let is_on_a_turn = |effect: &Effect| {
            !matches!(effect, Effect::EventsAdvanced(..) | Effect::Stored(_) | Effect::Deliveries)
        };
        let mut effects = Vec::new();
        while effects.len() < at_least {
            effects.extend(within("an effect", self.effects.recv()).await.filter(is_on_a_turn));
        }
        effects.extend(std::iter::from_fn(|| self.effects.try_recv().ok()).filter(is_on_a_turn));
        effects
    }
}

pub fn new_conversation(seed: &Seed, kind: ConversationKind) -> NewConversation {
    NewConversation {
        workspace: seed.workspace,
        id: ConversationId(Uuid::now_v7()),
        kind,
        assistant: seed.assistant,
        link: Some(WidgetUuid(Uuid::new_v4())),
        first_message: None,
        key_variables: "{}".to_owned(),
        visitor_variables: "{}".to_owned(),
        metadata: None,
        external_identifier: None,
        identity: None,
        by_visitor: false,
        check_balance: false,
        idempotency: None,
    }
}

pub fn expect_created(created: Result<CreateOutcome, Error>) -> CreatedConversation {
    match created.unwrap() {
        CreateOutcome::Created(made) => *made,
        CreateOutcome::Replayed { key, .. } => panic!("replayed: {key:?}"),
    }
}

pub fn ai(enabled: bool) -> ConversationPatch {
    ConversationPatch { ai_enabled: Some(enabled), ..ConversationPatch::default() }
}

pub fn end_conversation() -> ConversationPatch {
    ConversationPatch { ends: true, ..ConversationPatch::default() }
}

pub fn admission(conversation: &Conversation, api: Api) -> Admission {
    let is_widget = api == Api::Widget;
    Admission {
        workspace: conversation.workspace,
        api,
        target: Target::Existing { id: conversation.id, name: "as sent".to_owned() },
        message: MessageId(Uuid::now_v7()),
        turn: TurnId(Uuid::now_v7()),
        sender_type: SenderType::User,
        sender_id: "visitor".to_owned(),
        text: "Grüße, 世界 🦀".to_owned(),
        metadata: None,
        reply_to: None,
        auto_reply: None,
        idempotency: None,
        deadline: is_widget.then(|| Instant::now() + Duration::from_secs(55)),
        key: None,
        identity: None,
        runs_here: false,
    }
}

/// The same admission with a key, scoped to its conversation.
pub fn with_key(mut admission: Admission, key: &str, body: &str) -> Admission {
    let Target::Existing { id, .. } = &admission.target else { panic!("a conversation that is there") };
    let scope = format!("/api {id}");
    admission.idempotency = Some(IdempotencyRequest {
        key: IdempotencyKey { workspace: admission.workspace, scope, key: key.to_owned() },
        fingerprint: body.as_bytes().to_vec(),
        warning: Some("body.a".to_owned()),
    });
    admission
}

pub fn turn_ref(conversation: &Conversation, turn: TurnId) -> TurnRef {
    TurnRef { workspace: conversation.workspace, conversation: conversation.id, turn }
}

pub fn completed(text: &str) -> TurnEnd {
    let id = MessageId(Uuid::now_v7());
    TurnEnd::Completed(Reply {
        id,
        text: text.to_owned(),
        function_calls: "[]".to_owned(),
        is_truncated: false,
        is_stopped: false,
        earlier_texts: None,
    })
}

pub fn end_turn(turn: TurnRef, authority: EndAuthority, end: TurnEnd) -> EndTurn {
    EndTurn { turn, authority, end, journal: None, model_error: None, tokens: 0 }
}

/// The balance as the store has it.
pub async fn balance(db: &Db, workspace: WorkspaceId) -> i64 {
    let mut read = db.acquire_read().await.unwrap();
    rejoinder::store::workspaces::balance(read.conn(), workspace).await.unwrap().unwrap().0
}

/// An answer of a model with one call, which starts, for the journal.
pub fn journal_answer(turn: TurnRef, fence: i64, step: i64, tokens: i64) -> AppendJournal {
    let answer = JournalRow {
        turn,
        step,
        position: 0,
        attempt: 1,
        started_at: Micros(1),
        finished_at: Some(Micros(2)),
        content: "{}".to_owned(),
        result: None,
    };
    let call = JournalRow { position: 1, finished_at: None, ..answer.clone() };
    AppendJournal { turn, fence, rows: vec![answer], starting: vec![call], result: None, write: None, tokens }
}

/// A call with its result, for the journal.
pub fn journal_append(turn: TurnRef, fence: i64, write: Option<BookingWrite>) -> AppendJournal {
    let row = JournalRow {
        turn,
        step: 1,
        position: 1,
        attempt: 1,
        started_at: Micros(1),
        finished_at: None,
        content: "{\"name\":\"book\"}".to_owned(),
        result: None,
    };
    let result = JournalRow { finished_at: Some(Micros(2)), ..row.clone() };
    AppendJournal {
        turn,
        fence,
        rows: vec![row],
        starting: Vec::new(),
        result: Some(result),
        write,
        tokens: 0,
    }
}
