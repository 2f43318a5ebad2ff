//! An end on the async-std driver: whole or in halves, with a deadline task or without.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use smol::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use smol::{Timer, net};
use socket2::SockRef;
use tls_cork::{SendFlags, Stats};
use tls_cork_async_std::{ReadHalf, SharedStream, TlsAcceptor, TlsConnector, TlsStream, WriteHalf};

use super::Session;
use super::counted::Counted;
use super::ledger::{EndReport, Ledger, Told};
use super::operations::{Inbound, Next, Outbound, Receiver, Sender, is_of_the_transport};
use super::plan::{EndPlan, FaultPlan, Side};

/// Runs an end until its stream is over. `leaves` is the fault that it is to cause itself.
///
/// # Errors
///
/// When there is nothing to run it with: a socket's options.
pub(crate) fn run(
    side: Side,
    plan: &EndPlan,
    content: u64,
    session: Session,
    socket: TcpStream,
    leaves: Option<FaultPlan>,
    ledger: &Arc<Ledger>,
) -> io::Result<EndReport> {
    socket.set_nodelay(true)?;
    let socket = net::TcpStream::try_from(socket)?;
    let cork = plan.cork.clone();
    smol::block_on(async {
        let shaken: io::Result<TlsStream<_>> = match session {
            Session::Client(config, name) => {
                let connector = TlsConnector::from(config).with_cork(cork).map_err(io::Error::other)?;
                connector.connect(name, Counted::new(socket.clone(), side, ledger)).await.map(TlsStream::from)
            }
            Session::Server(config) => {
                let acceptor = TlsAcceptor::from(config).with_cork(cork).map_err(io::Error::other)?;
                acceptor.accept(Counted::new(socket.clone(), side, ledger)).await.map(TlsStream::from)
            }
        };
        let stream = match shaken {
            Ok(stream) => stream,
            Err(error) => {
                let told = Told::from(error);
                let stats = Stats::default();
                return Ok(EndReport { sending: Err(told.clone()), receiving: Err(told), left: false, stats });
            }
        };
        let end = End {
            side,
            leaves,
            sender: Sender::new(side, plan, content, !plan.attended, ledger),
            receiver: Receiver::new(side, plan, content, ledger),
            ledger: Arc::clone(ledger),
            socket,
        };
        if !plan.attended {
            if plan.split {
                let (reader, writer) = stream.into_split();
                end.split(reader, writer).await
            } else {
                end.whole(stream).await
            }
        } else {
            let (stream, deadlines) = stream.with_deadline_task();
            smol::spawn(deadlines).detach();
            if plan.split {
                let (reader, writer) = stream.into_split();
                end.split(reader, writer).await
            } else {
                end.whole(stream).await
            }
        }
    })
}

type Io = Counted<net::TcpStream>;

struct End {
    side: Side,
    leaves: Option<FaultPlan>,
    sender: Sender,
    receiver: Receiver,
    ledger: Arc<Ledger>,
    socket: net::TcpStream,
}

/// How sending ended.
enum Sent {
    Said(Result<(), Told>),
    /// By leaving.
    Left,
}

impl End {
    /// Both halves in one task.
    async fn whole<S>(mut self, mut stream: S) -> io::Result<EndReport>
    where
        S: WithStats,
        for<'a, 'b, 'c> Port<'a, 'b, 'c, S>: Outbound + Inbound,
    {
        let (mut sending, mut receiving) = (None, None);
        let mut alarm = Alarm::default();
        poll_fn(|cx| {
            let now = Instant::now();
            let mut wait = Wait::default();
            if sending.is_none() {
                if is_due(self.leaves, self.side, &self.ledger) {
                    sending = Some(Sent::Left);
                    return Poll::Ready(());
                }
                match self.sender.step(&mut Port { stream: &mut stream, cx: &mut *cx }, now) {
                    Ok(next) => sending = wait.until(next).then_some(Sent::Said(Ok(()))),
                    Err(error) if !is_of_the_transport(&error) => {
                        receiving = Some(Err(Told::from(error)));
                        return Poll::Ready(());
                    }
                    Err(error) => sending = Some(Sent::Said(Err(error.into()))),
                }
            }
            if receiving.is_none() {
                match self.receiver.step(&mut Port { stream: &mut stream, cx: &mut *cx }, now) {
                    Ok(next) => receiving = wait.until(next).then_some(Ok(())),
                    Err(error) => receiving = Some(Err(error.into())),
                }
            }
            if matches!((&sending, &receiving), (_, Some(Err(_))) | (Some(_), Some(_))) {
                return Poll::Ready(());
            }
            alarm.wake(&wait, cx);
            Poll::Pending
        })
        .await;
        let stats = stream.final_stats();
        self.report(sending, receiving, stats)
    }

