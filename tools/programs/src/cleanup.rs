//! Temporary directories and child processes, which end with this program, also when a signal
//! ends it.
//!
//! The first of them starts a thread that waits for signals. After a signal that would end the
//! program, the thread ends the children, removes the directories, and exits with 128 + the
//! signal's number, the status that a shell reports.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::signal::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::Failure;

/// How long a child may take to obey SIGTERM.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// A directory is found not to be empty when another thread has just written to it.
const REMOVALS: u32 = 100;

/// Signals by which a person or another program ends one that does nothing about them.
const ENDING: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2];

static REGISTER: Mutex<Register> = Mutex::new(Register { is_watched: false, dirs: Vec::new(), children: Vec::new() });

struct Register {
    /// A thread waits for signals.
    is_watched: bool,
    dirs: Vec<PathBuf>,
    children: Vec<Weak<SharedChild>>,
}

impl Register {
    /// The lock is held while a directory or a child is created and registered. After a signal
    /// it is never released: nothing new is created while the rest is removed.
    fn lock() -> MutexGuard<'static, Self> {
        REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched() -> Result<MutexGuard<'static, Self>, Failure> {
        let mut register = Self::lock();
        if !register.is_watched {
            watch().map_err(|e| Failure::new("watch", "signals", e))?;
            register.is_watched = true;
        }
        Ok(register)
    }
}

fn watch() -> io::Result<()> {
    let ignored = ignored()?;
    let mut signals = Signals::new(ENDING.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0))?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            let mut register = Register::lock();
            register.end_children();
            register.remove_dirs();
            process::exit(128 + signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Signals that this process ignores, as under nohup(1): a bit for each.
fn ignored() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = field.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.ok_or_else(|| io::Error::other("no SigIgn in /proc/self/status"))
}

impl Register {
    fn end_children(&mut self) {
        let children: Vec<Arc<SharedChild>> = self.children.drain(..).filter_map(|child| child.upgrade()).collect();
        children.iter().for_each(|child| child.terminate());
        let deadline = Instant::now() + GRACE;
        for child in children {
            child.end_by(deadline);
        }
    }

    fn remove_dirs(&mut self) {
        for dir in self.dirs.drain(..) {
            for _ in 0..REMOVALS {
                match fs::remove_dir_all(&dir) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(POLL_INTERVAL),
                    _ => break,
                }
            }
        }
    }
}

/// A temporary directory. Nothing creates it again once it has been removed.
#[derive(Debug)]
pub(crate) struct TemporaryDir(Option<TempDir>, PathBuf);

impl TemporaryDir {
    /// Creates it, below the system's directory for temporary files.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut register = Register::watched()?;
        let dir =
            tempfile::tempdir().map_err(|e| Failure::new("create directory", std::env::temp_dir().display(), e))?;
        let path = dir.path().to_owned();
        register.dirs.push(path.clone());
        Ok(Self(Some(dir), path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.1
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        let mut register = Register::lock();
        drop(self.0.take());
        register.dirs.retain(|dir| *dir != self.1);
    }
}

/// A child process that may be ended by a signal to this one.
#[derive(Debug)]
pub(crate) struct SharedChild(Mutex<Child>);

impl SharedChild {
    /// Starts `command`; `name` is for messages.
    pub(crate) fn spawn(command: &mut Command, name: &str) -> Result<Arc<Self>, Failure> {
        let mut register = Register::watched()?;
        let child = command.spawn().map_err(|e| Failure::new("start program", name, e))?;
        let child = Arc::new(Self(Mutex::new(child)));
        register.children.retain(|child| child.strong_count() > 0);
        register.children.push(Arc::downgrade(&child));
        Ok(child)
    }

    /// Held for moments, never while the child is waited for.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it to end, unless it has.
    pub(crate) fn terminate(&self) {
        let mut child = self.lock();
        // A process that has not been waited for keeps its number.
        if let (Ok(None), Ok(pid)) = (child.try_wait(), i32::try_from(child.id())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Waits for its end until `deadline`, and kills it then.
    pub(crate) fn end_by(&self, deadline: Instant) {
        while matches!(self.lock().try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let mut child = self.lock();
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}
