//! Group commit: writes that wait for the writer share one transaction, so that one sync of the disk serves all of
//! them.
//!
//! A write that finds the writer idle is committed at once and alone; writes that arrive meanwhile form the next
//! group. So no write is delayed to fill a group, and the busier the writer is, the larger the groups are.
//!
//! Invariant: each write of a group has a savepoint of its own, so a failed write rolls back its own changes and no
//! others. A write is answered after the commit that contains it; before that, the in-memory state follows the writes
//! of the group in their order. If the commit fails, every write of the group gets the error.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use super::{Durability, SqliteDatabase, SqliteError, lock_mutex};

/// Most writes of one commit, which bounds the wait of those behind them.
const MAX_GROUP: usize = 64;

/// Queue of writes that wait for the writer.
#[derive(Default)]
pub(super) struct WriteQueue {
    state: Mutex<WriteQueueState>,
}

#[derive(Default)]
struct WriteQueueState {
    waiting: VecDeque<Box<dyn QueuedWrite>>,
    /// Whether a thread serves the queue and will take what is pushed.
    is_served: bool,
}

impl std::fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = lock_mutex(&self.state).waiting.len();
        f.debug_struct("WriteQueue").field("waiting", &waiting).finish()
    }
}

impl WriteQueue {
    /// Appends a write; returns true if the caller must start a thread that serves the queue.
    fn push_write(&self, write: Box<dyn QueuedWrite>) -> bool {
        let mut state = lock_mutex(&self.state);
        state.waiting.push_back(write);
        !std::mem::replace(&mut state.is_served, true)
    }

    /// Takes the next group; if it is empty, the queue is no longer served.
    fn next_group(&self) -> Vec<Box<dyn QueuedWrite>> {
        let mut state = lock_mutex(&self.state);
        let size = state.waiting.len().min(MAX_GROUP);
        state.is_served = size > 0;
        state.waiting.drain(..size).collect()
    }

    /// Puts writes that did not run back to the front of the queue.
    fn requeue_writes(&self, writes: Vec<Box<dyn QueuedWrite>>) {
        let mut state = lock_mutex(&self.state);
        for write in writes.into_iter().rev() {
            state.waiting.push_front(write);
        }
    }

    /// Drops all waiting writes because no thread will serve them; their callers get an error.
    fn abandon_writes(&self) {
        let mut state = lock_mutex(&self.state);
        state.is_served = false;
        state.waiting.clear();
    }
}

/// A queued write, with its result type erased.
trait QueuedWrite: Send {
    fn durability(&self) -> Durability;

    /// Runs the write; returns whether its changes are to be kept.
    fn run_work(&mut self, transaction: &Transaction<'_>) -> bool;

    fn has_run(&self) -> bool;

    /// Updates the in-memory state if the changes were kept.
    fn after_commit(&mut self);

    /// Sends the result to the caller. `lost` is the reason why the changes were not kept although the write itself
    /// succeeded.
    fn send_result(self: Box<Self>, lost: Option<SqliteError>);
}

struct PendingWrite<T, E, W, F> {
    durability: Durability,
    work: Option<W>,
    follow: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, W, F> QueuedWrite for PendingWrite<T, E, W, F>
where
    T: Send,
    E: From<SqliteError> + Send,
    W: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
    F: FnOnce(&mut T) + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run_work(&mut self, transaction: &Transaction<'_>) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // The savepoint rolls back what a panic leaves half done.
        let result = catch_unwind(AssertUnwindSafe(|| work(transaction)));
        let result = result.unwrap_or_else(|_| Err(SqliteError::TaskEnded("it panicked".into()).into()));
        self.result.insert(result).is_ok()
    }

    fn has_run(&self) -> bool {
        self.work.is_none()
    }

    fn after_commit(&mut self) {
        if let (Some(Ok(value)), Some(follow)) = (&mut self.result, self.follow.take())
            && catch_unwind(AssertUnwindSafe(|| follow(value))).is_err()
        {
            tracing::error!("what is held in memory did not follow a write; restart to read it again");
        }
    }

