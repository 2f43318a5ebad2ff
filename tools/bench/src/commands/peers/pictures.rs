//! Pictures: one for each question that docs/measured.md answers, and one for the README.

use super::Load;
use super::stacks::StackName::{self, *};
use super::table::Standing;
use super::traffic::Pattern::{self, *};
use tls_cork_programs::Failure;
use tls_cork_report::Chart;
use tls_cork_report::Median;
use tls_cork_report::{Column, Kind, OutArgs, Report, Value};

/// What a panel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Sends,
    Sender,
    Receiver,
}

struct Picture {
    file: &'static str,
    title: &'static str,
    load: Load,
    patterns: &'static [Pattern],
    shown: &'static [Shown],
    /// What a reader does today comes first.
    bars: &'static [(StackName, &'static str)],
}

const TODAY: &[(StackName, &str)] = &[
    (Rustls, "each piece written apart"),
    (RustlsVec, "one vectored write"),
    (RustlsBuf, "BufWriter and flush"),
    (OursMio, "MORE"),
];

const ASYNC: &[(StackName, &str)] = &[
    (Futures, "futures-rustls, each piece"),
    (FuturesVec, "futures-rustls, vectored"),
    (Tokio, "tokio-rustls, each piece"),
    (TokioVec, "tokio-rustls, vectored"),
    (S2n, "s2n-tls, each piece"),
    (OursAsync, "MORE"),
];
const OPENSSL: &[(StackName, &str)] =
    &[(Openssl, "OpenSSL, each piece"), (OpensslBuf, "OpenSSL, BufWriter"), (OursMio, "MORE")];
const LIMITS: &[(StackName, &str)] =
    &[(OursMio, "MORE"), (AeadPlain, "sealing and sending"), (Plain, "sending alone"), (Aead, "sealing alone")];
const BOTH: &[Shown] = &[Shown::Sender, Shown::Receiver];

#[rustfmt::skip]
const PICTURES: [Picture; 6] = [
    Picture {
        file: "readme.svg", title: "One message over TLS: sends, and CPU time of the sender (less is better)",
        load: Load::Fixed, patterns: &[Nbd512, Burst], shown: &[Shown::Sends, Shown::Sender], bars: TODAY,
    },
    Picture {
        file: "peers-small.svg", title: "Small messages at a fixed rate: CPU µs for each message (less is better)",
        load: Load::Fixed, patterns: &[Nbd512, Http2], shown: BOTH, bars: TODAY,
    },
    Picture {
        file: "peers-large.svg", title: "Large messages at full speed: CPU µs for each message (less is better)",
        load: Load::Full, patterns: &[Nbd64k, Nbd2m], shown: BOTH, bars: TODAY,
    },
    Picture {
        file: "peers-async.svg", title: "Async stacks at a fixed rate: CPU µs for each message (less is better)",
        load: Load::Fixed, patterns: &[Nbd512, Nbd64k], shown: BOTH, bars: ASYNC,
    },
    Picture {
        file: "peers-openssl.svg", title: "Beside OpenSSL at a fixed rate: CPU µs for each message (less is better)",
        load: Load::Fixed, patterns: &[Nbd512, Nbd64k], shown: BOTH, bars: OPENSSL,
    },
    Picture {
        file: "peers-limit.svg", title: "Limits at full speed: CPU µs of the sender for each message (less is better)",
        load: Load::Full, patterns: &[Nbd512, Nbd64k], shown: &[Shown::Sender], bars: LIMITS,
    },
];

const COLUMNS: [Column; 3] = [
    Column { csv: "panel", title: "", kind: Kind::Text, about: "" },
    Column { csv: "bar", title: "", kind: Kind::Text, about: "" },
    Column { csv: "figure", title: "", kind: Kind::Middle(3), about: "" },
];

/// Writes those pictures of which every bar was measured.
pub(super) fn save(standings: &[Standing], out: &OutArgs) -> Result<(), Failure> {
    for picture in &PICTURES {
        if let Some(report) = picture.report(standings) {
            let chart = Chart {
                title: picture.title,
                panel: "{panel}",
                series: "bar",
                value: "figure",
                leave_out: &[],
                highlight: &["MORE"],
            };
            out.write(picture.file, report.svg(&chart)?.as_bytes())?;
        }
    }
    Ok(())
}

impl Picture {
    fn report(&self, standings: &[Standing]) -> Option<Report> {
        let mut report = Report::new("picture", &COLUMNS);
        for &pattern in self.patterns {
            for &shown in self.shown {
                let what = match shown {
                    Shown::Sends => "sends",
                    Shown::Sender => "sender µs",
                    Shown::Receiver => "receiver µs",
                };
                let panel = format!("{}: {what}", pattern.shape());
                for &(stack, bar) in self.bars {
                    let find =
                        |stack| standings.iter().find(|s| (s.stack, s.pattern, s.load) == (stack, pattern, self.load));
                    let (theirs, ours) = (find(stack)?, find(stack.ours())?);
                    let figure = match shown {
                        Shown::Sends => Median::of([theirs.sends?])?,
                        Shown::Sender => theirs.sender.beside(&ours.sender)?,
                        Shown::Receiver => theirs.receiver.beside(&ours.receiver)?,
                    };
                    let text = |text: &str| Value::Text(text.to_owned());
                    report.row(vec![text(&panel), text(bar), Value::Spread(figure)]);
                }
            }
        }
        Some(report)
    }
}
