//! Where a server listens.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// `HOST:PORT`, the host a name, an IPv4 address or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// A port of this machine.
    pub fn local(port: u16) -> Self {
        Self(format!("127.0.0.1:{port}"))
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']))
    }

    /// Tries each address of the host in turn.
    pub fn connect(&self, limit: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.0.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
            return Err("the host is missing, or an IPv6 address without brackets");
        }
        match port.parse() {
            Ok(1..=u16::MAX) => Ok(Self(text.to_owned())),
            _ => Err("the port is not a number from 1 to 65535"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_are_kept_and_bad_ones_refused() {
        for (text, host) in [("localhost:10809", "localhost"), ("127.0.0.1:1", "127.0.0.1"), ("[::1]:65535", "::1")] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.to_string().as_str(), endpoint.host()), (text, host));
        }
        for text in ["", "localhost", ":1", "h:", "h:0", "h:65536", "::1:5", "[::1:5", "h:x"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
