//! A transport in memory: bounded, recorded, and as unhelpful as a test asks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_io::{AsyncRead, AsyncWrite};

const APPLICATION_DATA: u8 = 23;
const ALERT: u8 = 21;

/// One end of a pipe.
#[derive(Debug)]
pub struct End {
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
}

/// Looks at one direction, and interferes with it.
#[derive(Clone, Debug)]
pub struct Tap(Arc<Mutex<Lane>>);

/// What happens to one write.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Take(usize),
    /// Pending, and woken at once.
    Later,
    Interrupted,
    Zero,
    Reset,
    /// Fails with an error of the operating system.
    Os(i32),
    /// Takes all, and reports so many bytes more.
    Surplus(usize),
}

#[derive(Debug, Default)]
pub struct Lane {
    bytes: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Writes that are not flushed yet stay out of the reader's sight.
    buffering: bool,
    visible: usize,
    script: VecDeque<Step>,
    /// Whole records, as they went by: content type, and length with the header.
    pub records: Vec<(u8, usize)>,
    header: Vec<u8>,
    body_left: usize,
    /// Bytes of each write.
    pub writes: Vec<usize>,
    pub calls: usize,
    /// When the last write was.
    pub last: Option<Instant>,
}

/// Two connected ends; each direction takes `capacity` bytes that have not been read.
pub fn pipe(capacity: usize) -> (End, End) {
    let lane = || Arc::new(Mutex::new(Lane { capacity, ..Lane::default() }));
    let (up, down) = (lane(), lane());
    (End { incoming: Arc::clone(&down), outgoing: Arc::clone(&up) }, End { incoming: up, outgoing: down })
}

impl End {
    /// The direction in which this end writes.
    pub fn outgoing(&self) -> Tap {
        Tap(Arc::clone(&self.outgoing))
    }
}

impl Tap {
    pub fn lane(&self) -> MutexGuard<'_, Lane> {
        self.0.lock().expect("no panic elsewhere")
    }

    /// Application records since the start or the last [`forget`](Self::forget), without their overhead of 22 bytes (TLS 1.3).
    pub fn application(&self) -> Vec<usize> {
        self.lane().records.iter().filter(|(kind, _)| *kind == APPLICATION_DATA).map(|(_, len)| len - 22).collect()
    }

    /// How many records of any kind went by.
    pub fn records(&self) -> usize {
        self.lane().records.len()
    }

    pub fn writes(&self) -> usize {
        self.lane().writes.len()
    }

    pub fn forget(&self) {
        let mut lane = self.lane();
        lane.records.clear();
        lane.writes.clear();
    }

    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.lane().script.extend(steps);
    }

    pub fn set_buffering(&self) {
        self.lane().buffering = true;
    }

    /// Sets how many bytes may wait to be read.
    pub fn set_capacity(&self, bytes: usize) {
        let mut lane = self.lane();
        lane.capacity = bytes;
        wake(&mut lane.writer);
    }

    /// Ends the direction without `close_notify`.
    pub fn cut(&self) {
        let mut lane = self.lane();
        lane.closed = true;
        wake(&mut lane.reader);
        wake(&mut lane.writer);
    }

    /// Takes what waits to be read.
    pub fn steal(&self) -> Vec<u8> {
        wake(&mut self.lane().writer);
        self.steal_untold()
    }

    /// The same before anybody is woken; who writes next finds room, and nobody is owed a wake-up then.
    pub fn steal_untold(&self) -> Vec<u8> {
        let mut lane = self.lane();
        lane.visible = 0;
        lane.bytes.drain(..).collect()
    }

    /// Bytes that have not been read.
    pub fn waiting(&self) -> usize {
        self.lane().bytes.len()
    }

    pub fn is_closed(&self) -> bool {
        self.lane().closed
    }

    /// Whether an alert record in the clear went by.
    pub fn alerted(&self) -> bool {
        self.lane().records.iter().any(|(kind, _)| *kind == ALERT)
    }
}

impl Lane {
    /// Bytes of all records since they were last forgotten, the last one as far as it has come.
    pub fn bytes_seen(&self) -> usize {
        self.records.iter().map(|(_, len)| len).sum::<usize>() - self.body_left + self.header.len()
    }

    fn push(&mut self, data: &[u8]) {
        self.bytes.extend(data);
        for &byte in data {
            if self.body_left == 0 {
                self.header.push(byte);
                if let [kind, _, _, high, low] = self.header[..] {
                    self.body_left = usize::from(u16::from_be_bytes([high, low]));
                    self.records.push((kind, self.body_left + 5));
                    self.header.clear();
                }
            } else {
                self.body_left -= 1;
            }
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut lane = self.incoming.lock().expect("no panic elsewhere");
        let there = if lane.buffering { lane.visible } else { lane.bytes.len() };
        if there == 0 {
            if lane.closed {
                return Poll::Ready(Ok(0));
            }
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = there.min(buf.len());
        for (to, from) in buf.iter_mut().zip(lane.bytes.drain(..n)) {
            *to = from;
        }
        lane.visible = lane.visible.saturating_sub(n);
        wake(&mut lane.writer);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut lane = self.outgoing.lock().expect("no panic elsewhere");
        lane.calls += 1;
        let mut surplus = 0;
        let most = match lane.script.pop_front() {
            None => usize::MAX,
            Some(Step::Os(code)) => return Poll::Ready(Err(io::Error::from_raw_os_error(code))),
            Some(Step::Surplus(n)) => {
                surplus = n;
                usize::MAX
            }
            Some(Step::Take(n)) => n,
            Some(Step::Later) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Interrupted) => return Poll::Ready(Err(ErrorKind::Interrupted.into())),
            Some(Step::Zero) => return Poll::Ready(Ok(0)),
            Some(Step::Reset) => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        };
        if lane.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let mut left = most.min(lane.capacity.saturating_sub(lane.bytes.len()));
        if left == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        lane.writer = None;
        let before = left;
        for buf in bufs {
            let n = left.min(buf.len());
            lane.push(&buf[..n]);
            left -= n;
        }
        let taken = before - left;
        lane.writes.push(taken);
        lane.last = Some(Instant::now());
        if !lane.buffering {
            wake(&mut lane.reader);
        }
        Poll::Ready(Ok(taken + surplus))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = self.outgoing.lock().expect("no panic elsewhere");
        lane.visible = lane.bytes.len();
        wake(&mut lane.reader);
        // As async-net's sockets do: a flush forgets who waits to write.
        lane.writer = None;
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.as_ref();
        let this = self.get_mut();
        let _ = Pin::new(&mut *this).poll_flush(cx);
        let mut lane = this.outgoing.lock().expect("no panic elsewhere");
        lane.closed = true;
        wake(&mut lane.reader);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for lane in [&self.incoming, &self.outgoing] {
            if let Ok(mut lane) = lane.lock() {
                lane.closed = true;
                wake(&mut lane.reader);
                wake(&mut lane.writer);
            }
        }
    }
}
