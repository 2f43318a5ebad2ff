//! A fault at every call that a stream makes of its transport.

#[path = "../support/mod.rs"]
mod support;

mod wire;
mod world;

use std::io::ErrorKind;
use std::sync::OnceLock;
use std::time::Duration;

use tls_cork_testing::script::{
    BEFORE_KEYS, During, Fault, Op, Plan, RECEIVE_FAULTS, SCRIPT, SEND_FAULTS, Way, cork, tls12, unresumed,
};
use tls_cork_testing::sessions::{Configs, configs};
use world::{Run, World};

/// The lowest count of sends and of receives that the script can be run with.
const LEAST: usize = 12;

fn whole_script() -> Vec<Op> {
    BEFORE_KEYS.into_iter().chain(SCRIPT).collect()
}

/// TLS 1.2 and 1.3, each as client and as server.
fn sides() -> [(&'static str, &'static Configs, bool); 4] {
    static CONFIGS: OnceLock<[Configs; 2]> = OnceLock::new();
    let [old, new] = CONFIGS.get_or_init(|| [configs(tls12()), configs(None)].map(unresumed));
    [
        ("TLS 1.2 client", old, true),
        ("TLS 1.2 server", old, false),
        ("TLS 1.3 client", new, true),
        ("TLS 1.3 server", new, false),
    ]
}

fn run(plan: Plan, (side, configs, is_client): (&str, &Configs, bool)) -> Run {
    let _during = During(format!("{plan:?}, {side}"));
    World::new(plan, configs, is_client, cork()).run(&whole_script())
}

/// One run for each of `calls` and `faults`; returns how many.
fn at_every(way: Way, faults: &[Fault], side: (&str, &Configs, bool)) -> usize {
    let smooth = run(Plan::Smooth, side);
    let mut points = 0;
    for &fault in faults {
        let calls = match (way, fault) {
            (Way::Send, _) => smooth.sends,
            // What is received after our own `close_notify` is no concern of TLS.
            (_, Fault::Fail(ErrorKind::InvalidData, _)) => smooth.receives_before_close,
            _ => smooth.receives,
        };
        assert!(calls >= LEAST, "{calls} calls are too few for this script");
        for at in 0..calls {
            let faulted = run(Plan::At(way, at, fault), side);
            assert!(faulted.hits > 0, "{way:?} {at} was never called");
            let most = 2 * smooth.turns + 3 * faulted.hits;
            assert!(faulted.turns <= most, "{} turns, {} without {fault:?} at {at}", faulted.turns, smooth.turns);
            points += 1;
        }
    }
    println!("{}: {points} points, {way:?} ({smooth:?})", side.0);
    points
}

#[test]
fn at_every_send() {
    let points: usize = sides().map(|side| at_every(Way::Send, &SEND_FAULTS, side)).iter().sum();
    println!("{points} fault points");
    assert!(points >= 4 * LEAST * SEND_FAULTS.len());
}

#[test]
fn at_every_receive() {
    let points: usize = sides().map(|side| at_every(Way::Receive, &RECEIVE_FAULTS, side)).iter().sum();
    println!("{points} fault points");
    assert!(points >= 4 * LEAST * RECEIVE_FAULTS.len());
}

#[test]
fn before_every_call() {
    for side in sides() {
        for fault in [Fault::OneByte, Fault::Block(1), Fault::Interrupt] {
            let faulted = run(Plan::Every(fault), side);
            assert!(2 * faulted.hits >= faulted.sends + faulted.receives, "{faulted:?}");
            println!("{}, {fault:?} at every call: {faulted:?}", side.0);
        }
    }
}

/// The process slept through every deadline.
#[test]
fn time_jumps_before_every_step() {
    let hold = Duration::from_millis(1);
    for (side, configs, is_client) in sides() {
        for step in 0..whole_script().len() {
            let _during = During(format!("a jump before step {step}, {side}"));
            let world = World::new(Plan::Smooth, configs, is_client, cork().max_hold(hold));
            world.jumping(step, 3 * hold).run(&whole_script());
        }
    }
}
