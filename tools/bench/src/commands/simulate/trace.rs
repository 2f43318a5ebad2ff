//! What is written and when: traces from CSV files, and built-in patterns.

use std::path::Path;
use std::time::Duration;

use tls_cork_programs::Failure;

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// When, after the connection was established.
    pub time: Duration,
    /// Plaintext bytes.
    pub len: usize,
    /// Whether the writer says that more is coming.
    pub more: bool,
}

/// A series of writes, in the order of their times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What tables call it.
    pub name: String,
    /// At least one.
    pub writes: Vec<Write>,
}

/// The header of a trace file.
const HEADER: [&str; 3] = ["time_us", "length_bytes", "more"];
/// The most that a trace may write: a simulated byte costs real time.
const LARGEST: usize = 1 << 30;
/// The latest time of a write: one day.
const LATEST_US: u64 = 24 * 3600 * 1_000_000;

impl Trace {
    /// Plaintext bytes of all writes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.writes.iter().map(|w| w.len).sum()
    }

    /// Reads a CSV file with the header `time_us,length_bytes,more`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a line of it is wrong: then the failure says which, and why.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::new("read trace", path.display(), e))?;
        let name = path.file_stem().map_or_else(|| "trace".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let writes = parse(&text)
            .map_err(|(line, why)| Failure::new("read trace", format!("{} line {line}", path.display()), why))?;
        Ok(Self { name, writes })
    }

    /// The built-in pattern of that name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let writes = match name {
            // 16 requests in each turn of the event loop, a turn each 2 ms; all MORE but the last of the turn.
            "nbd-512" => turns(100, 2_000, &[28, 512].repeat(16)),
            "nbd-64k" => turns(8, 20_000, &[28, 65_536].repeat(16)),
            // 16 responses of HEADERS and DATA frames, multiplexed; one each millisecond, MORE within it.
            "http2" => turns(16, 1_000, &[9, 31, 9, 8192]),
            "burst-100x120" => turns(10, 100_000, &[120; 100]),
            // A file, handed over at once.
            "page-static" => turns(1, 0, &[200 * 1024]),
            // 300 bytes of headers, then 8 KiB each 2 ms: MORE until the last.
            "page-generated" => {
                let chunk = |i: u64| Write { time: us(i * 2_000), len: 8192, more: i < 24 };
                let headers = Write { time: us(0), len: 300, more: true };
                std::iter::once(headers).chain((0..25).map(chunk)).collect()
            }
            "bulk-4m" => turns(1, 0, &[65_536; 64]),
            // A header for whose body something else has to happen first: it does after half a second.
            "late-final" => {
                vec![Write { time: us(0), len: 300, more: true }, Write { time: us(500_000), len: 8192, more: false }]
            }
            _ => return None,
        };
        Some(Self { name: name.to_owned(), writes })
    }
}

/// Names of the built-in patterns, in the order of the tables.
pub const BUILT_IN: [&str; 8] =
    ["page-static", "page-generated", "http2", "late-final", "burst-100x120", "nbd-512", "nbd-64k", "bulk-4m"];

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// The same pieces in each turn, all MORE but the last.
fn turns(count: u64, apart_us: u64, pieces: &[usize]) -> Vec<Write> {
    let turn = |turn: u64| {
        let last = pieces.len() - 1;
        let time = us(turn * apart_us);
        pieces.iter().enumerate().map(move |(i, &len)| Write { time, len, more: i < last })
    };
    (0..count).flat_map(turn).collect()
}

