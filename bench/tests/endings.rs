//! What is left behind when a signal ends the program: no private key.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

mod common;

use common::program;

/// No step of a test takes longer.
const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The program, with a directory of its own for temporary files.
struct Run {
    child: Child,
    files: TempDir,
}

impl Run {
    /// Starts it; `how` are options of env(1).
    fn start(how: &str, args: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("temporary directory");
        let mut command = Command::new("env");
        command.arg(how).arg(program()).args(args).env("TMPDIR", files.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().expect("the program starts"), files }
    }

    fn with_signals(args: &[&str]) -> Self {
        Self::start("--default-signal", args)
    }

    /// Files below its directory for temporary files, and directories.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            // What is gone by now is not there.
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                found.push(entry.path());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.files.path(), &mut found);
        found
    }

    /// Waits for a file of this name that is not empty.
    fn wait_for_file(&self, name: &str) {
        let is_there = |path: &PathBuf| path.ends_with(name) && fs::metadata(path).is_ok_and(|m| m.len() > 0);
        wait_for(name, || self.files().iter().any(is_there).then_some(()));
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a process id")), signal).expect("the program runs");
    }

    fn end(&mut self) -> ExitStatus {
        wait_for("end", || self.child.try_wait().expect("a status"))
    }

    /// Kills it, which nothing can be done about; but what is left has no private key.
    fn assert_no_key_is_left(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.end().signal(), Some(9));
        for file in self.files() {
            let text = fs::read_to_string(&file).unwrap_or_default();
            assert!(!text.contains("PRIVATE KEY"), "{}", file.display());
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SOAK: [&str; 3] = ["soak", "--seconds=60", "--streams=1"];
const KEY: &str = "server-key.pem";

#[test]
fn no_private_key_outlives_the_program() {
    for args in [&SOAK as &[&str], &[], &["peers"], &["broadcast", "--receivers=1"]] {
        let run = Run::with_signals(args);
        run.wait_for_file(KEY);
        run.assert_no_key_is_left();
    }
}

#[test]
#[ignore = "needs nbdkit, qemu-img, qemu-io, nbdcopy, fio, strace"]
fn no_private_key_outlives_real() {
    let run = Run::with_signals(&["real"]);
    run.wait_for_file(KEY);
    run.assert_no_key_is_left();
}
