//! An end on the async-std driver: whole or in halves, with a deadline task or without.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;
use socket2::SockRef;
use tls_cork::Stats;
use tls_cork_async_std::{ReadHalf, SharedStream, TlsAcceptor, TlsConnector, TlsStream, WriteHalf};

use super::ledger::EndReport;
use super::operations::{Call, Halves, Inbound, Outbound, earlier};
use super::plan::{EndPlan, Fault};
use super::session::Session;

/// Runs an end until its stream is over.
///
/// # Errors
///
/// When there is nothing to run it with: a socket's options.
pub(crate) fn run(mut halves: Halves, session: Session, socket: std::net::TcpStream) -> io::Result<EndReport> {
    let EndPlan { cork, attended, split: is_split, .. } = halves.plan.clone();
    socket.set_nodelay(true)?;
    let socket = TcpStream::try_from(socket)?;
    smol::block_on(async {
        let shaken = match session {
            Session::Client(config, name) => {
                let connector = TlsConnector::from(config).with_cork(cork).map_err(io::Error::other)?;
                connector.connect(name, socket.clone()).await.map(TlsStream::from)
            }
            Session::Server(config) => {
                let acceptor = TlsAcceptor::from(config).with_cork(cork).map_err(io::Error::other)?;
                acceptor.accept(socket.clone()).await.map(TlsStream::from)
            }
        };
        let stream = match shaken {
            Ok(stream) => stream,
            Err(error) => {
                halves.receiving = Some(Err(error));
                return Ok(halves.report(Stats::default()));
            }
        };
        if attended {
            let (stream, deadlines) = stream.with_deadline_task();
            smol::spawn(deadlines).detach();
            if is_split {
                split(stream.into_split(), halves, &socket).await
            } else {
                whole(stream, halves, &socket).await
            }
        } else if is_split {
            split(stream.into_split(), halves, &socket).await
        } else {
            whole(stream, halves, &socket).await
        }
    })
}

/// Runs both halves in one task.
async fn whole<S>(mut stream: S, mut halves: Halves, socket: &TcpStream) -> io::Result<EndReport>
where
    for<'a, 'b, 'c> Port<'a, 'b, 'c, S>: Outbound + Inbound,
{
    let mut alarm = None;
    let stats = poll_fn(|cx| {
        let now = Instant::now();
        let mut port = Port { stream: &mut stream, cx };
        let next = earlier(halves.send(&mut port, now), halves.receive(&mut port, now));
        if halves.are_over() { Poll::Ready(port.stats()) } else { wake_at(next, &mut alarm, port.cx) }
    })
    .await;
    report(halves, socket, stats)
}

/// Runs each half in a task of its own, on different threads.
async fn split(
    (mut read_half, mut write_half): (ReadHalf<TcpStream>, WriteHalf<TcpStream>),
    mut halves: Halves,
    socket: &TcpStream,
) -> io::Result<EndReport> {
    let mut reader = halves.reader();
    let mut reads = smol::spawn(async move {
        let mut alarm = None;
        poll_fn(|cx| {
            let mut port = Port { stream: &mut read_half, cx };
            let next = reader.receive(&mut port, Instant::now());
            reader.receiving.take().map_or_else(|| wake_at(next, &mut alarm, port.cx), Poll::Ready)
        })
        .await
    });
    let mut alarm = None;
    let stats = poll_fn(|cx| {
        if halves.receiving.is_none()
            && let Poll::Ready(done) = Pin::new(&mut reads).poll(cx)
        {
            halves.receiving = Some(done);
        }
        let mut port = Port { stream: &mut write_half, cx };
        let next = halves.send(&mut port, Instant::now());
        if halves.are_over() { Poll::Ready(port.stats()) } else { wake_at(next, &mut alarm, port.cx) }
    })
    .await;
    let report = report(halves, socket, stats);
    // Gone, and with it its half of the socket, before anybody hears of it.
    let _ = reads.cancel().await;
    report
}

/// To be called while the stream is still there.
fn report(halves: Halves, socket: &TcpStream, stats: Stats) -> io::Result<EndReport> {
    if halves.left.is_some_and(|plan| plan.fault == Fault::EndReset) {
        SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(halves.report(stats))
}

/// Has a task polled again at `at`, whatever its stream does. Without a time, a wake-up that is lost
/// is one that is noticed.
fn wake_at<T>(at: Option<Instant>, alarm: &mut Option<Timer>, cx: &mut Context<'_>) -> Poll<T> {
    *alarm = at.map(Timer::at);
    if alarm.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready()) {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}

/// A stream and the task that polls it: a future is made for each operation, polled once, and dropped if it has to wait.
struct Port<'a, 'b, 'c, S> {
    stream: &'a mut S,
    cx: &'b mut Context<'c>,
}

/// None for what is pending.
fn unless_pending<T>(polled: Poll<io::Result<T>>) -> io::Result<Option<T>> {
    match polled {
        Poll::Ready(result) => result.map(Some),
        Poll::Pending => Ok(None),
    }
}

macro_rules! outbound {
    ($stream:ident) => {
        impl Outbound for Port<'_, '_, '_, $stream<TcpStream>> {
            fn call(&mut self, call: Call<'_>) -> io::Result<Option<usize>> {
                let Self { stream, cx } = self;
                unless_pending(match call {
                    Call::Send(data, flags) => pin!(stream.send(data, flags)).poll(cx),
                    Call::SendVectored(bufs, flags) => pin!(stream.send_vectored(bufs, flags)).poll(cx),
                    Call::SendBytes(data, flags) => pin!(stream.send_bytes(data, flags)).poll(cx),
                    Call::Write(data) => Pin::new(&mut **stream).poll_write(cx, data),
                    Call::WriteVectored(bufs) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
                    Call::Cork => {
                        stream.cork();
                        Poll::Ready(Ok(0))
                    }
                    Call::Uncork => pin!(stream.uncork()).poll(cx).map_ok(|()| 0),
                    Call::Flush => Pin::new(&mut **stream).poll_flush(cx).map_ok(|()| 0),
                    Call::Close => Pin::new(&mut **stream).poll_close(cx).map_ok(|()| 0),
                })
            }

            fn stats(&self) -> Stats {
                self.stream.stats()
            }
        }
    };
}

macro_rules! inbound {
    ($stream:ident) => {
        impl Inbound for Port<'_, '_, '_, $stream<TcpStream>> {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
                unless_pending(Pin::new(&mut *self.stream).poll_read(self.cx, buf))
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
