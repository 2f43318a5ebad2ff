//! Replies, with `MORE` on each part but the last.

use std::io;

use async_std::net::TcpStream;
use bytes::Bytes;
use tls_cork_async_std::server::TlsStream;
use tls_cork_async_std::tls_cork::SendFlags;
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

/// Sends `replies` as one message: each piece but the very last has the flag `MORE`.
pub(crate) async fn send(stream: &mut TlsStream<TcpStream>, replies: Vec<Reply>, structured: bool) -> io::Result<()> {
    let mut left = replies.len();
    for reply in replies {
        left -= 1;
        let last = SendFlags::more_if(left > 0);
        // A structured session allows simple replies to commands other than READ.
        let (header, data) = match reply.request.command {
            CMD_READ if structured => chunk(reply),
            _ => simple(reply),
        };
        if data.is_empty() {
            stream.send_all(&header, last).await?;
        } else {
            stream.send_all(&header, SendFlags::MORE).await?;
            stream.send_all_bytes(&mut Bytes::from(data), last).await?;
        }
    }
    Ok(())
}

fn simple(Reply { request, result }: Reply) -> (Vec<u8>, Vec<u8>) {
    let (error, data) = match result {
        Ok(data) => (0, data),
        Err(error) => (error, Vec::new()),
    };
    (SimpleReply { error, cookie: request.cookie }.encode().to_vec(), data)
}

/// One chunk for all data of a READ, as `COMMAND_DF` requires.
fn chunk(Reply { request, result }: Reply) -> (Vec<u8>, Vec<u8>) {
    let (kind, front, data) = match result {
        Ok(data) if data.is_empty() => (CHUNK_NONE, Vec::new(), data),
        Ok(data) => (CHUNK_OFFSET_DATA, request.offset.to_be_bytes().to_vec(), data),
        Err(error) => (CHUNK_ERROR, encode_chunk_error(error), Vec::new()),
    };
    let length = (front.len() + data.len()) as u32;
    let header = Chunk { flags: CHUNK_DONE, kind, cookie: request.cookie, length }.encode();
    ([&header[..], &front].concat(), data)
}
