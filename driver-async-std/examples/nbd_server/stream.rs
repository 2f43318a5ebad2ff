//! All that this server does with `tls_cork_async_std`: handshakes, the ends of streams, and the use
//! of `MORE`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_std::net::TcpStream;
use bytes::Bytes;
use rustls::ServerConfig;
use tls_cork_async_std::TlsAcceptor;
use tls_cork_async_std::server::TlsStream;
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};

use super::replies::Message;

/// A connection after its handshake.
pub(crate) type Stream = TlsStream<TcpStream>;

/// Makes streams of connections.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// The beginning of a message is held for `max_hold` at most.
    pub(crate) fn new(config: Arc<ServerConfig>, max_hold: Duration) -> Result<Self, String> {
        let cork = CorkConfig::default().max_hold(max_hold);
        TlsAcceptor::from(config).with_cork(cork).map(Self).map_err(|e| format!("--max-hold-ms: {e}"))
    }

    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        self.0.accept(tcp).await
    }
}

/// Sends `messages` together: each piece but the very last has the flag `MORE`.
pub(crate) async fn send(stream: &mut Stream, messages: Vec<Message>) -> io::Result<()> {
    let mut left = messages.len();
    for Message { header, data } in messages {
        left -= 1;
        let last = SendFlags::more_if(left > 0);
        if data.is_empty() {
            stream.send_all(&header, last).await?;
        } else {
            stream.send_all(&header, SendFlags::MORE).await?;
            stream.send_all_bytes(&mut Bytes::from(data), last).await?;
        }
    }
    Ok(())
}

/// Ends the stream so that nothing is lost: closes, then reads until the peer's end.
pub(crate) async fn close(stream: &mut Stream) -> io::Result<()> {
    stream.close_gracefully().await
}
