//! What one stream is to go through, drawn from its seed.

use std::time::Duration;

use fastrand::Rng;
use tls_cork::{CorkConfig, DynamicRecords};

/// Which end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Which driver moves an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Mio,
    AsyncStd,
}

/// The drivers of a stream's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pairing {
    /// mio at both.
    Mio,
    /// async-std at both.
    AsyncStd,
    /// One of each, by turns client and server.
    Mixed,
}

impl Pairing {
    /// Every pairing.
    pub const ALL: [Self; 3] = [Self::Mio, Self::AsyncStd, Self::Mixed];
}

/// What ends a stream before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The network resets the connection.
    WireReset,
    /// The network ends both directions, without a reset.
    WireCut,
    /// The network changes one bit of a record.
    BitFlip,
    /// One end resets the connection.
    EndReset,
    /// One end drops its stream.
    Drop,
    /// One end gives up what is not sealed (the mio driver's `abort`).
    Abort,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 6] = [Self::WireReset, Self::WireCut, Self::BitFlip, Self::EndReset, Self::Drop, Self::Abort];

    /// The network's doing, not an end's.
    pub(crate) fn is_of_the_wire(self) -> bool {
        matches!(self, Self::WireReset | Self::WireCut | Self::BitFlip)
    }
}

/// A fault, where it comes from and when: at this byte of what `side` sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultPlan {
    pub(crate) fault: Fault,
    pub(crate) side: Side,
    pub(crate) at: u64,
}

/// One end.
#[derive(Clone, Debug)]
pub(crate) struct EndPlan {
    pub(crate) driver: Driver,
    pub(crate) cork: CorkConfig,
    /// How many bytes it sends before it closes.
    pub(crate) target: u64,
    /// The largest write, in bytes.
    pub(crate) largest: usize,
    /// One read in so many is followed by a stall; none if zero.
    pub(crate) stall_every: u32,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) notsent_lowat: Option<u32>,
    /// Halves in tasks of their own (async-std).
    pub(crate) split: bool,
    /// Its deadlines fire by themselves: with a deadline task (async-std), and always with mio.
    pub(crate) attended: bool,
    /// Closes only when the other end has.
    pub(crate) closes_last: bool,
    pub(crate) seed: u64,
}

/// The network between the ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WirePlan {
    /// The longest piece that it delivers, in bytes.
    pub(crate) piece: usize,
    /// One piece in so many is late; none if zero.
    pub(crate) late_every: u32,
    pub(crate) seed: u64,
}

/// The version of TLS, and how long keys last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    V12,
    V13,
    /// TLS 1.3 with keys that are good for few records, so that it updates them.
    ShortLivedKeys,
}

/// One stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamPlan {
    pub(crate) seed: u64,
    pub(crate) tls: Tls,
    pub(crate) ends: [EndPlan; 2],
    /// None: the ends are connected to one another.
    pub(crate) wire: Option<WirePlan>,
    pub(crate) fault: Option<FaultPlan>,
}

/// The lowest digits of a seed say which pairing and which fault, so that each gets its share.
const FAULT_DIGITS: u64 = 10;
const PAIRINGS: u64 = Pairing::ALL.len() as u64;

/// Of a socket, in bytes: less than a segment of loopback TCP, which then waits for its timers again and again.
const SMALLEST_BUFFER: usize = 2048;
/// So that streams with such a receiver end in seconds.
const MOST_THROUGH_SMALLEST: u64 = 64 * 1024;

/// A seed for the `turn`th stream of a `pairing`; four of ten have no fault that ends them.
pub(crate) fn seed(rng: &mut Rng, pairing: Pairing, turn: u64) -> u64 {
    let random = rng.u64(..u64::MAX / (2 * PAIRINGS * FAULT_DIGITS));
    (random * FAULT_DIGITS + turn % FAULT_DIGITS) * PAIRINGS + pairing as u64
}

/// Which pairing a seed is for.
pub(crate) fn pairing(seed: u64) -> Pairing {
    Pairing::ALL[(seed % PAIRINGS) as usize]
}

