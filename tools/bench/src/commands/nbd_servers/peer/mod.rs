//! The same server on futures-rustls: `stream.rs` is its own, all else is the example's.

#[path = "../../../../../../driver-async-std/examples/nbd_server/export.rs"]
mod export;
#[path = "../../../../../../driver-async-std/examples/nbd_server/negotiation.rs"]
mod negotiation;
#[path = "../../../../../../driver-async-std/examples/nbd_server/replies.rs"]
mod replies;
#[path = "../../../../../../driver-async-std/examples/nbd_server/requests.rs"]
mod requests;
#[path = "../../../../../../driver-async-std/examples/nbd_server/server.rs"]
mod server;
mod stream;
#[path = "../../../../../../driver-async-std/examples/nbd_server/tls.rs"]
mod tls;

pub(super) use server::{Args, run};
