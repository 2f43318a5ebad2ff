//! Every order in which the threads of small scripts can come to the engine's locks and flags.
//!
//! loom runs a script once for each of them; a script fails if one of them ends in a deadlock, such
//! as a lost wake-up, or in a failed assertion:
//!
//! ```sh
//! RUSTFLAGS="--cfg tls_cork_loom" cargo test --release -p tls-cork-engine --lib interleavings
//! ```
//!
//! With `-- --nocapture`, each test prints how many orders there were.
#![allow(clippy::unwrap_used, reason = "tests, which clippy does not see as such in this place")]

mod keeper;
#[path = "../plain/mod.rs"]
mod plain;
mod wakers;
mod world;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use loom::thread::{self, JoinHandle};
use tls_cork::{CorkConfig, SendFlags};

use crate::{Engine, Shared};
use plain::Plain;
use world::{Alarm, Socket, TIME, Task, explore};

type Engined = Engine<Socket, Plain, Alarm>;
type Handle = Shared<Socket, Plain, Alarm>;

fn engine(socket: &Socket) -> Engined {
    Engine::new(socket.clone(), Plain::new(CorkConfig::default()))
}

fn shared(socket: &Socket) -> Handle {
    Shared::new(engine(socket))
}

/// Writes `data` with `flags`, which is accepted whole.
fn send(task: &Task, handle: &Handle, data: &[u8], flags: SendFlags) {
    let accepted = task.block_on(|cx| handle.lock().poll_send(cx, data, flags));
    assert_eq!(accepted.unwrap(), data.len());
}

fn flush(task: &Task, handle: &Handle) -> io::Result<()> {
    task.block_on(|cx| handle.lock().poll_flush(cx))
}

fn read(task: &Task, handle: &Handle) -> io::Result<Vec<u8>> {
    let mut buf = [0; 8];
    let read = task.block_on(|cx| handle.lock().poll_read(cx, &mut buf))?;
    Ok(buf[..read].to_vec())
}

/// A thread for the deadlines of `handle`; it ends with the last handle.
fn deadline_thread(handle: &Handle) -> JoinHandle<()> {
    let mut deadlines = handle.deadline_task();
    thread::spawn(move || Task::new().block_on(|cx| Pin::new(&mut deadlines).poll(cx)))
}

/// A thread that lets time pass.
fn time_thread() -> JoinHandle<()> {
    thread::spawn(|| TIME.run())
}

fn end_time(time: JoinHandle<()>) {
    TIME.stop();
    time.join().unwrap();
}

#[test]
fn a_writer_is_woken_each_time_the_transport_takes_bytes_again() {
    explore(None, || {
        let socket = Socket::new(0);
        let system = socket.system(|socket| {
            socket.make_room(1);
            socket.make_room(1);
        });
        let (task, mut engine) = (Task::new(), engine(&socket));
        let accepted = task.block_on(|cx| engine.poll_send(cx, b"ab", SendFlags::NONE));
        assert_eq!(accepted.unwrap(), 2);
        task.block_on(|cx| engine.poll_flush(cx)).unwrap();
        system.join().unwrap();
        assert_eq!(socket.outcome().0, b"ab");
    });
}

#[test]
fn a_plain_write_waits_for_what_waits_before_it() {
    explore(5, || {
        let socket = Socket::new(0);
        let system = socket.system(|socket| {
            socket.make_room(1);
            socket.make_room(1);
        });
        let (task, mut engine) = (Task::new(), engine(&socket));
        for data in [b"a", b"b"] {
            assert_eq!(task.block_on(|cx| engine.poll_write(cx, data)).unwrap(), 1);
        }
        task.block_on(|cx| engine.poll_close(cx)).unwrap();
        system.join().unwrap();
        assert_eq!(socket.outcome(), (b"ab".to_vec(), true));
    });
}

#[test]
fn halves_on_two_threads_lose_and_repeat_nothing() {
    explore(3, || {
        let socket = Socket::new(0);
        let handle = shared(&socket);
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || assert_eq!(read(&Task::new(), &handle).unwrap(), b"x"))
        };
        let system = socket.system(|socket| {
            socket.make_room(1);
            socket.deliver(b"x");
            socket.make_room(1);
        });
        let task = Task::new();
        send(&task, &handle, b"ab", SendFlags::NONE);
        flush(&task, &handle).unwrap();
        reader.join().unwrap();
        system.join().unwrap();
        assert_eq!(socket.outcome().0, b"ab");
    });
}

#[test]
fn what_a_writer_leaves_behind_leaves_while_a_reader_waits() {
    explore(3, || {
        let socket = Socket::new(0);
        let handle = shared(&socket);
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || assert_eq!(read(&Task::new(), &handle).unwrap(), b"x"))
        };
        let system = socket.system(|socket| {
            socket.make_room(2);
            // The peer answers when it has everything. Nobody polls but the reader.
            socket.wait_for(b"ab");
            socket.deliver(b"x");
        });
        send(&Task::new(), &handle, b"ab", SendFlags::NONE);
        reader.join().unwrap();
        system.join().unwrap();
    });
}

#[test]
fn a_flush_ends_while_a_reader_flushes_too() {
    explore(3, || {
        let socket = Socket::slow();
        let handle = shared(&socket);
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || assert_eq!(read(&Task::new(), &handle).unwrap(), b"x"))
        };
        let system = socket.system(|socket| {
            // Transports may wake for nothing: both flush again.
            socket.make_room(0);
            socket.settle();
            socket.deliver(b"x");
        });
        let task = Task::new();
        send(&task, &handle, b"a", SendFlags::NONE);
        flush(&task, &handle).unwrap();
        reader.join().unwrap();
        system.join().unwrap();
        assert_eq!(socket.outcome().0, b"a");
    });
}

