//! Withholds commits on their way to the database, so that a test sees what a server does before them.

use std::sync::{Arc, Mutex};

use rejoinder::store::{Conn, Db};
use tokio::sync::{mpsc, oneshot};

/// Open at first. Clones share one gate.
#[derive(Clone, Default)]
pub struct CommitGate(Arc<Mutex<Option<mpsc::UnboundedSender<WithheldCommit>>>>);

/// Commits that wait at a closed gate, in order of arrival. The gate opens when this is dropped.
pub type WithheldCommits = mpsc::UnboundedReceiver<WithheldCommit>;

/// A commit that the database has not received. It goes on when this is dropped.
#[derive(Debug)]
pub struct WithheldCommit(oneshot::Sender<()>);

impl WithheldCommit {
    pub fn release(self) {
        // The connection may have been closed meanwhile.
        let _ = self.0.send(());
    }
}

impl CommitGate {
    /// Withholds all later commits.
    pub fn close(&self) -> WithheldCommits {
        let (sender, withheld) = mpsc::unbounded_channel();
        *self.0.lock().expect("no thread panicked with the lock") = Some(sender);
        withheld
    }

    /// Announces a commit, which may go on when the returned receiver ends, with or without a value.
    pub fn announce(&self) -> oneshot::Receiver<()> {
        let (release, released) = oneshot::channel();
        if let Some(gate) = &*self.0.lock().expect("no thread panicked with the lock") {
            // Fails if the gate has opened.
            let _ = gate.send(WithheldCommit(release));
        }
        released
    }

    /// A gate for the commits of an SQLite database, which all use one connection: a hook that runs right before each.
    pub async fn of_sqlite(db: &Db) -> Self {
        let gate = Self::default();
        let hooked = gate.clone();
        let mut tx = db.begin().await.expect("the connection for writes");
        let Conn::Sqlite(conn) = tx.conn() else { panic!("an SQLite") };
        let mut handle = conn.lock_handle().await.expect("the connection's handle");
        handle.set_commit_hook(move || {
            // On the thread of the connection.
            let _ = hooked.announce().blocking_recv();
            true
        });
        drop(handle);
        tx.commit().await.expect("an empty transaction");
        gate
    }
}
