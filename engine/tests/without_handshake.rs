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

use bytes::Bytes;
use tls_cork_engine::tls_cork::{CorkConfig, SendFlags};
use tls_cork_engine::{Engine, Feed, Shared, Timer, Transport};

use plain::Plain;

thread_local! {
    static CLOCK: Cell<Instant> = Cell::new(Instant::now());
    static READINGS: Cell<usize> = const { Cell::new(0) };
    static ARMED: RefCell<Vec<(Instant, Waker)>> = const { RefCell::new(Vec::new()) };
}

/// A timer on the test's own clock.
#[derive(Debug)]
struct Manual(Instant);

impl Timer for Manual {
    fn now() -> Instant {
        READINGS.set(READINGS.get() + 1);
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

/// Some pieces read the clock. After that a timer is armed, until it fires.
#[test]
fn many_pieces_read_the_clock_less_often_than_once_for_each() {
    let (_, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(usize::MAX);
    let mut send = |count: usize| {
        READINGS.set(0);
        (0..count).for_each(|_| assert_eq!(done(engine.poll_send(cx, b"piece", SendFlags::MORE)), 5));
        (READINGS.get(), engine.io().sent.len())
    };
    let (first, sent) = send(32);
    assert!(first <= 20, "{first}");
    assert_eq!((ARMED.with_borrow(Vec::len), sent), (1, 0));
    let (later, _) = send(1600);
    assert!(later <= 110, "{later}");
    pass(Duration::from_millis(9));
    assert_eq!(send(1).1, 0);
    pass(Duration::from_millis(1));
    assert_eq!(send(1), (2, 1634 * 5), "the piece behind the deadline is in the same send");
}

/// As the pieces of `send`, those that are fed to a sink read no clock while a timer is armed.
#[test]
fn a_sink_is_ready_without_its_engine_while_pieces_only_join() {
    let (_, waker) = task();
    let (_, other) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(usize::MAX);
    let mut feed = Feed::default();
    assert!(!feed.is_ready(cx));
    let mut slow = 0;
    for _ in 0..160 {
        if !feed.is_ready(cx) {
            slow += 1;
            assert!(feed.poll_ready(&mut engine, cx).is_ready());
        }
        if !feed.join(&mut engine, b"piece") {
            feed.start_send(&mut engine, Bytes::from_static(b"piece")).unwrap();
        }
    }
    assert_eq!(slow, 11, "the first piece and every sixteenth after it");
    assert!(feed.poll_ready(&mut engine, cx).is_ready());
    assert!(feed.join(&mut engine, b"piece") && feed.is_ready(cx));
    assert!(!feed.is_ready(&Context::from_waker(&other)), "another task counts as the holder from its poll on");
    assert!(feed.poll_flush(&mut engine, cx).is_ready() && !feed.is_ready(cx));
    assert_eq!(engine.io().sent, b"piece".repeat(161));
    assert!(!feed.join(&mut engine, b"nothing is held") && !feed.is_ready(cx));
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

fn shown(handle: &mut Shared<Wire, Plain, Manual>) -> Vec<u8> {
    let (_, waker) = task();
    match handle.poll_fill_buf(&mut Context::from_waker(&waker)) {
        Poll::Ready(Ok(shown)) => shown.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Each has a copy; the bytes are those of the session.
#[test]
fn handles_of_one_engine_show_what_others_have_left() {
    let (_, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut one = Shared::new(engine(0));
    let mut two = one.clone();
    one.lock().parts_mut().0.incoming.extend(b"0123456789");
    assert_eq!((shown(&mut one), shown(&mut two)), (b"0123456789".to_vec(), b"0123456789".to_vec()));
    one.consume(3);
    assert_eq!((shown(&mut one), shown(&mut two)), (b"3456789".to_vec(), b"3456789".to_vec()));
    assert_eq!(done(two.lock().poll_read(cx, &mut [0; 2])), 2);
    assert_eq!((shown(&mut two), shown(&mut one)), (b"56789".to_vec(), b"56789".to_vec()));
    two.consume(100);
    assert!(one.poll_fill_buf(cx).is_pending());
    one.lock().parts_mut().0.incoming.extend(b"next");
    assert_eq!((shown(&mut two), shown(&mut one)), (b"next".to_vec(), b"next".to_vec()));
}

#[test]
fn the_last_handle_takes_the_engine_whatever_the_deadline_task_does() {
    let (sleeper, bell) = task();
    let bell = &mut Context::from_waker(&bell);
    let one = Shared::new(engine(0));
    let two = one.clone();
    let mut deadlines = pin!(one.deadline_task());
    assert!(deadlines.as_mut().poll(bell).is_pending());
    let one = one.into_inner().unwrap_err();
    assert!(one.is_same(&two));
    drop(two);
    assert_eq!(sleeper.woken(), 0, "there is a handle left");
    assert!(deadlines.as_mut().poll(bell).is_pending());
    let engine = one.into_inner().unwrap();
    assert!(sleeper.woken() > 0);
    assert!(deadlines.as_mut().poll(bell).is_ready());
    assert!(!engine.io().closed);
}

#[test]
fn what_is_to_be_sent_in_full_is_cut_as_it_is_accepted() {
    let (task, waker) = task();
    let cx = &mut Context::from_waker(&waker);
    let mut engine = engine(usize::MAX);
    let data = vec![7; 1 << 20];
    let mut left = &data[..];
    let mut polls = 1;
    while engine.poll_send_all(cx, &mut left, SendFlags::NONE).is_pending() {
        assert!(task.woken() > 0, "R16: the rest in the next turn");
        assert_eq!(engine.io().sent.len(), data.len() - left.len());
        polls += 1;
    }
    assert!(left.is_empty() && polls > 2 && engine.io().sent == data, "{polls}");
}

#[test]
fn an_engine_is_one_short_line() {
    let engine = engine(0);
    let line = format!("{engine:?}");
    assert_eq!(line, format!("Engine({:?})", engine.session()));
    let shared = Shared::new(engine);
    assert_eq!(format!("{shared:?}"), line.replace("Engine", "Shared"));
    let _locked = shared.lock();
    assert_eq!(format!("{shared:?}"), "Shared(in use)");
}
