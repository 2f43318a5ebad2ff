//! What a stack is to the receiver: a connection from which messages are read.

use std::io;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::message::Job;
use crate::commands::peers::seat::Seat;
use crate::commands::peers::traffic::Content;
use crate::measure::place::{self, thread_cpu_ns};
use crate::shared::socket::Counters;

/// A connection of some stack, its handshake done.
///
/// Blocking stacks never wait in the sense of async: their futures are ready at the first poll.
pub(super) trait Source {
    /// Reads some bytes; 0 is the end.
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Fills `buf`.
    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()>;

    /// What the transport counted so far.
    fn counters(&self) -> Counters;
}

/// What receiving a job took.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Taken {
    /// CPU time of the thread.
    pub(super) cpu_ns: u64,
    /// System calls that read, or tried to.
    pub(super) reads: u64,
}

/// Does all jobs of `seat` from `source`; returns after the last.
pub(super) async fn serve(seat: Seat<Job, Taken>, mut source: impl Source) -> io::Result<()> {
    let mut offset = 0;
    let mut taken = Taken::default();
    while seat.done.send(Ok(taken)).is_ok() {
        // Other connections' threads wait here too, within their runtimes: those have nothing else
        // to do.
        let Ok(job) = seat.jobs.recv() else { break };
        let _ballast = place::ballast(&mut Rng::with_seed(job.place));
        taken = take(&mut source, &job, seat.content, offset).await?;
        offset += job.bytes();
    }
    Ok(())
}

/// Receives one job, whose first byte is at `start` of the stream, or the end of the stream.
async fn take(source: &mut impl Source, job: &Job, content: &Content, start: u64) -> io::Result<Taken> {
    let (len, exact) = job.message.buffer();
    let mut buffer = vec![0; len];
    let end = start + job.bytes();
    let (mut offset, mut last) = (start, 0);
    let before = source.counters();
    let cpu = thread_cpu_ns();
    while offset < end {
        last = if exact {
            source.read_exact(&mut buffer).await?;
            len
        } else {
            source.read(&mut buffer).await?
        };
        // In a slice that is timed: the same for all, and no more than a sign that all is well.
        let compared = if job.checked { last } else { last.min(1) };
        compare(content, offset, &buffer[..compared])?;
        if last == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("ended {} bytes early", end - offset)));
        }
        offset += last as u64;
    }
    let cpu_ns = thread_cpu_ns() - cpu;
    let reads = source.counters().since(before).reads;
    compare(content, offset - last as u64, &buffer[..last])?;
    if offset > end || (job.messages == 0 && source.read(&mut buffer).await? > 0) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more came than was sent"));
    }
    Ok(Taken { cpu_ns, reads })
}

fn compare(content: &Content, offset: u64, data: &[u8]) -> io::Result<()> {
    content
        .first_difference(offset, data)
        .map_or(Ok(()), |at| Err(io::Error::new(io::ErrorKind::InvalidData, format!("byte {at} is not what was sent"))))
}

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;
    use crate::commands::peers::stacks::now;

    /// A stream of these bytes, at most 1000 at a time.
    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(self.0.len()).min(1000);
            buf[..len].copy_from_slice(&self.0[..len]);
            self.0.drain(..len);
            Ok(len)
        }

        async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
            if self.0.len() < buf.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf.copy_from_slice(&self.0[..buf.len()]);
            self.0.drain(..buf.len());
            Ok(())
        }

        fn counters(&self) -> Counters {
            Counters::default()
        }
    }

    fn error(message: Message, checked: bool, change: fn(&mut Vec<u8>)) -> Option<String> {
        let content = Content::default();
        let job = Job { seat: 0, message, messages: 3, checked, place: 0 };
        let mut bytes = content.at(5, job.bytes() as usize).to_vec();
        change(&mut bytes);
        now(take(&mut Bytes(bytes), &job, &content, 5)).err().map(|error| error.to_string())
    }

    #[test]
    fn what_was_sent_is_taken_and_anything_else_is_an_error() {
        for message in Message::ALL {
            for checked in [false, true] {
                assert_eq!(error(message, checked, |_| ()), None);
                // A byte lost or twice moves all that follow.
                assert!(error(message, checked, |bytes| _ = bytes.remove(0)).is_some());
                assert!(error(message, checked, |bytes| bytes.insert(0, 0x55)).is_some());
                assert!(error(message, checked, |bytes| bytes.truncate(bytes.len() - 1)).is_some());
                let last = error(message, checked, |bytes| *bytes.last_mut().expect("bytes") ^= 1);
                assert!(last.is_some_and(|error| error.ends_with("is not what was sent")));
            }
            let middle = error(message, true, |bytes| bytes[300] ^= 1);
            assert_eq!(middle.as_deref(), Some("byte 305 is not what was sent"));
        }
    }

    #[test]
    fn the_end_of_the_stream_is_a_job_of_no_messages() {
        let content = Content::default();
        let job = Job { seat: 0, message: Message::Page, messages: 0, checked: true, place: 0 };
        assert!(now(take(&mut Bytes(Vec::new()), &job, &content, 0)).is_ok());
        let error = now(take(&mut Bytes(vec![1]), &job, &content, 0)).expect_err("a byte more");
        assert_eq!(error.to_string(), "more came than was sent");
    }
}
