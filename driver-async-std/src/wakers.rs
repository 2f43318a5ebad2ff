//! Who is to be woken when the transport takes bytes again, or a deadline comes.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The operations that may wait at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Reader,
    Writer,
    Deadline,
}

/// One waker for the transport's writing side and for the timer, which wakes whoever waits.
///
/// A transport remembers only the last waker that it was polled with. Reads write too (alerts, KeyUpdate answers, deadlines), and would
/// displace the writer's waker with their own.
#[derive(Debug)]
pub(crate) struct Wakers {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<[Option<Waker>; 3]>,
    /// Not after `Pending`, until the transport has woken us.
    writable: AtomicBool,
}

impl Wakers {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared { waiting: Mutex::default(), writable: AtomicBool::new(true) });
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// The waker to poll the transport's writing side and the timer with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// `waker` is to be woken too. To be called before the transport is polled: a wake-up in between would be lost.
    pub(crate) fn register(&self, role: Role, waker: &Waker) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut waiting[role as usize] {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Whether the transport may take bytes; if not, it was `Pending` and has not woken us since.
    pub(crate) fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Acquire)
    }

    /// To be called with false before the transport is polled, and with true if it was not `Pending`.
    pub(crate) fn set_writable(&self, writable: bool) {
        self.shared.writable.store(writable, Ordering::Release);
    }

    /// Wakes all that wait but `role`, which has found that the transport is ready: a transport that was `Pending` and then is ready when
    /// it is polled owes nobody a wake-up. Others may wait in the same task.
    pub(crate) fn wake_others(&self, role: Role) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let current = waiting[role as usize].take();
        let others = mem::take(&mut *waiting);
        waiting[role as usize] = current;
        drop(waiting);
        others.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.writable.store(true, Ordering::Release);
        let waiting = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}
