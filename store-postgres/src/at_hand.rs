//! Connections that stay at hand between two statements.
//!
//! The driver's pool asks each connection that is given back to it whether it still lives, in a task of its
//! own: that costs as much as a small statement does. A few connections that are used again at once are
//! therefore not given back each time.

use std::io;
use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// After so long a connection goes back to the pool, which sees to its age and health.
const LONGEST: Duration = Duration::from_secs(10);

/// A pool, and the connections of it that are at hand. Whoever waits for a connection gets those too.
#[derive(Debug)]
pub(crate) struct AtHand {
    pool: PgPool,
    most: usize,
    idle: Mutex<Vec<Lent>>,
    waiting: AtomicUsize,
}

impl AtHand {
    /// Keeps up to `most` connections of the pool at hand.
    pub(crate) const fn new(pool: PgPool, most: usize) -> Self {
        Self { pool, most, idle: Mutex::new(Vec::new()), waiting: AtomicUsize::new(0) }
    }

    /// A connection, within so long.
    pub(crate) async fn lend(&self, most: Duration) -> Result<Lent, sqlx::Error> {
        let at_hand = self.idle().pop();
        if let Some(lent) = at_hand.filter(|lent| lent.since.elapsed() < LONGEST) {
            return Ok(lent);
        }
        let connection = match self.pool.try_acquire() {
            Some(connection) => connection,
            None => {
                let _waits = self.wait();
                self.give_back();
                let connection = tokio::time::timeout(most, self.pool.acquire()).await;
                connection.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(unreached)?
            }
        };
        Ok(Lent { connection, since: Instant::now() })
    }

    /// Takes a connection that was lent and is as it was, to have it at hand.
    pub(crate) fn keep(&self, lent: Lent) {
        let mut idle = self.idle();
        // Looked at under the lock: whoever begins to wait later gives back what is kept now.
        if idle.len() < self.most && self.waiting.load(SeqCst) == 0 && lent.since.elapsed() < LONGEST {
            idle.push(lent);
        }
    }

    fn wait(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, SeqCst);
        Waits(&self.waiting)
    }

    /// Gives all back that are at hand: somebody waits for them, or they may be broken, which the pool sees.
    pub(crate) fn give_back(&self) {
        drop(take(&mut *self.idle()));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Lent>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        // Without a runtime none can be given back, which takes a task: they are closed.
        if Handle::try_current().is_err() {
            for lent in take(&mut *self.idle()) {
                drop(lent.connection.detach());
            }
        }
    }
}

/// While a connection is made, nothing was asked of the server yet: where that fails, it was not reached.
fn unreached(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Io(why) => sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionRefused, why)),
        other => other,
    }
}

/// Somebody waits for a connection, as long as it is there.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A connection of the pool's, to which it goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Lent {
    /// Takes the connection out of its pool.
    pub(crate) fn detach(self) -> PgConnection {
        self.connection.detach()
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
