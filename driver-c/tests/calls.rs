//! Each call by itself: what it returns, what it refuses, and which error has which code.
#![cfg(unix)]

mod support;

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

use libc::{
    EAGAIN, EBUSY, ECONNABORTED, ECONNRESET, EINTR, EINVAL, EIO, ENOTRECOVERABLE, EOVERFLOW, EPIPE, EPROTO, iovec,
};
use support::{MS, Transport, World, last_error, sealer, send};
use tls_cork_c::*;
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{END, HANDSHAKE, parse};

const fn transport() -> Transport {
    Transport { wire: Vec::new(), capacity: usize::MAX, step: usize::MAX, returns: None, mores: Vec::new() }
}

#[test]
fn a_header_with_more_and_a_body_are_one_record() {
    let mut world = World::ready();
    assert_eq!(world.write(0, b"header ", TLS_CORK_MORE), 7);
    assert_eq!((world.get(tls_cork_wants_transmit), world.drain(), world.wire.len()), (0, 0, 0));
    assert_eq!(world.writev(MS, &[b"bo", b"", b"dy"], 0), 4);
    assert_eq!((world.get(tls_cork_wants_transmit), world.drain()), (1, 0));
    assert_eq!(parse(&world.wire).0, [b"header body"]);
    assert_eq!((world.releases(TLS_CORK_REASON_LAST), world.stats().records), (1, 1));
}

#[test]
fn the_deadline_is_when_to_call_and_what_poll_takes() {
    let world = World::ready();
    assert_eq!((world.get(tls_cork_timeout), world.at(tls_cork_timeout_ms, 7)), (TLS_CORK_NEVER, -1));
    assert_eq!(world.write(5 * MS, b"held", TLS_CORK_MORE), 4);
    assert_eq!(world.get(tls_cork_timeout), 15 * MS);
    // Rounded up, or a loop would spin in the last millisecond.
    for (now, ms) in [(5 * MS, 10), (5 * MS + 1, 10), (15 * MS - 1, 1), (15 * MS, 0), (99 * MS, 0), (-1, 0)] {
        assert_eq!(world.at(tls_cork_timeout_ms, now), ms, "{now}");
    }
    assert_eq!(world.at(tls_cork_handle_timeout, 15 * MS - 1), 0);
    assert_eq!(world.at(tls_cork_handle_timeout, 15 * MS), 1);
    assert_eq!((world.releases(TLS_CORK_REASON_DEADLINE), world.stats().longest_hold), (1, 10 * MS as u64));
}

#[test]
fn a_time_that_decreases_counts_as_the_latest() {
    let world = World::ready();
    assert_eq!(world.at(tls_cork_flush, 50 * MS), 0);
    assert_eq!(world.write(20 * MS, b"held", TLS_CORK_MORE), 4);
    assert_eq!(world.get(tls_cork_timeout), 60 * MS);
}

#[test]
fn an_idle_policy_frees_its_buffers_when_its_time_comes() {
    let mut world = World::ready();
    assert_eq!(world.write(0, &[7; 1000], 0), 1000);
    assert_eq!(world.drain(), 0);
    assert_eq!(world.get(tls_cork_timeout), 1000 * MS);
    assert_eq!(world.at(tls_cork_handle_timeout, 1000 * MS), 0);
    assert_eq!(world.get(tls_cork_timeout), TLS_CORK_NEVER);
}

