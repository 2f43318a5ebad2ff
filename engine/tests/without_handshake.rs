//! The engine over a session without TLS, a transport in memory and a clock that the test moves.

mod plain;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tls_cork_engine::tls_cork::{CorkConfig, SendFlags};
use tls_cork_engine::{Engine, Shared, Timer, Transport};

use plain::Plain;

thread_local! {
    static CLOCK: Cell<Instant> = Cell::new(Instant::now());
    static ARMED: RefCell<Vec<(Instant, Waker)>> = const { RefCell::new(Vec::new()) };
}

/// A timer on the test's own clock.
#[derive(Debug)]
struct Manual(Instant);

impl Timer for Manual {
    fn now() -> Instant {
        CLOCK.get()
    }

    fn arm(at: Instant, waker: &Waker) -> Option<Self> {
        if at <= Self::now() {
            return None;
        }
        ARMED.with_borrow_mut(|armed| armed.push((at, waker.clone())));
        Some(Self(at))
    }

    fn at(&self) -> Instant {
        self.0
    }
}

/// Moves the clock, and fires the timers that are due.
fn pass(time: Duration) {
    CLOCK.set(CLOCK.get() + time);
    let due = ARMED.with_borrow_mut(|armed| armed.extract_if(.., |(at, _)| *at <= CLOCK.get()).collect::<Vec<_>>());
    due.into_iter().for_each(|(_, waker)| waker.wake());
}

/// Takes `room` bytes, then is `Pending`; keeps the length and the hint of each send.
#[derive(Debug, Default)]
struct Wire {
    room: usize,
    sends: Vec<(usize, bool)>,
    sent: Vec<u8>,
    calls: usize,
    writer: Option<Waker>,
    incoming: VecDeque<u8>,
    closed: bool,
}

impl Transport for Wire {
    fn poll_read(&mut self, _cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match io::Read::read(&mut self.incoming, buf) {
            Ok(0) => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        self.calls += 1;
        let before = self.sent.len();
        for buf in bufs {
            let n = buf.len().min(self.room);
            self.sent.extend(&buf[..n]);
            self.room -= n;
        }
        let taken = self.sent.len() - before;
        if taken == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.sends.push((taken, more));
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed = true;
        Poll::Ready(Ok(()))
    }
}

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Task {
    fn woken(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn task() -> (Arc<Task>, Waker) {
    let task = Arc::new(Task::default());
    (Arc::clone(&task), Waker::from(task))
}

fn engine(room: usize) -> Engine<Wire, Plain, Manual> {
    Engine::new(Wire { room, ..Wire::default() }, Plain::new(CorkConfig::default()))
}

fn done(poll: Poll<io::Result<usize>>) -> usize {
    match poll {
        Poll::Ready(Ok(n)) => n,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_pieces_are_one_send_without_the_hint() {
    let (_, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(usize::MAX);
    assert_eq!(done(engine.poll_send(cx, b"header", SendFlags::MORE)), 6);
    assert_eq!(done(engine.poll_send(cx, b"body", SendFlags::NONE)), 4);
    assert_eq!(engine.io().sends, [(10, false)]);
    assert_eq!(engine.io().sent, b"headerbody");
}

#[test]
fn the_hint_is_passed_on_while_bytes_wait_behind() {
    let (task, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(1);
    // One byte of all that waits leaves. What follows is more than is offered to the transport at a
    // time.
    assert_eq!(done(engine.poll_send(cx, &[1; 1000], SendFlags::NONE)), 1000);
    assert_eq!(done(engine.poll_send(cx, &[2; 200_000], SendFlags::NONE)), 200_000);
    let (io, _) = engine.parts_mut();
    io.room = usize::MAX;
    io.writer.take().unwrap().wake();
    assert_eq!(task.woken(), 1);
    assert!(engine.poll_flush(cx).is_ready());
    let hints: Vec<bool> = engine.io().sends.iter().map(|(_, more)| *more).collect();
    assert_eq!(hints, [false, true, true, true, false], "{:?}", engine.io().sends);
    assert_eq!(engine.io().sent.len(), 201_000);
}

#[test]
fn a_transport_is_left_alone_until_it_has_woken_the_task() {
    let (task, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(0);
    assert_eq!(done(engine.poll_send(cx, b"one", SendFlags::NONE)), 3);
    assert_eq!(engine.io().calls, 1);
    assert_eq!(done(engine.poll_send(cx, b"two", SendFlags::NONE)), 3);
    assert!(engine.poll_flush(cx).is_pending());
    assert!(engine.poll_read(cx, &mut [0; 10]).is_pending());
    assert_eq!(engine.io().calls, 1, "asked before it had woken the task");
    let (io, _) = engine.parts_mut();
    io.room = 100;
    io.writer.take().unwrap().wake();
    assert!(task.woken() > 0);
    assert!(engine.poll_flush(cx).is_ready());
    assert_eq!(engine.io().sent, b"onetwo");
}

#[test]
fn the_reader_of_the_same_task_releases_what_is_held() {
    let (_, waker) = task();
    let (_, other) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(100);
    assert_eq!(done(engine.poll_send(cx, b"request", SendFlags::MORE)), 7);
    assert!(engine.poll_read(&mut Context::from_waker(&other), &mut [0; 10]).is_pending());
    assert!(engine.io().sent.is_empty(), "a reader of another task has released it");
    assert!(engine.poll_read(cx, &mut [0; 10]).is_pending());
    assert_eq!(engine.io().sent, b"request");

    engine.parts_mut().0.incoming.extend(b"answer");
    let mut buf = [0; 10];
    assert_eq!(done(engine.poll_read(cx, &mut buf)), 6);
    assert_eq!(&buf[..6], b"answer");
}

#[test]
fn the_deadline_task_fires_by_the_timers_clock() {
    let (_, waker) = task();
    let (sleeper, bell) = task();
    let cx = &mut Context::from_waker(&waker);
    let shared = Shared::new(engine(100));
    let mut deadlines = pin!(shared.deadline_task());
    let bell = &mut Context::from_waker(&bell);
    assert!(deadlines.as_mut().poll(bell).is_pending());
    assert_eq!(done(shared.lock().poll_send(cx, b"held", SendFlags::MORE)), 4);

    pass(Duration::from_micros(9_999));
    assert_eq!(sleeper.woken(), 0);
    pass(Duration::from_micros(1));
    assert_eq!(sleeper.woken(), 1);
    assert!(deadlines.as_mut().poll(bell).is_pending());
    assert_eq!(shared.lock().io().sent, b"held");

    drop(shared);
    assert_eq!(sleeper.woken(), 1);
    assert!(deadlines.as_mut().poll(bell).is_ready());
}

#[test]
fn closing_sends_what_is_held_and_closes_the_transport() {
    let (_, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(100);
    assert_eq!(done(engine.poll_send(cx, b"the end", SendFlags::MORE)), 7);
    assert!(engine.poll_close(cx).is_ready());
    assert!(engine.io().closed);
    assert_eq!(engine.io().sent, b"the end");
    let refused = engine.poll_send(cx, b"more", SendFlags::NONE);
    assert!(matches!(refused, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
}
