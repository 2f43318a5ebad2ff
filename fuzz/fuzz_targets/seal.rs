//! A policy over a sealer that gives wrong answers.
#![no_main]

#[allow(dead_code)] // only the core's tests use all of it
#[path = "../../core/tests/lying_seal/liar.rs"]
mod liar;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    ready: bool,
    lies: Vec<u8>,
    ops: Vec<(u8, u8)>,
}

fuzz_target!(|input: Input| {
    let ops = &input.ops[..input.ops.len().min(100)];
    liar::run(input.ready, ops, &input.lies);
});
