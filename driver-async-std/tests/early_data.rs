//! Early data is refused by both kinds of acceptor, so that the client sends it again.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use rustls::server::Acceptor;
use rustls::{ClientConnection, ServerConnection};
use support::pair::gets;
use support::pipe::pipe;
use support::{configs, run};
use tls_cork_async_std::{LazyConfigAcceptor, TlsAcceptor, TlsConnector};
use tls_cork_testing::sessions::{name, with_ticket};

#[test]
fn an_acceptor_refuses_early_data_and_gets_it_again() {
    for lazy in [false, true] {
        run(async {
            let (client, server_config) = with_ticket(configs());
            let mut client = ClientConnection::new(client, name()).unwrap();
            client.early_data().expect("a ticket").write_all(b"early").unwrap();
            let (mut near, far) = pipe(1 << 20);
            let answers = far.outgoing();
            let acceptor = TlsAcceptor::from(Arc::clone(&server_config));
            let mut accepts = pin!(async {
                if lazy {
                    let start = LazyConfigAcceptor::new(Acceptor::default(), far).await.unwrap();
                    return start.into_stream(server_config).await.unwrap();
                }
                acceptor.accept(far).await.unwrap()
            });
            let mut cx = Context::from_waker(Waker::noop());
            let mut stream = loop {
                let mut wire = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut wire).unwrap();
                }
                near.write_all(&wire).await.unwrap();
                if let Poll::Ready(stream) = accepts.as_mut().poll(&mut cx) {
                    break stream;
                }
                client.read_tls(&mut &answers.steal()[..]).unwrap();
                client.process_new_packets().unwrap();
            };
            assert!(!client.is_early_data_accepted(), "acknowledged and dropped");
            let mut buf = [0; 16];
            let early = pin!(stream.read(&mut buf));
            assert!(early.poll(&mut cx).is_pending(), "nothing came early");
            client.writer().write_all(b"again").unwrap();
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            near.write_all(&wire).await.unwrap();
            assert_eq!(gets(&mut stream, 5).await, b"again");
        });
    }
}

#[test]
fn a_connector_offers_no_early_data() {
    run(async {
        let (client, server) = with_ticket(configs());
        let (near, far) = pipe(1 << 20);
        let offer = near.outgoing();
        let connector = TlsConnector::from(client);
        let mut connects = pin!(connector.connect(name(), near));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(connects.as_mut().poll(&mut cx).is_pending());
        let mut server = ServerConnection::new(server).unwrap();
        server.read_tls(&mut &offer.steal()[..]).unwrap();
        server.process_new_packets().unwrap();
        assert!(server.early_data().is_none());
        drop(far);
    });
}
