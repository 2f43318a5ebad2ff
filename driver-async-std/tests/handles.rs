//! What a stream, a shared stream and its halves are beside their bytes: their transport, its
//! descriptor, and one line for logs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fmt::Debug;
use std::pin::pin;
use std::task::Waker;

use futures_util::poll;
use support::pair::{Pair, connected, gets};
use support::{patient, run};
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_async_std::{IntoInnerError, TlsStream};

#[test]
fn the_last_handle_gives_the_transport_back() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(patient()).await;
        let (mut stream, deadlines) = client.with_deadline_task();
        let mut deadlines = pin!(deadlines);
        assert!(poll!(deadlines.as_mut()).is_pending());
        stream.send_all(b"held", SendFlags::MORE).await.unwrap();

        let (reader, writer) = stream.into_split();
        let IntoInnerError(reader) = reader.into_inner().unwrap_err();
        let error = writer.into_inner().unwrap_err();
        assert!(error.to_string().contains("another half"), "{error}");
        let mut writer = error.0;
        assert_eq!(writer.send(b" still", SendFlags::MORE).await.unwrap(), 6);

        let stream = writer.reunite(reader).unwrap();
        assert!(poll!(deadlines.as_mut()).is_pending());
        let (end, mut connection) = stream.into_inner().unwrap();
        assert_eq!(connection.waiting(), 10, "what waits is in the connection");
        assert!(poll!(deadlines.as_mut()).is_ready(), "there is nothing left to do");

        // The transport is not closed, and the session goes on by hand.
        assert!(!up.is_closed());
        let _ = connection.flush(std::time::Instant::now());
        let mut wire = Vec::new();
        connection.poll_transmit(&mut wire).unwrap();
        let mut end = end;
        futures_util::AsyncWriteExt::write_all(&mut end, &wire).await.unwrap();
        assert_eq!(gets(&mut server, 10).await, b"held still");
    });
}

#[test]
fn a_half_is_the_last_handle_when_the_other_is_gone() {
    run(async {
        for keeps_reader in [true, false] {
            let Pair { client, .. } = connected(patient()).await;
            let (reader, writer) = client.into_split();
            let (_end, connection) = if keeps_reader {
                drop(writer);
                reader.into_inner().unwrap()
            } else {
                drop(reader);
                writer.into_inner().unwrap()
            };
            assert!(!connection.is_handshaking());
        }
    });
}

#[test]
fn a_deadline_task_is_no_handle_and_is_woken_to_its_end() {
    let tasks = smol::LocalExecutor::new();
    run(tasks.run(async {
        let Pair { client, .. } = connected(patient()).await;
        let (stream, deadlines) = client.with_deadline_task();
        let task = tasks.spawn(deadlines);
        smol::future::yield_now().await;
        assert!(!task.is_finished());
        let parts = stream.into_inner().unwrap();
        task.await;
        drop(parts);
    }));
}

/// Polls of a deadline task in another thread do not keep the last handle from its transport.
#[test]
fn a_deadline_task_that_is_being_polled_is_no_handle() {
    run(async {
        for _ in 0..50 {
            let Pair { client, .. } = connected(patient()).await;
            let (stream, mut deadlines) = client.with_deadline_task();
            let polls = smol::unblock(move || {
                let mut cx = std::task::Context::from_waker(Waker::noop());
                while std::pin::Pin::new(&mut deadlines).poll(&mut cx).is_pending() {}
            });
            smol::future::yield_now().await;
            stream.into_inner().unwrap();
            polls.await;
        }
    });
}

fn line(value: &impl Debug) -> String {
    let (plain, pretty) = (format!("{value:?}"), format!("{value:#?}"));
    assert_eq!(plain, pretty, "more than one line");
    plain
}

#[test]
fn every_stream_is_one_short_line_in_logs() {
    run(async {
        let Pair { mut client, server, .. } = connected(patient()).await;
        assert_eq!(client.send(b"SECRET", SendFlags::MORE).await.unwrap(), 6);
        assert_eq!(line(&client), "TlsStream(Connection(client, TLSv1_3, open, 6 bytes waiting))");
        assert_eq!(line(&server), "TlsStream(Connection(server, TLSv1_3, open, 0 bytes waiting))");
        let either = TlsStream::from(server);
        assert_eq!(line(&either), "TlsStream(Connection(server, TLSv1_3, open, 0 bytes waiting))");
        let (shared, deadlines) = client.with_deadline_task();
        assert_eq!(line(&shared), "SharedStream(Connection(client, TLSv1_3, open, 6 bytes waiting))");
        // In the closure the stream is in use: its line does not wait for the lock.
        assert_eq!(shared.with_ref(|_, _| format!("{shared:?}")), "SharedStream(in use)");
        assert!(format!("{deadlines:?}").len() < 60, "{deadlines:?}");
        let (reader, writer) = shared.into_split();
        assert_eq!(line(&reader), "ReadHalf(Connection(client, TLSv1_3, open, 6 bytes waiting))");
        assert_eq!(line(&writer), "WriteHalf(Connection(client, TLSv1_3, open, 6 bytes waiting))");
        let error = format!("{:?}", reader.into_inner().unwrap_err());
        assert!(!error.contains("SECRET") && error.len() < 60, "{error}");
    });
}

#[cfg(unix)]
#[test]
fn shared_streams_and_halves_have_the_descriptor_of_their_socket() {
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    use async_io::Async;
    use futures_util::future::join;
    use support::configs;
    use tls_cork_async_std::{TlsAcceptor, TlsConnector};
    use tls_cork_testing::sessions::name;

    run(async {
        let (client_config, server_config) = configs();
        let (ours, theirs) = Async::<UnixStream>::pair().unwrap();
        let fd = ours.as_raw_fd();
        let connects = TlsConnector::from(client_config).connect(name(), ours);
        let (client, server) = join(connects, TlsAcceptor::from(server_config).accept(theirs)).await;
        let (client, _server) = (client.unwrap(), server.unwrap());
        assert_eq!((client.as_raw_fd(), client.as_fd().as_raw_fd()), (fd, fd));
        let (shared, _deadlines) = client.with_deadline_task();
        assert_eq!(shared.as_raw_fd(), fd);
        let (reader, writer) = shared.into_split();
        assert_eq!((reader.as_raw_fd(), writer.as_raw_fd()), (fd, fd));
        let (ours, _) = writer.reunite(reader).unwrap().into_inner().unwrap();
        assert_eq!(ours.as_raw_fd(), fd);
    });
}