#[test]
fn null_is_an_error_of_every_call() {
    let none: *mut tls_cork_policy = null_mut();
    let mut buffer = tls_cork_buffer { data: null(), len: 9, more: true, owner: null_mut() };
    let mut stats = tls_cork_stats::default();
    let mut to = transport();
    // SAFETY: NULL is allowed as far as undefined behaviour goes.
    unsafe {
        for call in [
            tls_cork_cork,
            tls_cork_uncork,
            tls_cork_flush,
            tls_cork_close,
            tls_cork_handle_timeout,
            tls_cork_handle_read_wait,
            tls_cork_handle_handshake_done,
        ] {
            assert_eq!(call(none, 0), -EINVAL);
        }
        for call in [
            tls_cork_wants_transmit,
            tls_cork_is_corked,
            tls_cork_is_write_closed,
            tls_cork_is_finished,
            tls_cork_failure,
        ] {
            assert_eq!(call(none), -EINVAL);
        }
        for call in
            [tls_cork_abort, tls_cork_handle_failure, tls_cork_send_capacity, tls_cork_waiting, tls_cork_lost_bytes]
        {
            assert_eq!(call(none), -EINVAL as isize);
        }
        assert_eq!(last_error(), "policy is NULL");
        assert_eq!((tls_cork_timeout(none), tls_cork_timeout_ms(none, 0)), (i64::from(-EINVAL), 0));
        assert_eq!(tls_cork_releases(none, 0), i64::from(-EINVAL));
        assert_eq!(tls_cork_write(none, 0, b"a".as_ptr().cast(), 1, 0), -EINVAL as isize);
        assert_eq!(tls_cork_writev(none, 0, null(), 0, 0), -EINVAL as isize);
        assert_eq!(tls_cork_transmit(none, 1, Some(send), (&raw mut to).cast()), -EINVAL);
        assert_eq!(tls_cork_take_buffer(none, &mut buffer), -EINVAL);
        assert!(buffer.len == 0 && !buffer.more, "emptied");
        assert_eq!(tls_cork_get_stats(none, &mut stats, 8), -EINVAL);
        assert!(tls_cork_get_output(none).is_null());
        assert_eq!(tls_cork_output_append(null_mut(), b"a".as_ptr().cast(), 1), -EINVAL);
        assert_eq!(tls_cork_output_set_error(null_mut(), c"a".as_ptr()), -EINVAL);
        tls_cork_policy_free(none);
        tls_cork_config_free(null_mut());
        tls_cork_give_back(null_mut());
        tls_cork_give_back(&mut buffer);
        let config: *mut tls_cork_config = null_mut();
        assert_eq!(tls_cork_config_set_record_size(config, 16), -EINVAL);
        assert_eq!(tls_cork_config_set_hold_limit(config, 16), -EINVAL);
        assert_eq!(tls_cork_config_set_max_hold(config, 16), -EINVAL);
        assert_eq!(tls_cork_config_set_send_buffer_limit(config, 16), -EINVAL);
        assert_eq!(tls_cork_config_set_batch_size(config, 16, 16), -EINVAL);
        assert_eq!(tls_cork_config_set_flush_on_read_wait(config, true), -EINVAL);
        assert_eq!(tls_cork_config_set_corked(config, true), -EINVAL);
        assert_eq!(tls_cork_config_set_dynamic_records(config, 16, 16, 16), -EINVAL);
    }
    let world = World::ready();
    // SAFETY: as above, with a policy that is alive.
    unsafe {
        let p = world.policy;
        assert_eq!(tls_cork_write(p, 0, null(), 1, 0), -EINVAL as isize);
        assert_eq!(tls_cork_write(p, 0, null(), 0, TLS_CORK_MORE), 0);
        assert_eq!(tls_cork_writev(p, 0, null(), 1, 0), -EINVAL as isize);
        assert_eq!(tls_cork_writev(p, 0, null(), 0, TLS_CORK_MORE), 0);
        let iov = [iovec { iov_base: null_mut(), iov_len: 0 }, iovec { iov_base: null_mut(), iov_len: 1 }];
        assert_eq!(tls_cork_writev(p, 0, iov.as_ptr(), 1, TLS_CORK_MORE), 0);
        assert_eq!(tls_cork_writev(p, 0, iov.as_ptr(), 2, TLS_CORK_MORE), -EINVAL as isize);
        assert_eq!(tls_cork_transmit(p, 1, None, null_mut()), -EINVAL);
        assert_eq!(tls_cork_transmit(p, 0, Some(send), (&raw mut to).cast()), -EINVAL);
        assert_eq!(tls_cork_take_buffer(p, null_mut()), -EINVAL);
        assert_eq!(tls_cork_get_stats(p, null_mut(), 8), -EINVAL);
        assert_eq!(tls_cork_get_stats(p, &mut stats, 0), -EINVAL);
        assert_eq!(tls_cork_releases(p, TLS_CORK_REASONS), i64::from(-EINVAL));
        let output = tls_cork_get_output(p);
        assert_eq!(tls_cork_output_append(output, null(), 1), -EINVAL);
        assert_eq!(tls_cork_output_append(output, null(), 0), 0);
        assert_eq!(tls_cork_output_set_error(output, null()), -EINVAL);
    }
    assert_eq!((world.get(tls_cork_waiting), world.get(tls_cork_wants_transmit)), (0, 0), "nothing has changed");
}

