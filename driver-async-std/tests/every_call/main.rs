//! A fault at every call that a stream makes of its transport, under an executor that polls only what was woken.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod executor;
mod session;
mod wire;

use std::io::ErrorKind;
use std::sync::OnceLock;
use std::time::Duration;

use session::{Run, Setting, Tasks};
use tls_cork_testing::script::{
    During, FLUSH_FAULTS, Fault, Plan, RECEIVE_FAULTS, SCRIPT, SEND_FAULTS, Way, cork, tls12, unresumed,
};
use tls_cork_testing::sessions::{Configs, configs};

/// The lowest count of sends and of receives that the script can be run with.
const LEAST: usize = 12;

/// TLS 1.2 and 1.3, each as client and as server.
fn settings(tasks: Tasks) -> [Setting<'static>; 4] {
    static CONFIGS: OnceLock<[Configs; 2]> = OnceLock::new();
    let [old, new] = CONFIGS.get_or_init(|| [tls12(), None].map(|suite| unresumed(configs(suite))));
    [(old, true), (old, false), (new, true), (new, false)].map(|(configs, is_client)| Setting {
        configs,
        is_client,
        tasks,
        cork: cork(),
        jump: None,
    })
}

fn side(setting: &Setting<'_>) -> String {
    let new = std::ptr::eq(setting.configs, settings(Tasks::One)[2].configs);
    let (version, side) = (if new { 3 } else { 2 }, if setting.is_client { "client" } else { "server" });
    format!("TLS 1.{version} {side}, tasks: {:?}", setting.tasks)
}

fn run(plan: Plan, setting: &Setting<'_>) -> Run {
    let _during = During(format!("{plan:?}, {}", side(setting)));
    session::run(plan, setting.clone())
}

/// One run for each call and each of `faults`; returns how many.
fn at_every(way: Way, faults: &[Fault], setting: &Setting<'_>, least: usize) -> usize {
    let smooth = run(Plan::Smooth, setting);
    let mut points = 0;
    for &fault in faults {
        let calls = match (way, fault) {
            (Way::Send, _) => smooth.sends,
            (Way::Flush, _) => smooth.flushes,
            (Way::Close, _) => smooth.closes,
            // What is received after our own `close_notify` is no concern of TLS.
            (_, Fault::Fail(ErrorKind::InvalidData, _)) => smooth.receives_before_close,
            _ => smooth.receives,
        };
        assert!(calls >= least, "{calls} calls are too few for this script");
        for at in 0..calls {
            let faulted = run(Plan::At(way, at, fault), setting);
            assert!(faulted.hits > 0, "{way:?} {at} was never called");
            let most = 2 * smooth.polls + 3 * faulted.hits;
            assert!(faulted.polls <= most, "{} polls, {} without {fault:?} at {at}", faulted.polls, smooth.polls);
            points += 1;
        }
    }
    println!("{}: {points} points, {way:?} ({smooth:?})", side(setting));
    points
}

fn at_every_call(way: Way, faults: &[Fault], least: usize) {
    let settings = [Tasks::One, Tasks::Three].map(settings).concat();
    let points: usize = settings.iter().map(|setting| at_every(way, faults, setting, least)).sum();
    println!("{points} fault points");
    assert!(points >= settings.len() * least * faults.len());
}

#[test]
fn at_every_send() {
    at_every_call(Way::Send, &SEND_FAULTS, LEAST);
}

#[test]
fn at_every_receive() {
    at_every_call(Way::Receive, &RECEIVE_FAULTS, LEAST);
}

#[test]
fn at_every_flush_and_close_of_the_transport() {
    at_every_call(Way::Flush, &FLUSH_FAULTS, 3);
    at_every_call(Way::Close, &FLUSH_FAULTS, 1);
}

#[test]
fn before_every_call() {
    for setting in [Tasks::One, Tasks::Three].map(settings).concat() {
        for fault in [Fault::OneByte, Fault::Block(1), Fault::Interrupt] {
            let faulted = run(Plan::Every(fault), &setting);
            assert!(2 * faulted.hits >= faulted.sends + faulted.receives, "{faulted:?}");
            println!("{}, {fault:?} at every call: {faulted:?}", side(&setting));
        }
    }
}

/// The thread slept through every deadline.
#[test]
fn time_jumps_before_every_step() {
    let hold = Duration::from_millis(1);
    for setting in [Tasks::One, Tasks::Three].map(settings).concat() {
        for step in 0..SCRIPT.len() {
            let _during = During(format!("a jump before step {step}, {}", side(&setting)));
            let jump = Some((step, 3 * hold));
            session::run(Plan::Smooth, Setting { cork: cork().max_hold(hold), jump, ..setting.clone() });
        }
    }
}
