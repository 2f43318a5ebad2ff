//! What a script consists of: tasks on threads, a socket with its peer, and time.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use loom::sync::atomic::AtomicU64;
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};

use crate::{Timer, Transport};

/// Runs `script` once for each interleaving of its threads, and prints how many there were.
///
/// At most `preemptions` times in one run, a thread is stopped while it could go on; without a
/// limit if there is none. `LOOM_MAX_PREEMPTIONS` replaces the limit.
pub(crate) fn explore(preemptions: impl Into<Option<usize>>, script: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions.into());
    builder.max_branches = 10_000;
    let bound = builder.preemption_bound;
    let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        script();
    });
    let (runs, name) = (runs.load(Ordering::Relaxed), std::thread::current());
    let bound = bound.map_or("all".into(), |bound| format!("at most {bound} preemptions"));
    println!("{}: {runs} interleavings ({bound})", name.name().unwrap_or_default());
    assert!(runs > 1, "the threads of this script never meet");
}

/// A task that sleeps on its thread until it is woken.
pub(crate) struct Task(Arc<Bell>);

pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

impl Task {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Bell { rung: Mutex::new(false), changed: Condvar::new() }))
    }

    /// What wakes it.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.0)
    }

    /// Polls until it is ready, at the beginning and whenever the task is woken.
    pub(crate) fn block_on<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        let waker = Waker::from(Arc::clone(&self.0));
        loop {
            if let Poll::Ready(done) = poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            let mut rung = self.0.rung.lock().unwrap();
            while !*rung {
                rung = self.0.changed.wait(rung).unwrap();
            }
            *rung = false;
        }
    }
}

/// A transport, and the same transport as its peer and the system see it.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Arc<Line>);

#[derive(Debug)]
struct Line {
    state: Mutex<State>,
    arrived: Condvar,
    /// Threads that use the socket.
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many bytes are taken before a send is `Pending`.
    room: usize,
    sent: Vec<u8>,
    incoming: VecDeque<u8>,
    ended: bool,
    closed: bool,
    /// Every send fails.
    broken: bool,
    /// Flushes and closes are `Pending`.
    slow: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// A send was `Pending`, and nobody has been woken since.
    pushed_back: bool,
}

impl Socket {
    /// A socket that takes `room` bytes before it pushes back.
    pub(crate) fn new(room: usize) -> Self {
        Self::with(State { room, ..State::default() })
    }

    /// A socket that takes everything, and delays flushes and closes.
    pub(crate) fn slow() -> Self {
        Self::with(State { room: usize::MAX, slow: true, ..State::default() })
    }

    /// A socket whose sends fail.
    pub(crate) fn broken() -> Self {
        Self::with(State { broken: true, ..State::default() })
    }

    fn with(state: State) -> Self {
        Self(Arc::new(Line { state: Mutex::new(state), arrived: Condvar::new(), tasks: Default::default() }))
    }

    /// What happens on a thread of the system.
    pub(crate) fn system(&self, script: impl FnOnce(&Self) + 'static) -> JoinHandle<()> {
        let socket = self.clone();
        thread::spawn(move || script(&socket))
    }

    /// Runs `task` on a thread, for which [`join`](Self::join) waits.
    pub(crate) fn spawn(&self, task: impl FnOnce() + 'static) {
        self.0.tasks.lock().unwrap().push(thread::spawn(task));
    }

    /// Waits for the ends of the tasks.
    pub(crate) fn join(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap());
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }

    /// Makes room for `bytes`, and wakes whoever waits for that.
    pub(crate) fn make_room(&self, bytes: usize) {
        self.wake_writer(|state| state.room += bytes);
    }

    /// Lets flushes and closes be ready, and wakes whoever waits for that.
    pub(crate) fn settle(&self) {
        self.wake_writer(|state| state.slow = false);
    }

    fn wake_writer(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock().unwrap();
        change(&mut state);
        state.pushed_back = false;
        let waker = state.writer.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Brings `bytes` from the peer, and wakes whoever reads.
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        self.wake_reader(|state| state.incoming.extend(bytes));
    }

    /// The peer ends the stream.
    pub(crate) fn end(&self) {
        self.wake_reader(|state| state.ended = true);
    }

    fn wake_reader(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock().unwrap();
        change(&mut state);
        let waker = state.reader.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Sleeps until `bytes` have been sent.
    pub(crate) fn wait_for(&self, bytes: &[u8]) {
        let mut state = self.0.state.lock().unwrap();
        while state.sent.len() < bytes.len() {
            state = self.0.arrived.wait(state).unwrap();
        }
        assert_eq!(state.sent, bytes);
    }

    /// What has been sent, and whether the transport is closed.
    pub(crate) fn outcome(&self) -> (Vec<u8>, bool) {
        let state = self.0.state.lock().unwrap();
        (state.sent.clone(), state.closed)
    }
}

