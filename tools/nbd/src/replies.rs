//! Matching replies to the requests they answer.

use crate::{SIMPLE_REPLY_LEN, SimpleReply, error_name};

/// Requests without a reply so far.
///
/// A cookie is a slot number and, above it, a count that never repeats: a reply that comes twice,
/// or late, matches nothing.
#[derive(Debug)]
pub struct Outstanding {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    sequence: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    cookie: u64,
    offset: u64,
    read_length: u32,
}

impl Outstanding {
    /// Room for `depth` requests.
    pub fn new(depth: u32) -> Self {
        Self { slots: vec![None; depth as usize], free: (0..depth).rev().collect(), sequence: 0 }
    }

    /// How many more requests there is room for.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// How many requests have no reply.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when every request has its reply.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes a request whose reply will carry `read_length` bytes; gives its cookie.
    ///
    /// # Panics
    ///
    /// When there is no [`room`](Self::room); the caller decides how many requests it makes.
    pub fn add(&mut self, offset: u64, read_length: u32) -> u64 {
        let slot = self.free.pop().expect("the caller has checked for room");
        self.sequence = self.sequence.wrapping_add(1);
        let cookie = u64::from(self.sequence) << 32 | u64::from(slot);
        self.slots[slot as usize] = Some(Slot { cookie, offset, read_length });
        cookie
    }

    fn take(&mut self, cookie: u64) -> Option<Slot> {
        let index = (cookie & u64::from(u32::MAX)) as usize;
        let entry = self.slots.get_mut(index)?;
        let slot = entry.take_if(|slot| slot.cookie == cookie)?;
        self.free.push(index as u32);
        Some(slot)
    }
}

/// A request that has been answered without error.
#[derive(Debug)]
pub struct Completion<'a> {
    /// Offset of the request.
    pub offset: u64,
    /// What was read; empty for other commands.
    pub data: &'a [u8],
}

/// The stream of replies, cut anywhere.
#[derive(Debug, Default)]
pub struct ReplyStream {
    /// The beginning of a reply, with its data, whose rest has not come yet.
    partial: Vec<u8>,
    /// The reply whose data is being collected in `partial`.
    reading: Option<Slot>,
}

impl ReplyStream {
    /// Takes the next bytes of the stream and tells `done` of each request they complete.
    ///
    /// # Errors
    ///
    /// What is wrong with the reply, or what `done` found wrong with its data.
    pub fn feed(
        &mut self,
        mut data: &[u8],
        outstanding: &mut Outstanding,
        done: &mut dyn FnMut(Completion<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let need = match &self.reading {
                Some(slot) => slot.read_length as usize,
                None => SIMPLE_REPLY_LEN,
            };
            // A message in one piece is used where it lies.
            let whole = if self.partial.is_empty() && data.len() >= need {
                let (message, rest) = data.split_at(need);
                data = rest;
                message
            } else {
                let (taken, rest) = data.split_at(data.len().min(need - self.partial.len()));
                self.partial.extend_from_slice(taken);
                data = rest;
                if self.partial.len() < need {
                    return Ok(());
                }
                &self.partial
            };
            match self.reading.take() {
                Some(slot) => done(Completion { offset: slot.offset, data: whole })?,
                None => {
                    let slot = accept(whole, outstanding)?;
                    if slot.read_length > 0 {
                        self.reading = Some(slot);
                    } else {
                        done(Completion { offset: slot.offset, data: &[] })?;
                    }
                }
            }
            self.partial.clear();
        }
    }
}

fn accept(message: &[u8], outstanding: &mut Outstanding) -> Result<Slot, String> {
    let reply = SimpleReply::parse(message).map_err(|e| e.to_string())?;
    let slot = outstanding
        .take(reply.cookie)
        .ok_or_else(|| format!("a reply with cookie {:#x} answers no request", reply.cookie))?;
    if reply.error != 0 {
        return Err(format!(
            "the server reports error {}, {}, for the request at offset {}",
            reply.error,
            error_name(reply.error),
            slot.offset
        ));
    }
    Ok(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(cookie: u64, error: u32) -> Vec<u8> {
        SimpleReply { error, cookie }.encode().to_vec()
    }

    #[test]
    fn replies_match_however_the_stream_is_cut() {
        for step in 1..=40 {
            let mut outstanding = Outstanding::new(3);
            let write = outstanding.add(512, 0);
            let read = outstanding.add(1024, 5);
            let flush = outstanding.add(0, 0);
            let stream = [reply(read, 0), b"hello".to_vec(), reply(flush, 0), reply(write, 0)];
            let mut replies = ReplyStream::default();
            let mut seen = Vec::new();
            for piece in stream.concat().chunks(step) {
                let fed = replies.feed(piece, &mut outstanding, &mut |done| {
                    seen.push((done.offset, done.data.to_vec()));
                    Ok(())
                });
                assert_eq!(fed, Ok(()));
            }
            let expected = [(1024, b"hello".to_vec()), (0, vec![]), (512, vec![])];
            assert_eq!(seen, expected, "steps of {step}");
            assert!(outstanding.is_empty());
        }
    }

    fn feed(stream: &[u8], outstanding: &mut Outstanding) -> Result<(), String> {
        ReplyStream::default().feed(stream, outstanding, &mut |_| Ok(()))
    }

    #[test]
    fn a_second_reply_matches_nothing() {
        let mut outstanding = Outstanding::new(1);
        let first = outstanding.add(0, 0);
        assert_eq!(feed(&reply(first, 0), &mut outstanding), Ok(()));
        let second = outstanding.add(0, 0);
        assert_ne!(first, second);
        assert!(feed(&reply(first, 0), &mut outstanding).is_err());
        assert_eq!(feed(&reply(second, 0), &mut outstanding), Ok(()));
    }

    #[test]
    fn an_error_reply_names_offset_and_error() {
        let mut outstanding = Outstanding::new(1);
        let cookie = outstanding.add(4096, 0);
        let error = feed(&reply(cookie, 28), &mut outstanding).expect_err("an error reply");
        assert!(error.contains("4096") && error.contains("NBD_ENOSPC"), "{error}");
    }

    #[test]
    fn a_cookie_out_of_range_is_refused() {
        let mut outstanding = Outstanding::new(1);
        outstanding.add(0, 0);
        assert!(feed(&reply(u64::MAX, 0), &mut outstanding).is_err());
        assert_eq!(outstanding.len(), 1);
    }
}
