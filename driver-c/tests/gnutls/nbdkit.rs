//! nbdkit, which runs the program that writes to it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tls_cork_programs::tls;

use crate::build::output;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Psk,
    Certificates,
}

impl Security {
    pub(crate) const ALL: [Self; 2] = [Self::Psk, Self::Certificates];
}

#[derive(Debug)]
pub(crate) struct Nbdkit {
    dir: TempDir,
    security: Security,
    plugin: Vec<OsString>,
}

impl Nbdkit {
    /// With a plugin and its arguments.
    pub(crate) fn new(security: Security, plugin: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        tls::make_certificates(dir.path()).expect("certificates");
        let key = "eblake:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
        fs::write(dir.path().join("keys.psk"), key).expect("a key");
        Self { dir, security, plugin: plugin.iter().map(Into::into).collect() }
    }

    /// With a file of `size` bytes.
    pub(crate) fn file(security: Security, size: usize) -> Self {
        let mut server = Self::new(security, &["file"]);
        let path = server.dir.path().join("data");
        File::create(&path).and_then(|file| file.set_len(size as u64)).expect("a file");
        server.plugin.push(path.into());
        server
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the file holds.
    pub(crate) fn content(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("data")).expect("a file")
    }

    /// Runs `client`, which gets options for the port and, if it has none, for credentials; returns what it has
    /// printed. nbdkit ends with it.
    pub(crate) fn run(&self, client: &mut Command) -> String {
        output(&mut self.command(client))
    }

    /// The command of nbdkit that runs `client`.
    pub(crate) fn command(&self, client: &Command) -> Command {
        // Free a moment ago; nbdkit cannot choose one itself.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let dir = self.dir.path().display();
        let (server, own) = match self.security {
            Security::Psk => (format!("--tls-psk={dir}/keys.psk"), format!("--tls-psk={dir}/keys.psk")),
            Security::Certificates => (format!("--tls-certificates={dir}"), format!("--tls-certificates={dir}")),
        };
        let words = std::iter::once(client.get_program()).chain(client.get_args());
        let mut line: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        let has_credentials = line.iter().any(|word| word.starts_with("'--tls-"));
        line.push(format!("--port={port}"));
        line.extend(Some(own).filter(|_| !has_credentials));
        let mut command = Command::new("nbdkit");
        command.args(["--ipaddr", "127.0.0.1", "--port"]).arg(port.to_string()).arg("--tls=require").arg(server);
        command.args(&self.plugin).arg("--run").arg(line.join(" "));
        command
    }
}

/// As a word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
