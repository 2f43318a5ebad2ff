//! The messages, and the function in which instructions are counted.

use std::error::Error;
use std::hint::black_box;

use clap::ValueEnum;

use crate::path::{AsyncStd, Core, Mio, Path, Rustls, RustlsBuf, Session, Tokio};

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    /// 28 bytes with `MORE` that join held bytes; sealing is not counted.
    HeldJoin,
    /// 540 bytes.
    #[value(name = "write-540")]
    Write540,
    /// 28 bytes with `MORE`, then 512 bytes.
    HeaderAndBody,
    /// A hundred times 120 bytes, with `MORE` on all but the last.
    Burst,
    /// 4 KiB.
    #[value(name = "write-4k")]
    Write4K,
    /// 64 KiB.
    #[value(name = "write-64k")]
    Write64K,
    /// Receiving 540 bytes in a record.
    #[value(name = "receive-540")]
    Receive540,
    /// Receiving 16 KiB in a record.
    #[value(name = "receive-16k")]
    Receive16K,
}

/// How many messages are counted.
pub(crate) const MESSAGES: usize = 400;
/// How many come before; they fill caches, pools and buffers.
const BEFORE: usize = 40;
/// Messages in a round; as many small ones fit a record.
const ROUND: usize = 20;
/// Pieces of a burst.
const BURST: usize = 100;
const SMALL: [u8; 28] = [7; 28];
static LARGE: [u8; 64 * 1024] = [42; 64 * 1024];

impl Row {
    /// How the same is done with rustls alone.
    pub(crate) fn rival(self) -> Option<Path> {
        match self {
            Self::HeldJoin => None,
            Self::Burst => Some(Path::RustlsBuf),
            _ => Some(Path::Rustls),
        }
    }

    fn received(self) -> Option<usize> {
        match self {
            Self::Receive540 => Some(540),
            Self::Receive16K => Some(16 * 1024),
            _ => None,
        }
    }
}

/// Moves the messages of `row` over `path`.
pub(crate) fn run(row: Row, path: Path) -> Result<(), Box<dyn Error>> {
    match path {
        Path::Rustls => over::<Rustls>(row),
        Path::RustlsBuf => over::<RustlsBuf>(row),
        Path::Core => over::<Core>(row),
        Path::Mio => over::<Mio>(row),
        Path::AsyncStd => over::<AsyncStd>(row),
        Path::Tokio => over::<Tokio>(row),
    }
}

fn over<S: Session>(row: Row) -> Result<(), Box<dyn Error>> {
    let mut session = S::connect()?;
    let mut buf = vec![0; 16 * 1024];
    if let Some(len) = row.received() {
        session.peer().send(len, BEFORE + MESSAGES)?;
    }
    for round in 0..(BEFORE + MESSAGES) / ROUND {
        if row == Row::HeldJoin {
            session.send(&SMALL, true)?;
        }
        if round < BEFORE / ROUND {
            messages(&mut session, row, &mut buf)?;
        } else {
            collected(&mut session, row, &mut buf)?;
        }
        if row == Row::HeldJoin {
            session.send(&SMALL, false)?;
        }
    }
    Ok(())
}

/// A round of messages; valgrind counts while this function runs.
#[inline(never)]
fn collected<S: Session>(session: &mut S, row: Row, buf: &mut [u8]) -> Result<(), Box<dyn Error>> {
    messages(session, row, buf)
}

fn messages<S: Session>(session: &mut S, row: Row, buf: &mut [u8]) -> Result<(), Box<dyn Error>> {
    for _ in 0..ROUND {
        match row {
            Row::HeldJoin => session.send(black_box(&SMALL), true)?,
            Row::Write540 => session.send(black_box(&LARGE[..540]), false)?,
            Row::HeaderAndBody => {
                session.send(black_box(&SMALL), true)?;
                session.send(black_box(&LARGE[..512]), false)?;
            }
            Row::Burst => {
                for piece in 1..=BURST {
                    session.send(black_box(&LARGE[..120]), piece < BURST)?;
                }
            }
            Row::Write4K => session.send(black_box(&LARGE[..4096]), false)?,
            Row::Write64K => session.send(black_box(&LARGE), false)?,
            Row::Receive540 | Row::Receive16K => {
                let mut rest = row.received().unwrap_or(0);
                while rest > 0 {
                    let most = rest.min(buf.len());
                    rest -= session.read(&mut buf[..most])?;
                }
            }
        }
    }
    Ok(())
}
