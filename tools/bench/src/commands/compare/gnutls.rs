//! `compare --gnutls`: the modes of the C program over GnuTLS, beside fio and qemu-img.
//!
//! Each server is nbdkit, with a pre-shared key or with certificates. The program corks what a turn
//! of its loop submits. TCP_CORK is around each request, as in QEMU; GnuTLS's cork is measured in
//! both ways. qemu-img cannot pause: a slice is the difference of a long and a short run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::table::{QUEUE_DEPTH, Standing};
use crate::client::cell::Cell;
use crate::measure::{self, Plan, Sitting, place};
use crate::shared::cpu_time::CpuTime;
use crate::shared::rivals::{self, Nbdkit};
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::TemporaryCertificates;

pub(super) const OURS: &str = "policy";
const NAME: &str = "eblake";
/// Milliseconds of a slice, and of the warm-up before it.
const SLICE: u32 = 50;
const WARM_UP: u32 = 6;
/// Its requests are always of this size.
const QEMU_BLOCK: u32 = 2 << 20;
/// Requests of qemu-img's short run.
const SHORT_RUN: u64 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// The C program: its mode, and what it corks.
    Writer(&'static str, &'static str),
    Fio,
    QemuImg,
}

impl Client {
    const ALL: [Self; 7] = [
        Self::Writer(OURS, "turn"),
        Self::Writer("immediate", "turn"),
        Self::Writer("tcp-cork", "request"),
        Self::Writer("record-cork", "request"),
        Self::Writer("record-cork", "turn"),
        Self::Fio,
        Self::QemuImg,
    ];

