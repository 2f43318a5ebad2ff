//! Child processes that end when their owner is done with them, however that comes about.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::cleanup::{GRACE, POLL_INTERVAL, SharedChild};

/// A child that is ended, and waited for, when this is dropped.
#[derive(Debug)]
pub struct Guarded {
    child: Arc<SharedChild>,
    name: String,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<ChildStderr>,
}

impl Guarded {
    /// Starts `command`, called `name` in messages.
    pub fn spawn(command: &mut Command, name: &str) -> Result<Self, Failure> {
        let child = SharedChild::spawn(command, name)?;
        let mut pipes = child.lock();
        let (stdin, stdout, stderr) = (pipes.stdin.take(), pipes.stdout.take(), pipes.stderr.take());
        drop(pipes);
        Ok(Self { child, name: name.to_owned(), stdin, stdout: stdout.map(BufReader::new), stderr })
    }

    /// The next line of its standard output, without the line break. Waits for it as long as the child lives.
    /// If there is none any more, the failure has what the child wrote to standard error, where that is a pipe.
    pub fn line(&mut self) -> Result<String, Failure> {
        let fail = |why: &dyn std::fmt::Display| Failure::new("run program", &self.name, why);
        let mut line = String::new();
        let read = self.stdout.as_mut().map_or(Ok(0), |output| output.read_line(&mut line));
        if read.map_err(|e| fail(&e))? > 0 {
            return Ok(line.trim_end().to_owned());
        }
        let ended = self.wait(GRACE)?.map_or_else(|| "it closed its output".to_owned(), |status| status.to_string());
        let mut said = String::new();
        if let Some(mut stderr) = self.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        Err(Failure::new("run program", &self.name, format!("{ended}: {said}")))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.lock().id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.lock().try_wait().map_err(|e| Failure::new("wait for program", &self.name, e))
    }

    /// Waits for its end; `None` when that does not come in time.
    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Closing its input is all that our own server waits for.
        drop(self.stdin.take());
        self.child.terminate();
        self.child.end_by(Instant::now() + GRACE);
    }
}

/// What a program that ran to its end has left.
#[derive(Debug)]
pub struct Finished {
    /// Its standard output.
    pub stdout: Vec<u8>,
}

/// Runs `command` to its end, which has to come within `limit`. If it fails, so does this, with what it wrote to
/// standard error.
pub fn run(command: &mut Command, name: &str, limit: Duration) -> Result<Finished, Failure> {
    run_with_input(command, Stdio::null(), name, limit)
}

/// As [`run`], with something to read.
pub fn run_with_input(command: &mut Command, input: Stdio, name: &str, limit: Duration) -> Result<Finished, Failure> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded::spawn(command, name)?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = child.wait(limit)?;
    // Ends it if it still runs, and with it both pipes.
    drop(child);
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(Finished { stdout }),
        Some(status) => {
            let said = String::from_utf8_lossy(&stderr);
            Err(Failure::new("run program", name, format!("{status}: {said}")))
        }
        None => {
            let why = format!("not finished within {} s", limit.as_secs());
            Err(Failure::new("run program", name, why))
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut data = Vec::new();
        if let Some(mut pipe) = pipe {
            // What has come until an error is still worth having.
            let _ = pipe.read_to_end(&mut data);
        }
        data
    })
}

/// A child that answers each line on its input with a line on its output.
#[derive(Debug)]
pub struct Attendant(Guarded);

impl Attendant {
    /// Starts `command`, called `name` in messages.
    pub fn start(command: &mut Command, name: &str) -> Result<Self, Failure> {
        Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()), name).map(Self)
    }

    /// Gives it a line.
    pub fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let told = self.0.stdin.as_mut().map_or(Ok(()), |stdin| writeln!(stdin, "{line}"));
        told.map_err(|e| Failure::new("tell program", &self.0.name, e))
    }

    /// Waits for its next line.
    pub fn hear(&mut self) -> Result<String, Failure> {
        self.0.line()
    }
}

/// This program, to be run once more.
pub fn ourselves() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::new("find program", "ourselves", e))
}
