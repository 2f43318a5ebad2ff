//! The speed of sealing large writes, compared with rustls alone.
//!
//! ```sh
//! cargo bench -p tls-cork --bench seal_ratio
//! ```
//!
//! Takes about 25 s. In every round each form sends for a fixed time, and the result is the median
//! of the ratios within a round: on a shared machine, throughput changes from second to second. The
//! reference is rustls alone, given the same slices in steps of 64 KiB or 256 KiB, whichever is
//! faster. Its records go to a transport that takes everything.
//!
//! Two other factors can change speeds threefold:
//!
//! - The positions of a copy's source and target within a page, on some processors. So the position
//!   differs from message to message.
//! - Whether the allocator keeps a batch's memory or returns it to the system each time. glibc
//!   keeps it once the process has freed a buffer of that size, so `main` frees one first. For the
//!   other case, set `MALLOC_TRIM_THRESHOLD_=131072` in the environment.
#![allow(clippy::disallowed_methods)] // it measures time

mod session;

use std::hint::black_box;
use std::io::{self, IoSlice, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConnection;
use smallvec::SmallVec;
use tls_cork::{Connection, SendFlags};

const SIZES: [usize; 4] = [16 * KIB, 64 * KIB, 256 * KIB, 2048 * KIB];
const ROUNDS: usize = 21;
const TURN: Duration = Duration::from_millis(40);
const KIB: usize = 1024;
const PAGE: usize = 4 * KIB;

fn main() {
    // From here on the allocator keeps a batch's memory.
    drop(black_box(vec![1u8; 8 * 1024 * KIB]));
    println!("   write  form                 GB/s   of rustls in steps: median  quartiles    extremes    wanted");
    for size in SIZES {
        let messages = messages(size);
        let mut forms = forms();
        let rounds = measure(&mut forms, &messages);
        report(size, &forms, &rounds);
    }
}

/// A message of a storage client: a header, and a payload in another buffer.
struct Message {
    at: Instant,
    header: [u8; 28],
    payload: Bytes,
}

impl Message {
    fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.header), IoSlice::new(&self.payload)]
    }

    fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// Messages that differ only in the position of their payload within a page.
fn messages(size: usize) -> Vec<Message> {
    let (at, buffer) = (Instant::now(), Bytes::from(vec![42; size + PAGE]));
    let starts = (0..PAGE).step_by(PAGE / 64).map(|n| n * 37 % PAGE);
    starts.map(|start| Message { at, header: [7; 28], payload: buffer.slice(start..start + size) }).collect()
}

/// A way to send a message.
struct Form {
    name: &'static str,
    wanted: Option<f64>,
    send: Box<dyn FnMut(&Message)>,
}

impl Form {
    fn new(name: &'static str, wanted: Option<f64>, send: impl FnMut(&Message) + 'static) -> Self {
        Self { name, wanted, send: Box::new(send) }
    }
}

/// The number of forms, from the first, that serve as the reference.
const STEPS: usize = 2;

fn forms() -> Vec<Form> {
    let (mut small, mut large, mut whole) = (session::plain(), session::plain(), session::plain());
    let (mut slices, mut bytes) = (session::corked(), session::corked());
    let (mut contiguous, mut out) = (session::corked(), Vec::new());
    let mut owned = session::corked();
    vec![
        Form::new("rustls, 64 KiB", None, move |message| send_in_steps(&mut small, message, 64 * KIB)),
        Form::new("rustls, 256 KiB", None, move |message| send_in_steps(&mut large, message, 256 * KIB)),
        Form::new("rustls, at once", None, move |message| send_in_steps(&mut whole, message, usize::MAX)),
        Form::new("write", Some(0.95), move |message| send_slices(&mut slices, message, transmit)),
        Form::new("write_bytes", None, move |message| send_bytes(&mut bytes, message)),
        Form::new("write, poll_transmit", Some(0.8), move |message| {
            send_slices(&mut contiguous, message, |conn| {
                out.clear();
                conn.poll_transmit(&mut out).expect("sealed");
            });
        }),
        Form::new("write, take_transmit", None, move |message| {
            send_slices(&mut owned, message, |conn| while conn.take_transmit().expect("sealed").is_some() {});
        }),
    ]
}

