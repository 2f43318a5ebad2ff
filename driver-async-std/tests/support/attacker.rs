//! A client that can send what no client sends.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::AsyncWriteExt;
use rustls::version::TLS13;
use tls_cork_async_std::{TlsAcceptor, server};
use tls_cork_testing::attack::{self, Peer, Side};

use super::pipe::{End, Tap, pipe};

pub struct Attacker {
    pub peer: Peer,
    /// Where the output of `peer` goes.
    pub end: End,
    pub to_victim: Tap,
}

/// A server's stream and its client, shaken hands over a pipe without end. The client says `early`
/// with the last message of the handshake.
pub async fn attacked(early: &[u8]) -> (server::TlsStream<End>, Attacker) {
    let (client_config, server_config) = attack::configs(&TLS13, Side::Client, 1);
    let mut peer = Peer::client(client_config);
    let (mut end, victim) = pipe(usize::MAX);
    let (to_victim, from_victim) = (end.outgoing(), victim.outgoing());
    let acceptor = TlsAcceptor::from(Arc::new(server_config));
    let mut accepts = pin!(acceptor.accept(victim));
    let mut cx = Context::from_waker(Waker::noop());
    if !early.is_empty() {
        // rustls keeps it until it has keys.
        end.write_all(&peer.say(early)).await.unwrap();
    }
    let stream = loop {
        end.write_all(&peer.output()).await.unwrap();
        if let Poll::Ready(stream) = accepts.as_mut().poll(&mut cx) {
            break stream.unwrap();
        }
        peer.hear(&from_victim.steal()).unwrap();
    };
    (stream, Attacker { peer, end, to_victim })
}
