//! Polls a task only if it was woken, and says so when nobody ever will be.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::wire::Wire;

struct Flag {
    woken: AtomicBool,
    executor: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.executor.unpark();
    }
}

pub(crate) struct Task<'a> {
    pub(crate) name: &'static str,
    pub(crate) future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    /// Its end is not waited for.
    pub(crate) background: bool,
}

/// Runs `tasks` to their ends; returns how many polls that took.
///
/// `patience` is how long a timer may keep everything waiting.
pub(crate) fn run(wire: &Wire, tasks: Vec<Task<'_>>, patience: Duration) -> usize {
    let flag = || Arc::new(Flag { woken: AtomicBool::new(true), executor: thread::current() });
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (flag(), task)).collect();
    let mut polls = 0;
    let mut since = Instant::now();
    while tasks.iter().any(|(_, task)| !task.background) {
        let before = polls;
        tasks.retain_mut(|(flag, task)| {
            if !flag.woken.swap(false, Ordering::SeqCst) {
                return true;
            }
            polls += 1;
            wire.line().begin();
            let done = task.future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(flag))));
            done.is_pending()
        });
        assert!(polls < 200_000, "no end after {polls} polls");
        if polls > before || wire.line().goes_on() {
            since = Instant::now();
        } else if since.elapsed() < patience {
            thread::park_timeout(patience);
        } else if tasks.iter().any(|(_, task)| !task.background) {
            let names: Vec<_> = tasks.iter().map(|(_, task)| task.name).collect();
            panic!("stuck: {names:?} are pending, and nobody will wake them");
        }
    }
    polls
}
