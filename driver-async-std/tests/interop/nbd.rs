//! NBD over TLS: our mio client against nbdkit and qemu-nbd, qemu-img against the example server on async-std.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tls_cork_bench::children;
use tls_cork_bench::endpoint::Endpoint;
use tls_cork_bench::engine::{self, Load};
use tls_cork_bench::failure::Failure;
use tls_cork_bench::link::{Link, Target};
use tls_cork_bench::wire::{Security, Strategy};

use crate::cases::{Case, Outcome, cork, ensure, random};
use crate::ours::LIMIT;
use crate::peers::Peer;
use crate::pki::{Pki, Terms};
use crate::programs::priority;
use crate::table::{Feature, Program, Seen};

/// ffdhe2048 of RFC 7919. Without this file QEMU makes parameters of its own, and starts late on a busy machine.
const DH_PARAMETERS: &str = "\
-----BEGIN DH PARAMETERS-----\n\
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz\n\
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a\n\
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7\n\
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi\n\
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD\n\
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==\n\
-----END DH PARAMETERS-----\n\
";
const DISK: usize = 8 << 20;
const BLOCK: u32 = 40_001;
const REQUESTS: u64 = 150;

pub(crate) fn run(case: &Case, pki: &Pki) -> Outcome {
    let terms = case.terms();
    let pki = directory(pki, &terms);
    match case.program {
        Program::Nbdkit => {
            let (_peer, port, _) = Peer::listening(|port| nbdkit(&pki, &terms, port))?;
            client(case, &pki, port)
        }
        Program::QemuNbd => {
            fs::write(pki.file("disk"), vec![0; DISK]).map_err(|error| error.to_string())?;
            fs::write(pki.file("dh-params.pem"), DH_PARAMETERS).map_err(|error| error.to_string())?;
            let (_peer, port, _) = Peer::listening(|port| qemu_nbd(&pki, &terms, port))?;
            client(case, &pki, port)
        }
        _ => example_server(case, &pki),
    }
}

/// The files with the names that these programs look for.
fn directory(pki: &Pki, terms: &Terms) -> Pki {
    let dir = Pki::beside(pki);
    for part in ["cert", "key"] {
        let (from, to) = (format!("{}-{part}.pem", terms.suite.key.name()), format!("server-{part}.pem"));
        fs::copy(dir.file(&from), dir.file(&to)).expect("copying a file");
        if !terms.client_certificate {
            fs::rename(dir.file(&format!("client-{part}.pem")), dir.file(&format!("unused-{part}.pem")))
                .expect("renaming a file");
        }
    }
    dir
}

/// Writes with our client, then reads everything back.
fn client(case: &Case, pki: &Pki, port: u16) -> Outcome {
    let security = Security::Tls {
        config: pki.client(&case.terms()),
        server_name: ServerName::try_from("localhost").expect("a name"),
    };
    let target = Target { endpoint: Endpoint::local(port), security, export: String::new() };
    let load =
        Load { block_size: BLOCK, queue_depth: 8, time: Duration::from_secs(60), max_requests: REQUESTS, verify: true };
    let measured =
        Link::open(&target, Strategy::More, cork()).and_then(|(link, facts)| engine::run(link, &facts, &load));
    if case.feature == Feature::NoClientCertificate {
        return refused(measured.err());
    }
    let measured = measured.map_err(|failure| failure.to_string())?;
    ensure(measured.verified && measured.requests == REQUESTS, || format!("{measured:?}"))?;
    let records = measured.counters.records;
    let most = REQUESTS * u64::from((28 + BLOCK).div_ceil(16 * 1024));
    ensure(records <= most, || format!("{records} records, expected {most} at most"))?;
    let note =
        if case.feature == Feature::HelloRetry { "read back; the server takes P-256 alone" } else { "read back" };
    Ok(Seen { records: Some((records, most + REQUESTS)), received: None, note: note.to_owned() })
}

fn refused(failure: Option<Failure>) -> Outcome {
    let said = failure.ok_or("the server let us in")?.to_string();
    // Neither sends an alert; what nbdkit has not read before it closes makes that a reset.
    let expected =
        ["fatal alert: CertificateRequired", "closed connection", "closed the connection", "Connection reset"];
    ensure(expected.iter().any(|part| said.contains(part)), || format!("unclear: {said}"))?;
    Ok(Seen { note: said, ..Seen::default() })
}

