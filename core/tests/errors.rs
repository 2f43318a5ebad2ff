//! What errors say, and what is left of them in an `io::Error`.

use std::error::Error;
use std::io;

use tls_cork::{ConfigError, ConnectionError, ReceiveError, SealError, TransmitError, WriteError};

/// One of each kind; those with a cause of their own have a text that is easy to find.
fn all() -> Vec<Box<dyn Error>> {
    let cause = || io::Error::other("THE CAUSE");
    let tls = || rustls::Error::General("THE CAUSE".into());
    let config = || ConfigError { field: "max_hold", value: "0ns".into(), range: "THE CAUSE".into() };
    vec![
        Box::new(config()),
        Box::new(WriteError::Blocked),
        Box::new(WriteError::Closed),
        Box::new(WriteError::Failed),
        Box::new(SealError::KeysExhausted),
        Box::new(SealError::Contract("THE CAUSE")),
        Box::new(SealError::Session("THE CAUSE".into())),
        Box::new(TransmitError::Io(cause())),
        Box::new(TransmitError::WriteZero),
        Box::new(TransmitError::Overrun { offered: 5, reported: 6, discarded: 7 }),
        Box::new(TransmitError::Seal { error: SealError::KeysExhausted, discarded: 7 }),
        Box::new(TransmitError::Seal { error: SealError::Session("THE CAUSE".into()), discarded: 0 }),
        Box::new(ReceiveError::Io(cause())),
        Box::new(ReceiveError::Tls { error: tls(), discarded: 0 }),
        Box::new(ReceiveError::Tls { error: tls(), discarded: 7 }),
        Box::new(ReceiveError::HandshakeEof { discarded: 7 }),
        Box::new(ConnectionError::Config(config())),
        Box::new(ConnectionError::Tls(tls())),
    ]
}

/// The texts of an error and its causes, outermost first.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

#[test]
fn no_text_repeats_that_of_its_source() {
    for error in all() {
        let texts = chain(error.as_ref());
        for (outer, inner) in texts.iter().zip(&texts[1..]) {
            assert!(!outer.contains(inner.as_str()), "{texts:?}");
        }
        assert!(texts.concat().matches("THE CAUSE").count() <= 1, "{texts:?}");
    }
}

#[test]
fn an_outer_text_alone_says_what_and_where() {
    for error in all() {
        let text = error.to_string();
        assert!(text.split(' ').count() > 4, "{text}");
        assert!(
            text.contains("THE CAUSE")
                || chain(error.as_ref()).len() > 1
                || !format!("{error:?}").contains("THE CAUSE")
        );
    }
}

#[test]
fn the_errors_of_a_transport_come_through_unchanged() {
    const ECONNRESET: i32 = 104;
    let reset = || io::Error::from_raw_os_error(ECONNRESET);
    for error in [io::Error::from(TransmitError::Io(reset())), ReceiveError::Io(reset()).into()] {
        assert_eq!(error.raw_os_error(), Some(ECONNRESET));
        assert_eq!(error.to_string(), reset().to_string());
    }
}

#[test]
fn other_errors_can_be_taken_out_of_an_io_error() {
    let transmit = TransmitError::Seal { error: SealError::KeysExhausted, discarded: 7 };
    let receive = ReceiveError::Tls { error: rustls::Error::DecryptError, discarded: 7 };
    let connection = ConnectionError::Tls(rustls::Error::DecryptError);
    let cases: [(io::Error, io::ErrorKind, &str); 7] = [
        (WriteError::Blocked.into(), io::ErrorKind::WouldBlock, "transmit"),
        (WriteError::Failed.into(), io::ErrorKind::BrokenPipe, "failed"),
        (TransmitError::WriteZero.into(), io::ErrorKind::WriteZero, "zero bytes"),
        (transmit.into(), io::ErrorKind::InvalidData, "keys are used up"),
        (receive.into(), io::ErrorKind::InvalidData, "cannot decrypt"),
        (ReceiveError::HandshakeEof { discarded: 0 }.into(), io::ErrorKind::UnexpectedEof, "handshake"),
        (connection.into(), io::ErrorKind::InvalidInput, "cannot decrypt"),
    ];
    for (error, kind, text) in cases {
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(text), "{error}");
        let inner = error.get_ref().expect("an error of ours");
        assert_eq!(error.to_string(), inner.to_string());
        assert_eq!(error.source().map(ToString::to_string), inner.source().map(ToString::to_string));
        let ours = inner.is::<WriteError>()
            || inner.is::<TransmitError>()
            || inner.is::<ReceiveError>()
            || inner.is::<ConnectionError>();
        assert!(ours, "{inner:?}");
    }
}
