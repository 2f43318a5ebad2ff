//! The calls of the C library in any order, with arguments that are wrong: each wrong one is an error that changes
//! nothing, and what arrives is a prefix of what was accepted.
#![no_main]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};

use arbitrary::Arbitrary;
use libc::{EAGAIN, EBUSY, ECONNRESET, EINTR, EINVAL, EIO, EPIPE, iovec, ssize_t};
use libfuzzer_sys::fuzz_target;
use tls_cork_c::*;
use tls_cork_fuzz::{Cork, Len};
use tls_cork_testing::content::{is_stream, stream};

#[derive(Arbitrary, Debug)]
struct Input {
    cork: Cork,
    ready: bool,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Write(Len, u8, Wrong),
    Writev(Vec<Len>, u8, Wrong),
    At(Call, u8, Wrong),
    Get,
    Abort,
    Failure,
    Transmit(Len, Answer, Wrong),
    Take(bool, Wrong),
    GiveBack,
    Append(Wrong),
    Configure(u8, u32),
    /// What the sealer returns from now on.
    Sealer(Answer),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Call {
    Cork,
    Uncork,
    Flush,
    Close,
    Timeout,
    ReadWait,
    HandshakeDone,
}

/// What is wrong with the arguments. A call ignores what it does not have.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    Nothing2,
    Nothing3,
    NullPolicy,
    NullData,
    LongLength,
    LongSum,
    LongArray,
    Flags(u32),
    Now,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Answer {
    Good,
    Zero,
    Again,
    Interrupted,
    Reset,
    TooMuch,
    Strange(i64),
}

/// What the callbacks share. `policy` is there to be called from inside, which has to fail.
struct Seen {
    ready: Cell<bool>,
    answer: Cell<Answer>,
    policy: Cell<*mut tls_cork_policy>,
}

impl Answer {
    fn of(self, good: usize) -> ssize_t {
        match self {
            Self::Good => good as ssize_t,
            Self::Zero => 0,
            Self::Again => -EAGAIN as ssize_t,
            Self::Interrupted => -EINTR as ssize_t,
            Self::Reset => -ECONNRESET as ssize_t,
            Self::TooMuch => good as ssize_t + 1,
            Self::Strange(n) => n as ssize_t,
        }
    }
}

fn seen<'a>(user: *mut c_void) -> &'a Seen {
    // SAFETY: the sealer's `user` outlives its policy.
    unsafe { &*user.cast::<Seen>() }
}

fn refuses(policy: *mut tls_cork_policy) {
    if !policy.is_null() {
        // SAFETY: a policy that is alive.
        assert_eq!(unsafe { (tls_cork_flush(policy, 0), tls_cork_waiting(policy)) }, (-EBUSY, -EBUSY as ssize_t));
    }
}

unsafe extern "C-unwind" fn is_ready(user: *mut c_void) -> c_int {
    c_int::from(seen(user).ready.get())
}

unsafe extern "C-unwind" fn seal(
    user: *mut c_void,
    output: *mut tls_cork_output,
    iov: *const iovec,
    iovcnt: usize,
    record_size: usize,
) -> ssize_t {
    let seen = seen(user);
    refuses(seen.policy.get());
    let mut len = 0;
    // SAFETY: the policy gives the elements, and the output is alive.
    unsafe {
        for element in std::slice::from_raw_parts(iov, iovcnt) {
            assert!(element.iov_len > 0);
            assert_eq!(tls_cork_output_append(output, element.iov_base, element.iov_len), 0);
            len += element.iov_len;
        }
    }
    assert!(seen.ready.get() && len > 0);
    seen.answer.get().of(len.div_ceil(record_size))
}

unsafe extern "C-unwind" fn close_notify(user: *mut c_void, _: *mut tls_cork_output) -> c_int {
    let seen = seen(user);
    refuses(seen.policy.get());
    c_int::try_from(seen.answer.get().of(0)).unwrap_or(c_int::MIN)
}

struct Transport {
    policy: *mut tls_cork_policy,
    arrived: usize,
    room: usize,
    answer: Answer,
    interrupted: usize,
    /// The sealer has lied: it is unknown which bytes come.
    lied: bool,
}

unsafe extern "C-unwind" fn send(user: *mut c_void, iov: *const iovec, iovcnt: usize, _more: bool) -> ssize_t {
    // SAFETY: each transmit gives a transport, and the policy gives the elements.
    let (to, iov) = unsafe { (&mut *user.cast::<Transport>(), std::slice::from_raw_parts(iov, iovcnt)) };
    refuses(to.policy);
    let offered: usize = iov.iter().map(|element| element.iov_len).sum();
    assert!(offered > 0);
    if to.answer != Answer::Good {
        let answer = to.answer.of(offered);
        to.interrupted += 1;
        // No loop without an end.
        if answer != -EINTR as ssize_t || to.interrupted < 5 {
            // What counts as taken has arrived.
            if answer > 0 && answer as usize <= offered {
                to.take(iov, answer as usize);
            }
            return answer;
        }
    }
    let taken = offered.min(to.room);
    if taken == 0 {
        return -EAGAIN as ssize_t;
    }
    to.room -= taken;
    to.take(iov, taken);
    taken as ssize_t
}

impl Transport {
    fn take(&mut self, iov: &[iovec], mut len: usize) {
        for element in iov {
            let part = element.iov_len.min(len);
            // SAFETY: the policy gives the elements.
            let data = unsafe { std::slice::from_raw_parts(element.iov_base.cast::<u8>(), part) };
            assert!(self.lied || is_stream(data, self.arrived), "content and order");
            self.arrived += part;
            len -= part;
        }
    }
}

struct World {
    policy: *mut tls_cork_policy,
    seen: *const Seen,
    now: i64,
    accepted: usize,
    to: Transport,
    closed: bool,
    buffer: tls_cork_buffer,
}

impl World {
    fn new(input: &Input) -> Option<Self> {
        let seen =
            Seen { ready: Cell::new(input.ready), answer: Cell::new(Answer::Good), policy: Cell::new(null_mut()) };
        let seen: *const Seen = Box::into_raw(Box::new(seen));
        let sealer = tls_cork_sealer {
            size: size_of::<tls_cork_sealer>(),
            user: seen.cast_mut().cast(),
            is_ready: Some(is_ready),
            max_record_size: None,
            seal: Some(seal),
            close_notify: Some(close_notify),
            has_control: None,
            queue_control: None,
        };
        let config = tls_cork_config_new();
        let mut policy = null_mut();
        // SAFETY: what was made above, until it is freed.
        let made = unsafe {
            let (least, most) = input.cork.batches();
            tls_cork_config_set_record_size(config, input.cork.record_size());
            tls_cork_config_set_hold_limit(config, input.cork.hold_limit());
            tls_cork_config_set_send_buffer_limit(config, input.cork.send_buffer());
            tls_cork_config_set_batch_size(config, least, most);
            for op in &input.ops {
                if let Op::Configure(which, value) = op {
                    configure(config, *which, *value);
                }
            }
            let made = tls_cork_policy_new(&sealer, config, &mut policy);
            tls_cork_config_free(config);
            made
        };
        assert_eq!(made == 0, !policy.is_null());
        // SAFETY: alive.
        unsafe { (*seen).policy.set(policy) };
        let to = Transport { policy, arrived: 0, room: 0, answer: Answer::Good, interrupted: 0, lied: false };
        let buffer = tls_cork_buffer { data: null(), len: 0, more: false, owner: null_mut() };
        let world = Self { policy, seen, now: 1, accepted: 0, to, closed: false, buffer };
        // Drops what was made.
        (made == 0).then_some(world)
    }

