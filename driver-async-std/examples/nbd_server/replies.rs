//! Replies, as they are sent.

use tls_cork_nbd::{
    CHUNK_DONE, CHUNK_ERROR, CHUNK_NONE, CHUNK_OFFSET_DATA, CMD_READ, Chunk, Request, SimpleReply, encode_chunk_error,
};

/// A request and its result.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) request: Request,
    /// The data of a READ, or an NBD error number.
    pub(crate) result: Result<Vec<u8>, u32>,
}

/// An encoded reply. The data is apart from its header, so that it is not copied.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Reply {
    pub(crate) fn encode(self, structured: bool) -> Message {
        // A structured session allows simple replies to commands other than READ.
        match self.request.command {
            CMD_READ if structured => self.chunk(),
            _ => self.simple(),
        }
    }

    fn simple(self) -> Message {
        let (error, data) = match self.result {
            Ok(data) => (0, data),
            Err(error) => (error, Vec::new()),
        };
        Message { header: SimpleReply { error, cookie: self.request.cookie }.encode().to_vec(), data }
    }

    /// One chunk for all data of a READ, as `COMMAND_DF` requires.
    fn chunk(self) -> Message {
        let Request { cookie, offset, .. } = self.request;
        let (kind, front, data) = match self.result {
            Ok(data) if data.is_empty() => (CHUNK_NONE, Vec::new(), data),
            Ok(data) => (CHUNK_OFFSET_DATA, offset.to_be_bytes().to_vec(), data),
            Err(error) => (CHUNK_ERROR, encode_chunk_error(error), Vec::new()),
        };
        let length = (front.len() + data.len()) as u32;
        let header = Chunk { flags: CHUNK_DONE, kind, cookie, length }.encode();
        Message { header: [&header[..], &front].concat(), data }
    }
}
