//! A PostgreSQL server in a temporary directory.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tls_cork_programs::children::{self, Guarded};
use tls_cork_programs::tls::{CA_CERT, TemporaryCertificates};

pub(crate) const PASSWORD: &str = "a password";
/// Debian's user for it: PostgreSQL refuses to run as root.
const USER: &str = "postgres";
/// How long each step of starting it may take, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A running server, which ends and leaves no file when this is dropped. It accepts clients on
/// 127.0.0.1, over TLS and with the password alone.
pub(crate) struct Server {
    /// Before the directory: it writes there until its end.
    _process: Guarded,
    home: TemporaryCertificates,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let home = TemporaryCertificates::new().unwrap();
        let is_root = fs::metadata(home.path()).unwrap().uid() == 0;
        let base = home.path().join("server");
        let data = base.join("data");
        // The server's user may pass through, and no more.
        fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
        install(is_root, "0700", &["-d".as_ref(), &base]);
        let password = home.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, Permissions::from_mode(0o644)).unwrap();
        let initialize = ["--auth=scram-sha-256", "--username=postgres", "--no-sync", "--no-locale", "--encoding=UTF8"];
        let mut initdb = as_user(is_root, "initdb");
        initdb.args(initialize).arg("--pgdata").arg(&data).arg("--pwfile").arg(&password);
        children::run(&mut initdb, "initdb", LIMIT).unwrap();
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        install(is_root, "0600", &[&home.path().join("server-key.pem"), &base.join("key.pem")]);

        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let log = home.path().join("log");
        let mut command = as_user(is_root, "postgres");
        command.arg("-D").arg(&data);
        for setting in [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            // Otherwise it leaves files elsewhere while it runs.
            "dynamic_shared_memory_type=mmap".to_owned(),
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", home.path().join("server-cert.pem").display()),
            format!("ssl_key_file={}", base.join("key.pem").display()),
        ] {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut process = Guarded::spawn(&mut command, "postgres").unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            let said = fs::read_to_string(&log).unwrap();
            if said.contains("ready to accept connections") {
                return Self { _process: process, home, port };
            }
            assert!(process.ended().unwrap().is_none() && Instant::now() < deadline, "postgres did not start: {said}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The file with the authority that signed its certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.home.path().join(CA_CERT)
    }
}

/// install(1), for the server's user.
fn install(is_root: bool, mode: &str, paths: &[&Path]) {
    let mut command = Command::new("install");
    command.arg("--mode").arg(mode);
    if is_root {
        command.args(["--owner", USER, "--group", USER]);
    }
    children::run(command.args(paths), "install", LIMIT).unwrap();
}

/// A program of PostgreSQL, as a user that is not root. It ends with this thread, even if this
/// process is killed.
fn as_user(is_root: bool, program: &str) -> Command {
    // Debian keeps them out of the PATH.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let installed = versions.map(|version| version.path().join("bin").join(program)).filter(|path| path.exists());
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root {
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    }
    command.arg("--").arg(installed.max().unwrap_or_else(|| program.into()));
    // Its own directory may be closed to the user.
    command.current_dir("/");
    command
}
