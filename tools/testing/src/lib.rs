//! What tests, fuzz targets and measuring programs share.

pub mod content;
mod records;

pub use records::RecordCounter;