#[test]
fn lengths_flags_and_times_out_of_range_are_errors() {
    let world = World::ready();
    let byte = b"a";
    let element = |iov_len| iovec { iov_base: byte.as_ptr().cast_mut().cast(), iov_len };
    let refused = |iov: &[iovec]| {
        // SAFETY: no byte behind a length that is too large is read.
        let wrote = unsafe { tls_cork_writev(world.policy, 0, iov.as_ptr(), iov.len(), TLS_CORK_MORE) };
        assert_eq!(wrote, -EINVAL as isize);
    };
    refused(&[element(usize::MAX)]);
    refused(&[element(isize::MAX as usize + 1)]);
    refused(&[element(1), element(usize::MAX)]);
    // Each for itself would be allowed.
    refused(&[element(1), element(isize::MAX as usize)]);
    assert!(last_error().contains("SSIZE_MAX"));
    refused(&vec![element(1); TLS_CORK_IOV_MAX + 1]);
    assert!(last_error().contains("IOV_MAX"));
    for flags in [2, 3, 0x8000, u32::MAX] {
        assert_eq!(world.write(0, byte, flags), -EINVAL as isize);
    }
    assert_eq!(world.write(-1, byte, 0), -EINVAL as isize);
    // SAFETY: as above.
    unsafe {
        let long = isize::MAX as usize + 1;
        assert_eq!(tls_cork_write(world.policy, 0, byte.as_ptr().cast(), long, 0), -EINVAL as isize);
        let output = tls_cork_get_output(world.policy);
        assert_eq!(tls_cork_output_append(output, byte.as_ptr().cast(), long), -EINVAL);
    }
    assert_eq!((world.get(tls_cork_waiting), world.get(tls_cork_wants_transmit)), (0, 0), "nothing has changed");
    let many = vec![&byte[..]; TLS_CORK_IOV_MAX];
    assert_eq!(world.writev(i64::MAX, &many, TLS_CORK_MORE), TLS_CORK_IOV_MAX as isize);
}

#[test]
fn a_full_buffer_is_eagain_and_keeps_the_last_text() {
    let world = World::new(null(), false);
    assert_eq!(world.write(0, b"a", 8), -EINVAL as isize);
    let data = vec![7; 300_000];
    assert_eq!(world.write(0, &data, 0), 256 * 1024);
    assert_eq!(world.get(tls_cork_send_capacity), 0);
    assert_eq!(world.write(0, &data, 0), -EAGAIN as isize);
    assert_eq!(last_error(), "unknown flags");
}

#[test]
fn a_write_after_a_close_or_an_abort_is_epipe() {
    let mut world = World::ready();
    assert_eq!(world.write(0, b"held", TLS_CORK_MORE), 4);
    assert_eq!((world.at(tls_cork_close, 0), world.at(tls_cork_close, 0)), (1, 0));
    assert_eq!(world.write(0, b"a", 0), -EPIPE as isize);
    assert_eq!((world.get(tls_cork_is_write_closed), world.get(tls_cork_is_finished)), (1, 0));
    assert_eq!((world.drain(), world.get(tls_cork_is_finished)), (0, 1));
    let (records, last) = parse(&world.wire);
    assert_eq!((records, last), (vec![b"held".to_vec()], Some(END)));
    for call in [tls_cork_flush, tls_cork_uncork, tls_cork_handle_timeout, tls_cork_handle_read_wait] {
        assert_eq!(world.at(call, 0), 0, "nothing to release");
    }
    let mut world = World::ready();
    assert_eq!(world.write(0, b"held", TLS_CORK_MORE), 4);
    assert_eq!((world.get(tls_cork_abort), world.get(tls_cork_abort)), (4, 0));
    assert_eq!(world.write(0, b"a", 0), -EPIPE as isize);
    assert_eq!((world.drain(), world.get(tls_cork_is_finished), world.wire.len()), (0, 1, 0));
}

#[test]
fn output_of_the_handshake_leaves_before_what_waited_for_it() {
    let mut world = World::new(null(), false);
    assert_eq!(world.write(0, b"early", 0), 5);
    assert_eq!((world.get(tls_cork_wants_transmit), world.at(tls_cork_handle_handshake_done, 0)), (0, 0));
    world.finish_handshake();
    assert_eq!(world.get(tls_cork_wants_transmit), 1);
    assert_eq!((world.at(tls_cork_handle_handshake_done, 0), world.drain()), (1, 0));
    assert_eq!(world.wire[..4], HANDSHAKE.to_be_bytes());
    assert_eq!(parse(&world.wire).0, [b"early"]);
}