    /// The policy, unless it is to be missing.
    fn policy(&self, wrong: Wrong) -> *mut tls_cork_policy {
        if wrong == Wrong::NullPolicy { null_mut() } else { self.policy }
    }

    fn wrote(&mut self, wrote: ssize_t, offered: usize, more_or_less: bool) {
        if more_or_less {
            assert_eq!(wrote, -EINVAL as ssize_t);
        } else if wrote >= 0 {
            assert!(!self.closed && wrote as usize <= offered, "use after close");
            self.accepted += wrote as usize;
        } else {
            assert!(wrote == -EAGAIN as ssize_t || self.closed || self.failure() != 0, "{wrote}");
            assert!(!(self.closed && wrote == -EAGAIN as ssize_t));
        }
    }

    fn failure(&self) -> c_int {
        // SAFETY: a policy that is alive.
        unsafe { tls_cork_failure(self.policy) }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(len, flags, wrong) => {
                let data = stream(self.accepted, len.get());
                let (flags, bad_flags) = flags_of(*flags, *wrong);
                let (ptr, len) = match wrong {
                    Wrong::NullData => (null(), data.len()),
                    Wrong::LongLength => (data.as_ptr(), usize::MAX - data.len()),
                    _ => (data.as_ptr(), data.len()),
                };
                let bad = bad_flags
                    || match wrong {
                        Wrong::NullPolicy | Wrong::LongLength | Wrong::Now => true,
                        Wrong::NullData => len > 0,
                        _ => false,
                    };
                let now = if *wrong == Wrong::Now { -1 } else { self.now };
                // SAFETY: no byte behind NULL or a length that is too large is read.
                let wrote = unsafe { tls_cork_write(self.policy(*wrong), now, ptr.cast(), len, flags) };
                self.wrote(wrote, len, bad);
            }
            Op::Writev(lens, flags, wrong) => {
                let lens: Vec<usize> = lens.iter().take(20).map(|len| len.get()).collect();
                let data = stream(self.accepted, lens.iter().sum());
                let mut rest = &data[..];
                let mut iov: Vec<iovec> = lens
                    .iter()
                    .map(|len| {
                        let (piece, tail) = rest.split_at(*len);
                        rest = tail;
                        // C programs have NULL in empty elements.
                        let base = if *len == 0 { null_mut() } else { piece.as_ptr().cast_mut().cast() };
                        iovec { iov_base: base, iov_len: *len }
                    })
                    .collect();
                let (flags, mut bad) = flags_of(*flags, *wrong);
                let byte = [0u8; 1];
                let extra = |iov_len| iovec { iov_base: byte.as_ptr().cast_mut().cast(), iov_len };
                let mut count = None;
                match wrong {
                    Wrong::NullPolicy | Wrong::Now => bad = true,
                    Wrong::LongLength => iov.push(extra(usize::MAX)),
                    Wrong::LongSum => iov.extend([extra(1), extra(isize::MAX as usize)]),
                    Wrong::LongArray => count = Some(TLS_CORK_IOV_MAX + 1 + iov.len()),
                    Wrong::NullData => iov.push(iovec { iov_base: null_mut(), iov_len: 1 }),
                    _ => {}
                }
                bad |= matches!(wrong, Wrong::LongLength | Wrong::LongSum | Wrong::LongArray | Wrong::NullData);
                let now = if *wrong == Wrong::Now { -1 } else { self.now };
                // SAFETY: as above, and no element is read if there are too many.
                let wrote = unsafe {
                    tls_cork_writev(self.policy(*wrong), now, iov.as_ptr(), count.unwrap_or(iov.len()), flags)
                };
                self.wrote(wrote, data.len(), bad);
            }
            Op::At(call, time, wrong) => {
                self.now += i64::from(*time) * 100_000;
                let bad = matches!(wrong, Wrong::NullPolicy | Wrong::Now);
                let now = if *wrong == Wrong::Now { i64::MIN } else { self.now };
                let policy = self.policy(*wrong);
                // SAFETY: NULL, or a policy that is alive.
                let done = unsafe {
                    match call {
                        Call::Cork => tls_cork_cork(policy, now),
                        Call::Uncork => tls_cork_uncork(policy, now),
                        Call::Flush => tls_cork_flush(policy, now),
                        Call::Close => {
                            self.closed |= !bad;
                            tls_cork_close(policy, now)
                        }
                        Call::Timeout => tls_cork_handle_timeout(policy, now),
                        Call::ReadWait => tls_cork_handle_read_wait(policy, now),
                        Call::HandshakeDone => {
                            // SAFETY: alive.
                            (*self.seen).ready.set(true);
                            tls_cork_handle_handshake_done(policy, now)
                        }
                    }
                };
                assert!(if bad { done == -EINVAL } else { done == 0 || done == 1 }, "{call:?} {done}");
            }
            Op::Get => self.get(),
            Op::Abort => {
                // SAFETY: a policy that is alive.
                assert!(unsafe { tls_cork_abort(self.policy) } >= 0);
                self.closed = true;
            }
            Op::Failure => {
                // SAFETY: as above.
                assert!(unsafe { tls_cork_handle_failure(self.policy) } >= 0);
                assert!(self.failure() < 0);
                self.closed = true;
            }
            Op::Transmit(room, answer, wrong) => {
                self.to.room = room.get();
                self.to.answer = *answer;
                self.transmit(*wrong, if room.get() == 77 { 0 } else { usize::MAX });
            }
            Op::Take(null_buffer, wrong) => {
                self.give_back();
                let buffer = if *null_buffer { null_mut() } else { &raw mut self.buffer };
                // SAFETY: NULL, or what is alive.
                let taken = unsafe { tls_cork_take_buffer(self.policy(*wrong), buffer) };
                if *null_buffer || *wrong == Wrong::NullPolicy {
                    assert_eq!(taken, -EINVAL);
                }
                assert_eq!(taken == 1, self.buffer.len > 0);
                if taken == 1 {
                    // SAFETY: the buffer was not given back.
                    let data = unsafe { std::slice::from_raw_parts(self.buffer.data, self.buffer.len) };
                    assert!(self.to.lied || is_stream(data, self.to.arrived), "content and order");
                    self.to.arrived += data.len();
                }
            }
            Op::GiveBack => self.give_back(),
            Op::Append(wrong) => {
                // Only what is refused, or empty: anything else would be among the content.
                // SAFETY: no byte is read.
                unsafe {
                    let output = tls_cork_get_output(self.policy(*wrong));
                    assert_eq!(output.is_null(), *wrong == Wrong::NullPolicy);
                    assert_eq!(tls_cork_output_append(output, null(), 1), -EINVAL);
                    assert_eq!(tls_cork_output_append(output, [0u8].as_ptr().cast(), usize::MAX), -EINVAL);
                    let empty = tls_cork_output_append(output, null(), 0);
                    assert_eq!(empty, if output.is_null() { -EINVAL } else { 0 });
                }
            }
            Op::Configure(..) => {}
            Op::Sealer(answer) => {
                // SAFETY: alive.
                unsafe { (*self.seen).answer.set(*answer) };
                self.to.lied |= *answer != Answer::Good;
            }
        }
    }

