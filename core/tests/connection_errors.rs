//! The texts of a session's errors, and what an `io::Error` made from them contains.

mod error_texts;

use std::error::Error;
use std::io;

use tls_cork::{ConnectionError, CorkConfig, ReceiveError, RefreshError};

/// One error of each kind. A cause of its own has the text "THE CAUSE".
fn all() -> Vec<Box<dyn Error>> {
    let cause = || io::Error::other("THE CAUSE");
    let tls = || rustls::Error::General("THE CAUSE".into());
    let config = CorkConfig::default().record_size(15).validate().expect_err("15 is too small");
    vec![
        Box::new(ReceiveError::Io(cause())),
        Box::new(ReceiveError::Tls { error: tls(), not_tls: false, discarded: 0 }),
        Box::new(ReceiveError::Tls { error: tls(), not_tls: true, discarded: 7 }),
        Box::new(ReceiveError::HandshakeEof { discarded: 7 }),
        Box::new(ConnectionError::Config(config)),
        Box::new(ConnectionError::EarlyData),
        Box::new(ConnectionError::Tls(tls())),
        Box::new(RefreshError::Handshaking),
        Box::new(RefreshError::Unsupported),
        Box::new(RefreshError::Closed),
        Box::new(RefreshError::Failed),
    ]
}

#[test]
fn no_text_repeats_that_of_its_source() {
    error_texts::check_sources(&all());
}

#[test]
fn an_outer_text_alone_says_what_and_where() {
    error_texts::check_outer(&all());
}

#[test]
fn the_errors_of_a_transport_come_through_unchanged() {
    error_texts::check_transport_error(|reset| ReceiveError::Io(reset).into());
}

#[test]
fn other_errors_can_be_taken_out_of_an_io_error() {
    let receive = ReceiveError::Tls { error: rustls::Error::DecryptError, not_tls: false, discarded: 7 };
    let connection = ConnectionError::Tls(rustls::Error::DecryptError);
    let cases: [(io::Error, io::ErrorKind, &str); 3] = [
        (receive.into(), io::ErrorKind::InvalidData, "cannot decrypt"),
        (ReceiveError::HandshakeEof { discarded: 0 }.into(), io::ErrorKind::UnexpectedEof, "handshake"),
        (connection.into(), io::ErrorKind::InvalidInput, "cannot decrypt"),
    ];
    for (error, kind, text) in cases {
        let inner = error_texts::check_inner(&error, kind, text);
        assert!(inner.is::<ReceiveError>() || inner.is::<ConnectionError>(), "{inner:?}");
    }
}