fn send_in_steps(conn: &mut ClientConnection, message: &Message, step: usize) {
    let (mut rest, mut slices) = (message.len(), message.slices());
    let mut slices = &mut slices[..];
    while rest > 0 {
        let taken = {
            let mut left = step;
            let now: SmallVec<[_; 2]> = slices
                .iter()
                .map(|slice| {
                    let take = slice.len().min(left);
                    left -= take;
                    IoSlice::new(&slice[..take])
                })
                .filter(|slice| !slice.is_empty())
                .collect();
            conn.writer().write_vectored(&now).expect("open")
        };
        while conn.wants_write() {
            conn.write_tls(&mut Sink).expect("a transport that takes all");
        }
        IoSlice::advance_slices(&mut slices, taken);
        rest -= taken;
    }
}

fn send_slices(conn: &mut Connection, message: &Message, mut transmit: impl FnMut(&mut Connection)) {
    let mut slices = message.slices();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let written = conn.write(message.at, slices, SendFlags::NONE).expect("room");
        transmit(conn);
        IoSlice::advance_slices(&mut slices, written.accepted);
    }
}

fn send_bytes(conn: &mut Connection, message: &Message) {
    let mut payload = message.payload.clone();
    let header = conn.write(message.at, &[IoSlice::new(&message.header)], SendFlags::MORE).expect("room");
    assert_eq!(header.accepted, message.header.len());
    while !payload.is_empty() {
        let _ = conn.write_bytes(message.at, &mut payload, SendFlags::NONE).expect("room");
        transmit(conn);
    }
}

fn transmit(conn: &mut Connection) {
    let done = conn.transmit_with(|bufs, _more| Ok(total(bufs))).expect("a transport that takes all");
    assert!(!done.blocked);
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(total(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn total(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|buf| buf.len()).sum()
}

/// Returns the bytes per second of each form, for each round.
fn measure(forms: &mut [Form], messages: &[Message]) -> Vec<Vec<f64>> {
    let round = |n: usize| {
        let mut speeds = vec![0.0; forms.len()];
        for turn in 0..forms.len() {
            // A different form begins each round, and the order alternates.
            let turn = if n.is_multiple_of(2) { turn } else { forms.len() - 1 - turn };
            let form = (turn + n) % forms.len();
            speeds[form] = speed(&mut forms[form], messages);
        }
        speeds
    };
    // The first round only warms up.
    (0..=ROUNDS).map(round).skip(1).collect()
}

fn speed(form: &mut Form, messages: &[Message]) -> f64 {
    let (start, mut sent) = (Instant::now(), 0);
    // Sends several messages between two readings of the clock, so that these cost nothing.
    let group = (256 * KIB).div_ceil(messages[0].len());
    for message in (0..messages.len()).cycle() {
        (form.send)(&messages[message]);
        sent += messages[message].len();
        if message % group == 0 && start.elapsed() >= TURN {
            break;
        }
    }
    sent as f64 / start.elapsed().as_secs_f64()
}

fn report(size: usize, forms: &[Form], rounds: &[Vec<f64>]) {
    let middle = |n: usize| median(rounds.iter().map(|round| round[n]).collect());
    let reference = (0..STEPS).max_by(|a, b| middle(*a).total_cmp(&middle(*b))).expect("a reference");
    for (n, form) in forms.iter().enumerate() {
        let mut ratios: Vec<_> = rounds.iter().map(|round| round[n] / round[reference]).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |part: f64| ratios[(part * (ratios.len() - 1) as f64).round() as usize];
        let wanted = form.wanted.map_or(String::new(), |wanted| format!(">= {wanted:.2}"));
        println!(
            "{:>4} KiB  {:<20} {:>5.2}   {:>26.3}  {:.3}-{:.3}  {:.3}-{:.3}  {wanted}",
            size / KIB,
            form.name,
            middle(n) / 1e9,
            at(0.5),
            at(0.25),
            at(0.75),
            at(0.0),
            at(1.0),
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
