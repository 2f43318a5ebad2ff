//! The programs, and how each of them is started under strace.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tls_cork_programs::Failure;
use tls_cork_programs::children;
use tls_cork_programs::tls;
use tls_cork_testing::content;

use crate::client::wire::Strategy;
use crate::shared::{rivals, strace};

/// No run takes longer than this.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// What is counted: an option that is set, and sends.
const CALLS: [&str; 6] = {
    let [a, b, c, d, e] = strace::SENDS;
    ["setsockopt", a, b, c, d, e]
};

/// What every program is to do: sequential writes of the same length.
pub(super) struct Job {
    pub(super) block_size: u32,
    pub(super) queue_depth: u32,
    /// How many writes the two runs make.
    pub(super) few: u64,
    pub(super) many: u64,
}

/// A program that writes to an NBD server over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    QemuImg,
    QemuIo,
    Nbdcopy,
    Fio,
    Ours(Strategy),
}

impl Program {
    pub(super) const ALL: [Self; 7] = [
        Self::QemuImg,
        Self::QemuIo,
        Self::Nbdcopy,
        Self::Fio,
        Self::Ours(Strategy::Immediate),
        Self::Ours(Strategy::Vectored),
        Self::Ours(Strategy::More),
    ];

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
            // It reads a line of text for each write, which only small writes are worth.
            Self::QemuIo => job.block_size <= 4096,
            // Its requests are always of 2 MiB.
            Self::QemuImg => job.block_size == 2 << 20,
            // Its own lower limit.
            Self::Nbdcopy => job.block_size >= 4096,
        }
    }
}

/// Makes sure that all of them, and strace, are installed.
pub(super) fn require_all() -> Result<(), Failure> {
    rivals::require("qemu-img", "qemu-utils")?;
    rivals::require("qemu-io", "qemu-utils")?;
    rivals::require("nbdcopy", "libnbd-bin")?;
    rivals::require("fio", "fio")?;
    rivals::require("strace", "strace")
}

/// How many system calls a program has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SystemCalls {
    /// Those that sent, or tried to.
    pub(super) sends: u64,
    /// Those that set an option of a socket.
    pub(super) options: u64,
}

/// Runs a program in `home`, as [`rivals::home`] makes it, against the server at `port`.
pub(super) fn run(program: Program, job: &Job, requests: u64, home: &Path, port: u16) -> Result<SystemCalls, Failure> {
    let log = home.join("strace.log");
    // What it copies, or reads its commands from.
    let file = home.join("input");
    let input = match program {
        Program::QemuIo => script(job, requests).into_bytes(),
        Program::QemuImg | Program::Nbdcopy => source(job, requests),
        Program::Fio | Program::Ours(_) => Vec::new(),
    };
    fs::write(&file, input).map_err(|e| Failure::new("write file", file.display(), e))?;
    let input = File::open(&file).map_err(|e| Failure::new("open file", file.display(), e))?;
    let mut command = strace::counting(&CALLS, &log);
    command.args(command_line(program, job, requests, home, &file, port)?).env("HOME", home).current_dir(home);
    children::run_with_input(&mut command, Stdio::from(input), program.name(), RUN_LIMIT)?;
    let table = fs::read_to_string(&log).map_err(|e| Failure::new("read file", log.display(), e))?;
    let [options, sends @ ..] =
        strace::parse(&table, CALLS).map_err(|e| Failure::new("count system calls", program.name(), e))?;
    Ok(SystemCalls { sends: sends.iter().sum(), options })
}

fn command_line(
    program: Program,
    job: &Job,
    requests: u64,
    home: &Path,
    file: &Path,
    port: u16,
) -> Result<Vec<OsString>, Failure> {
    let Job { block_size, queue_depth, .. } = *job;
    let target = format!("driver=nbd,host=127.0.0.1,port={port},tls-creds=tls");
    let credentials = format!("tls-creds-x509,id=tls,endpoint=client,dir={}", home.join(rivals::TRUSTED).display());
    let mut line: Vec<OsString> = Vec::new();
    match program {
        Program::Ours(strategy) => {
            line.push(children::ourselves()?.into());
            line.extend(["nbd", "--json", "--seconds=60", "--ca"].map(Into::into));
            line.push(home.join(tls::CA_CERT).into());
            line.push(format!("--server-name={}", tls::SERVER_NAMES[0]).into());
            line.push(format!("--connect=127.0.0.1:{port}").into());
            line.push(format!("--strategy={strategy}").into());
            line.push(format!("--block-size={block_size}").into());
            line.push(format!("--queue-depth={queue_depth}").into());
            line.push(format!("--requests={requests}").into());
        }
        Program::Fio => {
            line.push("fio".into());
            line.extend(rivals::fio_arguments(&rivals::uri(port), block_size, queue_depth).into_iter().map(Into::into));
            line.push(format!("--size={}", requests * u64::from(block_size)).into());
        }
        Program::QemuIo => {
            line.extend(["qemu-io", "--object", &credentials, "--image-opts", &target].map(Into::into));
        }
        Program::QemuImg => {
            // Coroutines, each with a request under way, that need not keep to the order; no search for zeroes.
            line.extend(["qemu-img", "convert", "-f", "raw", "-n", "-W", "-S", "0", "-m", "16"].map(Into::into));
            line.extend(["--object", &credentials, "--target-image-opts"].map(Into::into));
            line.extend([file.into(), target.into()]);
        }
        Program::Nbdcopy => {
            line.extend(["nbdcopy", "--connections=1", "--allocated", "--sparse=0"].map(Into::into));
            line.push(format!("--request-size={block_size}").into());
            line.push(format!("--requests={queue_depth}").into());
            // It queues no more than 16 MiB unless told to.
            line.push(format!("--queue-size={}", (block_size * queue_depth).max(16 << 20)).into());
            line.extend([file.into(), format!("nbds://{}:{port}/", tls::SERVER_NAMES[0]).into()]);
        }
    }
    Ok(line)
}

/// The commands of qemu-io.
fn script(job: &Job, requests: u64) -> String {
    // Asynchronous requests are in flight up to sixteen at a time: that is the limit of QEMU's NBD client.
    let verb = if job.queue_depth == 1 { "write" } else { "aio_write" };
    let mut script = String::new();
    for number in 0..requests {
        let _ = writeln!(script, "{verb} -q {} {}", number * u64::from(job.block_size), job.block_size);
    }
    script + "aio_flush\n"
}

/// A file to copy. Nothing in it is zero for long: programs look for zeroes, and do not send them.
fn source(job: &Job, requests: u64) -> Vec<u8> {
    let mut block = vec![0; job.block_size as usize];
    content::fill(0, 0, &mut block);
    block.repeat(requests as usize)
}