    fn transmit(&mut self, wrong: Wrong, limit: usize) {
        self.to.interrupted = 0;
        let send = if wrong == Wrong::NullData { None } else { Some(send as _) };
        let bad = limit == 0 || matches!(wrong, Wrong::NullPolicy | Wrong::NullData);
        let policy = self.policy(wrong);
        let to: *mut Transport = &mut self.to;
        // SAFETY: NULL, or what is alive.
        let done = unsafe { tls_cork_transmit(policy, limit, send, to.cast()) };
        let final_code = self.failure();
        match done {
            _ if bad => assert_eq!(done, -EINVAL),
            0 | TLS_CORK_AGAIN => {}
            code => {
                let of_transport = [-EAGAIN, -ECONNRESET, -EPIPE, -EIO];
                let strange = matches!(self.to.answer, Answer::Strange(_));
                assert!(code < 0 && (of_transport.contains(&code) || strange || code == final_code), "{code}");
            }
        }
        if final_code != 0 {
            self.closed = true;
        }
    }

    fn get(&self) {
        let policy = self.policy;
        // SAFETY: a policy that is alive.
        unsafe {
            for flag in [
                tls_cork_wants_transmit(policy),
                tls_cork_is_corked(policy),
                tls_cork_is_write_closed(policy),
                tls_cork_is_finished(policy),
            ] {
                assert!(flag == 0 || flag == 1);
            }
            assert!(tls_cork_waiting(policy) >= 0 && tls_cork_send_capacity(policy) >= 0);
            assert!(tls_cork_lost_bytes(policy) >= 0 && tls_cork_timeout(policy) >= 0);
            assert!(tls_cork_timeout_ms(policy, self.now) >= -1);
            let mut stats = tls_cork_stats::default();
            assert_eq!(tls_cork_get_stats(policy, &mut stats, size_of::<tls_cork_stats>()), 0);
            assert!(stats.plaintext_bytes <= self.accepted as u64 || self.to.lied);
            assert_eq!(tls_cork_get_stats(policy, null_mut(), 8), -EINVAL);
            for reason in 0..TLS_CORK_REASONS {
                assert!(tls_cork_releases(policy, reason) >= 0);
            }
            assert_eq!(tls_cork_releases(policy, TLS_CORK_REASONS), i64::from(-EINVAL));
        }
    }

