//! What the tests share: TLS configurations, transports that record and can be scripted, and a bound on time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses a part")]

pub mod attacker;
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
use tls_cork_async_std::tls_cork::CorkConfig;
use tls_cork_testing::sessions::{self, Configs};

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
pub fn configs() -> Configs {
    sessions::configs(None)
}

/// A hold that ends by other means, or never.
pub fn patient() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(50))
}
