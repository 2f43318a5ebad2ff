//! The negotiation, from the greeting to the transmission phase: STARTTLS only, then options in
//! TLS.

use std::io;

use async_std::net::TcpStream;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tls_cork_nbd::{
    CLIENT_FLAGS_LEN, EXPORT_CAN_MULTI_CONN, EXPORT_HAS_FLAGS, EXPORT_SEND_DF, EXPORT_SEND_FLUSH, EXPORT_SEND_FUA,
    EXPORT_SEND_TRIM, EXPORT_SEND_WRITE_ZEROES, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, INFO_BLOCK_SIZE, Info,
    MAX_PAYLOAD, OPT_ABORT, OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST, OPT_STARTTLS, OPT_STRUCTURED_REPLY,
    OPTION_HEADER_LEN, REP_ACK, REP_ERR_INVALID, REP_ERR_TLS_REQD, REP_ERR_UNKNOWN, REP_ERR_UNSUP, REP_INFO,
    REP_SERVER, encode_greeting, encode_info, encode_option_reply, encode_server, parse_client_flags, parse_go,
    parse_option_header,
};

use super::stream::{self, Acceptor, Stream};

/// The name of the only export: empty, the default of the protocol.
const EXPORT_NAME: &str = "";
/// Zeroes after the reply to EXPORT_NAME, for clients that have not declined them.
const PADDING: [u8; 124] = [0; 124];

/// A client that has chosen the export.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// Whether READ is answered in chunks.
    pub(crate) structured: bool,
}

/// Negotiates with a client; `None` if the client ends the negotiation, as the protocol allows.
pub(crate) async fn negotiate(mut tcp: TcpStream, tls: &Acceptor, size: u64) -> io::Result<Option<Client>> {
    tcp.write_all(&encode_greeting(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)).await?;
    let mut flags = [0; CLIENT_FLAGS_LEN];
    tcp.read_exact(&mut flags).await?;
    let flags = parse_client_flags(&flags).map_err(invalid)?;
    if !wants_tls(&mut tcp).await? {
        return Ok(None);
    }
    // Nothing was read beyond STARTTLS. Plaintext that was injected after STARTTLS is therefore
    // parsed as TLS and fails here.
    let mut stream = tls.accept(tcp).await?;
    let mut options = Options { size, padded: flags & FLAG_NO_ZEROES == 0, structured: false };
    loop {
        let (option, data) = read_option(&mut stream).await?;
        let mut reply = Vec::new();
        let next = options.answer(option, &data, &mut reply);
        stream.write_all(&reply).await?;
        stream.flush().await?;
        match next {
            Next::Option => {}
            Next::Transmission => return Ok(Some(Client { stream, structured: options.structured })),
            Next::End => {
                stream::close(&mut stream).await?;
                return Ok(None);
            }
        }
    }
}

/// Before TLS: true at STARTTLS, false if the client gives up.
async fn wants_tls(tcp: &mut TcpStream) -> io::Result<bool> {
    loop {
        let (option, data) = read_option(tcp).await?;
        let kind = match option {
            OPT_STARTTLS if data.is_empty() => REP_ACK,
            OPT_STARTTLS => REP_ERR_INVALID,
            OPT_ABORT => REP_ACK,
            OPT_EXPORT_NAME => return Err(invalid("EXPORT_NAME before TLS")),
            _ => REP_ERR_TLS_REQD,
        };
        tcp.write_all(&encode_option_reply(option, kind, &[])).await?;
        match (option, kind) {
            (OPT_STARTTLS, REP_ACK) => return Ok(true),
            (OPT_ABORT, _) => return Ok(false),
            _ => {}
        }
    }
}

/// Reads an option and its data; the parser limits the length.
async fn read_option(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u32, Vec<u8>)> {
    let mut header = [0; OPTION_HEADER_LEN];
    stream.read_exact(&mut header).await?;
    let header = parse_option_header(&header).map_err(invalid)?;
    let mut data = vec![0; header.length as usize];
    stream.read_exact(&mut data).await?;
    Ok((header.option, data))
}

enum Next {
    Option,
    Transmission,
    End,
}

/// The state of the option negotiation.
struct Options {
    size: u64,
    padded: bool,
    structured: bool,
}

impl Options {
    fn answer(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
        let mut reply = |kind, data: &[u8]| out.extend(encode_option_reply(option, kind, data));
        match option {
            OPT_EXPORT_NAME if data == EXPORT_NAME.as_bytes() => {
                out.extend(self.size.to_be_bytes());
                out.extend(self.flags().to_be_bytes());
                out.extend(if self.padded { &PADDING[..] } else { &[] });
                return Next::Transmission;
            }
            // The protocol defines no error reply to this option.
            OPT_EXPORT_NAME => return Next::End,
            OPT_ABORT => {
                reply(REP_ACK, &[]);
                return Next::End;
            }
            OPT_LIST if data.is_empty() => {
                reply(REP_SERVER, &encode_server(EXPORT_NAME));
                reply(REP_ACK, &[]);
            }
            OPT_STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                reply(REP_ACK, &[]);
            }
            OPT_INFO | OPT_GO => match parse_go(data) {
                Err(_) => reply(REP_ERR_INVALID, &[]),
                Ok(asked) if asked.export != EXPORT_NAME => reply(REP_ERR_UNKNOWN, &[]),
                Ok(asked) => {
                    reply(REP_INFO, &encode_info(&Info::Export { size: self.size, flags: self.flags() }));
                    if asked.infos.contains(&INFO_BLOCK_SIZE) {
                        let sizes = Info::BlockSize { minimum: 1, preferred: 4096, maximum: MAX_PAYLOAD };
                        reply(REP_INFO, &encode_info(&sizes));
                    }
                    reply(REP_ACK, &[]);
                    if option == OPT_GO {
                        return Next::Transmission;
                    }
                }
            },
            OPT_STARTTLS | OPT_LIST | OPT_STRUCTURED_REPLY => reply(REP_ERR_INVALID, &[]),
            _ => reply(REP_ERR_UNSUP, &[]),
        }
        Next::Option
    }

    fn flags(&self) -> u16 {
        // CAN_MULTI_CONN: no data is cached for a connection, so a flush on one covers the writes
        // of all.
        let flags = EXPORT_HAS_FLAGS
            | EXPORT_SEND_FLUSH
            | EXPORT_SEND_FUA
            | EXPORT_SEND_TRIM
            | EXPORT_SEND_WRITE_ZEROES
            | EXPORT_CAN_MULTI_CONN;
        if self.structured { flags | EXPORT_SEND_DF } else { flags }
    }
}

pub(crate) fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