    fn give_back(&mut self) {
        // SAFETY: empty, or filled by `tls_cork_take_buffer`.
        unsafe { tls_cork_give_back(&mut self.buffer) };
        assert!(self.buffer.data.is_null());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and not used afterwards.
        unsafe {
            tls_cork_policy_free(self.policy);
            drop(Box::from_raw(self.seen.cast_mut()));
        }
        // Also after its policy.
        self.give_back();
    }
}

/// The flags of a write, and whether there are unknown ones.
fn flags_of(flags: u8, wrong: Wrong) -> (u32, bool) {
    match wrong {
        Wrong::Flags(flags) => (flags, flags & !TLS_CORK_MORE != 0),
        _ => (u32::from(flags & 1), false),
    }
}

/// Sets any value to anything: whatever is out of its range is refused here or by `tls_cork_policy_new`.
fn configure(config: *mut tls_cork_config, which: u8, value: u32) {
    let size = value as usize;
    let time = i64::from(value as i32) * 10;
    // SAFETY: a configuration that is alive.
    let set = unsafe {
        match which % 6 {
            0 => tls_cork_config_set_record_size(config, size),
            1 => tls_cork_config_set_hold_limit(config, size),
            2 => tls_cork_config_set_max_hold(config, time),
            3 => tls_cork_config_set_flush_on_read_wait(config, size % 2 == 0),
            4 => tls_cork_config_set_corked(config, size % 2 == 0),
            _ => tls_cork_config_set_dynamic_records(config, size % 20_000, size, time),
        }
    };
    assert!(set == 0 || set == -EINVAL);
}

fuzz_target!(|input: Input| {
    let Some(mut world) = World::new(&input) else {
        return;
    };
    for op in input.ops.iter().take(100) {
        world.apply(op);
    }
    // From now on all answers are right.
    world.apply(&Op::Sealer(Answer::Good));
    world.apply(&Op::At(Call::HandshakeDone, 0, Wrong::Nothing));
    world.apply(&Op::At(Call::Close, 0, Wrong::Nothing));
    for _ in 0..3 {
        world.to.room = usize::MAX;
        world.to.answer = Answer::Good;
        world.transmit(Wrong::Nothing, usize::MAX);
    }
    world.get();
    // SAFETY: a policy that is alive.
    let (finished, lost) = unsafe { (tls_cork_is_finished(world.policy), tls_cork_lost_bytes(world.policy)) };
    assert_eq!(finished, 1);
    let aborted = input.ops.iter().any(|op| matches!(op, Op::Abort));
    assert!(world.to.lied || aborted || world.to.arrived + lost as usize >= world.accepted, "lost without an error");
});
