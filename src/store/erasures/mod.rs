//! Erasures: requests to delete conversations with all that is stored of them, and the claims of the processes that carry them out. A
//! claim only avoids duplicate work: every step may be repeated.

pub mod bookings;
pub mod content;
pub mod targets;

use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::Micros;
use crate::domain::erasure::{Erasure, ErasureCounts, ErasureJob, ErasureTarget, NewErasure, Person};
use crate::domain::ids::{AuditId, ConversationId, ErasureId, WorkspaceId};
use crate::store::resource::Resource;
use crate::store::{Conn, StoreError, audit, from_row, on_conn, page_of};

macro_rules! erasure_columns {
    () => {
        "workspace_id, id, reason, conversation_id, created_at, ended_at, conversations, messages, events, bookings, \
         remaining, remaining_count"
    };
}

from_row!(Erasure, |row| Self {
    workspace: row.try_get("workspace_id")?,
    id: row.try_get("id")?,
    reason: row.try_get("reason")?,
    conversation: row.try_get("conversation_id")?,
    created_at: row.try_get("created_at")?,
    ended_at: row.try_get("ended_at")?,
    counts: ErasureCounts {
        conversations: row.try_get("conversations")?,
        messages: row.try_get("messages")?,
        events: row.try_get("events")?,
        bookings: row.try_get("bookings")?,
    },
    remaining: serde_json::from_str(row.try_get("remaining")?)
        .map_err(|error| sqlx::Error::Decode(error.into()))?,
    remaining_count: row.try_get("remaining_count")?,
});

from_row!(ErasureJob, |row| {
    let conversation: Option<ConversationId> = row.try_get("conversation_id")?;
    let external_identifier: Option<String> = row.try_get("external_identifier")?;
    let sender: Option<String> = row.try_get("sender_id")?;
    let scanned_at: Option<Micros> = row.try_get("scanned_at")?;
    let identity: Option<String> = row.try_get("identity")?;
    let scanned: Option<ConversationId> = row.try_get("scanned_id")?;
    let person = external_identifier.map(Person::ExternalIdentifier);
    let person = person.or(sender.map(Person::Sender)).or(identity.map(Person::Identity));
    let target = match (conversation, person) {
        (Some(id), _) => ErasureTarget::Conversation(id),
        (None, Some(person)) => ErasureTarget::Person { person, scanned },
        (None, None) => ErasureTarget::Inactive {
            since: row.try_get::<Option<Micros>, _>("inactive_since")?.unwrap_or(Micros(0)),
            scanned: scanned_at.zip(scanned),
        },
    };
    Self {
        workspace: row.try_get("workspace_id")?,
        id: row.try_get("id")?,
        target,
        created_at: row.try_get("created_at")?,
        is_marked: row.try_get("is_marked")?,
        failing_calendars: serde_json::from_str(row.try_get("failing_calendars")?)
            .map_err(|error| sqlx::Error::Decode(error.into()))?,
    }
});

impl Resource for Erasure {
    type Id = ErasureId;
    const FIND: &'static str =
        concat!("select ", erasure_columns!(), " from erasures where workspace_id = $1 and id = $2");
    const LIST: &'static str = concat!(
        "select ",
        erasure_columns!(),
        ", candidates from ",
        page_of!(
            keys: (
                "select id as page_id, octet_length(remaining) as row_size from erasures \
                 where workspace_id = $1 and id > $2 order by id limit $3 + 1"
            ),
            order: ("page_id"),
            fits: "nth <= $3 and (bytes <= $4 or nth = 1)"
        ),
        " cross join erasures where workspace_id = $1 and id = page_id order by id"
    );

    fn id(&self) -> ErasureId {
        self.id
    }
}

/// Stores an erasure, with its entry in the audit log. The caller's transaction has marked the conversation if it is of one.
pub async fn insert(
    mut conn: Conn<'_>,
    new: &NewErasure,
    actor: &Actor,
    entry: AuditId,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into erasures (workspace_id, id, reason, conversation_id, external_identifier, \
        sender_id, identity, inactive_since, scanned_at, scanned_id, created_at, claimed_until) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0)";
    let (mut conversation, mut external_identifier, mut sender, mut identity) = (None, None, None, None);
    let (mut inactive_since, mut scanned_to) = (None, None);
    match &new.target {
        ErasureTarget::Conversation(id) => conversation = Some(*id),
        ErasureTarget::Person { person: Person::ExternalIdentifier(name), .. } => {
            external_identifier = Some(name);
        }
        ErasureTarget::Person { person: Person::Sender(name), .. } => sender = Some(name),
        ErasureTarget::Person { person: Person::Identity(name), .. } => identity = Some(name),
        ErasureTarget::Inactive { since, scanned } => {
            inactive_since = Some(*since);
            scanned_to = *scanned;
        }
    }
    on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(INSERT).bind(new.workspace).bind(new.id).bind(new.reason).bind(conversation);
        let query = query.bind(external_identifier).bind(sender).bind(identity).bind(inactive_since);
        let query = query.bind(scanned_to.map(|(at, _)| at)).bind(scanned_to.map(|(_, id)| id));
        query.bind(new.created_at).execute(c).await?;
    });
    // Never the name of a person.
    let object = match conversation {
        Some(id) => AuditObject::new(ObjectKind::Conversation, id, None),
        None => AuditObject::new(ObjectKind::Erasure, new.id, None),
    };
    let deleted = AuditEntry::new(new.workspace, actor, AuditAction::Deleted, object);
    audit::insert(conn, entry, new.created_at, &deleted).await
}

