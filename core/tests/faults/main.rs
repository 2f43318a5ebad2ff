//! Every fault at every point of a script, over real rustls, in virtual time: no byte is lost
//! unless an error reports it.
#![allow(clippy::disallowed_methods)] // the start of virtual time

#[path = "../pair/mod.rs"]
mod pair;
mod transport;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use tls_cork_testing::sessions::{Configs, configs_with};
use transport::{Fault, Kind, Plan};
use world::{MAX_HOLD, Op, World};

const MORE: bool = true;
const LAST: bool = false;

/// The script: everything that a caller does. The handshake happens in the first `Exchange`.
const SCRIPT: [Op; 34] = [
    Op::Send(&[200], MORE),
    Op::Send(&[100, 0, 50], LAST),
    Op::Exchange,
    Op::Send(&[28], MORE),
    Op::Exchange,
    Op::Send(&[500], LAST),
    Op::Exchange,
    Op::PeerSends(700),
    Op::Send(&[1000], MORE),
    Op::PeerUpdatesKeys,
    Op::Exchange,
    Op::SendBytes(1500, MORE),
    Op::Exchange,
    Op::PeerSends(3000),
    Op::Wait,
    Op::Cork,
    Op::Send(&[300], LAST),
    Op::SendBytes(40, LAST),
    Op::Exchange,
    Op::Flush,
    Op::Send(&[900, 900, 0, 900, 900], LAST),
    Op::Uncork,
    Op::Exchange,
    Op::Send(&[5, 9000], LAST),
    Op::SendBytes(6000, LAST),
    Op::Send(&[10], MORE),
    Op::ReadWait,
    Op::Exchange,
    Op::PeerCloses,
    Op::Exchange,
    Op::Send(&[64], MORE),
    Op::Wait,
    Op::Send(&[2100], MORE),
    Op::Close,
];

/// The most bytes of one transport call, for runs with a single fault.
const WINDOWS: [usize; 2] = [400, usize::MAX];

/// Runs `body` with each TLS version, for either side, and prints the number of runs that it made.
fn sides(what: &str, body: impl Fn(&Configs, bool) -> usize) {
    for version in [&TLS12, &TLS13] {
        let configs = configs_with(aws_lc_rs::default_provider(), version);
        for client in [true, false] {
            let side = if client { "client" } else { "server" };
            println!("{} {what}, {side}, {:?}", body(&configs, client), version.version);
        }
    }
}

fn run(configs: &Configs, client: bool, plan: Plan) -> World {
    let mut world = World::new(configs, client, plan);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run(&SCRIPT))) {
        eprintln!("client: {client}, {plan:?}");
        resume_unwind(panic);
    }
    world
}

/// The number of bytes that the script sends.
fn length() -> usize {
    let len = |op: &Op| match op {
        Op::Send(lens, _) => lens.iter().sum(),
        Op::SendBytes(len, _) => *len,
        _ => 0,
    };
    SCRIPT.iter().map(len).sum()
}

#[test]
fn calls_that_move_little_or_are_put_off_lose_nothing() {
    sides("calls, each small or put off", |configs, client| {
        let mut runs = 0;
        for window in [1, 2, 400, usize::MAX] {
            for storm in [0, 1, 5] {
                for (interrupts, frozen) in [(false, false), (true, false), (false, true), (true, true)] {
                    let plan = Plan { window, storm, interrupts, frozen, fault: Fault::None };
                    let world = run(configs, client, plan);
                    assert_eq!(world.accepted(), length());
                    assert!(window > 1 || world.transport.calls > world.accepted() * (1 + storm));
                    runs += world.transport.calls;
                }
            }
        }
        runs
    });
}

#[test]
fn a_fault_at_every_call_loses_nothing_without_a_word() {
    sides("faults, of every kind at every call", |configs, client| {
        let mut points = 0;
        for window in WINDOWS {
            for kind in Kind::ALL {
                // Signatures differ in length, so runs may differ in their number of calls. The
                // last call is the first one at which the fault does not occur.
                let fault = |call| Plan { fault: Fault::Call(call, kind), ..Plan::calm(window) };
                let calls = (0..).find(|call| !run(configs, client, fault(*call)).transport.fired());
                let calls = calls.expect("a run ends");
                assert!(calls > 10, "{kind:?}, window {window}: {calls} calls");
                points += calls;
            }
        }
        assert!(points > WINDOWS.len() * Kind::ALL.len() * SCRIPT.len(), "{points}");
        points
    });
}

#[test]
fn a_fault_at_every_operation_loses_nothing_without_a_word() {
    let close = SCRIPT.iter().position(|op| matches!(op, Op::Close)).expect("the script closes");
    sides("faults, of every kind at every operation", |configs, client| {
        let mut points = 0;
        for window in WINDOWS {
            for op in 0..SCRIPT.len() {
                let jumps = [MAX_HOLD - Duration::from_nanos(1), MAX_HOLD, Duration::from_secs(3600)];
                let mut faults = vec![Fault::Abort(op), Fault::Blocked(op)];
                faults.extend(jumps.map(|time| Fault::Jump(op, time)));
                // Garbage after our own close_notify fails an assertion of rustls (point 13).
                faults.extend((op < close).then_some(Fault::Garbage(op)));
                points += faults.len();
                for fault in faults {
                    run(configs, client, Plan { fault, ..Plan::calm(window) });
                }
            }
        }
        assert!(points >= WINDOWS.len() * (SCRIPT.len() * 6 - 1));
        points
    });
}
