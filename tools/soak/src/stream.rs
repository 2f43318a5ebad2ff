//! One stream from its connection to its end: two ends, and a wire between them.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig, SupportedCipherSuite, Tls13CipherSuite};
use socket2::{SockRef, TcpKeepalive};

use super::ledger::{EndReport, Ledger};
use super::plan::{Driver, EndPlan, FaultPlan, Side, StreamPlan};
use super::{Session, async_side, faulty_wire, mio_side};
use tls_cork_programs::Failure;
use tls_cork_programs::tls::{self, TlsVersion};

/// After how many records short-lived keys are updated.
pub(crate) const SHORT_LIVED: u64 = 300;

/// How long a socket hears nothing before it asks.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// TLS configurations for every kind of stream.
#[derive(Debug)]
pub(crate) struct Configs {
    tls12: Arc<ClientConfig>,
    tls13: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    short_lived: (Arc<ClientConfig>, Arc<ServerConfig>),
    name: ServerName<'static>,
}

impl Configs {
    /// With the certificates in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self, Failure> {
        let ca = dir.join(tls::CA_CERT);
        let name = tls::SERVER_NAMES[0];
        Ok(Self {
            tls12: tls::client_config(&ca, Some(TlsVersion::Tls12))?,
            tls13: tls::client_config(&ca, Some(TlsVersion::Tls13))?,
            server: tls::server_config(dir)?,
            short_lived: (
                tls::client_config_with(&ca, Some(TlsVersion::Tls13), short_lived())?,
                tls::server_config_with(dir, short_lived())?,
            ),
            name: ServerName::try_from(name).map_err(|e| Failure::new("configure TLS", name, e))?,
        })
    }

    fn session(&self, side: Side, plan: &StreamPlan) -> Session {
        let (client, server) = match (plan.short_lived_keys, plan.tls12) {
            (true, _) => (&self.short_lived.0, &self.short_lived.1),
            (false, true) => (&self.tls12, &self.server),
            (false, false) => (&self.tls13, &self.server),
        };
        match side {
            Side::Client => Session::Client(Arc::clone(client), self.name.clone()),
            Side::Server => Session::Server(Arc::clone(server)),
        }
    }
}

/// Keys of TLS 1.3 that rustls updates after a few records, since nobody else can ask it to; those of 1.2 as they are.
fn short_lived() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        if let SupportedCipherSuite::Tls13(original) = suite {
            let mut copy = Tls13CipherSuite { common: CipherSuiteCommon { ..original.common }, ..**original };
            copy.common.confidentiality_limit = SHORT_LIVED;
            // Once in each run, for its whole time.
            *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(copy)));
        }
    }
    provider
}

/// Runs a stream to its end.
///
/// # Errors
///
/// What went wrong with the means, not with the stream: sockets, threads, a panic.
pub(crate) fn run(plan: &StreamPlan, configs: &Configs, ledger: &Arc<Ledger>) -> Result<[EndReport; 2], String> {
    let connected = connect(plan).map_err(|error| format!("connect: {error}"))?;
    let [client, server] = connected.ends;
    thread::scope(|scope| {
        let wire = plan.wire.zip(connected.wire).map(|(wire, sockets)| {
            let fault = plan.fault.filter(|plan| plan.fault.is_of_the_wire());
            scope.spawn(move || faulty_wire::run(wire, fault, sockets, ledger))
        });
        let end = |side: Side, socket| {
            let run = match plan.ends[side as usize].driver {
                Driver::Mio => mio_side::run,
                Driver::AsyncStd => async_side::run,
            };
            let session = configs.session(side, plan);
            scope.spawn(move || {
                // Whatever comes of it, the other end is not to wait for this one.
                let _gone = Gone { side, ledger };
                run(side, &plan.ends[side as usize], plan.seed, session, socket, leaves(plan, side), ledger)
            })
        };
        let ends = [end(Side::Client, client), end(Side::Server, server)];
        let mut reports = Vec::new();
        for (end, side) in ends.into_iter().zip(Side::BOTH) {
            let report = end.join().map_err(|panic| format!("the {side:?} panicked: {}", words(&*panic)))?;
            reports.push(report.map_err(|error| format!("the {side:?} could not be run: {error}"))?);
        }
        if let Some(wire) = wire {
            let carried = wire.join().map_err(|panic| format!("the wire panicked: {}", words(&*panic)))?;
            carried.map_err(|error| format!("the wire could not be run: {error}"))?;
        }
        <[EndReport; 2]>::try_from(reports).map_err(|_| "an end is missing".to_owned())
    })
}

struct Gone<'a> {
    side: Side,
    ledger: &'a Ledger,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.ledger.set_finished(self.side);
    }
}

/// The fault that `side` has to cause itself.
fn leaves(plan: &StreamPlan, side: Side) -> Option<FaultPlan> {
    plan.fault.filter(|plan| plan.side == side && !plan.fault.is_of_the_wire())
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words").to_owned()
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