/// The number of erasures of a workspace whose content is still to be removed, up to a limit.
pub async fn count_running(conn: Conn<'_>, workspace: WorkspaceId, limit: i64) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from (select 1 from erasures \
        where workspace_id = $1 and emptied_at is null limit $2) as running";
    let (count,): (i64,) =
        on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).bind(limit).fetch_one(c).await?);
    Ok(count)
}

/// Whether an erasure by the retention of a workspace is running.
pub async fn is_retaining(conn: Conn<'_>, workspace: WorkspaceId) -> Result<bool, StoreError> {
    const COUNT: &str = "select count(*) from erasures \
        where workspace_id = $1 and emptied_at is null and reason = 'retention'";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).fetch_one(c).await?);
    Ok(count > 0)
}

/// At most `limit` workspaces with erasures on which no process works; the one that has waited longest comes first.
pub async fn list_due_workspaces(
    conn: Conn<'_>,
    now: Micros,
    limit: i64,
) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str = "select workspace_id from erasures where emptied_at is null and claimed_until <= $1 \
        group by workspace_id order by min(claimed_until) limit $2";
    let rows: Vec<(WorkspaceId,)> =
        on_conn!(conn, |c| sqlx::query_as(LIST).bind(now).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Claims the erasure of a workspace that has waited longest, until a time.
pub async fn claim(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    now: Micros,
    until: Micros,
) -> Result<Option<ErasureJob>, StoreError> {
    macro_rules! claim {
        ($lock:literal) => {
            concat!(
                "update erasures set claimed_until = $3 where workspace_id = $1 and id = (select id from erasures \
                 where workspace_id = $1 and emptied_at is null and claimed_until <= $2 \
                 order by claimed_until, id limit 1",
                $lock,
                ") returning workspace_id, id, conversation_id, external_identifier, sender_id, identity, \
                 inactive_since, scanned_at, scanned_id, created_at, failing_calendars, marked_at is not null as is_marked"
            )
        };
    }
    let claim = conn.pick(claim!(" for no key update skip locked"), claim!(""));
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(claim).bind(workspace).bind(now).bind(until).fetch_optional(c).await?
    }))
}

/// Ends a claim; the erasure may be claimed again from a time on.
pub async fn release(conn: Conn<'_>, job: &ErasureJob, from: Micros) -> Result<(), StoreError> {
    const RELEASE: &str = "update erasures set claimed_until = $3 where workspace_id = $1 and id = $2";
    on_conn!(conn, |c| {
        sqlx::query(RELEASE).bind(job.workspace).bind(job.id).bind(from).execute(c).await?;
    });
    Ok(())
}

/// Ends all claims. The only process of an SQLite database does so when it starts.
pub async fn release_all(conn: Conn<'_>) -> Result<(), StoreError> {
    const RELEASE: &str = "update erasures set claimed_until = 0 where emptied_at is null";
    on_conn!(conn, |c| {
        sqlx::query(RELEASE).execute(c).await?;
    });
    Ok(())
}

/// All conversations of the erasure are marked.
pub async fn set_marked(conn: Conn<'_>, job: &ErasureJob, now: Micros) -> Result<(), StoreError> {
    const SET: &str = "update erasures set marked_at = $3 where workspace_id = $1 and id = $2";
    on_conn!(conn, |c| {
        sqlx::query(SET).bind(job.workspace).bind(job.id).bind(now).execute(c).await?;
    });
    Ok(())
}

/// Nothing of its conversations is left in the tables. The person's name goes, too.
pub async fn set_emptied(conn: Conn<'_>, job: &ErasureJob, now: Micros) -> Result<(), StoreError> {
    const SET: &str = "update erasures set emptied_at = $3, external_identifier = null, sender_id = null, \
        identity = null where workspace_id = $1 and id = $2";
    on_conn!(conn, |c| {
        sqlx::query(SET).bind(job.workspace).bind(job.id).bind(now).execute(c).await?;
    });
    Ok(())
}

/// At most `limit` erasures that have nothing left in the tables and are not done.
pub async fn list_emptied(conn: Conn<'_>, limit: i64) -> Result<Vec<(WorkspaceId, ErasureId)>, StoreError> {
    const LIST: &str =
        "select workspace_id, id from erasures where emptied_at is not null and ended_at is null limit $1";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(limit).fetch_all(c).await?))
}

/// Ends erasures.
pub async fn end(
    mut conn: Conn<'_>,
    erasures: &[(WorkspaceId, ErasureId)],
    now: Micros,
) -> Result<(), StoreError> {
    const END: &str =
        "update erasures set ended_at = $3 where workspace_id = $1 and id = $2 and ended_at is null";
    for (workspace, id) in erasures {
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(END).bind(workspace).bind(id).bind(now).execute(c).await?;
        });
    }
    Ok(())
}

/// Adds to what an erasure has removed.
pub(super) async fn add_counts(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: ErasureId,
    more: ErasureCounts,
) -> Result<(), StoreError> {
    const ADD: &str = "update erasures set conversations = conversations + $3, messages = messages + $4, \
        events = events + $5, bookings = bookings + $6 where workspace_id = $1 and id = $2";
    if more == ErasureCounts::default() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let query = sqlx::query(ADD).bind(workspace).bind(id).bind(more.conversations).bind(more.messages);
        query.bind(more.events).bind(more.bookings).execute(c).await?;
    });
    Ok(())
}
