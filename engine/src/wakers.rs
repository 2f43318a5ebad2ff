//! `Wakers`: the tasks to wake when the transport takes bytes again, or when a deadline comes.

use std::mem;
use std::sync::atomic::Ordering;
// `Wake` takes the `Arc` of std.
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use crate::sync::{AtomicBool, Mutex, MutexGuard};

/// Whether both wake the same task.
///
/// [`Waker::will_wake`] compares the addresses of the tables of functions. The compiler may give a
/// clone another table with the same functions, as in release builds of tokio's `block_on`.
#[inline]
pub(crate) fn is_same(one: &Waker, other: &Waker) -> bool {
    let (table, other_table) = (one.vtable(), other.vtable());
    one.data() == other.data() && (std::ptr::eq(table, other_table) || table == other_table)
}

/// Puts `waker` in `place`, without a clone if it wakes the same task as the old one.
#[inline]
pub(crate) fn keep(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|old| is_same(old, waker)) {
        *place = Some(waker.clone());
    }
}

/// The operations that may wait at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Reader,
    Writer,
    Deadline,
}

/// One waker for the transport's writing side, which wakes all tasks that wait.
///
/// A transport keeps only the waker of its last poll. Reads also write (alerts, KeyUpdate answers,
/// deadlines), and would replace the writer's waker with their own.
///
/// A call of the transport that was `Pending` is not repeated before the transport has woken this
/// waker (R16).
#[derive(Debug)]
pub(crate) struct Wakers {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<[Option<Waker>; 3]>,
    /// False after a send that was `Pending`, until the transport wakes the waker.
    writable: AtomicBool,
    /// True after a timer has fired, until the next one is armed.
    fired: AtomicBool,
    /// False after a flush or a close that was `Pending`, until the transport wakes the waker or
    /// takes more bytes.
    flushable: AtomicBool,
}

impl Wakers {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            writable: AtomicBool::new(true),
            fired: AtomicBool::new(false),
            flushable: AtomicBool::new(true),
        });
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// The waker with which to poll the transport's writing side.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A waker for a new timer: wakes all tasks that wait, and leaves the flags of the transport alone.
    pub(crate) fn alarm(&self) -> Waker {
        self.shared.fired.store(false, Ordering::Release);
        Waker::from(Arc::new(Alarm(Arc::clone(&self.shared))))
    }

    /// Whether the timer of the last [`alarm`](Self::alarm), or an earlier one, has fired since.
    #[inline]
    pub(crate) fn has_fired(&self) -> bool {
        self.shared.fired.load(Ordering::Acquire)
    }

    /// Adds `waker` to those that are woken. Call it before the transport is polled and before one
    /// of the flags below is read: otherwise a wake-up in between is lost.
    pub(crate) fn register(&self, role: Role, waker: &Waker) {
        keep(&mut self.shared.waiting()[role as usize], waker);
    }

    /// Whether the transport may take bytes.
    pub(crate) fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Acquire)
    }

    /// Call it with false before the transport is polled, and with true if the poll was not
    /// `Pending`.
    pub(crate) fn set_writable(&self, writable: bool) {
        self.shared.writable.store(writable, Ordering::Release);
    }

    /// Whether a flush or a close of the transport is worth a poll.
    pub(crate) fn is_flushable(&self) -> bool {
        self.shared.flushable.load(Ordering::Acquire)
    }

    /// As [`set_writable`](Self::set_writable), for a flush or a close. Also call it with true when
    /// the transport has taken more bytes.
    pub(crate) fn set_flushable(&self, flushable: bool) {
        self.shared.flushable.store(flushable, Ordering::Release);
    }

    /// Wakes all tasks that wait.
    pub(crate) fn wake(&self) {
        self.shared.wake_all();
    }

    /// Wakes all tasks that wait, except for the writer.
    pub(crate) fn wake_others(&self) {
        let waiting = {
            let mut waiting = self.shared.waiting();
            [Role::Reader, Role::Deadline].map(|role| waiting[role as usize].take())
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
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

/// The waker of a timer.
struct Alarm(Arc<Shared>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fired.store(true, Ordering::Release);
        self.0.wake_all();
    }
}