fn nbdkit(pki: &Pki, terms: &Terms, port: u16) -> Command {
    let mut command = Command::new("nbdkit");
    command.args(["--foreground", "--exit-with-parent", "--ipaddr", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--tls=require", &format!("--tls-certificates={}", pki.dir().display())]);
    if terms.client_auth {
        command.arg("--tls-verify-peer");
    }
    command.args(["memory", "64m"]);
    command
}

fn qemu_nbd(pki: &Pki, terms: &Terms, port: u16) -> Command {
    let mut command = Command::new("qemu-nbd");
    let (verify, dir) = (if terms.client_auth { "yes" } else { "no" }, pki.dir().display());
    let priority = priority(terms, ":+GROUP-SECP256R1");
    let credentials =
        format!("tls-creds-x509,id=tls,dir={dir},endpoint=server,verify-peer={verify},priority={priority}");
    command.args(["--object", &credentials, "--tls-creds", "tls", "--persistent", "--format", "raw"]);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).arg(pki.file("disk"));
    command
}

/// The example server, which qemu-img copies a disk to and compares it with.
fn example_server(case: &Case, pki: &Pki) -> Outcome {
    let terms = case.terms();
    fs::write(pki.file("disk"), random(DISK)).map_err(|error| error.to_string())?;
    let mut command = Command::new(example()?);
    command.args(["--listen", "127.0.0.1:0", "--memory", &DISK.to_string()]);
    command.args(["--cert", &pki.arg("server-cert.pem"), "--key", &pki.arg("server-key.pem")]);
    if terms.client_auth {
        command.args(["--client-ca", &pki.arg("ca-cert.pem")]);
    }
    let server = Peer::start(&mut command)?;
    server.stdout.wait_for(b"\n", 1)?;
    let said = String::from_utf8_lossy(&server.stdout.bytes()).into_owned();
    let (_, port) = said.trim().rsplit_once(':').ok_or_else(|| format!("no address in: {said}"))?;
    let target = format!("driver=nbd,host=localhost,port={port},tls-creds=tls,export=");
    let disk = pki.file("disk");
    let copied = qemu_img(pki, &terms, "convert", |command| {
        command.args(["-n", "-f", "raw", "--target-image-opts"]).arg(&disk).arg(&target);
    });
    if case.feature == Feature::NoClientCertificate {
        let failure = copied.err().ok_or("the server let qemu-img in")?;
        server.stderr.wait_for(b"peer sent no certificates", 1)?;
        return Ok(Seen { note: failure.trim().replace('\n', " "), ..Seen::default() });
    }
    copied?;
    let file = format!("driver=file,filename={}", disk.display());
    let said = qemu_img(pki, &terms, "compare", |command| {
        command.args(["--image-opts", &file, &target]);
    })?;
    ensure(said.contains("Images are identical"), || said.clone())?;
    let complaints = String::from_utf8_lossy(&server.stderr.bytes()).into_owned();
    ensure(complaints.is_empty(), || format!("the server says: {complaints}"))?;
    Ok(Seen { note: "images are identical".to_owned(), ..Seen::default() })
}

fn qemu_img(
    pki: &Pki,
    terms: &Terms,
    subcommand: &str,
    arguments: impl FnOnce(&mut Command),
) -> Result<String, String> {
    let mut command = Command::new("qemu-img");
    let (dir, priority) = (pki.dir().display(), priority(terms, ""));
    let credentials = format!("tls-creds-x509,id=tls,dir={dir},endpoint=client,priority={priority}");
    command.arg(subcommand).args(["--object", &credentials]);
    arguments(&mut command);
    let finished = children::run(&mut command, "qemu-img", LIMIT).map_err(|failure| failure.to_string())?;
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// `cargo test` builds examples next to the tests.
fn example() -> Result<PathBuf, String> {
    let tests = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = tests.parent().and_then(Path::parent).ok_or("no directory")?.join("examples/nbd_server");
    ensure(path.exists(), || format!("no {}: run cargo build --example nbd_server first", path.display()))?;
    Ok(path)
}