fn parse(text: &str) -> Result<Vec<Write>, (usize, String)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, l)| !l.trim().is_empty());
    let mut header = false;
    let mut writes: Vec<Write> = Vec::new();
    let mut total = 0usize;
    for (line, text) in lines {
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        if !header {
            if fields != HEADER {
                return Err((line, format!("the first line must be {}", HEADER.join(","))));
            }
            header = true;
            continue;
        }
        let write = write(&fields).map_err(|why| (line, why))?;
        if writes.last().is_some_and(|last| last.time > write.time) {
            return Err((line, "time_us goes back".to_owned()));
        }
        total += write.len;
        if total > LARGEST {
            return Err((line, format!("more than {LARGEST} bytes up to here")));
        }
        writes.push(write);
    }
    if writes.is_empty() {
        let last = text.lines().count();
        return Err((last + 1, format!("no writes; wanted {} and a line for each write", HEADER.join(","))));
    }
    Ok(writes)
}

fn write(fields: &[&str]) -> Result<Write, String> {
    let &[time, len, more] = fields else {
        return Err(format!("{} fields instead of 3: {}", fields.len(), HEADER.join(",")));
    };
    let number = |name: &str, text: &str, range: std::ops::RangeInclusive<u64>| {
        let number = text.parse::<u64>().ok().filter(|n| range.contains(n));
        number
            .ok_or_else(|| format!("{name} is {text:?}, not a whole number from {} to {}", range.start(), range.end()))
    };
    Ok(Write {
        time: us(number(HEADER[0], time, 0..=LATEST_US)?),
        len: number(HEADER[1], len, 1..=LARGEST as u64)? as usize,
        more: match more {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => return Err(format!("more is {more:?}, not 0 or 1")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_as_written() {
        let text = "time_us,length_bytes,more\n0,28,1\n0, 512 ,0\n\n1500,16384,true\n1500,1,false\n";
        let write = |time, len, more| Write { time: us(time), len, more };
        let expected = [write(0, 28, true), write(0, 512, false), write(1500, 16_384, true), write(1500, 1, false)];
        assert_eq!(parse(text).expect("a good trace"), expected);
    }

    #[test]
    fn bad_lines_are_named() {
        let good = "time_us,length_bytes,more\n0,28,1\n";
        let cases = [
            ("".to_owned(), 1, "no writes"),
            ("time_us,length_bytes,more\n".to_owned(), 2, "no writes"),
            ("0,28,1\n".to_owned(), 1, "time_us,length_bytes,more"),
            (format!("{good}1,2\n"), 3, "2 fields"),
            (format!("{good}1,2,0,4\n"), 3, "4 fields"),
            (format!("{good}1,2,0\n-1,2,0\n"), 4, "time_us is \"-1\""),
            (format!("{good}1.5,2,0\n"), 3, "time_us is \"1.5\""),
            (format!("{good}90000000000,2,0\n"), 3, "time_us is \"90000000000\""),
            (format!("{good}1,0,0\n"), 3, "length_bytes is \"0\""),
            (format!("{good}1,NaN,0\n"), 3, "length_bytes is \"NaN\""),
            (format!("{good}1,99999999999999999999,0\n"), 3, "length_bytes"),
            (format!("{good}\n\n1,2,yes\n"), 5, "more is \"yes\""),
            (format!("{good}5,2,0\n4,2,0\n"), 4, "goes back"),
            (format!("{good}1,1073741824,0\n"), 3, "more than 1073741824 bytes"),
        ];
        for (text, line, part) in cases {
            let (found, why) = parse(&text).expect_err(&text);
            assert!(found == line && why.contains(part), "{text:?}: line {found}: {why}");
        }
    }

    #[test]
    fn every_pattern_exists_and_is_in_order() {
        for name in BUILT_IN {
            let trace = Trace::built_in(name).expect(name);
            assert_eq!(trace.name, name);
            assert!(trace.writes.is_sorted_by_key(|w| w.time), "{name}");
            assert!(trace.writes.last().is_some_and(|w| !w.more), "{name} ends");
        }
        assert_eq!(Trace::built_in("page-static").expect("a page").total(), 204_800);
        assert_eq!(Trace::built_in("bulk-4m").expect("bulk").total(), 4 << 20);
        assert_eq!(Trace::built_in("nothing"), None);
    }
}
