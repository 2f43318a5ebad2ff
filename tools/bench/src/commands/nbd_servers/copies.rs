//! The copies: a client, and which way it copies.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::measure::place;
use crate::shared::rivals;
use tls_cork_programs::Failure;
use tls_cork_programs::children;

/// No copy takes longer, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(120);

/// A copy of the whole export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    QemuWrite,
    QemuRead,
    NbdcopyWrite,
    NbdcopyRead,
}

impl Copy {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 4] = [Self::QemuWrite, Self::QemuRead, Self::NbdcopyWrite, Self::NbdcopyRead];

    /// The client, and the command of NBD.
    pub(super) fn names(self) -> [&'static str; 2] {
        match self {
            Self::QemuWrite => ["qemu-img convert", "WRITE"],
            Self::QemuRead => ["qemu-img convert", "READ"],
            Self::NbdcopyWrite => ["nbdcopy", "WRITE"],
            Self::NbdcopyRead => ["nbdcopy", "READ"],
        }
    }
}

/// What the clients work with.
#[derive(Debug)]
pub(super) struct Clients<'a> {
    /// As [`rivals::home`] makes it.
    pub(super) home: &'a Path,
    /// What is written.
    pub(super) source: &'a Path,
    /// Its length.
    pub(super) bytes: u64,
}

impl Clients<'_> {
    /// Copies to or from the server at `port`, on a processor.
    pub(super) fn copy(&self, copy: Copy, port: u16, processor: u32) -> Result<(), Failure> {
        // What the target of a READ does with the data is to take no time.
        let null = format!("driver=null-co,size={}", self.bytes);
        let mut command;
        match copy {
            Copy::QemuWrite | Copy::QemuRead => {
                command = self.qemu_img("convert");
                // Coroutines, each with a request under way, that need not keep to the order; no
                // search for zeroes.
                command.args(["-n", "-W", "-S", "0", "-m", "16", "--target-image-opts"]);
                if copy == Copy::QemuWrite {
                    command.args(["-f", "raw"]).arg(self.source).arg(target(port));
                } else {
                    command.arg("--image-opts").args([target(port), null]);
                }
            }
            Copy::NbdcopyWrite => {
                command = Command::new("nbdcopy");
                command.args(["--allocated", "--sparse=0"]).arg(self.source).arg(rivals::uri(port));
            }
            Copy::NbdcopyRead => {
                command = Command::new("nbdcopy");
                command.args([&rivals::uri(port), "null:"]);
            }
        }
        self.run(command, copy.names()[0], processor)
    }

    /// Makes sure that the server at `port` has what is in the source.
    pub(super) fn compare(&self, port: u16, processor: u32) -> Result<(), Failure> {
        let mut command = self.qemu_img("compare");
        let source = format!("driver=file,filename={}", self.source.display());
        command.arg("--image-opts").args([source, target(port)]);
        self.run(command, "qemu-img compare", processor)
    }

    fn qemu_img(&self, subcommand: &str) -> Command {
        let mut command = Command::new("qemu-img");
        let trusted = self.home.join(rivals::TRUSTED);
        command.arg(subcommand).arg("--object");
        command.arg(format!("tls-creds-x509,id=tls,endpoint=client,dir={}", trusted.display()));
        command
    }

    fn run(&self, mut command: Command, name: &str, processor: u32) -> Result<(), Failure> {
        command.env("HOME", self.home).current_dir(self.home);
        place::on(processor, || children::run(&mut command, name, LIMIT)).map(drop)
    }
}

/// The server as QEMU names it.
fn target(port: u16) -> String {
    format!("driver=nbd,host=127.0.0.1,port={port},tls-creds=tls")
}
