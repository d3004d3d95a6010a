//! A client's process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::super::plan::Handling;

/// A client's process.
pub(super) struct Client {
    pub(super) handling: Option<Handling>,
    pub(super) begun: bool,
    pub(super) crashed: bool,
    pub(super) flag: Arc<Flag>,
    /// When it began, in the time that counts.
    pub(super) began: Duration,
    /// How many steps were its own.
    pub(super) steps: usize,
    /// How often it was polled at this moment of the run's time.
    pub(super) polled: (Duration, u32),
}

impl Client {
    pub(super) fn new(main: &Arc<Mutex<Option<Waker>>>) -> Self {
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), main: main.clone() });
        Self {
            handling: None,
            begun: false,
            crashed: false,
            flag,
            began: Duration::ZERO,
            steps: 0,
            polled: (Duration::ZERO, 0),
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.begun && !self.crashed && self.handling.is_some()
    }
}

/// Tells that a client can go on.
pub(super) struct Flag {
    pub(super) woken: AtomicBool,
    main: Arc<Mutex<Option<Waker>>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let main = self.main.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(main) = main {
            main.wake();
        }
    }
}
