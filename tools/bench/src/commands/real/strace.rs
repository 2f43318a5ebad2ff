//! System calls, as `strace -c` counts them.

use std::ffi::OsString;
use std::path::Path;

/// System calls that put data on a socket. `write` is left out: none of the programs sends with it, all of them use it for other things.
const SENDS: [&str; 5] = ["sendto", "sendmsg", "sendmmsg", "writev", "sendfile"];
/// What TCP_CORK takes.
const OPTIONS: [&str; 1] = ["setsockopt"];

/// How many system calls a program has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemCalls {
    /// Those that sent, or tried to.
    pub sends: u64,
    /// Those that set an option of a socket.
    pub options: u64,
}

/// The arguments of strace, up to the program that it is to run; the counts go to `log`.
#[must_use]
pub fn arguments(log: &Path) -> Vec<OsString> {
    let calls = [&SENDS[..], &OPTIONS].concat().join(",");
    // With seccomp, only the calls that are counted stop the program. With -I2, SIGTERM ends
    // strace and the program. Without, -o makes strace block SIGTERM, and SIGKILL to strace leaves
    // the program running.
    let mut arguments: Vec<OsString> =
        ["-I2", "-f", "--seccomp-bpf", "-c", "-U", "calls,name", "-e"].into_iter().map(OsString::from).collect();
    arguments.push(format!("trace={calls}").into());
    arguments.push("-o".into());
    arguments.push(log.into());
    arguments
}

/// Reads the table that strace wrote.
///
/// # Errors
///
/// When it is not such a table; strace writes nothing at all about a program that made no such call.
pub fn parse(table: &str) -> Result<SystemCalls, String> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    if header.split_whitespace().collect::<Vec<_>>() != ["calls", "syscall"] {
        return Err(format!("not what strace -c writes: {header:?}"));
    }
    let mut found = SystemCalls::default();
    for line in lines {
        let Some((count, name)) = line.trim().split_once(' ') else {
            continue;
        };
        let Ok(count) = count.parse::<u64>() else {
            continue;
        };
        match name.trim() {
            name if SENDS.contains(&name) => found.sends += count,
            name if OPTIONS.contains(&name) => found.options += count,
            "total" => break,
            name => return Err(format!("strace counted {name}, which it was not asked to")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "    calls syscall\n--------- ----------------\n     2064 sendmsg\n        4 sendto\n        2 \
                         setsockopt\n--------- ----------------\n     2070 total\n";

    #[test]
    fn calls_are_added_up_by_what_they_do() {
        assert_eq!(parse(TABLE), Ok(SystemCalls { sends: 2068, options: 2 }));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(parse("").is_err());
        assert!(parse("strace: exec: No such file or directory\n").is_err());
        assert!(parse(&TABLE.replace("sendto", "openat")).is_err());
    }
}
