//! The only module that uses rustls.

mod ahead;
mod early_data;
mod inbound;
mod outbound;

pub(crate) use early_data::has_early_data;
pub use early_data::{client_without_early_data, server_without_early_data};

use ::rustls::{Connection, ProtocolVersion};

use crate::config::MAX_RECORD_SIZE;

/// Bytes of overhead that rustls includes in `max_fragment_size`.
const FRAGMENT_OVERHEAD: usize = 5;

/// A rustls session under a [`Connection`](crate::Connection).
///
/// R14: it gives no mutable access to the rustls connection, which would accept plaintext that the
/// policy has not released.
#[derive(Debug)]
pub(crate) struct Session {
    conn: Connection,
    /// Whether the handshake has chosen TLS 1.3.
    tls13: bool,
    max_record_size: usize,
    first: inbound::FirstBytes,
    /// Received bytes that rustls has not taken. Between two calls there are some only while rustls
    /// takes none.
    ahead: ahead::Ahead,
    /// Bytes that rustls took from `ahead` since its buffer was last shrunk.
    taken: u32,
    /// Whether anything was received since control output was last queued.
    may_have_control: bool,
    /// Whether our own KeyUpdate request waits for the transport.
    refreshing: bool,
    /// The wire bytes of a record less its plaintext; `None` until a short record has shown it.
    overhead: Option<usize>,
    /// Wire bytes that may still leave, if the session may send nothing more; else `None`.
    last_bytes: Option<usize>,
}

impl Session {
    pub(crate) fn new(mut conn: Connection, max_fragment_size: Option<usize>) -> Self {
        // R9: the policy bounds what waits. The limit of rustls would only cause short writes.
        conn.set_buffer_limit(None);
        Self {
            tls13: is_tls13(&conn),
            conn,
            max_record_size: max_fragment_size
                .map_or(MAX_RECORD_SIZE, |size| size.saturating_sub(FRAGMENT_OVERHEAD))
                .clamp(1, MAX_RECORD_SIZE),
            first: inbound::FirstBytes::default(),
            ahead: ahead::Ahead::default(),
            taken: 0,
            may_have_control: false,
            refreshing: false,
            overhead: None,
            last_bytes: None,
        }
    }

    pub(crate) fn rustls(&self) -> &Connection {
        &self.conn
    }

    #[inline]
    pub(crate) fn is_tls13(&self) -> bool {
        self.tls13
    }
}

fn is_tls13(conn: &Connection) -> bool {
    conn.protocol_version() == Some(ProtocolVersion::TLSv1_3)
}
