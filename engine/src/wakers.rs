//! Who is to be woken when the transport takes bytes again, or a deadline comes.

use std::mem;
use std::sync::atomic::Ordering;
// `Wake` takes the `Arc` of std.
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use crate::sync::{AtomicBool, Mutex, MutexGuard};

/// The operations that may wait at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Reader,
    Writer,
    Deadline,
}

/// One waker for the transport's writing side, which wakes whoever waits.
///
/// A transport remembers only the last waker that it was polled with. Reads write too (alerts,
/// KeyUpdate answers, deadlines), and would displace the writer's waker with their own.
///
/// A call of the transport that was `Pending` is not repeated before the transport has woken us
/// (R16).
#[derive(Debug)]
pub(crate) struct Wakers {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<[Option<Waker>; 3]>,
    /// Not after a write that was `Pending`, until the transport has woken us.
    writable: AtomicBool,
    /// Not after a flush or a close that was `Pending`, until the transport has woken us or taken
    /// more.
    flushable: AtomicBool,
}

impl Wakers {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            writable: AtomicBool::new(true),
            flushable: AtomicBool::new(true),
        });
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// The waker to poll the transport's writing side with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A waker for a timer: wakes whoever waits, and says nothing of the transport.
    pub(crate) fn alarm(&self) -> Waker {
        Waker::from(Arc::new(Alarm(Arc::clone(&self.shared))))
    }

    /// `waker` is to be woken too. To be called before the transport is polled, or before one of
    /// the flags below is looked at: a wake-up in between would be lost.
    pub(crate) fn register(&self, role: Role, waker: &Waker) {
        let mut waiting = self.shared.waiting();
        match &mut waiting[role as usize] {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Whether the transport may take bytes.
    pub(crate) fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Acquire)
    }

    /// To be called with false before the transport is polled, and with true if it was not
    /// `Pending`.
    pub(crate) fn set_writable(&self, writable: bool) {
        self.shared.writable.store(writable, Ordering::Release);
    }

    /// Whether a flush or a close of the transport may get on.
    pub(crate) fn is_flushable(&self) -> bool {
        self.shared.flushable.load(Ordering::Acquire)
    }

    /// As [`set_writable`](Self::set_writable), for a flush or a close; and with true when the
    /// transport has taken more to be flushed.
    pub(crate) fn set_flushable(&self, flushable: bool) {
        self.shared.flushable.store(flushable, Ordering::Release);
    }

    /// Wakes whoever waits.
    pub(crate) fn wake(&self) {
        self.shared.wake_all();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, [Option<Waker>; 3]> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let waiting = mem::take(&mut *self.waiting());
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.writable.store(true, Ordering::Release);
        self.flushable.store(true, Ordering::Release);
        self.wake_all();
    }
}

/// What a timer wakes.
struct Alarm(Arc<Shared>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.wake_all();
    }
}