#[test]
fn control_output_leaves_when_nothing_else_waits() {
    let mut world = World::ready();
    world.seen().has_control.set(true);
    assert_eq!((world.get(tls_cork_wants_transmit), world.drain()), (1, 0));
    assert_eq!((&world.wire[..], world.get(tls_cork_wants_transmit)), (&HANDSHAKE.to_be_bytes()[..], 0));
}

#[test]
fn the_limit_of_a_transmit_ends_it_between_sends() {
    let world = World::ready();
    assert_eq!(world.write(0, &stream(0, 10_000), 0), 10_000);
    let mut to = Transport { step: 100, ..transport() };
    assert_eq!(world.transmit_to(250, &mut to), TLS_CORK_AGAIN);
    assert_eq!(to.wire.len(), 300);
    assert_eq!((world.transmit_to(TLS_CORK_NO_LIMIT, &mut to), to.wire.len()), (0, 10_004));
}

#[test]
fn more_states_that_released_bytes_wait_behind() {
    let world = World::ready();
    let mut to = Transport { capacity: 1, ..transport() };
    assert_eq!(world.write(0, b"a", 0), 1);
    assert_eq!(world.transmit_to(usize::MAX, &mut to), -EAGAIN);
    assert_eq!(world.write(0, b"b", 0), 1);
    to.capacity = usize::MAX;
    assert_eq!(world.transmit_to(usize::MAX, &mut to), 0);
    assert_eq!((to.mores, parse(&to.wire).0), (vec![false, true, false], vec![b"a".to_vec(), b"b".to_vec()]));
}

#[test]
fn an_error_of_the_transport_comes_back_and_loses_nothing() {
    let world = World::ready();
    assert_eq!(world.write(0, b"data", 0), 4);
    let mut to = transport();
    let cases = [(-ECONNRESET as isize, -ECONNRESET), (0, -EPIPE), (isize::MIN, -EIO), (-EAGAIN as isize, -EAGAIN)];
    for (returned, code) in cases {
        to.returns = Some(returned);
        assert_eq!(world.transmit_to(usize::MAX, &mut to), code);
        assert_eq!((world.get(tls_cork_failure), world.get(tls_cork_wants_transmit)), (0, 1));
    }
    to.returns = Some(-EINTR as isize);
    assert_eq!((world.transmit_to(usize::MAX, &mut to), parse(&to.wire).0), (0, vec![b"data".to_vec()]));
}

#[test]
fn a_transport_that_takes_too_much_ends_the_policy() {
    let world = World::ready();
    assert_eq!(world.write(0, b"data", 0), 4);
    let mut to = Transport { returns: Some(9), ..transport() };
    assert_eq!(world.transmit_to(usize::MAX, &mut to), -EPROTO);
    assert_eq!((world.get(tls_cork_failure), world.get(tls_cork_lost_bytes)), (-EPROTO, 4));
    assert_eq!(world.transmit_to(usize::MAX, &mut to), -EPROTO);
    assert_eq!(world.write(0, b"a", 0), -EPROTO as isize);
}

#[test]
fn an_error_of_seal_ends_the_policy_and_what_it_appended_is_dropped() {
    for (returned, code) in [
        (-EIO as isize, -EIO),
        (-EAGAIN as isize, -EPROTO),
        (-EINTR as isize, -EPROTO),
        (isize::MIN, -EPROTO),
        (0, -EOVERFLOW),
        (1 << 40, -EPROTO),
    ] {
        let mut world = World::ready();
        world.seen().seal_returns.set(Some(returned));
        world.seen().text.set(Some(c"the session is tired"));
        assert_eq!(world.write(0, b"data", 0), 4);
        assert_eq!(world.drain(), code, "{returned}");
        assert_eq!(last_error().contains("the session is tired"), code == -EIO, "{}", last_error());
        assert_eq!((world.get(tls_cork_failure), world.get(tls_cork_lost_bytes)), (code, 4));
        assert_eq!(world.write(0, b"a", 0), code as isize);
        if returned < 0 {
            assert!(world.wire.is_empty());
            world.drain();
            assert!(world.wire.is_empty());
        }
    }
}

#[test]
fn an_error_of_a_large_write_is_that_of_the_next_transmit() {
    let mut world = World::ready();
    world.seen().seal_returns.set(Some(-EIO as isize));
    assert_eq!(world.write(0, &[7; 50_000], 0), -EIO as isize);
    assert_eq!((world.get(tls_cork_failure), world.get(tls_cork_wants_transmit)), (-EIO, 1));
    assert_eq!((world.drain(), world.wire.len()), (-EIO, 0));
}