#[test]
fn a_close_ends_while_a_reader_waits_for_the_peers_end() {
    explore(3, || {
        let socket = Socket::slow();
        let handle = shared(&socket);
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || assert!(read(&Task::new(), &handle).unwrap().is_empty()))
        };
        let system = socket.system(|socket| {
            socket.settle();
            socket.end();
        });
        let task = Task::new();
        send(&task, &handle, b"a", SendFlags::MORE);
        task.block_on(|cx| handle.lock().poll_close(cx)).unwrap();
        reader.join().unwrap();
        system.join().unwrap();
        assert_eq!(socket.outcome(), (b"a".to_vec(), true));
    });
}

#[test]
fn a_held_byte_leaves_with_a_deadline_task_while_nobody_polls() {
    explore(3, || {
        let socket = Socket::new(1);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let time = time_thread();
        send(&Task::new(), &handle, b"a", SendFlags::MORE);
        socket.wait_for(b"a");
        drop(handle);
        deadlines.join().unwrap();
        end_time(time);
    });
}

#[test]
fn a_deadline_task_serves_one_deadline_after_the_other() {
    explore(3, || {
        let socket = Socket::new(2);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let time = time_thread();
        let task = Task::new();
        send(&task, &handle, b"a", SendFlags::MORE);
        socket.wait_for(b"a");
        send(&task, &handle, b"b", SendFlags::MORE);
        socket.wait_for(b"ab");
        drop(handle);
        deadlines.join().unwrap();
        end_time(time);
    });
}

#[test]
fn a_deadline_task_goes_on_when_the_transport_takes_bytes_again() {
    explore(3, || {
        let socket = Socket::new(0);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let time = time_thread();
        let system = socket.system(|socket| {
            socket.make_room(1);
            socket.wait_for(b"a");
        });
        send(&Task::new(), &handle, b"a", SendFlags::MORE);
        system.join().unwrap();
        drop(handle);
        deadlines.join().unwrap();
        end_time(time);
    });
}

#[test]
fn a_deadline_that_passes_before_it_is_armed_is_met() {
    explore(3, || {
        let socket = Socket::new(1);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let time = thread::spawn(|| {
            TIME.pass(Duration::from_secs(1));
            TIME.run();
        });
        send(&Task::new(), &handle, b"a", SendFlags::MORE);
        socket.wait_for(b"a");
        drop(handle);
        deadlines.join().unwrap();
        end_time(time);
    });
}

#[test]
fn a_timer_armed_for_what_has_left_already_does_not_stand_for_the_next_deadline() {
    explore(3, || {
        let socket = Socket::new(3);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let time = time_thread();
        let task = Task::new();
        send(&task, &handle, b"a", SendFlags::MORE);
        send(&task, &handle, b"b", SendFlags::NONE);
        // The timer may have fired, and the deadline task may not have been polled since.
        send(&task, &handle, b"c", SendFlags::MORE);
        socket.wait_for(b"abc");
        drop(handle);
        deadlines.join().unwrap();
        end_time(time);
    });
}

#[test]
fn a_reader_that_waits_is_woken_by_the_deadline_of_another_task() {
    explore(3, || {
        let socket = Socket::new(1);
        let handle = shared(&socket);
        let time = time_thread();
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || assert_eq!(read(&Task::new(), &handle).unwrap(), b"x"))
        };
        send(&Task::new(), &handle, b"a", SendFlags::MORE);
        socket.wait_for(b"a");
        socket.deliver(b"x");
        reader.join().unwrap();
        end_time(time);
    });
}

#[test]
fn a_deadline_task_ends_with_the_last_handle_whichever_thread_drops_it() {
    explore(None, || {
        let socket = Socket::new(0);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let other = {
            let handle = handle.clone();
            thread::spawn(move || drop(handle))
        };
        drop(handle);
        other.join().unwrap();
        deadlines.join().unwrap();
    });
}

#[test]
fn a_transport_may_wake_when_the_last_handle_is_gone() {
    explore(4, || {
        let socket = Socket::new(0);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let system = socket.system(|socket| socket.make_room(1));
        send(&Task::new(), &handle, b"a", SendFlags::NONE);
        drop(handle);
        deadlines.join().unwrap();
        system.join().unwrap();
        // The byte may have left or not; it has not left twice.
        assert!(socket.outcome().0.len() <= 1);
    });
}

#[test]
fn a_reader_that_waits_is_woken_for_a_send_that_fails() {
    explore(None, || {
        let socket = Socket::broken();
        let handle = shared(&socket);
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || read(&Task::new(), &handle).unwrap_err().kind())
        };
        // Accepted; the error belongs to the next call, which is the reader's.
        send(&Task::new(), &handle, b"a", SendFlags::NONE);
        assert_eq!(reader.join().unwrap(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn reader_writer_deadline_transport_and_time_on_five_threads() {
    explore(1, || {
        let socket = Socket::new(0);
        let handle = shared(&socket);
        let deadlines = deadline_thread(&handle);
        let time = time_thread();
        let reader = {
            let handle = handle.clone();
            thread::spawn(move || assert_eq!(read(&Task::new(), &handle).unwrap(), b"x"))
        };
        let system = socket.system(|socket| {
            socket.make_room(1);
            socket.make_room(2);
            socket.wait_for(b"abc");
            socket.deliver(b"x");
        });
        let task = Task::new();
        send(&task, &handle, b"ab", SendFlags::NONE);
        send(&task, &handle, b"c", SendFlags::MORE);
        drop(handle);
        system.join().unwrap();
        reader.join().unwrap();
        deadlines.join().unwrap();
        end_time(time);
    });
}
