//! [`Owner`], its [`Keeper`] and the task that is spawned for them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use loom::sync::Mutex;
use loom::thread;
use tls_cork::{CorkConfig, SendFlags};

use super::plain::Plain;
use super::world::{Alarm, Bell, Socket, Task, explore};
use super::{Engined, end_time, engine, time_thread};
use crate::{Attend, Engine, Feed, Keeper, KeeperTask, Owner, Session, Spawned};

type Owned = Owner<Socket, Plain, Alarm>;

/// The smallest record, in bytes.
const RECORD: usize = 16;

/// A spawned task: a thread that polls when it is woken, until it is aborted.
pub(crate) struct Handle {
    bell: Arc<Bell>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    aborted: bool,
    finished: bool,
}

impl Spawned for Handle {
    fn is_finished(&self) -> bool {
        self.state.lock().unwrap().finished
    }

    fn abort(&self) {
        self.state.lock().unwrap().aborted = true;
        self.bell.ring();
    }
}

impl Attend<Plain, Alarm> for Socket {
    type Task = Handle;

    fn can_spawn(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn spawn(&self, keeper: &Arc<Keeper<Self, Plain, Alarm>>) -> io::Result<Handle> {
        let (task, state) = (Task::new(), Arc::new(Mutex::new(State::default())));
        let handle = Handle { bell: task.bell(), state: Arc::clone(&state) };
        let mut future = KeeperTask::new(keeper);
        Socket::spawn(self, move || {
            task.block_on(
                |cx| {
                    if state.lock().unwrap().aborted { Poll::Ready(()) } else { Pin::new(&mut future).poll(cx) }
                },
            );
            state.lock().unwrap().finished = true;
        });
        Ok(handle)
    }

    fn release(engine: &mut Engined, cx: &mut std::task::Context<'_>) {
        engine.release(cx);
    }
}

fn owner(socket: &Socket) -> Owned {
    Owner::new(engine(socket))
}

/// Writes `data` with `flags`, which is accepted whole.
fn send(task: &Task, owner: &mut Owned, data: &[u8], flags: SendFlags) {
    let more = flags.contains(SendFlags::MORE);
    let accepted = task.block_on(|cx| owner.hold(more, |engine| engine.poll_send(cx, data, flags)));
    assert_eq!(accepted.unwrap(), data.len());
}

#[test]
fn a_held_byte_leaves_while_its_stream_is_not_polled() {
    explore(3, || {
        let socket = Socket::new(1);
        let mut owner = owner(&socket);
        let time = time_thread();
        send(&Task::new(), &mut owner, b"a", SendFlags::MORE);
        socket.wait_for(b"a");
        drop(owner);
        socket.join();
        end_time(time);
    });
}

#[test]
fn calls_use_the_engine_wherever_the_task_has_left_it() {
    explore(3, || {
        let socket = Socket::new(3);
        let mut owner = owner(&socket);
        let time = time_thread();
        let task = Task::new();
        send(&task, &mut owner, b"a", SendFlags::MORE);
        // The engine is with the keeper, or comes back here.
        send(&task, &mut owner, b"b", SendFlags::NONE);
        send(&task, &mut owner, b"c", SendFlags::MORE);
        socket.wait_for(b"abc");
        drop(owner);
        socket.join();
        end_time(time);
    });
}

#[test]
fn what_the_transport_did_not_take_leaves_while_its_stream_is_not_polled() {
    explore(3, || {
        let socket = Socket::new(0);
        let mut owner = owner(&socket);
        let system = socket.system(|socket| {
            socket.make_room(1);
            socket.make_room(1);
        });
        let task = Task::new();
        send(&task, &mut owner, b"a", SendFlags::MORE);
        send(&task, &mut owner, b"b", SendFlags::NONE);
        socket.wait_for(b"ab");
        system.join().unwrap();
        drop(owner);
        socket.join();
    });
}

/// The wake-up of the transport may come while the stream has the engine. The task is then polled
/// for nothing, and again when the engine is back.
#[test]
fn a_wake_up_while_the_engine_is_away_is_not_lost() {
    explore(3, || {
        let socket = Socket::new(0);
        let mut owner = owner(&socket);
        let system = socket.system(|socket| socket.make_room(2));
        let task = Task::new();
        send(&task, &mut owner, b"a", SendFlags::MORE);
        // Takes the engine, which is due as before.
        assert_eq!(owner.get().session().lost_bytes(), 0);
        owner.with(|_engine| ());
        socket.wait_for(b"a");
        system.join().unwrap();
        drop(owner);
        socket.join();
    });
}

#[test]
fn a_deadline_while_the_engine_is_away_is_not_lost() {
    explore(3, || {
        let socket = Socket::new(2);
        let mut owner = owner(&socket);
        let time = time_thread();
        let task = Task::new();
        send(&task, &mut owner, b"a", SendFlags::MORE);
        owner.get_mut();
        send(&task, &mut owner, b"b", SendFlags::MORE);
        socket.wait_for(b"ab");
        drop(owner);
        socket.join();
        end_time(time);
    });
}

#[test]
fn two_threads_share_the_keeper_with_the_task() {
    explore(2, || {
        let socket = Socket::new(1);
        let keeper = owner(&socket).into_keeper();
        let time = time_thread();
        let reader = {
            let keeper = Arc::clone(&keeper);
            thread::spawn(move || {
                let mut buf = [0; 8];
                Task::new().block_on(|cx| keeper.with(|engine| engine.poll_read(cx, &mut buf))).unwrap()
            })
        };
        let held = Task::new().block_on(|cx| keeper.hold(true, |e| e.poll_send(cx, b"a", SendFlags::MORE)));
        assert_eq!(held.unwrap(), 1);
        socket.wait_for(b"a");
        socket.deliver(b"x");
        assert_eq!(reader.join().unwrap(), 1);
        drop(keeper);
        socket.join();
        end_time(time);
    });
}

#[test]
fn full_records_of_a_piece_leave_while_the_sink_is_not_polled() {
    explore(3, || {
        let socket = Socket::new(2 * RECORD);
        let config = CorkConfig::default().record_size(RECORD).hold_limit(RECORD);
        let mut owner: Owned = Owner::new(Engine::new(socket.clone(), Plain::new(config)));
        let (task, mut feed) = (Task::new(), Feed::default());
        for piece in [&[b'a'; RECORD], &[b'b'; RECORD]] {
            task.block_on(|cx| owner.hold(false, |engine| feed.poll_ready(engine, cx))).unwrap();
            let fed = owner.hold(true, |engine| Poll::Ready(feed.start_send(engine, Bytes::from_static(piece))));
            assert!(matches!(fed, Poll::Ready(Ok(()))));
        }
        socket.wait_for(&[[b'a'; RECORD], [b'b'; RECORD]].concat());
        drop(owner);
        socket.join();
    });
}

#[test]
fn a_task_ends_with_its_owner() {
    explore(None, || {
        let socket = Socket::new(0);
        let mut owner = owner(&socket);
        send(&Task::new(), &mut owner, b"a", SendFlags::MORE);
        drop(owner);
        socket.join();
        // It does not send after that.
        socket.make_room(1);
        assert!(socket.outcome().0.is_empty());
    });
}

#[test]
fn an_engine_that_is_taken_apart_has_what_has_not_left() {
    explore(3, || {
        let socket = Socket::new(1);
        let mut owner = owner(&socket);
        let time = time_thread();
        send(&Task::new(), &mut owner, b"a", SendFlags::MORE);
        let engine: Engined = owner.into_engine();
        socket.join();
        assert_eq!(engine.session().waiting() + socket.outcome().0.len(), 1);
        drop(engine);
        end_time(time);
    });
}