#[test]
fn an_error_of_close_notify_ends_the_policy_behind_the_last_byte() {
    let mut world = World::ready();
    world.seen().close_returns.set(-EIO);
    world.seen().text.set(Some(c"no end"));
    assert_eq!((world.write(0, b"data", 0), world.at(tls_cork_close, 0)), (4, 1));
    assert_eq!((world.drain(), world.get(tls_cork_failure)), (-EIO, -EIO));
    assert!(last_error().contains("no end"), "{}", last_error());
    assert_eq!((world.drain(), world.get(tls_cork_is_finished), world.get(tls_cork_lost_bytes)), (0, 1, 0));
    assert_eq!(parse(&world.wire).0, [b"data"]);
}

#[test]
fn a_failure_that_the_caller_reports_is_econnaborted() {
    let world = World::ready();
    assert_eq!(world.write(0, b"held", TLS_CORK_MORE), 4);
    assert_eq!((world.get(tls_cork_handle_failure), world.get(tls_cork_lost_bytes)), (4, 4));
    assert_eq!(world.get(tls_cork_failure), -ECONNABORTED);
    assert_eq!(world.write(0, b"a", 0), -ECONNABORTED as isize);
}

#[test]
fn a_callback_cannot_call_its_policy_but_may_append() {
    let mut world = World::ready();
    world.seen().in_seal.replace(Some(|policy| {
        // SAFETY: a policy that is alive.
        unsafe {
            assert_eq!(tls_cork_write(policy, 0, b"a".as_ptr().cast(), 1, 0), -EBUSY as isize);
            assert_eq!((tls_cork_flush(policy, 0), tls_cork_waiting(policy)), (-EBUSY, -EBUSY as isize));
            tls_cork_policy_free(policy);
            support::append(tls_cork_get_output(policy), &HANDSHAKE.to_be_bytes());
        }
    }));
    assert_eq!((world.write(0, b"data", 0), world.drain()), (4, 0));
    assert_eq!(world.wire[..4], HANDSHAKE.to_be_bytes());
    assert_eq!(parse(&world.wire).0, [b"data"]);
}

unsafe extern "C-unwind" fn appends(user: *mut c_void, _: *const iovec, _: usize, _: bool) -> isize {
    // SAFETY: `user` is a policy that is alive.
    unsafe {
        let output = tls_cork_get_output(user.cast());
        let appended = tls_cork_output_append(output, b"a".as_ptr().cast(), 1);
        assert_eq!((appended, tls_cork_flush(user.cast(), 0)), (-EBUSY, -EBUSY));
    }
    1
}

#[test]
fn nothing_is_appended_inside_a_send() {
    let world = World::ready();
    assert_eq!(world.write(0, b"data", 0), 4);
    // SAFETY: a policy that is alive.
    assert_eq!(unsafe { tls_cork_transmit(world.policy, usize::MAX, Some(appends), world.policy.cast()) }, 0);
}

#[test]
fn a_panic_is_an_error_and_the_policy_refuses_further_calls() {
    let mut world = World::ready();
    world.seen().in_seal.replace(Some(|_| panic!("a fault in a callback")));
    assert_eq!((world.write(0, b"data", 0), world.drain()), (4, -ENOTRECOVERABLE));
    assert!(last_error().contains("a fault in a callback"), "{}", last_error());
    world.seen().in_seal.replace(None);
    assert_eq!((world.drain(), world.at(tls_cork_flush, 0)), (-ENOTRECOVERABLE, -ENOTRECOVERABLE));
    assert_eq!(world.write(0, b"a", 0), -ENOTRECOVERABLE as isize);
    assert_eq!((world.get(tls_cork_timeout), world.at(tls_cork_timeout_ms, 0)), (i64::from(-ENOTRECOVERABLE), 0));
    assert_eq!(world.get(tls_cork_waiting), -ENOTRECOVERABLE as isize);
}

