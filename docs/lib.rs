//! The snippets of the README files and of docs/guide.md, as doc tests: `cargo test -p tls-cork-docs`.

/// README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;

/// core/README.md.
#[cfg(doctest)]
#[doc = include_str!("../core/README.md")]
#[derive(Debug)]
pub struct CoreReadme;

/// driver-mio/README.md.
#[cfg(doctest)]
#[doc = include_str!("../driver-mio/README.md")]
#[derive(Debug)]
pub struct MioReadme;

/// driver-async-std/README.md.
#[cfg(doctest)]
#[doc = include_str!("../driver-async-std/README.md")]
#[derive(Debug)]
pub struct AsyncReadme;

/// driver-tokio/README.md.
#[cfg(doctest)]
#[doc = include_str!("../driver-tokio/README.md")]
#[derive(Debug)]
pub struct TokioReadme;

/// docs/guide.md.
#[cfg(doctest)]
#[doc = include_str!("guide.md")]
#[derive(Debug)]
pub struct Guide;