impl StreamPlan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let drivers = match pairing(seed) {
            Pairing::Mio => [Driver::Mio; 2],
            Pairing::AsyncStd => [Driver::AsyncStd; 2],
            Pairing::Mixed if rng.bool() => [Driver::Mio, Driver::AsyncStd],
            Pairing::Mixed => [Driver::AsyncStd, Driver::Mio],
        };
        let fault = Fault::ALL.get((seed / PAIRINGS % FAULT_DIGITS) as usize).copied();
        let wire = (fault.is_some_and(Fault::is_of_the_wire) || rng.u8(..10) < 6).then(|| WirePlan {
            piece: log_uniform(rng, 1, 64 * 1024) as usize,
            late_every: [0, 0, 100, 500, 2000][rng.usize(..5)],
            seed: rng.u64(..),
        });
        // Each piece costs a few system calls: those of one byte must not take for ever.
        let most = wire.map_or(8 << 20, |wire| (wire.piece as u64 * 8000).min(4 << 20));
        let tls = match rng.u8(..20) {
            0..6 => Tls::V12,
            6..13 => Tls::V13,
            _ => Tls::ShortLivedKeys,
        };
        // rustls 0.23 takes 32 KeyUpdates in a row for an attack, also those that answer its own: few records, then.
        let (most, smallest_record) = if tls == Tls::ShortLivedKeys { (most.min(1 << 20), 1024) } else { (most, 64) };
        let mut ends = drivers.map(|driver| EndPlan::new(rng, driver, most, smallest_record));
        for side in Side::BOTH {
            if ends[side.other() as usize].receive_buffer == Some(SMALLEST_BUFFER) {
                ends[side as usize].target = ends[side as usize].target.min(MOST_THROUGH_SMALLEST);
            }
        }
        let fault = fault.map(|fault| {
            let mut side = if rng.bool() { Side::Client } else { Side::Server };
            if fault == Fault::Abort && ends[side as usize].driver != Driver::Mio {
                side = side.other();
            }
            // The async driver's abort is to drop the stream.
            let fault = match ends[side as usize].driver {
                Driver::AsyncStd if fault == Fault::Abort => Fault::Drop,
                _ => fault,
            };
            // Some hit the handshake, most hit data.
            let at = rng.u64(..ends[side as usize].target + 2000);
            FaultPlan { fault, side, at }
        });
        if let Some(FaultPlan { fault: Fault::BitFlip, side, .. }) = fault {
            // Debug builds of rustls 0.23 assert that no garbage follows their own close_notify.
            ends[side.other() as usize].closes_last = true;
        }
        Self { seed, tls, ends, wire, fault }
    }
}

impl EndPlan {
    fn new(rng: &mut Rng, driver: Driver, most: u64, smallest_record: u64) -> Self {
        let kernel_buffer =
            |rng: &mut Rng| [None, None, Some(SMALLEST_BUFFER), Some(8192), Some(65_536)][rng.usize(..5)];
        // Some are shorter than their handshake.
        let least = if rng.u8(..4) == 0 { 1 } else { most.min(50_000) };
        let target = log_uniform(rng, least, most);
        Self {
            driver,
            cork: cork(rng, smallest_record),
            target,
            largest: log_uniform(rng, 1000, 512 * 1024) as usize,
            stall_every: [0, 0, 10, 100, 1000][rng.usize(..5)],
            send_buffer: kernel_buffer(rng),
            receive_buffer: kernel_buffer(rng),
            notsent_lowat: [None, Some(1), Some(4096), Some(131_072)][rng.usize(..4)],
            split: rng.bool(),
            attended: driver == Driver::Mio || rng.bool(),
            closes_last: false,
            seed: rng.u64(..),
        }
    }
}

fn cork(rng: &mut Rng, smallest_record: u64) -> CorkConfig {
    let record = if rng.bool() { 16 * 1024 } else { log_uniform(rng, smallest_record, 16 * 1024) as usize };
    let batch = log_uniform(rng, record as u64, 256 * 1024) as usize;
    let largest_batch = log_uniform(rng, batch as u64, 512 * 1024) as usize;
    let mut config = CorkConfig::default()
        .record_size(record)
        .max_hold(Duration::from_micros(log_uniform(rng, 500, 50_000)))
        .send_buffer_limit(log_uniform(rng, record as u64, 512 * 1024) as usize)
        .batch_size(batch..=largest_batch)
        .flush_on_read_wait(rng.bool());
    if rng.bool() {
        config = config.hold_limit(log_uniform(rng, 1, record as u64) as usize);
    }
    if rng.u8(..4) == 0 {
        let ramp = DynamicRecords::default()
            .segment_size(log_uniform(rng, smallest_record / 4, record as u64) as usize)
            .ramp_bytes(log_uniform(rng, 1, 100_000) as usize)
            .idle_reset(Duration::from_millis(log_uniform(rng, 5, 1000)));
        config = config.dynamic_records(ramp);
    }
    config
}

/// From `low` to `high`, each order of magnitude as likely as another.
pub(crate) fn log_uniform(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let (from, to) = ((low as f64).ln(), ((high + 1) as f64).ln());
    ((from + rng.f64() * (to - from)).exp() as u64).clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_valid_and_the_same_for_the_same_seed() {
        let mut rng = Rng::with_seed(1);
        for turn in 0..3000 {
            let pair = Pairing::ALL[turn as usize % 3];
            let seed = seed(&mut rng, pair, turn / 3);
            let plan = StreamPlan::new(seed);
            assert_eq!(pairing(seed), pair);
            for end in &plan.ends {
                assert_eq!(end.cork.validate(), Ok(()), "seed {seed}");
            }
            assert_eq!(format!("{plan:?}"), format!("{:?}", StreamPlan::new(seed)));
        }
    }
}
