//! The programs, and how each is told to write.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Job;
use super::strace::{self, SystemCalls};
use crate::client::cell::Cell;
use crate::client::wire::Strategy;
use crate::shared::cpu_time::CpuTime;
use crate::shared::rivals;
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Finished};
use tls_cork_programs::tls;
use tls_cork_testing::content;

/// No run takes longer than this, not even under strace.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// nbdcopy's own lower limit for `--request-size`.
const NBDCOPY_SMALLEST: u32 = 4096;
/// nbdcopy queues no more bytes than this unless told to.
const NBDCOPY_QUEUE: u64 = 16 << 20;

/// A program that writes to an NBD server over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Ours(Strategy),
    Fio,
    QemuIo,
    QemuImg,
    Nbdcopy,
}

/// By whose clock a run is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// The program's own report: from its first request to its last reply.
    Own,
    /// From the start of the process to its end, connecting and negotiating included.
    Process,
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    pub(super) seconds: f64,
    pub(super) cpu_s: f64,
}

/// One timed run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    own: Option<Took>,
    process: Took,
}

impl Run {
    /// By `clock`; a program that has none of its own is timed as a process.
    pub(super) fn took(&self, clock: Clock) -> Took {
        match clock {
            Clock::Own => self.own.unwrap_or(self.process),
            Clock::Process => self.process,
        }
    }
}

impl Program {
    pub(super) const ALL: [Self; 7] = [
        Self::QemuImg,
        Self::QemuIo,
        Self::Nbdcopy,
        Self::Fio,
        Self::Ours(Strategy::Immediate),
        Self::Ours(Strategy::Vectored),
        Self::OURS,
    ];
    /// What the others are compared with.
    pub(super) const OURS: Self = Self::Ours(Strategy::More);

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours(Strategy::More) => "tls-cork (more)",
            Self::Ours(Strategy::Vectored) => "rustls (vectored)",
            Self::Ours(_) => "rustls (immediate)",
            Self::Fio => "fio",
            Self::QemuIo => "qemu-io",
            Self::QemuImg => "qemu-img convert",
            Self::Nbdcopy => "nbdcopy",
        }
    }

    /// Whether it can be made to do `job`.
    pub(super) fn can_do(self, job: &Job) -> bool {
        match self {
            Self::Ours(_) | Self::Fio => true,
            // It is told each write in a line of text, which only small writes are worth.
            Self::QemuIo => job.block_size <= 4096,
            // Its requests are of 2 MiB, whatever one may want.
            Self::QemuImg => job.is_copy(),
            Self::Nbdcopy => job.block_size >= NBDCOPY_SMALLEST,
        }
    }

    pub(super) fn clock(self) -> Clock {
        match self {
            Self::Ours(_) | Self::Fio => Clock::Own,
            Self::QemuIo | Self::QemuImg | Self::Nbdcopy => Clock::Process,
        }
    }

    /// Makes sure that all of them, and strace, are installed.
    pub(super) fn require_all() -> Result<(), Failure> {
        for (program, package) in [
            ("qemu-img", "qemu-utils"),
            ("qemu-io", "qemu-utils"),
            ("nbdcopy", "libnbd-bin"),
            ("fio", "fio"),
            ("strace", "strace"),
        ] {
            rivals::require(program, package)?;
        }
        Ok(())
    }
}

/// Where programs run, and the files they need.
#[derive(Debug)]
pub(super) struct Workshop<'a> {
    home: &'a Path,
    ourselves: PathBuf,
}

/// A command line; and a file as its standard input.
struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
    input: Option<PathBuf>,
}

impl<'a> Workshop<'a> {
    /// In `home`, as [`rivals::home`] makes it.
    pub(super) fn new(home: &'a Path) -> Result<Self, Failure> {
        Ok(Self { home, ourselves: children::ourselves()? })
    }

    /// Writes the files that `requests` writes of `job` need; what has been written is kept.
    pub(super) fn prepare(&self, program: Program, job: &Job, requests: u64) -> Result<(), Failure> {
        let path = match program {
            Program::QemuIo => self.script(job, requests),
            Program::QemuImg | Program::Nbdcopy => self.source(job, requests),
            Program::Ours(_) if job.is_copy() => self.source(job, requests),
            Program::Fio | Program::Ours(_) => return Ok(()),
        };
        if path.exists() {
            return Ok(());
        }
        let write = if program == Program::QemuIo { write_script } else { write_source };
        write(&path, job, requests).map_err(|e| Failure::new("write file", path.display(), e))
    }

    /// One run that is timed.
    pub(super) fn time(&self, program: Program, job: &Job, port: u16) -> Result<Run, Failure> {
        let invocation = self.invocation(program, job, job.requests, port);
        let cpu = CpuTime::of_children();
        let start = Instant::now();
        let finished = self.run(&invocation, &[], program.name())?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu = CpuTime::of_children().since(cpu);
        let process = Took { seconds, cpu_s: (cpu.user + cpu.sys).as_secs_f64() };
        let cell: Option<Cell> = match program {
            Program::Ours(_) => Some(
                serde_json::from_slice(&finished.stdout).map_err(|e| Failure::new("read report", program.name(), e))?,
            ),
            Program::Fio => Some(rivals::read_fio_report(&finished.stdout, job.block_size, job.queue_depth)?),
            _ => None,
        };
        let own = cell.map(|cell| Took { seconds: cell.seconds, cpu_s: cell.cpu_user_s + cell.cpu_sys_s });
        Ok(Run { own, process })
    }

