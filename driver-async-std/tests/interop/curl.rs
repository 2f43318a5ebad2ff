//! curl against a small HTTP/1.1 server: it posts a file, and gets one back, header and body in pieces.

use std::fs;
use std::io;
use std::process::Command;

use rustls::HandshakeKind;
use tls_cork_async_std::tls_cork::SendFlags;

use crate::cases::{Case, Outcome, Payload, cork, ensure, kind_is, piece, random};
use crate::ours::{Ours, Until};
use crate::peers::{Ended, Peer, accept, listener};
use crate::pki::{Pki, Terms};
use crate::table::{Feature, Program, Seen, Version};

pub(crate) fn run(case: &Case, pki: &Pki) -> Outcome {
    let terms = case.terms();
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = |name: &str| dir.path().join(name);
    let upload = random(200_000);
    fs::write(file("upload"), &upload).map_err(|error| error.to_string())?;

    let (listener, port) = listener()?;
    let connections = if case.feature == Feature::Resumption { 2 } else { 1 };
    let mut command = command(pki, &terms, port);
    command.current_dir(dir.path());
    for n in 0..connections {
        command.arg(format!("https://localhost:{port}/")).args(["-o", &format!("page{n}")]);
    }
    let mut peer = Peer::start(&mut command)?;
    let config = pki.server(&terms);
    let (mut seen, mut pages) = (Seen::default(), Vec::new());
    for n in 0..connections {
        let tcp = accept(&listener, &mut peer)?;
        let mut ours = match case.driver.server(tcp, config.clone(), cork()) {
            Err(error) if case.feature == Feature::NoClientCertificate => return refused(&error, peer.finish()?),
            ours => ours.map_err(|error| case.failed("our handshake", &error, &peer))?,
        };
        let page = Payload::large(Program::Curl);
        seen = answer(case, &mut *ours, &upload, &page).map_err(|error| case.failed("a request", &error, &peer))??;
        if case.feature == Feature::Resumption {
            kind_is(&*ours, if n == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed })?;
        } else {
            seen.note = case.agreed(pki, &*ours)?;
        }
        case.check_wire(&*ours, 0)?;
        seen.received = Some(ours.wire().1.records);
        pages.push(page.ours);
    }
    let ended = peer.finish()?;
    ensure(ended.status.success(), || ended.stderr.clone())?;
    for (n, page) in pages.iter().enumerate() {
        let got = fs::read(file(&format!("page{n}"))).map_err(|error| format!("the page: {error}"))?;
        ensure(got == *page, || "the page is not what we sent".to_owned())?;
    }
    let words = match case.feature {
        Feature::Alpn => "ALPN: server accepted http/1.1",
        Feature::Resumption => "SSL re-using session ID",
        _ => "SSL certificate verify ok",
    };
    ensure(ended.stderr.contains(words), || format!("curl does not say {words:?}: {}", ended.stderr))?;
    if case.feature == Feature::Resumption {
        seen.note = "second handshake resumed, curl says so".to_owned();
    }
    Ok(seen)
}

/// One request and its answer, then the end, in the order that the case wants.
fn answer(case: &Case, ours: &mut dyn Ours, upload: &[u8], page: &Payload) -> io::Result<Outcome> {
    ours.exchange(Vec::new(), Until::Suffix(b"\r\n\r\n"))?;
    if ours.exchange(Vec::new(), Until::Bytes(upload.len()))? != upload {
        return Ok(Err("what curl posted is not what came".to_owned()));
    }
    let we_close = case.feature != Feature::TheyCloseFirst;
    let lines = [
        "HTTP/1.1 200 OK\r\n".to_owned(),
        format!("Content-Length: {}\r\n", page.ours.len()),
        format!("Connection: {}\r\n\r\n", if we_close { "close" } else { "keep-alive" }),
    ];
    let header: usize = lines.iter().map(String::len).sum();
    let mut pieces: Vec<_> = lines.iter().map(|line| piece(line.as_bytes(), SendFlags::MORE)).collect();
    // One message: all of it is gathered. Its tail may leave with the end.
    pieces.push(piece(&page.ours, SendFlags::more_if(case.feature == Feature::WeCloseFirst)));
    ours.exchange(pieces, Until::Bytes(0))?;
    if we_close {
        ours.close()?;
        ours.exchange(Vec::new(), Until::End)?;
    } else {
        ours.exchange(Vec::new(), Until::End)?;
        ours.close()?;
    }
    let records = ours.connection().stats().records;
    let (expected, body) = ((header + page.ours.len()).div_ceil(16 * 1024), page.ours.len().div_ceil(16 * 1024));
    let as_expected = ensure(records == expected as u64, || format!("{records} records, expected {expected}"));
    let pieces = (lines.len() + body) as u64;
    Ok(as_expected.map(|()| Seen { records: Some((records, pieces)), ..Seen::default() }))
}

fn refused(error: &io::Error, ended: Ended) -> Outcome {
    let said = error.to_string();
    ensure(said.contains("peer sent no certificates"), || format!("an unclear error: {said}"))?;
    ensure(!ended.status.success(), || "curl thinks that all is well".to_owned())?;
    ensure(ended.stderr.contains("alert"), || format!("curl was not told: {}", ended.stderr))?;
    Ok(Seen { note: said, ..Seen::default() })
}

fn command(pki: &Pki, terms: &Terms, port: u16) -> Command {
    let mut command = Command::new("curl");
    // What the machine's owner has configured is not the case's business.
    command.args(["--disable", "-sSv", "--http1.1", "--max-time", "20", "-H", "Expect:", "--noproxy", "*"]);
    command.args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "--cacert", &pki.arg("ca-cert.pem")]);
    command.args(["--data-binary", "@upload"]);
    match terms.suite.version {
        Version::Tls12 => command.args(["--tlsv1.2", "--tls-max", "1.2", "--ciphers", terms.suite.openssl]),
        Version::Tls13 => command.args(["--tlsv1.3", "--tls-max", "1.3", "--tls13-ciphers", terms.suite.openssl]),
    };
    if !terms.alpn {
        command.arg("--no-alpn");
    }
    if terms.retry {
        command.args(["--curves", "X25519:P-256"]);
    }
    if terms.client_certificate {
        command.args(["--cert", &pki.arg("client-cert.pem"), "--key", &pki.arg("client-key.pem")]);
    }
    command
}
