//! NBD over TLS: our client on mio and on tokio against nbdkit and qemu-nbd, qemu-img against the example server on async-std.

use std::collections::HashMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_nbd::client::{self, GoReplies};
use tls_cork_nbd::{CMD_DISC, CMD_READ, CMD_WRITE, Request, SIMPLE_REPLY_LEN, SimpleReply};
use tls_cork_programs::children;

use crate::cases::{Case, Outcome, cork, ensure, random};
use crate::ours::{LIMIT, Ours, Piece, Until};
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
const BLOCK: usize = 40_001;
const REQUESTS: usize = 152;
/// Requests that are sent at a time.
const DEPTH: usize = 8;

pub(crate) fn run(case: &Case, pki: &Pki) -> Outcome {
    let terms = case.terms();
    let pki = directory(pki, &terms);
    match case.program {
        Program::Nbdkit => {
            let (_peer, _, tcp) = Peer::listening(|port| nbdkit(&pki, &terms, port))?;
            client(case, &pki, tcp)
        }
        Program::QemuNbd => {
            fs::write(pki.file("disk"), vec![0; DISK]).map_err(|error| error.to_string())?;
            fs::write(pki.file("dh-params.pem"), DH_PARAMETERS).map_err(|error| error.to_string())?;
            let (_peer, _, tcp) = Peer::listening(|port| qemu_nbd(&pki, &terms, port))?;
            client(case, &pki, tcp)
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

fn client(case: &Case, pki: &Pki, tcp: TcpStream) -> Outcome {
    let written = write_and_read_back(case, pki, tcp);
    if case.feature == Feature::NoClientCertificate {
        return refused(written.err());
    }
    let records = written?;
    let most = (REQUESTS * (28 + BLOCK).div_ceil(16 * 1024)) as u64;
    ensure(records <= most, || format!("{records} records, expected {most} at most"))?;
    let note =
        if case.feature == Feature::HelloRetry { "read back; the server takes P-256 alone" } else { "read back" };
    Ok(Seen { records: Some((records, most + REQUESTS as u64)), received: None, note: note.to_owned() })
}

/// Writes with our client, then reads everything back; the records that the writes took.
fn write_and_read_back(case: &Case, pki: &Pki, mut tcp: TcpStream) -> Result<u64, String> {
    client::begin(&mut tcp, true).map_err(|error| error.to_string())?;
    let ours = case.driver.client(tcp, pki.client(&case.terms()), cork());
    let mut ours = ours.map_err(|error| error.to_string())?;
    go(&mut *ours)?;
    let data = Bytes::from(random(REQUESTS * BLOCK));
    let block = |n: usize| data.slice(n * BLOCK..(n + 1) * BLOCK);
    let before = ours.wire().0.records;
    for first in (0..REQUESTS).step_by(DEPTH) {
        requests(&mut *ours, CMD_WRITE, first, &block)?;
    }
    let records = ours.wire().0.records - before;
    for first in (0..REQUESTS).step_by(DEPTH) {
        for (n, read) in requests(&mut *ours, CMD_READ, first, &|_| Bytes::new())? {
            ensure(read == block(n), || format!("block {n} differs"))?;
        }
    }
    let disconnect = Request { command: CMD_DISC, flags: 0, cookie: 0, offset: 0, length: 0 }.encode();
    let piece = Piece { data: Bytes::copy_from_slice(&disconnect), flags: SendFlags::NONE };
    let ended = ours.exchange(vec![piece], Until::Bytes(0)).and_then(|_| ours.close());
    ended.map(|()| records).map_err(|error| error.to_string())
}

/// Chooses the export, which has to be large enough.
fn go(ours: &mut dyn Ours) -> Result<(), String> {
    let mut pieces = vec![Piece { data: client::go("").into(), flags: SendFlags::NONE }];
    let mut replies = GoReplies::default();
    loop {
        let got = ours.exchange(std::mem::take(&mut pieces), Until::Bytes(1)).map_err(|error| error.to_string())?;
        replies.feed(&got);
        if let Some(facts) = replies.parse()? {
            return ensure(facts.size >= (REQUESTS * BLOCK) as u64, || format!("{facts:?}"));
        }
    }
}

/// Sends the [`DEPTH`] requests from `first` as one message, and takes the replies, which come in any order: the data of each.
fn requests(
    ours: &mut dyn Ours,
    command: u16,
    first: usize,
    payload: &dyn Fn(usize) -> Bytes,
) -> Result<HashMap<usize, Vec<u8>>, String> {
    let mut pieces = Vec::new();
    for n in first..first + DEPTH {
        let offset = (n * BLOCK) as u64;
        let request = Request { command, flags: 0, cookie: n as u64, offset, length: BLOCK as u32 };
        pieces.push(Piece { data: Bytes::copy_from_slice(&request.encode()), flags: SendFlags::MORE });
        pieces.push(Piece { data: payload(n), flags: SendFlags::MORE });
    }
    pieces.retain(|piece| !piece.data.is_empty());
    pieces.last_mut().expect("requests").flags = SendFlags::NONE;
    let each = SIMPLE_REPLY_LEN + if command == CMD_READ { BLOCK } else { 0 };
    let got = ours.exchange(pieces, Until::Bytes(DEPTH * each)).map_err(|error| error.to_string())?;
    let mut answered = HashMap::new();
    for reply in got.chunks(each) {
        let SimpleReply { error, cookie } = SimpleReply::parse(reply).map_err(|error| error.to_string())?;
        ensure(error == 0, || format!("error {error} for request {cookie}"))?;
        answered.insert(cookie as usize, reply[SIMPLE_REPLY_LEN..].to_vec());
    }
    ensure((first..first + DEPTH).all(|n| answered.contains_key(&n)), || "another request's reply".to_owned())?;
    Ok(answered)
}

fn refused(said: Option<String>) -> Outcome {
    let said = said.ok_or("the server let us in")?;
    // Neither sends an alert; what nbdkit has not read before it closes makes that a reset.
    let expected = ["fatal alert: CertificateRequired", "closed connection", "the stream ended", "Connection reset"];
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
