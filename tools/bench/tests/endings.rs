//! What is left behind when a signal ends the program: no private key, and nothing at all if the
//! signal can be caught.

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

    /// Waits for a child process whose command line has all of `words`.
    fn wait_for_child(&self, words: &[&str]) -> i32 {
        let parent = self.child.id().to_string();
        let is_wanted = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            fields.split_whitespace().nth(1) == Some(&parent) && words.iter().all(|word| command.contains(word))
        };
        wait_for(words[0], || {
            let processes = fs::read_dir("/proc").expect("/proc").flatten();
            processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_wanted)
        })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a process id")), signal).expect("the program runs");
    }

    fn end(&mut self) -> ExitStatus {
        wait_for("end", || self.child.try_wait().expect("a status"))
    }

    /// Sends `signal`, after which nothing may be left.
    #[track_caller]
    fn assert_ends_by(mut self, signal: Signal) {
        self.signal(signal);
        let status = self.end();
        assert_eq!(status.code(), Some(128 + signal as i32), "{signal}: {status}");
        let left = self.files();
        assert!(left.is_empty(), "{signal}: {left:?}");
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

#[track_caller]
fn assert_is_gone(pid: i32) {
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "child {pid}");
}

const KEY: &str = "server-key.pem";

#[test]
fn no_private_key_outlives_the_program() {
    for args in [&[] as &[&str], &["peers"]] {
        let run = Run::with_signals(args);
        run.wait_for_file(KEY);
        run.assert_no_key_is_left();
    }
}

#[test]
fn no_file_outlives_the_program() {
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGALRM, Signal::SIGUSR1] {
        let run = Run::with_signals(&[]);
        run.wait_for_file(KEY);
        run.assert_ends_by(signal);
    }
}

#[test]
fn no_child_outlives_the_program() {
    let cases: [(&[&str], &str); 2] = [(&[], "serve"), (&["peers"], "peers-receive")];
    for (args, child) in cases {
        let run = Run::with_signals(args);
        let child = run.wait_for_child(&[child]);
        run.assert_ends_by(Signal::SIGTERM);
        assert_is_gone(child);
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let run = Run::start("--ignore-signal=HUP", &[]);
    run.wait_for_file(KEY);
    run.signal(Signal::SIGHUP);
    run.assert_ends_by(Signal::SIGTERM);
}

#[test]
#[ignore = "needs nbdkit, qemu-img, qemu-io, nbdcopy, fio, strace"]
fn nothing_of_real_outlives_it() {
    let run = Run::with_signals(&["real"]);
    let server = run.wait_for_child(&["nbdkit"]);
    // Under strace, which keeps fatal signals from itself unless told otherwise.
    let traced = run.wait_for_child(&["strace"]);
    run.assert_ends_by(Signal::SIGTERM);
    assert_is_gone(server);
    assert_is_gone(traced);

    let run = Run::with_signals(&["real"]);
    run.wait_for_file(KEY);
    run.assert_no_key_is_left();
}