    /// One run under strace, which slows it down.
    pub(super) fn count(&self, program: Program, job: &Job, requests: u64, port: u16) -> Result<SystemCalls, Failure> {
        let log = self.home.join("strace.log");
        self.run(&self.invocation(program, job, requests, port), &strace::arguments(&log), program.name())?;
        let fail = |why: &dyn std::fmt::Display| Failure::new("count system calls", program.name(), why);
        let table = fs::read_to_string(&log).map_err(|e| fail(&e))?;
        strace::parse(&table).map_err(|e| fail(&e))
    }

    fn run(&self, invocation: &Invocation, strace: &[OsString], name: &str) -> Result<Finished, Failure> {
        let mut command = if strace.is_empty() {
            Command::new(&invocation.program)
        } else {
            let mut command = Command::new("strace");
            command.args(strace).arg(&invocation.program);
            command
        };
        command.args(&invocation.arguments).env("HOME", self.home).current_dir(self.home);
        let input = match &invocation.input {
            Some(path) => File::open(path).map_err(|e| Failure::new("open file", path.display(), e))?.into(),
            None => Stdio::null(),
        };
        children::run_with_input(&mut command, input, name, RUN_LIMIT)
    }

    fn invocation(&self, program: Program, job: &Job, requests: u64, port: u16) -> Invocation {
        let Job { block_size, queue_depth, .. } = *job;
        let target = format!("driver=nbd,host=127.0.0.1,port={port},tls-creds=tls");
        let credentials =
            format!("tls-creds-x509,id=tls,endpoint=client,dir={}", self.home.join(rivals::TRUSTED).display());
        let mut input = None;
        let (name, arguments): (OsString, Vec<OsString>) = match program {
            Program::Ours(strategy) => {
                let mut arguments: Vec<OsString> = ["nbd", "--json", "--seconds=60", "--ca"].map(Into::into).into();
                arguments.push(self.home.join(tls::CA_CERT).into());
                arguments.extend(
                    [
                        format!("--server-name={}", tls::SERVER_NAMES[0]),
                        format!("--connect=127.0.0.1:{port}"),
                        format!("--strategy={strategy}"),
                        format!("--block-size={block_size}"),
                        format!("--queue-depth={queue_depth}"),
                        format!("--requests={requests}"),
                    ]
                    .map(Into::into),
                );
                if job.is_copy() {
                    arguments.push("--from".into());
                    arguments.push(self.source(job, requests).into());
                }
                (self.ourselves.clone().into(), arguments)
            }
            Program::Fio => {
                let mut arguments = rivals::fio_arguments(port, block_size, queue_depth);
                arguments.push(format!("--size={}", requests * u64::from(block_size)));
                ("fio".into(), arguments.into_iter().map(Into::into).collect())
            }
            Program::QemuIo => {
                input = Some(self.script(job, requests));
                ("qemu-io".into(), ["--object", &credentials, "--image-opts", &target].map(Into::into).into())
            }
            Program::QemuImg => {
                // Coroutines, each with a request under way, that need not keep to the order; no search for zeroes.
                let coroutines = queue_depth.min(16).to_string();
                let fixed =
                    ["convert", "-f", "raw", "-n", "-W", "-S", "0", "-m", &coroutines, "--object", &credentials];
                let mut arguments: Vec<OsString> = fixed.map(Into::into).into();
                arguments.push("--target-image-opts".into());
                arguments.push(self.source(job, requests).into());
                arguments.push(target.into());
                ("qemu-img".into(), arguments)
            }
            Program::Nbdcopy => {
                let queue = (u64::from(block_size) * u64::from(queue_depth)).max(NBDCOPY_QUEUE);
                let mut arguments: Vec<OsString> =
                    ["--connections=1", "--allocated", "--sparse=0"].map(Into::into).into();
                arguments.extend(
                    [
                        format!("--request-size={block_size}"),
                        format!("--requests={queue_depth}"),
                        format!("--queue-size={queue}"),
                    ]
                    .map(Into::into),
                );
                arguments.push(self.source(job, requests).into());
                arguments.push(format!("nbds://{}:{port}/", tls::SERVER_NAMES[0]).into());
                ("nbdcopy".into(), arguments)
            }
        };
        Invocation { program: name, arguments, input }
    }

    /// What qemu-io is told.
    fn script(&self, job: &Job, requests: u64) -> PathBuf {
        self.home.join(format!("{}-{}-{requests}.qemu-io", job.block_size, job.queue_depth))
    }

    /// What is copied.
    fn source(&self, job: &Job, requests: u64) -> PathBuf {
        self.home.join(format!("{}.raw", u64::from(job.block_size) * requests))
    }
}

fn write_script(path: &Path, job: &Job, requests: u64) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    // What is asynchronous is in flight up to sixteen at a time: that is the limit of QEMU's NBD client.
    let verb = if job.queue_depth == 1 { "write" } else { "aio_write" };
    for number in 0..requests {
        writeln!(file, "{verb} -q {} {}", number * u64::from(job.block_size), job.block_size)?;
    }
    writeln!(file, "aio_flush")?;
    file.flush()
}

/// Nothing in it is zero for long: programs look for zeroes, and do not send them.
fn write_source(path: &Path, job: &Job, requests: u64) -> io::Result<()> {
    let mut block = vec![0; 1 << 20];
    content::fill(0, 0, &mut block);
    let mut file = File::create(path)?;
    let mut left = usize::try_from(u64::from(job.block_size) * requests).map_err(io::Error::other)?;
    while left > 0 {
        let piece = left.min(block.len());
        file.write_all(&block[..piece])?;
        left -= piece;
    }
    // Or else it would be written to the disk while others are timed.
    file.sync_all()
}
