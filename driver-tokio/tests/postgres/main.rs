//! The example `postgres`, against a PostgreSQL server that the tests start.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join};
use futures_util::{SinkExt, TryStreamExt};
use tls_cork_programs::tls::{CA_CERT, TemporaryCertificates};
use tokio::runtime::Runtime;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../../examples/postgres.rs"]
mod example;
mod server;

use example::Tls;
use server::{PASSWORD, Server};

/// TLS or nothing, with the password bound to the server's certificate.
fn config(server: &Server, host: &str) -> Config {
    let mut config = Config::new();
    config.user("postgres").password(PASSWORD).host(host).hostaddr([127, 0, 0, 1].into()).port(server.port);
    config.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Require);
    config
}

fn tls(server: &Server) -> Tls {
    Tls::new(&server.authority()).unwrap()
}

/// Each part has a connection of its own; one server serves all.
#[test]
#[ignore = "needs postgresql"]
fn a_real_server() {
    let server = Server::start();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, task) = example::connect(&config(&server, "localhost"), tls(&server)).await.unwrap();
        is_encrypted(&client).await;
        values_come_back(&client).await;
        queries_share_the_connection(&client).await;
        copies_go_both_ways(&client).await;
        a_query_is_cancelled(&client, tls(&server)).await;
        drop(client);
        task.await.unwrap();
        who_is_not_trusted_is_refused(&server).await;
    });
    let home = server.authority().parent().unwrap().to_owned();
    drop((runtime, server));
    assert!(!home.exists(), "files are left");
}

async fn is_encrypted(client: &Client) {
    let row = client.query_one("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, "TLSv1.3"));
}

async fn values_come_back(client: &Client) {
    for len in [0, 1, 8_000, 16_384, 1 << 20, 5 << 20] {
        let value: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let row = client.query_one("SELECT $1::bytea, length($1)", &[&value]).await.unwrap();
        assert!(row.get::<_, Vec<u8>>(0) == value && row.get::<_, i32>(1) == len, "{len} bytes");
    }
}

async fn queries_share_the_connection(client: &Client) {
    let statement = client.prepare("SELECT $1::int4 * 2").await.unwrap();
    let queries = (0..500).map(|n: i32| {
        let statement = &statement;
        async move { client.query_one(statement, &[&n]).await.unwrap().get::<_, i32>(0) }
    });
    assert_eq!(join_all(queries).await, (0..500).map(|n| n * 2).collect::<Vec<i32>>());
}

async fn copies_go_both_ways(client: &Client) {
    const ROWS: usize = 100_000;
    client.batch_execute("CREATE TEMPORARY TABLE words (word text)").await.unwrap();
    let sink = client.copy_in::<_, Bytes>("COPY words FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for row in 0..ROWS {
        sink.feed(format!("{row} {}\n", "word ".repeat(row % 20)).into()).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), ROWS as u64);
    let out = client.copy_out("COPY words TO STDOUT").await.unwrap();
    let lines: usize = out
        .try_fold(0, async |lines, chunk| Ok(lines + chunk.iter().filter(|byte| **byte == b'\n').count()))
        .await
        .unwrap();
    assert_eq!(lines, ROWS);
}

/// The request to cancel is a connection of its own.
async fn a_query_is_cancelled(client: &Client, tls: Tls) {
    let cancel = async {
        // The server ignores the request until the query has begun.
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.cancel_token().cancel_query(tls).await
    };
    let error = try_join(client.query("SELECT pg_sleep(1000)", &[]), cancel).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
}

async fn who_is_not_trusted_is_refused(server: &Server) {
    let config = config(server, "localhost");
    // An authority that has not signed the certificate.
    let stranger = TemporaryCertificates::new().unwrap();
    let error = refused(&config, &stranger.path().join(CA_CERT)).await;
    assert!(error.contains("invalid peer certificate"), "{error}");
    let error = refused(config.clone().password("another password"), &server.authority()).await;
    assert!(error.contains("password authentication failed"), "{error}");
    // A name that the certificate does not have.
    let error = refused(&self::config(server, "other.example"), &server.authority()).await;
    assert!(error.contains("not valid for name"), "{error}");
}

/// The error of a connection that is refused.
async fn refused(config: &Config, authority: &Path) -> String {
    let error = example::connect(config, Tls::new(authority).unwrap()).await.err().unwrap();
    let causes = std::iter::successors(Some(&*error as &(dyn Error + 'static)), |&error| error.source());
    causes.map(|error| format!("{error}; ")).collect()
}
