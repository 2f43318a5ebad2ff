//! The texts of a policy's errors, and what an `io::Error` made from them contains.

mod error_texts;

use std::error::Error;
use std::io;
use std::sync::Arc;

use tls_cork::{CorkConfig, SealError, TransmitError, WriteError};

/// One error of each kind. A cause of its own has the text "THE CAUSE".
fn all() -> Vec<Box<dyn Error>> {
    let cause = || io::Error::other("THE CAUSE");
    let config = CorkConfig::default().record_size(15).validate().expect_err("15 is too small");
    let session = || SealError::Session(Arc::new(cause()));
    vec![
        Box::new(config),
        Box::new(WriteError::Blocked),
        Box::new(WriteError::Closed),
        Box::new(WriteError::Failed),
        Box::new(SealError::KeysExhausted),
        Box::new(SealError::Contract("THE CAUSE")),
        Box::new(session()),
        Box::new(TransmitError::Io(cause())),
        Box::new(TransmitError::WriteZero),
        Box::new(TransmitError::Overrun { offered: 5, reported: 6, discarded: 7 }),
        Box::new(TransmitError::Seal { error: SealError::KeysExhausted, discarded: 7 }),
        Box::new(TransmitError::Seal { error: session(), discarded: 0 }),
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
    error_texts::check_transport_error(|reset| TransmitError::Io(reset).into());
}

#[test]
fn other_errors_can_be_taken_out_of_an_io_error() {
    let transmit = TransmitError::Seal { error: SealError::KeysExhausted, discarded: 7 };
    let cases: [(io::Error, io::ErrorKind, &str); 4] = [
        (WriteError::Blocked.into(), io::ErrorKind::WouldBlock, "transmit"),
        (WriteError::Failed.into(), io::ErrorKind::BrokenPipe, "failed"),
        (TransmitError::WriteZero.into(), io::ErrorKind::WriteZero, "zero bytes"),
        (transmit.into(), io::ErrorKind::InvalidData, "keys are used up"),
    ];
    for (error, kind, text) in cases {
        let inner = error_texts::check_inner(&error, kind, text);
        assert!(inner.is::<WriteError>() || inner.is::<TransmitError>(), "{inner:?}");
    }
}

#[test]
fn a_session_s_own_error_can_be_looked_at_and_stays_with_a_clone() {
    let error = SealError::Session(Arc::new(io::Error::from(io::ErrorKind::TimedOut)));
    let SealError::Session(cause) = error.clone() else { panic!("{error}") };
    let cause = cause.downcast_ref::<io::Error>().expect("what was put in");
    assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains(&cause.to_string()), "{error}");
}

#[test]
fn a_text_says_what_to_do() {
    let overrun = TransmitError::Overrun { offered: 5, reported: 6, discarded: 7 };
    let config = CorkConfig::default().record_size(15).validate().expect_err("15 is too small");
    let cases: [(Box<dyn Error>, &str); 8] = [
        (Box::new(config), "must be 16 to 16384 bytes"),
        (Box::new(WriteError::Blocked), "transmit, then write the same bytes again"),
        (Box::new(WriteError::Closed), "open a new connection"),
        (Box::new(WriteError::Failed), "open a new one"),
        (Box::new(SealError::KeysExhausted), "open a new connection, or use TLS 1.3"),
        (Box::new(TransmitError::Io(io::Error::other("x"))), "transmit again, or drop the connection"),
        (Box::new(TransmitError::WriteZero), "open a new connection"),
        (Box::new(overrun), "open a new one; 7 bytes that were accepted are lost"),
    ];
    for (error, action) in cases {
        assert!(error.to_string().contains(action), "{error}");
    }
}
