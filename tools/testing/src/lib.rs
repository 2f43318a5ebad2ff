//! What tests, fuzz targets and measuring programs share.
#![allow(missing_docs, missing_debug_implementations, reason = "for tests, which panic where they have to fail")]

pub mod attack;
#[cfg(feature = "proptest")]
pub mod calls;
pub mod content;
pub mod harness;
pub mod liar;
mod records;
pub mod script;
pub mod sessions;

pub use records::RecordCounter;
