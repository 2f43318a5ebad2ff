//! The NBD server of `driver-async-std/examples`, as it is.

#[path = "../../../../../driver-async-std/examples/nbd_server/export.rs"]
mod export;
#[path = "../../../../../driver-async-std/examples/nbd_server/negotiation.rs"]
mod negotiation;
#[path = "../../../../../driver-async-std/examples/nbd_server/replies.rs"]
mod replies;
#[path = "../../../../../driver-async-std/examples/nbd_server/requests.rs"]
mod requests;
#[path = "../../../../../driver-async-std/examples/nbd_server/server.rs"]
mod server;
#[path = "../../../../../driver-async-std/examples/nbd_server/stream.rs"]
mod stream;
#[path = "../../../../../driver-async-std/examples/nbd_server/tls.rs"]
mod tls;

pub(super) use server::{Args, run};
