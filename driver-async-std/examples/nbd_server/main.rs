//! An NBD server over TLS: serves one file, or memory, to NBD clients that use STARTTLS.
//!
//! ```sh
//! cargo run --release -p tls-cork-async-std --example nbd_server -- \
//!     --listen 127.0.0.1:10809 --file disk.img --cert server-cert.pem --key server-key.pem
//! nbdcopy disk.img 'nbds://localhost/?tls-certificates=DIRECTORY'
//! ```
//!
//! `stream.rs` has all that is particular to this library, and shows the use of `MORE`: the header
//! and the data of a reply make one record, and so do the replies to all requests that came
//! together. Linux only, as are the tests that run it.

#[cfg(target_os = "linux")]
mod export;
#[cfg(target_os = "linux")]
mod negotiation;
#[cfg(target_os = "linux")]
mod replies;
#[cfg(target_os = "linux")]
mod requests;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod stream;
#[cfg(target_os = "linux")]
mod tls;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    match async_std::task::block_on(server::run(&clap::Parser::parse())) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nbd_server: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("nbd_server: Linux only");
}
