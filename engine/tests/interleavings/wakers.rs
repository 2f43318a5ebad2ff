//! [`Wakers`] alone.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::thread;

use super::world::{Task, explore};
use crate::wakers::{Role, Wakers};

/// Waits as the engine does: is registered, then looks whether the transport may take bytes.
fn wait(wakers: &Wakers, role: Role, cx: &Context<'_>) -> Poll<()> {
    wakers.register(role, cx.waker());
    if wakers.is_writable() { Poll::Ready(()) } else { Poll::Pending }
}

#[test]
fn a_wake_up_at_any_time_is_not_lost() {
    explore(None, || {
        let wakers = Wakers::new();
        wakers.set_writable(false);
        let transport = wakers.waker().clone();
        let system = thread::spawn(move || transport.wake());
        Task::new().block_on(|cx| wait(&wakers, Role::Writer, cx));
        system.join().unwrap();
    });
}

#[test]
fn one_wake_up_wakes_whoever_waits() {
    explore(None, || {
        let wakers = Arc::new(Wakers::new());
        wakers.set_writable(false);
        let transport = wakers.waker().clone();
        let reader = {
            let wakers = Arc::clone(&wakers);
            thread::spawn(move || Task::new().block_on(|cx| wait(&wakers, Role::Reader, cx)))
        };
        let system = thread::spawn(move || transport.wake());
        Task::new().block_on(|cx| wait(&wakers, Role::Writer, cx));
        reader.join().unwrap();
        system.join().unwrap();
    });
}

#[test]
fn an_alarm_beside_the_transports_wake_up_takes_nothing_from_it() {
    explore(None, || {
        let wakers = Wakers::new();
        wakers.set_writable(false);
        let (transport, alarm) = (wakers.waker().clone(), wakers.alarm());
        let time = thread::spawn(move || Waker::wake(alarm));
        let system = thread::spawn(move || transport.wake());
        Task::new().block_on(|cx| wait(&wakers, Role::Writer, cx));
        time.join().unwrap();
        system.join().unwrap();
    });
}
