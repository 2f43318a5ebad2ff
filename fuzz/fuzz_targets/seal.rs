//! A policy over a sealer that gives wrong answers.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tls_cork_testing::liar;

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
