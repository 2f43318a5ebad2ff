//! One stream from its connection to its end: two ends, and a wire between them.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::ledger::{EndReport, Ledger};
use super::operations::Halves;
use super::plan::{Driver, EndPlan, Side, StreamPlan};
use super::session::Configs;
use super::{async_side, faulty_wire, mio_side};

/// How long a socket hears nothing before it asks.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// Runs a stream to its end.
///
/// # Errors
///
/// What went wrong with the means, not with the stream: sockets, threads, a panic.
pub(crate) fn run(plan: &StreamPlan, configs: &Configs, ledger: &Arc<Ledger>) -> Result<[EndReport; 2], String> {
    let connected = connect(plan).map_err(|error| format!("connect: {error}"))?;
    let (of_wire, of_end) = match plan.fault {
        Some(fault) if fault.fault.is_of_the_wire() => (Some(fault), None),
        fault => (None, fault),
    };
    thread::scope(|scope| {
        let wire = plan.wire.zip(connected.wire);
        let wire = wire.map(|(wire, sockets)| scope.spawn(move || faulty_wire::run(wire, of_wire, sockets, ledger)));
        let end = |side: Side, socket| {
            let end = &plan.ends[side as usize];
            let leaves = of_end.filter(|plan| plan.side == side);
            let halves = Halves::new(side, end.clone(), plan.seed, leaves, Arc::clone(ledger));
            let session = configs.session(side, plan.tls);
            scope.spawn(move || {
                // Whatever comes of it, the other end is not to wait for this one.
                let _gone = Gone { side, ledger };
                match end.driver {
                    Driver::Mio => mio_side::run(halves, session, socket),
                    Driver::AsyncStd => async_side::run(halves, session, socket),
                }
            })
        };
        let [client, server] = connected.ends;
        let ends = [end(Side::Client, client), end(Side::Server, server)];
        let reports = ends.map(|end| joined("an end", end));
        if let Some(wire) = wire {
            joined("the wire", wire)?;
        }
        let [client, server] = reports;
        Ok([client?, server?])
    })
}

fn joined<T>(what: &str, thread: ScopedJoinHandle<'_, io::Result<T>>) -> Result<T, String> {
    let done = thread.join().map_err(|_| format!("{what} panicked"))?;
    done.map_err(|error| format!("{what} could not be run: {error}"))
}

struct Gone<'a> {
    side: Side,
    ledger: &'a Ledger,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.ledger.end(self.side).finished.set();
    }
}

struct Connected {
    ends: [TcpStream; 2],
    /// The wire's own two sockets, towards the client and towards the server.
    wire: Option<[TcpStream; 2]>,
}

fn connect(plan: &StreamPlan) -> io::Result<Connected> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let pair = || -> io::Result<[TcpStream; 2]> {
        let from = TcpStream::connect(listener.local_addr()?)?;
        Ok([from, listener.accept()?.0])
    };
    let (ends, wire) = if plan.wire.is_some() {
        let [client, to_client] = pair()?;
        let [to_server, server] = pair()?;
        ([client, server], Some([to_client, to_server]))
    } else {
        (pair()?, None)
    };
    for (socket, end) in ends.iter().zip(&plan.ends) {
        prepare(socket, end)?;
    }
    Ok(Connected { ends, wire })
}

fn prepare(socket: &TcpStream, end: &EndPlan) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // A reset that overtakes bytes which a small window had no room for is outside of that window, and ignored (RFC 9293, 3.10.7.4).
    // Who only reads would never hear of it: the answer to a probe is a reset in its place.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER))?;
    if let Some(bytes) = end.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = end.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = end.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}
