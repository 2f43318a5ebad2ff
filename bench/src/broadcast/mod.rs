//! `broadcast`: one message to many receivers that do not read, and what that takes in memory.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::children::{self, Guarded};
use crate::failure::Failure;
use crate::tls;

mod memory;
pub mod receivers;
pub mod sender;
mod stacks;

pub use memory::Memory;
pub use sender::{Held, Stack};

/// A stack that copies the message for each receiver gets so many of them that the copies take no more than this.
const COPIES_MAX: u64 = 320 << 20;

/// Options of `broadcast`.
#[derive(Debug, Args)]
pub struct BroadcastArgs {
    /// Receivers that connect and never read.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub receivers: u32,
    /// Length of the message.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub message_mib: u64,
    /// What the sender asks of each socket with `SO_SNDBUF`, the same for every stack.
    #[arg(long, value_name = "KIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(4..=4096))]
    pub send_buffer_kib: u32,
}

/// Runs every stack and prints what each took.
///
/// # Errors
///
/// When a sender or its receivers fail.
pub fn run(args: &BroadcastArgs) -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(|e| Failure::new("create directory", std::env::temp_dir().display(), e))?;
    tls::make_certificates(dir.path())?;
    for &stack in Stack::ALL {
        let receivers = receivers_of(args, stack);
        let held = measure(args, stack, receivers, dir.path())?;
        println!(
            "{:50} {receivers} {:?} session {} stalled {} kernel {}",
            stack.name(),
            held.before.resident >> 10,
            (held.idle.resident - held.before.resident) / u64::from(receivers),
            (held.stalled.resident - held.idle.resident) / u64::from(receivers),
            held.stalled.kernel >> 20
        );
    }
    Ok(())
}

fn receivers_of(args: &BroadcastArgs, stack: Stack) -> u32 {
    let affordable = (COPIES_MAX / (args.message_mib << 20)).max(1);
    if stack.copies() { args.receivers.min(u32::try_from(affordable).unwrap_or(u32::MAX)) } else { args.receivers }
}

fn measure(args: &BroadcastArgs, stack: Stack, receivers: u32, certs: &Path) -> Result<Held, Failure> {
    let program = children::ourselves()?;
    let spawn = |command: &mut Command, name: &str| {
        Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()), name)
    };
    let stack_name = clap::ValueEnum::to_possible_value(&stack).map(|v| v.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(&program);
    command
        .arg("broadcast-sender")
        .arg(format!("--stack={stack_name}"))
        .arg(format!("--receivers={receivers}"))
        .arg(format!("--message-bytes={}", args.message_mib << 20))
        .arg(format!("--send-buffer={}", u64::from(args.send_buffer_kib) << 10))
        .arg("--certs")
        .arg(certs);
    let mut sender = spawn(&mut command, &format!("sender {stack_name}"))?;
    let port = sender.line()?;
    let mut command = Command::new(&program);
    command.args(["broadcast-receivers", "--port", &port]).arg(format!("--receivers={receivers}"));
    if stack.is_tls() {
        command.arg("--ca").arg(certs.join(tls::CA_CERT));
    }
    let mut deaf = spawn(&mut command, "receivers")?;
    deaf.line()?;
    let held = sender.line()?;
    serde_json::from_str(&held).map_err(|e| Failure::new("read report", format!("sender {stack_name}"), e))
}

/// Room for as many sockets.
fn raise_file_limit(sockets: u32) -> Result<(), Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::new("raise limit", "open files", e);
    let needed = u64::from(sockets) + 64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| fail(&e))?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(fail(&format!("{needed} are needed, the hard limit is {hard} (ulimit -Hn)")));
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|e| fail(&e))
}
