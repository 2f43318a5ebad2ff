//! What the tests share: TLS configurations, transports that record and can be scripted, and a bound on time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses a part")]

pub mod pair;
pub mod pipe;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_io::Timer;
use futures_util::task::AtomicWaker;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use tls_cork_async_std::tls_cork::CorkConfig;

/// Only a test that hangs takes so long, however busy the machine.
const MAX_TIME: Duration = Duration::from_secs(300);

/// Runs `test` on async-io alone, for [`MAX_TIME`] at most.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    async_io::block_on(in_time(test))
}

/// `future`, or a panic after [`MAX_TIME`].
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let late = Timer::after(MAX_TIME);
    match futures_util::future::select(std::pin::pin!(future), late).await {
        futures_util::future::Either::Left((done, _)) => done,
        futures_util::future::Either::Right(_) => panic!("no end after {MAX_TIME:?}"),
    }
}

/// Waits for `time`, and until every timer that was due by then has woken its task and each of these tasks on this thread has run.
///
/// An order of events, which a busy machine does not change as it changes their times: async-io fires its timers in the order in which they
/// are due, and the executor runs tasks in the order in which they were woken.
pub async fn pass(time: Duration) {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut timer = Timer::after(time);
    poll_fn(|cx| {
        bell.listener.register(cx.waker());
        while !bell.rung.load(Ordering::SeqCst) {
            match Pin::new(&mut timer).poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => return Poll::Pending,
                // By its own look at the clock: async-io may not have fired the others yet.
                Poll::Ready(_) => timer = Timer::after(Duration::from_millis(1)),
            }
        }
        Poll::Ready(())
    })
    .await;
    smol::future::yield_now().await;
}

/// Tells that async-io has fired a timer.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    listener: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.listener.wake();
    }
}

/// TLS configurations for both ends.
pub fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    configs_with(None, &[])
}

/// TLS configurations for both ends; `suite` restricts them to one, and both speak the protocols `alpn`.
pub fn configs_with(suite: Option<SupportedCipherSuite>, alpn: &[&[u8]]) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a private key");
    let mut provider = aws_lc_rs::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    let provider = Arc::new(provider);
    let versions: &[_] = match suite {
        Some(SupportedCipherSuite::Tls12(_)) => &[&rustls::version::TLS12],
        _ => rustls::DEFAULT_VERSIONS,
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root certificate");
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    server.alpn_protocols = client.alpn_protocols.clone();
    (Arc::new(client), Arc::new(server))
}

pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a server name")
}

/// A hold that ends by other means, or never.
pub fn patient() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(50))
}

/// Bytes without a pattern that a mistake could hide behind.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}
