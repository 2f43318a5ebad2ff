//! The snippets of README.md and docs/guide.md, as doc tests: `cargo test -p tls-cork-docs`.

/// README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;

/// docs/guide.md.
#[cfg(doctest)]
#[doc = include_str!("guide.md")]
#[derive(Debug)]
pub struct Guide;
