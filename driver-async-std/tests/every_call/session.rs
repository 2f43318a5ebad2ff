//! One run of the script: a stream over a scripted wire, and what must come out.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use tls_cork_async_std::tls_cork::{Connection, CorkConfig, SendFlags};
use tls_cork_async_std::{DeadlineTask, ReadHalf, TlsAcceptor, TlsConnector, TlsStream, WriteHalf};
use tls_cork_testing::content::stream;
use tls_cork_testing::script::{Fault, Lasting, Op, Peer, Plan, SCRIPT, Way, arrived, total};
use tls_cork_testing::sessions::{Configs, name};

use super::executor::{self, Task};
use super::wire::Wire;

/// Which tasks use the stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tasks {
    One,
    /// A reader, a writer, and one for the deadlines.
    Three,
}

#[derive(Clone, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) configs: &'a Configs,
    pub(crate) is_client: bool,
    pub(crate) tasks: Tasks,
    pub(crate) cork: CorkConfig,
    /// Before which step of the script time jumps, and how far.
    pub(crate) jump: Option<(usize, Duration)>,
}

/// What a run took.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) sends: usize,
    pub(crate) receives: usize,
    pub(crate) receives_before_close: usize,
    pub(crate) flushes: usize,
    pub(crate) closes: usize,
    pub(crate) hits: usize,
    pub(crate) polls: usize,
}

#[derive(Debug, Default)]
struct Sums {
    accepted: usize,
    got: usize,
    end: bool,
    /// The transport has failed under a call that could not tell.
    owed: bool,
    told: Vec<ErrorKind>,
    /// What a failure cost, as an error said.
    lost: usize,
    sends_fail: bool,
    flushes_fail: bool,
    reads_fail: bool,
    broken: bool,
    before_close: usize,
}

struct Session<'a> {
    plan: Plan,
    setting: Setting<'a>,
    wire: Wire,
    sums: RefCell<Sums>,
}

pub(crate) fn run(plan: Plan, setting: Setting<'_>) -> Run {
    let wire = Wire::new(plan, Peer::new(setting.configs, !setting.is_client));
    let session = Session { plan, setting, wire: wire.clone(), sums: RefCell::default() };
    let patience = if session.setting.jump.is_some() { Duration::from_secs(60) } else { Duration::ZERO };
    let made = RefCell::new(None);
    let shake = async { *made.borrow_mut() = session.shake_hands().await };
    let shake = Task { name: "handshake", future: Box::pin(shake), background: false };
    let mut polls = executor::run(&wire, vec![shake], patience);
    while wire.line().goes_on() {}
    if let Some((mut reader, mut writer, deadlines)) = made.into_inner() {
        let tasks = match session.setting.tasks {
            Tasks::One => {
                let all = async { session.script(&mut writer, Some(&mut reader)).await };
                vec![Task { name: "the only task", future: Box::pin(all), background: false }]
            }
            Tasks::Three => {
                let writes = async { session.script(&mut writer, None).await };
                let reads = async { _ = session.read_until(&mut reader, |sums| sums.end).await };
                vec![
                    Task { name: "writer", future: Box::pin(writes), background: false },
                    Task { name: "reader", future: Box::pin(reads), background: false },
                    Task { name: "deadlines", future: Box::pin(deadlines), background: true },
                ]
            }
        };
        polls += executor::run(&wire, tasks, patience);
        while wire.line().goes_on() {}
        let ends = Task { name: "end", future: Box::pin(session.ends(&mut writer)), background: false };
        executor::run(&wire, vec![ends], Duration::ZERO);
    } else {
        let sums = session.sums.borrow();
        assert_eq!(sums.told.len(), 1, "why the handshake failed");
        assert!(!wire.line().peer.end);
    }
    let faults = &wire.line().faults;
    Run {
        sends: faults.calls(Way::Send),
        receives: faults.calls(Way::Receive),
        receives_before_close: session.sums.borrow().before_close,
        flushes: faults.calls(Way::Flush),
        closes: faults.calls(Way::Close),
        hits: faults.hits,
        polls,
    }
}

