//! What is tried with whom: the fixed list of what a program cannot do, and the table of what came out.

use std::fmt::Write;

use rustls::SupportedProtocolVersion;

use crate::pki::Suite;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    pub(crate) fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }

    /// As OpenSSL and curl spell it.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Driver {
    Mio,
    AsyncStd,
    Tokio,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Self::Mio => "mio",
            Self::AsyncStd => "async-std",
            Self::Tokio => "tokio",
        }
    }
}

/// The program at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    SClient,
    SServer,
    GnutlsCli,
    GnutlsServ,
    Curl,
    Nbdkit,
    QemuNbd,
    QemuImg,
}

impl Program {
    pub(crate) const ALL: [Self; 8] = [
        Self::SClient,
        Self::SServer,
        Self::GnutlsCli,
        Self::GnutlsServ,
        Self::Curl,
        Self::Nbdkit,
        Self::QemuNbd,
        Self::QemuImg,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SClient => "openssl s_client",
            Self::SServer => "openssl s_server",
            Self::GnutlsCli => "gnutls-cli",
            Self::GnutlsServ => "gnutls-serv",
            Self::Curl => "curl",
            Self::Nbdkit => "nbdkit",
            Self::QemuNbd => "qemu-nbd",
            Self::QemuImg => "qemu-img",
        }
    }

    /// What is started, and the Debian package it comes from.
    pub(crate) fn executable(self) -> (&'static str, &'static str) {
        match self {
            Self::SClient | Self::SServer => ("openssl", "openssl"),
            Self::GnutlsCli => ("gnutls-cli", "gnutls-bin"),
            Self::GnutlsServ => ("gnutls-serv", "gnutls-bin"),
            Self::Curl => ("curl", "curl"),
            Self::Nbdkit => ("nbdkit", "nbdkit"),
            Self::QemuNbd => ("qemu-nbd", "qemu-utils"),
            Self::QemuImg => ("qemu-img", "qemu-utils"),
        }
    }

    pub(crate) fn is_server(self) -> bool {
        matches!(self, Self::SServer | Self::GnutlsServ | Self::Nbdkit | Self::QemuNbd)
    }

    /// The drivers that can be put against it.
    pub(crate) fn drivers(self) -> &'static [Driver] {
        match self {
            // The example server is on async-std.
            Self::Nbdkit | Self::QemuNbd => &[Driver::Mio, Driver::Tokio],
            Self::QemuImg => &[Driver::AsyncStd],
            _ => &[Driver::Mio, Driver::AsyncStd, Driver::Tokio],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    /// Data both ways, under each cipher suite and kind of key.
    Transfer,
    WeCloseFirst,
    TheyCloseFirst,
    ClientCertificate,
    NoClientCertificate,
    Resumption,
    Alpn,
    HelloRetry,
    KeyUpdate,
}

impl Feature {
    pub(crate) const ALL: [Self; 9] = [
        Self::Transfer,
        Self::WeCloseFirst,
        Self::TheyCloseFirst,
        Self::ClientCertificate,
        Self::NoClientCertificate,
        Self::Resumption,
        Self::Alpn,
        Self::HelloRetry,
        Self::KeyUpdate,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::WeCloseFirst => "we close first",
            Self::TheyCloseFirst => "they close first",
            Self::ClientCertificate => "client certificate",
            Self::NoClientCertificate => "client certificate missing",
            Self::Resumption => "resumption",
            Self::Alpn => "ALPN",
            Self::HelloRetry => "HelloRetryRequest",
            Self::KeyUpdate => "KeyUpdate while data is held",
        }
    }
}

/// Why a program cannot take part in a feature; `None` if it can, and then it is tried.
pub(crate) fn not_possible(program: Program, version: Version, feature: Feature) -> Option<&'static str> {
    use Feature::{Alpn, HelloRetry, KeyUpdate, Resumption, TheyCloseFirst, WeCloseFirst};
    use Program::{Curl, GnutlsServ, Nbdkit, QemuImg, QemuNbd};
    match (program, feature) {
        (_, HelloRetry | KeyUpdate) if version == Version::Tls12 => Some("TLS 1.2 has no such message"),
        (GnutlsServ, KeyUpdate) => Some("has no command that sends one"),
        (Curl | Nbdkit | QemuNbd | QemuImg, KeyUpdate) => Some("has no option that sends one"),
        (Nbdkit | QemuNbd | QemuImg, Alpn) => Some("has no option for protocols in TLS"),
        (Nbdkit | QemuNbd, Resumption) => Some("our NBD client does not tell whether it resumed"),
        (QemuImg, Resumption) => Some("makes one connection; the example server does not tell whether it resumed"),
        (Nbdkit, HelloRetry) => Some("has no option for its groups"),
        (QemuImg, HelloRetry) => Some("the example server has no option for its groups"),
        (Nbdkit | QemuNbd, WeCloseFirst) => Some("each of its transfers ends so"),
        (Nbdkit | QemuNbd, TheyCloseFirst) => Some("an NBD server leaves it to the client to end"),
        (QemuImg, TheyCloseFirst) => Some("each of its transfers ends so"),
        (QemuImg, WeCloseFirst) => Some("an NBD server leaves it to the client to end"),
        _ => None,
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) program: Program,
    pub(crate) suite: &'static Suite,
    pub(crate) feature: Feature,
    pub(crate) driver: Driver,
    pub(crate) outcome: Result<Seen, String>,
}

/// What a case that went well has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Application records that we sent, and how many would have been if each piece had been one.
    pub(crate) records: Option<(u64, u64)>,
    /// Records of every kind that came in.
    pub(crate) received: Option<u64>,
    /// What else was asserted, in a few words.
    pub(crate) note: String,
}

pub(crate) fn render(rows: &[Row]) -> String {
    let mut table = String::new();
    let mut line = |cells: [&str; 8]| {
        let [program, version, suite, driver, side, sent, received, result] = cells;
        let _ = writeln!(
            table,
            "{program:<17}| {version:<4}| {suite:<61}| {driver:<10}| {side:<7}| {sent:<17}| {received:<9}| {result}"
        );
    };
    line(["peer", "TLS", "suite or feature", "driver", "we are", "records (pieces)", "received", "result"]);
    for row in rows {
        let side = if row.program.is_server() { "client" } else { "server" };
        let what = match row.feature {
            Feature::Transfer => format!("{:?}, {}", row.suite.ours.suite(), row.suite.key.name()),
            feature => feature.name().to_owned(),
        };
        let (sent, received, result) = match &row.outcome {
            Ok(seen) => (
                seen.records.map_or("-".to_owned(), |(records, pieces)| format!("{records} ({pieces})")),
                seen.received.map_or("-".to_owned(), |n| n.to_string()),
                if seen.note.is_empty() { "ok".to_owned() } else { format!("ok: {}", seen.note) },
            ),
            Err(why) => ("-".to_owned(), "-".to_owned(), format!("FAILED: {why}")),
        };
        let version = row.suite.version.number();
        line([row.program.name(), version, &what, row.driver.name(), side, &sent, &received, &result]);
    }
    for program in Program::ALL {
        for version in Version::ALL {
            for feature in Feature::ALL {
                if let Some(why) = not_possible(program, version, feature) {
                    let result = format!("not possible: {why}");
                    line([program.name(), version.number(), feature.name(), "-", "-", "-", "-", &result]);
                }
            }
        }
    }
    table
}
