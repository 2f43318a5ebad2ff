//! The one module that knows rustls.

mod early_data;
mod inbound;
mod outbound;

pub(crate) use early_data::has_early_data;
pub use early_data::{client_without_early_data, server_without_early_data};

use ::rustls::{Connection, ProtocolVersion};

use crate::config::MAX_RECORD_SIZE;

/// Bytes that rustls counts as overhead in `max_fragment_size`.
const FRAGMENT_OVERHEAD: usize = 5;

/// A rustls session, as a [`Connection`](crate::Connection) drives it.
///
/// It gives no mutable access to the rustls connection: that would accept plaintext behind the policy's back.
#[derive(Debug)]
pub(crate) struct Session {
    conn: Connection,
    max_record_size: usize,
    first: inbound::FirstBytes,
    /// Whether something arrived since control output was last brought out.
    may_have_control: bool,
    /// A KeyUpdate of ours waits for the transport.
    refreshing: bool,
    /// What a record is longer than its plaintext, once a short one has told.
    overhead: Option<usize>,
    /// With the keys used up: what may still leave.
    last_bytes: Option<usize>,
}

impl Session {
    pub(crate) fn new(mut conn: Connection, max_fragment_size: Option<usize>) -> Self {
        // The policy bounds what waits; rustls's own limit gives short accepts.
        conn.set_buffer_limit(None);
        Self {
            conn,
            max_record_size: max_fragment_size
                .map_or(MAX_RECORD_SIZE, |size| size.saturating_sub(FRAGMENT_OVERHEAD))
                .clamp(1, MAX_RECORD_SIZE),
            first: inbound::FirstBytes::default(),
            may_have_control: false,
            refreshing: false,
            overhead: None,
            last_bytes: None,
        }
    }

    pub(crate) fn rustls(&self) -> &Connection {
        &self.conn
    }

    pub(crate) fn is_tls13(&self) -> bool {
        self.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }
}