impl Session<'_> {
    async fn shake_hands(&self) -> Option<(ReadHalf<Wire>, WriteHalf<Wire>, DeadlineTask<Wire>)> {
        let Setting { configs, cork, .. } = &self.setting;
        let (client, server) = (configs.0.clone(), configs.1.clone());
        let made: io::Result<TlsStream<Wire>> = if self.setting.is_client {
            let connector = TlsConnector::from(client).with_cork(cork.clone()).unwrap();
            connector.connect(name(), self.wire.clone()).await.map(Into::into)
        } else {
            let acceptor = TlsAcceptor::from(server).with_cork(cork.clone()).unwrap();
            acceptor.accept(self.wire.clone()).await.map(Into::into)
        };
        match made {
            Ok(made) => {
                let (stream, deadlines) = made.with_deadline_task();
                let (reader, writer) = stream.into_split();
                Some((reader, writer, deadlines))
            }
            Err(error) => {
                self.tell(None, &error);
                None
            }
        }
    }

    /// Without a reader, another task reads.
    async fn script(&self, writer: &mut WriteHalf<Wire>, mut reader: Option<&mut ReadHalf<Wire>>) {
        for (step, op) in SCRIPT.into_iter().enumerate() {
            if let Some((_, by)) = self.setting.jump.filter(|(at, _)| *at == step) {
                std::thread::sleep(by);
            }
            match (op, &mut reader) {
                (Op::Read, Some(reader)) => {
                    let all = |sums: &Sums| {
                        let peer = &self.wire.line().peer;
                        sums.got == if sums.sends_fail { peer.wrote } else { peer.will_have_said() }
                    };
                    while !self.read_until(reader, all).await {
                        self.try_again(writer).await;
                    }
                }
                (Op::ReadEnd, Some(reader)) => {
                    while !self.read_until(reader, |sums| sums.end).await {
                        self.try_again(writer).await;
                    }
                }
                // A reader in another task does not release what is held.
                (Op::Read | Op::ReadEnd | Op::Flush, _) => self.flush(writer).await,
                _ => self.write(writer, op).await,
            }
        }
    }

    async fn write(&self, writer: &mut WriteHalf<Wire>, op: Op) {
        match op {
            Op::Send(len, more) => {
                let data = stream(self.sums.borrow().accepted, len);
                let mut done = 0;
                while done < len {
                    done += match self
                        .call(writer, async |w| w.send(&data[done..], SendFlags::more_if(more)).await)
                        .await
                    {
                        Some(taken) => self.accepted(taken, len - done),
                        None if self.has_failed() => break,
                        None => 0,
                    };
                }
            }
            Op::SendBytes(len, more) => {
                let mut data = Bytes::from(stream(self.sums.borrow().accepted, len));
                while !data.is_empty() {
                    let before = data.len();
                    let sent =
                        self.call(writer, async |w| w.send_all_bytes(&mut data, SendFlags::more_if(more)).await).await;
                    self.sums.borrow_mut().accepted += before - data.len();
                    if sent.is_none() && self.has_failed() {
                        break;
                    }
                }
            }
            Op::SendVectored([first, second, third], more) => {
                let data = stream(self.sums.borrow().accepted, first + second + third);
                let mut done = 0;
                while done < data.len() {
                    let ends = [0, first, first + second, data.len()].map(|end| end.max(done));
                    let bufs = [0, 1, 2].map(|n| IoSlice::new(&data[ends[n]..ends[n + 1]]));
                    let send = async |w: &mut WriteHalf<Wire>| w.send_vectored(&bufs, SendFlags::more_if(more)).await;
                    done += match self.call(writer, send).await {
                        Some(taken) => self.accepted(taken, data.len() - done),
                        None if self.has_failed() => break,
                        None => 0,
                    };
                }
            }
            Op::Cork => writer.cork(),
            Op::Uncork => while self.call(writer, async |w| w.uncork().await).await.is_none() && !self.has_failed() {},
            Op::PeerSays(len) => self.wire.line().peer.says(len),
            Op::PeerAnswers(len) => {
                let accepted = self.sums.borrow().accepted;
                self.wire.line().peer.answers(len, accepted);
            }
            Op::PeerKeys => self.wire.line().peer.keys(),
            Op::PeerCloses => self.wire.line().peer.closes(),
            Op::Close => {
                self.sums.borrow_mut().before_close = self.wire.line().faults.calls(Way::Receive);
                // The first try may tell of an earlier failure, and do nothing else.
                for tries in 1.. {
                    let closed = self.call(writer, async |w| w.close().await).await.is_some();
                    let fails = self.has_failed() || self.sums.borrow().flushes_fail;
                    if closed || fails && tries == 2 {
                        break;
                    }
                }
                if !self.has_failed() {
                    assert!(writer.with_ref(|_, connection| connection.is_finished()), "closed, and not all has left");
                }
            }
            Op::SendLate => {
                let error = loop {
                    self.wire.line().begin();
                    match writer.send(b"late", SendFlags::NONE).await.expect_err("closed") {
                        error if self.has_failed() && error.kind() != ErrorKind::BrokenPipe => {}
                        error => break error,
                    }
                };
                assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
            }
            Op::Shake | Op::Read | Op::ReadEnd | Op::Flush => {}
        }
    }

    /// A reader that was told does not try to send again.
    async fn try_again(&self, writer: &mut WriteHalf<Wire>) {
        if !self.has_failed() {
            self.flush(writer).await;
        }
    }

    async fn flush(&self, writer: &mut WriteHalf<Wire>) {
        while self.call(writer, async |w| w.flush().await).await.is_none() {
            if self.has_failed() || self.sums.borrow().flushes_fail {
                return;
            }
        }
        let left = writer.with_ref(|_, connection| (connection.waiting(), connection.wants_transmit()));
        assert_eq!(left, (0, false), "flushed, and not all has left");
    }

    fn accepted(&self, taken: usize, offered: usize) -> usize {
        assert!(taken > 0 && taken <= offered, "{taken} bytes of {offered} accepted");
        self.sums.borrow_mut().accepted += taken;
        taken
    }

    fn has_failed(&self) -> bool {
        let sums = self.sums.borrow();
        sums.sends_fail || sums.broken
    }

    fn is_send_plan(&self) -> bool {
        matches!(self.plan, Plan::At(Way::Send | Way::Flush | Way::Close, ..))
    }

    /// A call that sends, and so has to tell a failure that it meets, or that an earlier call met. `None` if it has told one.
    async fn call<R>(
        &self,
        writer: &mut WriteHalf<Wire>,
        call: impl AsyncFnOnce(&mut WriteHalf<Wire>) -> io::Result<R>,
    ) -> Option<R> {
        let owed = self.sums.borrow().owed;
        let (done, met) = self.watched(call(writer)).await;
        match done {
            Ok(done) => {
                assert!(!owed, "an earlier failure was not told");
                assert!(self.sums.borrow().lost == 0, "nobody says that bytes were lost");
                self.sums.borrow_mut().owed = met && self.is_send_plan() && self.setting.tasks == Tasks::One;
                Some(done)
            }
            Err(error) => {
                self.tell(Some(writer.with_ref(|_, connection| left(connection))), &error);
                self.sums.borrow_mut().owed = false;
                None
            }
        }
    }

    /// Whether the transport failed while `future` was running.
    async fn watched<T>(&self, future: impl Future<Output = T>) -> (T, bool) {
        let failures = || self.wire.line().faults.failures;
        let before = failures();
        self.wire.line().begin();
        let done = future.await;
        (done, failures() > before)
    }

    /// Checks what an error says; `left` is what waits, and how much was sealed.
    fn tell(&self, left: Option<(usize, usize)>, error: &io::Error) {
        let Plan::At(way, _, Fault::Fail(kind, lasting)) = self.plan else {
            panic!("nothing failed, but: {error:?}");
        };
        let mut sums = self.sums.borrow_mut();
        sums.told.push(error.kind());
        if way != Way::Receive {
            assert_eq!(error.kind(), kind, "{error}");
            sums.sends_fail |= way == Way::Send && lasting == Lasting::Ever;
            sums.flushes_fail |= way != Way::Send && lasting == Lasting::Ever;
            return;
        }
        if sums.broken && error.kind() == ErrorKind::BrokenPipe {
            return;
        }
        assert_eq!(error.kind(), kind, "{error}");
        sums.reads_fail = true;
        if let Some((waiting, sealed)) = left.filter(|_| kind == ErrorKind::InvalidData && !sums.broken) {
            sums.broken = true;
            assert_eq!(waiting, 0);
            // A writer in another task may be about to say that more was accepted.
            if self.setting.tasks == Tasks::One {
                sums.lost = sums.accepted - sealed;
                let says = format!("{} bytes that were accepted are lost", sums.lost);
                assert_eq!(error.to_string().contains(&says), sums.lost > 0, "{} bytes are lost: {error}", sums.lost);
            }
        }
    }

    /// Reads until `done`; false if it was told that sending fails.
    async fn read_until(&self, reader: &mut ReadHalf<Wire>, done: impl Fn(&Sums) -> bool) -> bool {
        while !done(&self.sums.borrow()) && !self.sums.borrow().reads_fail {
            if !self.read(reader).await && self.setting.tasks == Tasks::One {
                return false;
            }
        }
        if self.sums.borrow().reads_fail {
            self.read(reader).await; // and it says so again
        }
        true
    }

    /// One read; false if it was told that sending fails.
    async fn read(&self, reader: &mut ReadHalf<Wire>) -> bool {
        let mut buf = [0; 1500];
        let (done, met) = self.watched(reader.read(&mut buf)).await;
        let mut sums = self.sums.borrow_mut();
        match done {
            Ok(0) => {
                assert_eq!(sums.got, self.wire.line().peer.wrote, "an end before the last byte");
                sums.end = true;
            }
            Ok(n) => arrived(&buf[..n], &mut sums.got),
            Err(error) => {
                drop(sums);
                self.tell(Some(reader.with_ref(|_, connection| left(connection))), &error);
                self.sums.borrow_mut().owed = false;
                return !self.is_send_plan();
            }
        }
        sums.owed |= met && self.is_send_plan() && self.setting.tasks == Tasks::One;
        true
    }

    async fn ends(&self, writer: &mut WriteHalf<Wire>) {
        let all = total(&SCRIPT);
        let (got, end, wrote, failed) = {
            let peer = &self.wire.line().peer;
            (peer.got, peer.end, peer.wrote, peer.failed.clone())
        };
        let broken = self.sums.borrow().broken;
        assert!(broken || failed.is_none(), "what the peer got was wrong: {failed:?}");
        self.wire.line().begin();
        if broken {
            let lost = self.sums.borrow().lost > 0;
            let refused = writer.send(b"more", SendFlags::NONE).await.expect_err("TLS has failed");
            assert_eq!(refused.kind(), ErrorKind::BrokenPipe, "{refused}");
            assert!(!end || !lost);
            if self.setting.tasks == Tasks::One {
                assert_eq!(writer.flush().await.is_err(), lost, "flush and loss");
                assert_eq!(writer.close().await.is_err(), lost, "close and loss");
            }
            return;
        }
        if self.sums.borrow().sends_fail {
            assert!(writer.flush().await.is_err() && writer.close().await.is_err(), "nothing leaves");
        }
        let sums = self.sums.borrow();
        assert!(got <= sums.accepted && !sums.owed, "a failure that nobody told");
        if sums.sends_fail {
            assert!(!end && !sums.told.is_empty());
            assert_eq!((sums.got, sums.end), (wrote, true), "reading goes on");
            return;
        }
        assert_eq!((sums.accepted, got, end), (all, all, true), "sending goes on");
        assert!(sums.reads_fail || (sums.got, sums.end) == (wrote, true));
        if self.plan.is_transient() {
            assert_eq!(sums.told, []);
        } else if matches!(self.plan, Plan::At(_, _, Fault::Fail(_, Lasting::Once))) {
            assert_eq!(sums.told.len(), 1, "told once");
        } else {
            assert!(!sums.told.is_empty(), "a failure that nobody told");
        }
    }
}

/// What waits, and how much was sealed.
fn left(connection: &Connection) -> (usize, usize) {
    (connection.waiting(), connection.stats().plaintext_bytes as usize)
}
