//! strace, where it counts system calls of a program.

use std::path::Path;
use std::process::Command;

/// The system calls that put data on a socket. `write` is left out: the programs that are counted
/// do not send with it, and use it for other things.
pub(crate) const SENDS: [&str; 5] = ["sendto", "sendmsg", "sendmmsg", "writev", "sendfile"];

/// A command that runs the program of its further arguments, and writes a table of `calls` to `log`
/// at its end.
///
/// With seccomp, only the calls that are counted stop the program. With -I2, SIGTERM ends strace and
/// the program. Without, -o makes strace block SIGTERM, and SIGKILL to strace leaves the program
/// running.
pub(crate) fn counting(calls: &[&str], log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-I2", "-f", "--seccomp-bpf", "-c", "-U", "calls,name", "-e"]);
    command.arg(format!("trace={}", calls.join(","))).arg("-o").arg(log);
    command
}

/// Reads such a table: how often each of `calls` was made. strace writes nothing at all about a
/// program that made none of them.
pub(crate) fn parse<const N: usize>(table: &str, calls: [&str; N]) -> Result<[u64; N], String> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    if header.split_whitespace().collect::<Vec<_>>() != ["calls", "syscall"] {
        return Err(format!("not what strace -c writes: {header:?}"));
    }
    let mut found = [0; N];
    for line in lines {
        let mut words = line.split_whitespace();
        let (Some(Ok(count)), Some(name)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
        match calls.iter().position(|call| *call == name) {
            Some(call) => found[call] += count,
            None if name == "total" => {}
            None => return Err(format!("strace counted {name}, which it was not asked to")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_their_names() {
        let table = "    calls syscall\n--------- ----------------\n     2064 sendmsg\n        4 sendto\n        2 \
                     setsockopt\n--------- ----------------\n     2070 total\n";
        assert_eq!(parse(table, ["setsockopt", "sendto", "sendmsg", "writev"]), Ok([2, 4, 2064, 0]));
        assert!(parse(table, ["sendto", "sendmsg"]).is_err());
        assert!(parse("strace: exec: No such file or directory\n", ["sendto"]).is_err());
    }
}