#[test]
fn a_buffer_that_was_taken_outlives_its_policy_and_its_thread() {
    let world = World::ready();
    let mut buffer = tls_cork_buffer { data: null(), len: 0, more: false, owner: null_mut() };
    // SAFETY: a policy that is alive.
    let take = |buffer: &mut tls_cork_buffer| unsafe { tls_cork_take_buffer(world.policy, buffer) };
    assert_eq!((take(&mut buffer), buffer.len), (0, 0));
    assert_eq!(world.write(0, b"data", 0), 4);
    assert_eq!((take(&mut buffer), buffer.len, buffer.more), (1, 8, false));
    drop(world);
    struct Moved(tls_cork_buffer);
    // SAFETY: buffers may go to other threads.
    unsafe impl Send for Moved {}
    let moved = Moved(buffer);
    std::thread::spawn(move || {
        let Moved(mut buffer) = { moved };
        // SAFETY: a buffer that was not given back.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.data, buffer.len) };
        assert_eq!(parse(bytes).0, [b"data"]);
        // SAFETY: as above; the second time, it is empty.
        unsafe {
            tls_cork_give_back(&mut buffer);
            tls_cork_give_back(&mut buffer);
        }
        assert!(buffer.data.is_null());
    })
    .join()
    .unwrap();
}

#[test]
fn a_policy_needs_callbacks_and_a_valid_configuration() {
    let world = World::ready();
    let good = sealer(world.seen());
    let refused = |sealer: *const tls_cork_sealer, config: *const tls_cork_config, text: &str| {
        let mut policy = std::ptr::dangling_mut();
        // SAFETY: NULL, or what is alive.
        assert_eq!(unsafe { tls_cork_policy_new(sealer, config, &mut policy) }, -EINVAL);
        assert!(policy.is_null() && last_error().contains(text), "{}", last_error());
    };
    refused(null(), null(), "sealer is NULL");
    refused(&tls_cork_sealer { size: good.size - 1, ..good }, null(), "size");
    refused(&tls_cork_sealer { seal: None, ..good }, null(), "no seal");
    refused(&tls_cork_sealer { close_notify: None, ..good }, null(), "no close_notify");
    refused(&tls_cork_sealer { has_control: None, ..good }, null(), "only one");
    refused(&tls_cork_sealer { queue_control: None, ..good }, null(), "only one");
    world.seen().max_record_size.set(0);
    refused(&good, null(), "max_record_size");
    world.seen().max_record_size.set(100);
    let config = tls_cork_config_new();
    // SAFETY: alive until it is freed.
    unsafe {
        assert_eq!(tls_cork_policy_new(&good, null(), null_mut()), -EINVAL);
        assert_eq!(tls_cork_config_set_max_hold(config, -1), -EINVAL);
        assert_eq!(tls_cork_config_set_record_size(config, 15), 0);
        refused(&good, config, "record_size is 15 bytes, must be 16 to 16384 bytes");
        assert_eq!(tls_cork_config_set_record_size(config, 200), 0);
        assert_eq!(tls_cork_config_set_corked(config, true), 0);
        assert_eq!(tls_cork_config_set_flush_on_read_wait(config, false), 0);
        let mut policy = null_mut();
        // Only what is required, and a member of a later version.
        let little = tls_cork_sealer {
            size: good.size + 8,
            is_ready: None,
            max_record_size: None,
            has_control: None,
            queue_control: None,
            ..good
        };
        assert_eq!(tls_cork_policy_new(&little, config, &mut policy), 0);
        tls_cork_config_free(config);
        assert_eq!((tls_cork_is_corked(policy), tls_cork_send_capacity(policy)), (1, 256 * 1024));
        assert_eq!(
            (tls_cork_write(policy, 0, b"a".as_ptr().cast(), 1, 0), tls_cork_handle_read_wait(policy, 0)),
            (1, 0)
        );
        tls_cork_policy_free(policy);
    }
}

#[test]
fn counters_fit_programs_of_other_versions() {
    let mut world = World::ready();
    assert_eq!((world.write(0, b"data", 0), world.drain()), (4, 0));
    let mut words = [u64::MAX; 9];
    // SAFETY: a policy that is alive, and room for the sizes.
    unsafe {
        assert_eq!(tls_cork_get_stats(world.policy, words.as_mut_ptr().cast(), 16), 0);
        assert_eq!(words[..3], [1, 4, u64::MAX]);
        assert_eq!(tls_cork_get_stats(world.policy, words.as_mut_ptr().cast(), 72), 0);
        assert_eq!(words[6..], [4, 0, 0]);
        assert_eq!(CStr::from_ptr(tls_cork_reason_name(TLS_CORK_REASON_DEADLINE)), c"deadline");
    }
    assert_eq!(tls_cork_abi_version(), TLS_CORK_ABI_VERSION);
}