impl Transport for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state.lock().unwrap();
        match state.incoming.read(buf) {
            Ok(0) if !state.ended => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], _more: bool) -> Poll<io::Result<usize>> {
        let mut state = self.0.state.lock().unwrap();
        assert!(!state.pushed_back, "R16: a send was tried again before the transport has woken anyone");
        if state.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = state.sent.len();
        for buf in bufs {
            let taken = buf.len().min(state.room);
            state.sent.extend(&buf[..taken]);
            state.room -= taken;
        }
        let taken = state.sent.len() - before;
        if taken == 0 {
            state.writer = Some(cx.waker().clone());
            state.pushed_back = true;
            return Poll::Pending;
        }
        drop(state);
        self.0.arrived.notify_all();
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state.lock().unwrap();
        if state.slow {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state.lock().unwrap();
        if state.slow {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.closed = true;
        Poll::Ready(Ok(()))
    }
}

/// A timer on a clock that stands still until a timer fires.
#[derive(Debug)]
pub(crate) struct Alarm {
    number: usize,
    at: Instant,
}

/// The time of one run of a script. [`run`](Self::run) on a thread of its own lets it pass.
pub(crate) struct Time {
    /// Milliseconds since the beginning. A thread may see an older value than another.
    clock: AtomicU64,
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

#[derive(Default)]
struct Alarms {
    armed: Vec<(usize, Instant, Waker)>,
    ever: usize,
    stopped: bool,
}

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

loom::lazy_static! {
    pub(crate) static ref TIME: Time = Time {
        clock: AtomicU64::new(0),
        alarms: Mutex::new(Alarms::default()),
        changed: Condvar::new(),
    };
}

impl Time {
    /// Lets time pass up to each timer that is armed and fires it, until [`stop`](Self::stop).
    pub(crate) fn run(&self) {
        let mut alarms = self.alarms.lock().unwrap();
        while !alarms.stopped {
            let Some(first) = (0..alarms.armed.len()).min_by_key(|&index| alarms.armed[index].1) else {
                alarms = self.changed.wait(alarms).unwrap();
                continue;
            };
            let (_, at, waker) = alarms.armed.remove(first);
            drop(alarms);
            self.pass_to(at);
            waker.wake();
            alarms = self.alarms.lock().unwrap();
        }
    }

    pub(crate) fn stop(&self) {
        self.alarms.lock().unwrap().stopped = true;
        self.changed.notify_all();
    }

    /// Lets `time` pass since the beginning, and fires nothing.
    pub(crate) fn pass(&self, time: Duration) {
        self.pass_to(*BEGINNING + time);
    }

    fn pass_to(&self, at: Instant) {
        let passed = at.duration_since(*BEGINNING).as_millis().try_into().unwrap();
        self.clock.fetch_max(passed, Ordering::AcqRel);
    }
}

impl Timer for Alarm {
    fn now() -> Instant {
        *BEGINNING + Duration::from_millis(TIME.clock.load(Ordering::Acquire))
    }

    fn arm(at: Instant, waker: &Waker) -> Option<Self> {
        if at <= Self::now() {
            return None;
        }
        let mut alarms = TIME.alarms.lock().unwrap();
        alarms.ever += 1;
        let number = alarms.ever;
        alarms.armed.push((number, at, waker.clone()));
        drop(alarms);
        TIME.changed.notify_all();
        Some(Self { number, at })
    }

    fn at(&self) -> Instant {
        self.at
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // A panic has ended the exploration: no more steps.
        if !std::thread::panicking() {
            TIME.alarms.lock().unwrap().armed.retain(|(number, ..)| *number != self.number);
        }
    }
}
