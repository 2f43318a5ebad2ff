//! The Network Block Device protocol, as much of it as a write benchmark needs: fixed newstyle
//! negotiation with STARTTLS and GO, then WRITE, READ, FLUSH and DISC with simple replies.
//!
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>

pub mod server;