    fn send_result(self: Box<Self>, lost: Option<SqliteError>) {
        let result = match (self.result, lost) {
            (Some(Ok(_)) | None, Some(lost)) => Err(lost.into()),
            (Some(result), _) => result,
            (None, None) => Err(SqliteError::TaskEnded("it was not begun".into()).into()),
        };
        // The caller may have been cancelled.
        let _ = self.reply.send(result);
    }
}

impl SqliteDatabase {
    /// Runs `work` in a transaction that it may share with other writes, and commits its changes if the result is
    /// `Ok`. Runs to its end even if the caller is cancelled.
    pub async fn write<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SqliteError> + Send + 'static,
    {
        self.write_then(durability, work, |_| {}).await
    }

    /// Like [`Self::write`]; calls `follow` after the commit and before any other transaction begins, to update
    /// in-memory copies of the rows. `follow` must not write to the database.
    pub async fn write_then<T, E>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        follow: impl FnOnce(&mut T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SqliteError> + Send + 'static,
    {
        let (reply, replied) = oneshot::channel();
        let write = PendingWrite {
            durability,
            work: Some(work),
            follow: Some(follow),
            result: None,
            reply,
        };
        if self.shared.queue.push_write(Box::new(write)) {
            let server = WriteQueueServer {
                database: self.clone(),
                has_ended: false,
            };
            tokio::task::spawn_blocking(move || server.serve_queue());
        }
        let ended = || SqliteError::TaskEnded("nobody serves the writer's queue".into());
        replied.await.unwrap_or_else(|_| Err(ended().into()))
    }

    /// Commits a group, or sends its writes the error.
    fn commit_group(&self, mut group: Vec<Box<dyn QueuedWrite>>) {
        let mut writer = lock_mutex(&self.shared.writer);
        let committed = self.run_group(&mut writer, &mut group);
        if committed.is_ok() {
            group.iter_mut().for_each(|write| write.after_commit());
        }
        drop(writer);
        let lost = committed.err().map(Arc::new);
        // When SQLite rolled back the transaction, writes that had not run yet go into the next group.
        let is_next =
            |write: &dyn QueuedWrite| matches!(lost.as_deref(), Some(SqliteError::RolledBack)) && !write.has_run();
        let (next, ended): (Vec<_>, Vec<_>) = group.into_iter().partition(|write| is_next(write.as_ref()));
        self.shared.queue.requeue_writes(next);
        for write in ended {
            write.send_result(lost.clone().map(SqliteError::GroupCommit));
        }
    }

    fn run_group(&self, writer: &mut Connection, group: &mut [Box<dyn QueuedWrite>]) -> Result<(), SqliteError> {
        let is_synced = |write: &dyn QueuedWrite| write.durability() == Durability::Synced;
        let durability = match group.iter().any(|write| is_synced(write.as_ref())) {
            true => Durability::Synced,
            false => Durability::Ordered,
        };
        let transaction = self.begin_transaction(writer, durability)?;
        match group {
            [alone] => {
                if !alone.run_work(&transaction) {
                    return Ok(());
                }
            }
            group => {
                for write in group {
                    run_in_savepoint(&transaction, write.as_mut())?;
                }
            }
        }
        self.commit_transaction(transaction, durability)
    }
}

/// Runs one write of a group in a savepoint.
fn run_in_savepoint(transaction: &Transaction<'_>, write: &mut dyn QueuedWrite) -> Result<(), SqliteError> {
    let run = |statement: &str| transaction.prepare_cached(statement)?.execute([]);
    run("savepoint one_write")?;
    let stays = write.run_work(transaction);
    // When disk or memory is short, SQLite rolls back the whole transaction by itself.
    if transaction.is_autocommit() {
        return Err(SqliteError::RolledBack);
    }
    if !stays {
        run("rollback to one_write")?;
    }
    run("release one_write")?;
    Ok(())
}

/// Serves the write queue until it is empty.
struct WriteQueueServer {
    database: SqliteDatabase,
    has_ended: bool,
}

impl WriteQueueServer {
    fn serve_queue(mut self) {
        loop {
            let group = self.database.shared.queue.next_group();
            if group.is_empty() {
                self.has_ended = true;
                return;
            }
            self.database.commit_group(group);
        }
    }
}

impl Drop for WriteQueueServer {
    /// A runtime that shuts down may drop this task before it ran.
    fn drop(&mut self) {
        if !self.has_ended {
            self.database.shared.queue.abandon_writes();
        }
    }
}

#[cfg(test)]
mod tests;
