//! Real clients. Each of these tests needs programs that are not everywhere.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use tempfile::TempDir;
use tls_cork_programs::children;
use tls_cork_programs::tls;

use crate::server::Server;

const GIB: u64 = 1 << 30;
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a program that has to succeed; what it printed.
fn run(program: &str, command: &mut Command) -> String {
    let finished = children::run(command, program, LIMIT).unwrap_or_else(|failure| panic!("{failure}"));
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

/// A file of random data.
fn random_file(dir: &TempDir, bytes: u64) -> PathBuf {
    let path = dir.path().join("random");
    let mut file = File::create(&path).unwrap();
    let mut block = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        aws_lc_rs::default_provider().secure_random.fill(&mut block).unwrap();
        file.write_all(&block).unwrap();
    }
    path
}

#[track_caller]
fn assert_same(left: &Path, right: &Path) {
    let (mut left, mut right) = (File::open(left).unwrap(), File::open(right).unwrap());
    assert_eq!(left.metadata().unwrap().len(), right.metadata().unwrap().len());
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let n = left.read(&mut a).unwrap();
        right.read_exact(&mut b[..n]).unwrap();
        assert!(a[..n] == b[..n], "contents differ");
        if n == 0 {
            return;
        }
    }
}

/// `qemu-img` with our CA.
fn qemu_img(server: &Server, subcommand: &str) -> Command {
    let mut command = Command::new("qemu-img");
    let dir = server.dir.path().display();
    command.arg(subcommand).arg("--object").arg(format!("tls-creds-x509,id=tls,dir={dir},endpoint=client"));
    command
}

fn qemu_target(server: &Server) -> String {
    format!("driver=nbd,host=localhost,port={},tls-creds=tls,export=", server.addr.port())
}

fn uri(server: &Server) -> String {
    format!("nbds://localhost:{}/?tls-certificates={}", server.addr.port(), server.dir.path().display())
}

/// A server on memory, and one on a file.
fn servers() -> [Server; 2] {
    [Server::memory(GIB), Server::with_file(GIB)]
}

#[test]
#[ignore = "needs qemu-utils"]
fn qemu_img_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (random, back) = (random_file(&dir, GIB), dir.path().join("back"));
    for server in servers() {
        let target = qemu_target(&server);
        let mut there = qemu_img(&server, "convert");
        run("qemu-img", there.args(["-n", "-f", "raw", "--target-image-opts"]).arg(&random).arg(&target));
        let file = format!("driver=file,filename={}", random.display());
        let mut compare = qemu_img(&server, "compare");
        let said = run("qemu-img", compare.args(["--image-opts", &file, &target]));
        assert!(said.contains("Images are identical"), "{said}");
        let mut from = qemu_img(&server, "convert");
        run("qemu-img", from.args(["-O", "raw", "--image-opts", &target]).arg(&back));
        assert_same(&random, &back);
    }
}

#[test]
#[ignore = "needs libnbd-bin"]
fn nbdcopy_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (random, back) = (random_file(&dir, GIB), dir.path().join("back"));
    for server in servers() {
        // With several connections, as it likes.
        run("nbdcopy", Command::new("nbdcopy").arg(&random).arg(uri(&server)));
        run("nbdcopy", Command::new("nbdcopy").arg(uri(&server)).arg(&back));
        assert_same(&random, &back);
        // With one request at a time, and with zeroes to tell apart from data.
        let sparse = dir.path().join("sparse");
        let file = File::create(&sparse).unwrap();
        file.set_len(GIB).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", GIB / 2 + 1).unwrap();
        run(
            "nbdcopy",
            Command::new("nbdcopy").args(["--connections=1", "--requests=1"]).arg(&sparse).arg(uri(&server)),
        );
        run("nbdcopy", Command::new("nbdcopy").arg(uri(&server)).arg(&back));
        assert_same(&sparse, &back);
    }
}

#[test]
#[ignore = "needs libnbd-bin"]
fn nbdinfo_understands_what_is_offered() {
    let server = Server::memory(GIB);
    let said = run("nbdinfo", Command::new("nbdinfo").arg("--json").arg(uri(&server)));
    for part in [
        "\"protocol\": \"newstyle-fixed\"",
        "\"TLS\": true",
        "\"structured\": true",
        "\"export-size\": 1073741824",
        "\"can_df\": true",
        "\"can_flush\": true",
        "\"can_fua\": true",
        "\"can_multi_conn\": true",
        "\"can_trim\": true",
        "\"can_zero\": true",
        "\"is_read_only\": false",
        "\"block_size_maximum\": 33554432",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    let said = run("nbdinfo", Command::new("nbdinfo").arg("--list").arg(uri(&server)));
    assert!(said.contains("export=\"\""), "{said}");
}

#[test]
#[ignore = "needs fio"]
fn fio_reads_back_what_it_wrote() -> io::Result<()> {
    for server in servers() {
        // Where its libnbd looks for the CA.
        let home = tempfile::tempdir()?;
        let pki = home.path().join(".pki/libnbd");
        std::fs::create_dir_all(&pki)?;
        std::fs::copy(server.dir.path().join(tls::CA_CERT), pki.join(tls::CA_CERT))?;
        for (block_size, depth) in [("512", "16"), ("4k", "1"), ("64k", "16"), ("1m", "4")] {
            let mut fio = Command::new("fio");
            fio.env("HOME", home.path()).current_dir(home.path());
            fio.args(["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--verify=crc32c", "--size=16m"]);
            fio.arg(format!("--bs={block_size}")).arg(format!("--iodepth={depth}"));
            fio.arg(format!("--uri=nbds://localhost:{}/", server.addr.port()));
            let said = run("fio", &mut fio);
            assert!(said.contains("err= 0"), "{said}");
        }
    }
    Ok(())
}
