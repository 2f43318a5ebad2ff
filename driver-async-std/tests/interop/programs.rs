//! The command lines: what a case is about, in each program's own words.

use std::process::Command;

use crate::pki::{ALPN, Pki, Terms};
use crate::table::{Program, Version};

/// How a server program treats what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Data only on its standard output; gnutls-serv sends lines back.
    Data,
    /// With commands on its standard input, and messages among the data.
    Commands,
    /// Answers a request with a file, then closes.
    Http,
}

pub(crate) fn client(program: Program, pki: &Pki, terms: &Terms, port: u16, mode: Mode) -> Command {
    let mut command = Command::new(program.executable().0);
    match program {
        Program::SClient => {
            command.args(["s_client", "-servername", "localhost", "-verify_return_error", "-quiet", "-no_ign_eof"]);
            command.args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile", &pki.arg("ca-cert.pem")]);
            if mode == Mode::Data {
                command.arg("-nocommands");
            }
            if terms.client_certificate {
                command.args(["-cert", &pki.arg("client-cert.pem"), "-key", &pki.arg("client-key.pem")]);
            }
            openssl(&mut command, terms, "X25519:P-256");
        }
        _ => {
            command.args(["localhost", "-p", &port.to_string(), "--x509cafile", &pki.arg("ca-cert.pem")]);
            if mode == Mode::Data {
                command.args(["--logfile", "/dev/null"]);
            } else {
                command.arg("--inline-commands");
            }
            if terms.retry {
                command.arg("--single-key-share");
            }
            if terms.client_certificate {
                command.args(["--x509certfile", &pki.arg("client-cert.pem")]);
                command.args(["--x509keyfile", &pki.arg("client-key.pem")]);
            }
            gnutls(&mut command, terms, ":+GROUP-X25519:+GROUP-SECP256R1");
        }
    }
    command
}

pub(crate) fn server(program: Program, pki: &Pki, terms: &Terms, port: u16, connections: usize, mode: Mode) -> Command {
    let mut command = Command::new(program.executable().0);
    let key = terms.suite.key.name();
    let (certificate, key) = (pki.arg(&format!("{key}-cert.pem")), pki.arg(&format!("{key}-key.pem")));
    match program {
        Program::SServer => {
            command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert", &certificate, "-key", &key]);
            command.args(["-naccept", &connections.to_string()]);
            match mode {
                Mode::Data => command.arg("-quiet"),
                Mode::Commands => command.arg("-msg"),
                Mode::Http => command.arg("-WWW").current_dir(pki.dir()),
            };
            if terms.client_auth {
                command.args(["-Verify", "1", "-verify_return_error", "-CAfile", &pki.arg("ca-cert.pem")]);
            }
            openssl(&mut command, terms, "P-256");
        }
        _ => {
            command.args(["-p", &port.to_string(), "--x509certfile", &certificate, "--x509keyfile", &key]);
            if mode == Mode::Http {
                command.args(["--http", "--httpdata", &pki.arg("page")]);
            } else {
                command.arg("--echo");
            }
            if terms.client_auth {
                command.args(["--require-client-cert", "--verify-client-cert"]);
                command.args(["--x509cafile", &pki.arg("ca-cert.pem")]);
            } else {
                command.arg("--disable-client-cert");
            }
            gnutls(&mut command, terms, ":+GROUP-SECP256R1");
        }
    }
    command
}

fn openssl(command: &mut Command, terms: &Terms, groups: &str) {
    match terms.suite.version {
        Version::Tls12 => command.args(["-tls1_2", "-cipher", terms.suite.openssl]),
        Version::Tls13 => command.args(["-tls1_3", "-ciphersuites", terms.suite.openssl]),
    };
    if terms.alpn {
        command.args(["-alpn", ALPN]);
    }
    if terms.retry {
        command.args(["-groups", groups]);
    }
}

fn gnutls(command: &mut Command, terms: &Terms, groups: &str) {
    command.args(["--priority", &priority(terms, groups)]);
    if terms.alpn {
        command.args(["--alpn", ALPN]);
    }
}

/// GnuTLS's priority string, which QEMU takes as well.
pub(crate) fn priority(terms: &Terms, groups: &str) -> String {
    let (version, cipher) = (terms.suite.version.number(), terms.suite.gnutls);
    let groups = if terms.retry { format!(":-GROUP-ALL{groups}") } else { String::new() };
    format!("NORMAL:-VERS-ALL:+VERS-TLS{version}:-CIPHER-ALL:+{cipher}{groups}")
}
