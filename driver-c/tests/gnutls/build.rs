//! C programs, each compiled once for each kind.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

/// Warnings are errors.
const FLAGS: [&str; 5] = ["-Wall", "-Wextra", "-Werror", "-O2", "-g"];
/// What a static library of Rust needs.
const SYSTEM: [&str; 4] = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];

/// How a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Plain,
    /// With AddressSanitizer and UndefinedBehaviorSanitizer; a finding ends the program.
    Sanitized,
}

/// A program, by its sources.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    sources: &'static [&'static str],
    /// Packages of pkg-config.
    packages: &'static [&'static str],
}

const SEALER: &str = "gnutls/tls_cork_gnutls.c";

pub(crate) const CASES: Program = Program {
    name: "gnutls_cases",
    sources: &["tests/c/gnutls_cases.c", "tests/c/pair.c", SEALER],
    packages: &["gnutls"],
};
pub(crate) const SCRIPT: Program = Program {
    name: "gnutls_script",
    sources: &["tests/c/gnutls_script.c", "tests/c/pair.c", SEALER],
    packages: &["gnutls"],
};
pub(crate) const WRITER: Program = Program {
    name: "nbd_writer",
    sources: &["examples/nbd_writer.c", "examples/nbd_session.c", "examples/wire.c", SEALER],
    packages: &["gnutls"],
};
pub(crate) const GLIB: Program = Program {
    name: "glib_nbd",
    sources: &["examples/glib_nbd.c", "examples/glib_channel.c", "examples/nbd_session.c", "examples/wire.c", SEALER],
    packages: &["gnutls", "glib-2.0"],
};

/// The directory of this package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The executable of `program`, compiled by the first call.
pub(crate) fn build(program: &Program, kind: Kind) -> PathBuf {
    static DIR: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));
    static BUILT: Mutex<Option<HashMap<(&str, Kind), PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let to = || {
        let to = DIR.path().join(format!("{}-{kind:?}", program.name));
        let mut command = compiler("cc", program.packages);
        if kind == Kind::Sanitized {
            command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]);
        }
        command.args(program.sources.iter().map(|source| root().join(source))).arg("-o").arg(&to);
        command.arg(library()).args(SYSTEM).args(packages("--libs", program.packages));
        output(&mut command);
        to
    };
    built.get_or_insert_default().entry((program.name, kind)).or_insert_with(to).clone()
}

/// Compiles all sources of the examples, without linking.
pub(crate) fn compile_alone(name: &str, standard: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    for source in GLIB.sources.iter().chain(WRITER.sources) {
        let mut command = compiler(name, GLIB.packages);
        output(command.arg(standard).arg("-c").arg(root().join(source)).arg("-o").arg(dir.path().join("out.o")));
    }
}

/// Compiles `source`, whose functions may all be unused, without linking.
pub(crate) fn check_syntax(source: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("snippet.c");
    std::fs::write(&file, source).expect("a file");
    output(compiler("cc", GLIB.packages).args(["-Wno-unused-function", "-fsyntax-only"]).arg(&file));
}

fn compiler(name: &str, names: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(FLAGS);
    for dir in ["include", "gnutls", "examples", "tests/c"] {
        command.arg("-I").arg(root().join(dir));
    }
    command.args(packages("--cflags", names));
    command
}

fn packages(what: &str, names: &[&str]) -> Vec<String> {
    output(Command::new("pkg-config").arg(what).args(names)).split_whitespace().map(str::to_owned).collect()
}

/// The static library, which cargo puts beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let library = test.with_file_name("libtls_cork_c.a");
    assert!(library.exists(), "{}", library.display());
    library
}

/// Runs `command`, which has to succeed; returns what it has printed.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