    /// Each half in a task of its own, on different threads.
    async fn split(self, mut reader: ReadHalf<Io>, mut writer: WriteHalf<Io>) -> io::Result<EndReport> {
        let Self { side, leaves, mut sender, mut receiver, ledger, socket } = self;
        let mut reads = smol::spawn(async move {
            let mut alarm = Alarm::default();
            poll_fn(move |cx| {
                let now = Instant::now();
                let mut wait = Wait::default();
                match receiver.step(&mut Port { stream: &mut reader, cx: &mut *cx }, now) {
                    Ok(next) if wait.until(next) => return Poll::Ready(Ok(())),
                    Ok(_) => alarm.wake(&wait, cx),
                    Err(error) => return Poll::Ready(Err(Told::from(error))),
                }
                Poll::Pending
            })
            .await
        });
        let mut alarm = Alarm::default();
        let (mut sending, mut receiving) = (None, None);
        poll_fn(|cx| {
            if receiving.is_none()
                && let Poll::Ready(done) = Pin::new(&mut reads).poll(cx)
            {
                receiving = Some(done);
            }
            if sending.is_none() {
                if is_due(leaves, side, &ledger) {
                    sending = Some(Sent::Left);
                    return Poll::Ready(());
                }
                let now = Instant::now();
                let mut wait = Wait::default();
                match sender.step(&mut Port { stream: &mut writer, cx: &mut *cx }, now) {
                    Ok(next) if wait.until(next) => sending = Some(Sent::Said(Ok(()))),
                    Ok(_) => alarm.wake(&wait, cx),
                    Err(error) if !is_of_the_transport(&error) => {
                        receiving = Some(Err(Told::from(error)));
                    }
                    Err(error) => sending = Some(Sent::Said(Err(error.into()))),
                }
            }
            match (&sending, &receiving) {
                (_, Some(Err(_))) | (Some(_), Some(_)) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        let stats = writer.final_stats();
        let end = Ending { socket, leaves, ledger };
        let report = end.report(sending, receiving, stats);
        // Gone, and with it its half of the socket, before anybody hears of it.
        let _ = reads.cancel().await;
        report
    }

    fn report(self, sending: Option<Sent>, receiving: Option<Result<(), Told>>, stats: Stats) -> io::Result<EndReport> {
        Ending { socket: self.socket, leaves: self.leaves, ledger: self.ledger }.report(sending, receiving, stats)
    }
}

fn is_due(leaves: Option<FaultPlan>, side: Side, ledger: &Ledger) -> bool {
    leaves.is_some_and(|leaves| ledger.accepted(side) >= leaves.at)
}

struct Ending {
    socket: net::TcpStream,
    leaves: Option<FaultPlan>,
    ledger: Arc<Ledger>,
}

impl Ending {
    fn report(self, sending: Option<Sent>, receiving: Option<Result<(), Told>>, stats: Stats) -> io::Result<EndReport> {
        let (sending, left) = match sending {
            Some(Sent::Left) => (Ok(()), true),
            Some(Sent::Said(said)) => (said, false),
            None => (Ok(()), false),
        };
        if let Some(leaves) = self.leaves.filter(|_| left) {
            self.ledger.happen(leaves.fault);
            if leaves.fault == super::plan::Fault::EndReset {
                SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(EndReport { sending, receiving: receiving.unwrap_or(Ok(())), left, stats })
    }
}

/// When a task is to be polled again, whatever its stream does; else a wake-up that is lost is one that is noticed.
#[derive(Default)]
struct Wait {
    at: Option<Instant>,
    again: bool,
}

impl Wait {
    /// True if there is nothing left to wait for.
    fn until(&mut self, next: Next) -> bool {
        match next {
            Next::Again => self.again = true,
            Next::At(at) => self.at = Some(self.at.map_or(at, |earlier| earlier.min(at))),
            Next::Blocked => {}
            Next::Done => return true,
        }
        false
    }
}

#[derive(Default)]
struct Alarm(Option<Timer>);

impl Alarm {
    fn wake(&mut self, wait: &Wait, cx: &mut Context<'_>) {
        self.0 = wait.at.filter(|_| !wait.again).map(Timer::at);
        if wait.again || self.0.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
    }
}

/// A stream and the task that polls it: a future is made for each operation, polled once, and dropped if it has to wait.
struct Port<'a, 'b, 'c, S> {
    stream: &'a mut S,
    cx: &'b mut Context<'c>,
}

trait WithStats {
    fn final_stats(&self) -> Stats;
}

macro_rules! outbound {
    ($stream:ident) => {
        impl WithStats for $stream<Io> {
            fn final_stats(&self) -> Stats {
                self.stats()
            }
        }

        impl Outbound for Port<'_, '_, '_, $stream<Io>> {
            fn send(&mut self, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
                pin!(self.stream.send(data, flags)).poll(self.cx)
            }

            fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> Poll<io::Result<usize>> {
                pin!(self.stream.send_vectored(bufs, flags)).poll(self.cx)
            }

            fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> Poll<io::Result<usize>> {
                pin!(self.stream.send_bytes(data, flags)).poll(self.cx)
            }

            fn write(&mut self, data: &[u8]) -> Poll<io::Result<usize>> {
                pin!(AsyncWriteExt::write(self.stream, data)).poll(self.cx)
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
                Pin::new(&mut *self.stream).poll_write_vectored(self.cx, bufs)
            }

            fn cork(&mut self) {
                self.stream.cork();
            }

            fn uncork(&mut self) -> Poll<io::Result<()>> {
                pin!(self.stream.uncork()).poll(self.cx)
            }

            fn flush(&mut self) -> Poll<io::Result<()>> {
                pin!(AsyncWriteExt::flush(self.stream)).poll(self.cx)
            }

            fn close(&mut self) -> Poll<io::Result<()>> {
                pin!(AsyncWriteExt::close(self.stream)).poll(self.cx)
            }
        }
    };
}

macro_rules! inbound {
    ($stream:ident) => {
        impl Inbound for Port<'_, '_, '_, $stream<Io>> {
            fn read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut *self.stream).poll_read(self.cx, buf)
            }
        }
    };
}

outbound!(TlsStream);
outbound!(SharedStream);
outbound!(WriteHalf);
inbound!(TlsStream);
inbound!(SharedStream);
inbound!(ReadHalf);
