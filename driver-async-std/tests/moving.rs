//! Programs written for futures-rustls, on both crates: nothing but their `use` lines differs.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic, and included programs are public")]

mod support;

use std::sync::Arc;

use futures_util::future::join;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use support::pipe::{Tap, pipe};
use support::{configs, patient, run};
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

/// The same text twice.
macro_rules! on_both {
    ($shape:ident, $path:literal, $($item:ident),+) => {
        mod $shape {
            pub mod theirs {
                use futures_rustls::rustls::{ClientConfig, ServerConfig};
                use futures_rustls::{$($item),+};
                include!($path);
            }
            pub mod ours {
                use tls_cork_async_std::rustls::{ClientConfig, ServerConfig};
                use tls_cork_async_std::{$($item),+};
                include!($path);
            }
        }
    };
}

on_both!(http, "shapes/http.rs", TlsAcceptor, TlsConnector, client, pki_types, rustls, server);
on_both!(rpc, "shapes/rpc.rs", Connect, TlsAcceptor, TlsConnector, TlsStream, pki_types);
on_both!(lazy, "shapes/lazy.rs", LazyConfigAcceptor, StartHandshake, TlsConnector, pki_types, rustls);

/// Application records each way.
fn records(up: &Tap, down: &Tap) -> (usize, usize) {
    // The client's Finished, and the server's flight of four and four tickets, look like application data.
    (up.application().len(), down.application().len())
}

#[test]
fn an_http_client_and_server_move_over() {
    let (mut client_config, mut server_config) = configs();
    Arc::make_mut(&mut client_config).alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::make_mut(&mut server_config).alpn_protocols = vec![b"http/1.1".to_vec()];
    let requests = [(0, 100), (10, 10_000), (100, 16_384), (3000, 40_000), (200_000, 1_000_000), (1, 0)];
    let one = |ours: bool| {
        let (client_config, server_config) = (Arc::clone(&client_config), Arc::clone(&server_config));
        run(async move {
            let (client, server) = pipe(30_000);
            let (up, down) = (client.outgoing(), server.outgoing());
            let (served, bodies) = if ours {
                use http::ours::{fetch, serve};
                join(serve(server_config, server), fetch(client_config, client, &requests)).await
            } else {
                use http::theirs::{fetch, serve};
                join(serve(server_config, server), fetch(client_config, client, &requests)).await
            };
            assert_eq!(served.unwrap(), requests.len());
            (bodies.unwrap(), records(&up, &down))
        })
    };
    let (theirs, their_records) = one(false);
    let (ours, our_records) = one(true);
    assert!(ours == theirs);
    println!("HTTP: records up and down {our_records:?}, futures-rustls {their_records:?}");
    assert!(our_records.0 <= their_records.0 && our_records.1 <= their_records.1);
}

#[test]
fn an_rpc_over_split_halves_moves_over() {
    let (client_config, server_config) = configs();
    let requests: Vec<_> = (0u32..200).map(|n| noise((n * n) as usize % 20_011, n)).collect();
    let one = |ours: bool| {
        let (client_config, server_config) = (Arc::clone(&client_config), Arc::clone(&server_config));
        let requests = requests.clone();
        run(async move {
            let (client, server) = pipe(200_000);
            let (up, down) = (client.outgoing(), server.outgoing());
            let (served, answers) = if ours {
                use rpc::ours::{call, serve};
                join(smol::spawn(serve(server_config, server)), call(client_config, client, requests)).await
            } else {
                use rpc::theirs::{call, serve};
                join(smol::spawn(serve(server_config, server)), call(client_config, client, requests)).await
            };
            served.unwrap();
            (answers.unwrap(), records(&up, &down))
        })
    };
    let (theirs, their_records) = one(false);
    let (ours, our_records) = one(true);
    assert!(ours == theirs && ours.len() == requests.len());
    println!("RPC: records up and down {our_records:?}, futures-rustls {their_records:?}");
    assert!(our_records.0 <= their_records.0 && our_records.1 <= their_records.1);
}

#[test]
fn a_server_that_chooses_by_name_moves_over() {
    let (client_config, server_config) = configs();
    let (stranger, _) = configs();
    let choices = [("other", Arc::clone(&server_config)), ("localhost", server_config)];
    // Served and trusted; a certificate for another name; an unknown issuer; a name that the server does not know.
    let cases =
        [(&client_config, "localhost"), (&client_config, "other"), (&stranger, "localhost"), (&stranger, "no.one")];
    for (config, name) in cases {
        let outcome = |ours: bool| {
            let (config, choices) = (Arc::clone(config), choices.clone());
            run(async move {
                let (client, server) = pipe(30_000);
                if ours {
                    use lazy::ours::{greet, seen, serve};
                    let (served, greeted) = join(serve(&choices, server), greet(config, client, name)).await;
                    (served.map_err(seen), greeted.map_err(seen))
                } else {
                    use lazy::theirs::{greet, seen, serve};
                    let (served, greeted) = join(serve(&choices, server), greet(config, client, name)).await;
                    (served.map_err(seen), greeted.map_err(seen))
                }
            })
        };
        let ours = outcome(true);
        println!("{ours:?}");
        assert_eq!(ours, outcome(false));
    }
}

#[test]
fn a_client_that_does_not_speak_tls_gets_an_alert() {
    let choices = [("localhost", configs().1)];
    for ours in [true, false] {
        run(async {
            let (mut client, server) = pipe(30_000);
            let down = server.outgoing();
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let served = match ours {
                true => lazy::ours::serve(&choices, server).await.map_err(lazy::ours::seen),
                false => lazy::theirs::serve(&choices, server).await.map_err(lazy::theirs::seen),
            };
            let (kind, tls) = served.unwrap_err();
            assert_eq!(kind, std::io::ErrorKind::InvalidData);
            assert!(tls.is_some());
            assert!(down.alerted());
            let mut alert = Vec::new();
            client.read_to_end(&mut alert).await.unwrap();
            assert_eq!(alert.len(), 7);
        });
    }
}

#[test]
fn with_more_each_message_is_one_record() {
    run(async {
        let (client_config, server_config) = configs();
        let (client, server) = pipe(1 << 20);
        let (up, down) = (client.outgoing(), server.outgoing());
        let connector = tls_cork_async_std::TlsConnector::from(client_config).with_cork(patient()).unwrap();
        let acceptor = tls_cork_async_std::TlsAcceptor::from(server_config).with_cork(patient()).unwrap();
        let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        up.forget();
        down.forget();
        let mut expected = Vec::new();
        for len in [1, 100, 4096, 9000, 16_380] {
            // The RPC's frame.
            let body = noise(len, 9);
            client.send_all(&(len as u32).to_be_bytes(), SendFlags::MORE).await.unwrap();
            client.send_all(&body, SendFlags::NONE).await.unwrap();
            let mut frame = vec![0; 4 + len];
            server.read_exact(&mut frame).await.unwrap();
            assert!(frame[4..] == body);
            expected.push(4 + len);
            // The HTTP server's head and body.
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
            if head.len() + len <= 16_384 {
                server.send_all(head.as_bytes(), SendFlags::MORE).await.unwrap();
                server.send_all_bytes(&mut body.into(), SendFlags::NONE).await.unwrap();
                let mut answer = vec![0; head.len() + len];
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(down.application(), [head.len() + len]);
                down.forget();
            }
        }
        assert_eq!(up.application(), expected);
        assert_eq!(up.writes(), expected.len());
    });
}