    fn name(self) -> String {
        match self {
            Self::Writer(mode, unit) => format!("{mode}, {unit}"),
            Self::Fio => "fio".to_owned(),
            Self::QemuImg => "qemu-img".to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Psk,
    Certificates,
}

/// Measures all clients at all block sizes; `writer` is the compiled program.
pub(super) fn measure(plan: Plan, block_sizes: &[u32], writer: &Path, fio: bool) -> Result<Vec<Standing>, Failure> {
    let home = rivals::home()?;
    let keys = home.path().join("keys.psk");
    fs::write(&keys, format!("{NAME}:{}\n", "01".repeat(32)))
        .map_err(|e| Failure::new("write file", keys.display(), e))?;
    let servers = Servers {
        psk: Nbdkit::start(None, &["--tls=require", &format!("--tls-psk={}", keys.display()), "null", "4g"])?,
        certificates: Nbdkit::start(Some(home.path()), &["null", "4g"])?,
        home,
    };
    let qemu = rivals::is_installed("qemu-img");
    // fio does not let libnbd read a file with keys.
    let can_run = |client, security| match client {
        Client::Writer(..) => true,
        Client::Fio => fio && security == Security::Certificates,
        Client::QemuImg => qemu,
    };
    let mut seats = Vec::new();
    let mut rows = Vec::new();
    for security in [Security::Psk, Security::Certificates] {
        for client in Client::ALL.into_iter().filter(|&client| can_run(client, security)) {
            let sizes = block_sizes.iter().filter(|&&size| client != Client::QemuImg || size == QEMU_BLOCK);
            rows.extend(sizes.map(|&size| ((seats.len(), size), (seats.len() + 1, size))));
            seats.extend([(Client::ALL[0], security), (client, security)]);
        }
    }
    let pairs = measure::run(plan, &rows, &mut Rng::new(), |number| servers.open(&seats, writer, number))?;
    let standing = |(row, pairs): (usize, &Vec<_>)| {
        let (client, security) = seats[rows[row].1.0];
        let name = format!("{} ({})", client.name(), if security == Security::Psk { "PSK" } else { "certificates" });
        Standing::new(name, client == Client::ALL[0], [matches!(client, Client::Writer(..)); 2], pairs)
    };
    Ok(pairs.iter().enumerate().filter_map(standing).collect())
}

struct Servers {
    psk: Nbdkit,
    certificates: Nbdkit,
    home: TemporaryCertificates,
}

impl Servers {
    fn server(&self, security: Security) -> &Nbdkit {
        if security == Security::Psk { &self.psk } else { &self.certificates }
    }

    fn port(&self, security: Security) -> u16 {
        self.server(security).port
    }

    fn open(&self, seats: &[(Client, Security)], writer: &Path, number: u32) -> Result<Clients<'_>, Failure> {
        let start = |&(client, security): &(Client, Security)| {
            let Client::Writer(mode, unit) = client else { return Ok((client, security, None)) };
            let mut command = Command::new(writer);
            command.arg("--slices").arg("--count=1000000000").arg(format!("--port={}", self.port(security)));
            command.arg(format!("--mode={mode}")).arg(format!("--unit={unit}")).arg(format!("--depth={QUEUE_DEPTH}"));
            command.arg(match security {
                Security::Psk => format!("--tls-psk={}", self.home.path().join("keys.psk").display()),
                Security::Certificates => format!("--tls-certificates={}", self.home.path().display()),
            });
            let mut process = Attendant::start(&mut command, "nbd_writer")?;
            process.hear()?; // it is connected
            Ok((client, security, Some(process)))
        };
        // A thread of its own, because those that it starts stay on its processor.
        let begin = || {
            place::pin(number);
            seats.iter().map(start).collect::<Result<Vec<_>, Failure>>()
        };
        let seats = thread::scope(|scope| scope.spawn(begin).join());
        let seats = seats.map_err(|_| Failure::new("start program", "nbd_writer", "panicked"))??;
        Ok(Clients { servers: self, seats })
    }

    fn qemu_img(&self, security: Security) -> Result<Cell, Failure> {
        let requests = 200;
        let (short_time, short_cpu) = self.run_qemu_img(security, SHORT_RUN)?;
        let (time, cpu) = self.run_qemu_img(security, SHORT_RUN + requests)?;
        let cpu = cpu.since(short_cpu);
        Ok(Cell {
            block_size: QEMU_BLOCK,
            requests,
            requests_per_s: requests as f64 / time.saturating_sub(short_time).as_secs_f64(),
            cpu_user_s: cpu.user.as_secs_f64(),
            cpu_sys_s: cpu.sys.as_secs_f64(),
            ..Cell::default()
        })
    }

    /// Copies blocks without a source: it reads nothing, and looks for no zeroes.
    fn run_qemu_img(&self, security: Security, requests: u64) -> Result<(Duration, CpuTime), Failure> {
        let home = self.home.path().display();
        let credentials = match security {
            Security::Psk => format!("tls-creds-psk,id=tls,endpoint=client,dir={home},username={NAME}"),
            Security::Certificates => format!("tls-creds-x509,id=tls,endpoint=client,dir={home}/{}", rivals::TRUSTED),
        };
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-n", "-W", "-S", "0", "--object", &credentials]);
        command.arg("-m").arg(QUEUE_DEPTH.to_string());
        let source = format!("driver=null-co,size={},read-zeroes=off", requests * u64::from(QEMU_BLOCK));
        command.args(["--image-opts", &source, "--target-image-opts"]);
        command.arg(format!("driver=nbd,host=127.0.0.1,port={},tls-creds=tls", self.port(security)));
        let (begin, cpu) = (Instant::now(), CpuTime::of_children());
        children::run(&mut command, "qemu-img", Duration::from_secs(60))?;
        Ok((begin.elapsed(), CpuTime::of_children().since(cpu)))
    }
}

struct Clients<'a> {
    servers: &'a Servers,
    /// Each with its process, unless one is started for each slice.
    seats: Vec<(Client, Security, Option<Attendant>)>,
}

impl Sitting<(usize, u32)> for Clients<'_> {
    type Slice = Cell;

    fn slice(&mut self, &(seat, block_size): &(usize, u32)) -> Result<Cell, Failure> {
        let (client, security, process) = &mut self.seats[seat];
        let Some(process) = process else {
            let uri = rivals::uri(self.servers.certificates.port);
            return match client {
                Client::Fio => rivals::run_fio(self.servers.home.path(), &uri, block_size, QUEUE_DEPTH),
                _ => self.servers.qemu_img(*security),
            };
        };
        process.tell(&format!("go {WARM_UP} {block_size}"))?;
        process.hear()?;
        let server = self.servers.server(*security).id();
        let before = place::process_cpu_ns(server);
        process.tell(&format!("go {SLICE} {block_size}"))?;
        let line = process.hear()?;
        let cpu_ns = place::process_cpu_ns(server).zip(before).map(|(after, before)| after - before);
        let cell: Cell = serde_json::from_str(&line).map_err(|e| Failure::new("read report", "nbd_writer", e))?;
        Ok(Cell { server_cpu_s: cpu_ns.map(|ns| ns as f64 / 1e9), ..cell })
    }

    fn end(self) -> Result<(), Failure> {
        Ok(())
    }
}
