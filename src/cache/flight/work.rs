//! The work of a flight: it runs within the request that started it for as long as nobody else waits for it.
//!
//! A task of its own costs a miss two wake-ups more. So the request polls the work itself, and it becomes a task when
//! another request joins, when the client leaves, and when the request has waited long enough.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Work of one flight; clones share it.
///
/// Its lock is held while it is polled. The lock of the flights is taken within, so it must not be held when this one
/// is taken.
#[derive(Clone, Default)]
pub struct FlightWork(Arc<Mutex<WorkState>>);

#[derive(Default)]
enum WorkState {
    /// The request that started the flight has not begun it yet.
    #[default]
    New,
    /// It is polled by the request that started it; the owner takes it as a task after that.
    Inline(BoxFuture<'static, ()>, WorkOwner),
    /// It is a task, or has ended; or it will be a task, because another request joined before it began.
    Detached,
}

/// Owner of the tasks into which work is detached.
#[derive(Debug)]
pub struct WorkOwner {
    tasks: TaskTracker,
    runtime: Handle,
}

/// Work that a request runs itself. It becomes a task when this is dropped before its end.
#[derive(Debug)]
pub(super) struct InlineWork(FlightWork);

impl WorkOwner {
    /// Creates the owner of tasks on the current runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(tasks: &TaskTracker) -> Self {
        Self {
            tasks: tasks.clone(),
            runtime: Handle::current(),
        }
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.tasks.spawn_on(work, &self.runtime);
    }
}

impl FlightWork {
    /// Makes the work a task, if a request runs it.
    pub fn detach(&self) {
        let state = std::mem::replace(&mut *self.0.lock(), WorkState::Detached);
        if let WorkState::Inline(work, owner) = state {
            owner.spawn(work);
        }
    }

    /// Begins the work within the request that started the flight, or as a task if another request has joined.
    pub(super) fn begin(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        owner: WorkOwner,
    ) -> Option<InlineWork> {
        // A panic is the flight's, as in a task of its own: its waiters see that no result comes.
        let work = AssertUnwindSafe(work).catch_unwind().map(drop).boxed();
        let mut state = self.0.lock();
        if matches!(*state, WorkState::Detached) {
            owner.spawn(work);
            return None;
        }
        *state = WorkState::Inline(work, owner);
        drop(state);
        Some(InlineWork(self.clone()))
    }
}

impl InlineWork {
    /// Polls the work; pending for ever once it is a task.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.0.lock();
        let WorkState::Inline(work, _) = &mut *state else {
            return Poll::Pending;
        };
        let ended = work.poll_unpin(cx);
        if ended.is_ready() {
            *state = WorkState::Detached;
        }
        ended
    }
}

impl Drop for InlineWork {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl fmt::Debug for FlightWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightWork").finish_non_exhaustive()
    }
}
