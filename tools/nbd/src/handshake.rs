//! Fixed newstyle negotiation: greeting, options, option replies.

use super::{ProtoError, u16_at, u32_at, u64_at};

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943; // "NBDMAGIC"
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Both sides speak fixed newstyle (handshake flag and client flag alike).
pub const FLAG_FIXED_NEWSTYLE: u16 = 1 << 0;
/// No 124 zero bytes after NBD_OPT_EXPORT_NAME.
pub const FLAG_NO_ZEROES: u16 = 1 << 1;

/// Choose an export and go to the transmission phase; its reply has no room for an error.
pub const OPT_EXPORT_NAME: u32 = 1;
/// End the negotiation.
pub const OPT_ABORT: u32 = 2;
/// Name every export.
pub const OPT_LIST: u32 = 3;
/// Switch this connection to TLS.
pub const OPT_STARTTLS: u32 = 5;
/// As [`OPT_GO`], but only tells.
pub const OPT_INFO: u32 = 6;
/// Choose an export and go to the transmission phase.
pub const OPT_GO: u32 = 7;
/// Replies to READ shall come in [chunks](super::Chunk).
pub const OPT_STRUCTURED_REPLY: u32 = 8;

/// The option was carried out.
pub const REP_ACK: u32 = 1;
/// The name of an export; more replies follow.
pub const REP_SERVER: u32 = 2;
/// A piece of information about the export; more replies follow.
pub const REP_INFO: u32 = 3;
/// Set in every reply type that reports an error.
pub const REP_ERROR_BIT: u32 = 1 << 31;
/// The option is unknown to the server.
pub const REP_ERR_UNSUP: u32 = REP_ERROR_BIT + 1;
/// The server's configuration forbids the option.
pub const REP_ERR_POLICY: u32 = REP_ERROR_BIT + 2;
/// The option makes no sense here.
pub const REP_ERR_INVALID: u32 = REP_ERROR_BIT + 3;
/// The server wants STARTTLS first.
pub const REP_ERR_TLS_REQD: u32 = REP_ERROR_BIT + 5;

/// There is no export of that name.
pub const REP_ERR_UNKNOWN: u32 = REP_ERROR_BIT + 6;

/// Export size and transmission flags.
pub const INFO_EXPORT: u16 = 0;
/// Smallest, preferred and largest block size.
pub const INFO_BLOCK_SIZE: u16 = 3;

/// The other transmission flags mean something.
pub const EXPORT_HAS_FLAGS: u16 = 1 << 0;
/// Writes are refused.
pub const EXPORT_READ_ONLY: u16 = 1 << 1;
/// FLUSH is supported.
pub const EXPORT_SEND_FLUSH: u16 = 1 << 2;
/// [`COMMAND_FUA`](super::COMMAND_FUA) is supported.
pub const EXPORT_SEND_FUA: u16 = 1 << 3;
/// TRIM is supported.
pub const EXPORT_SEND_TRIM: u16 = 1 << 5;
/// WRITE_ZEROES is supported.
pub const EXPORT_SEND_WRITE_ZEROES: u16 = 1 << 6;
/// [`COMMAND_DF`](super::COMMAND_DF) is supported.
pub const EXPORT_SEND_DF: u16 = 1 << 7;
/// A FLUSH on one connection covers what was written on all.
pub const EXPORT_CAN_MULTI_CONN: u16 = 1 << 8;

/// Bytes of the server's greeting.
pub const GREETING_LEN: usize = 18;
/// Bytes of the client's answer to the greeting.
pub const CLIENT_FLAGS_LEN: usize = 4;
/// Bytes in front of an option's data.
pub const OPTION_HEADER_LEN: usize = 16;
/// Bytes in front of an option reply's data.
pub const OPTION_REPLY_HEADER_LEN: usize = 20;
/// The most option (or option reply) data accepted: names are at most 4096 bytes, and a server
/// may add an error text.
pub const MAX_OPTION_LEN: u32 = 64 * 1024;

/// The server's first message.
pub fn encode_greeting(flags: u16) -> [u8; GREETING_LEN] {
    let mut out = [0; GREETING_LEN];
    out[..8].copy_from_slice(&NBD_MAGIC.to_be_bytes());
    out[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
    out[16..].copy_from_slice(&flags.to_be_bytes());
    out
}

/// The handshake flags in a greeting.
///
/// # Errors
///
/// When it is not an NBD greeting, or the server does not speak fixed newstyle.
pub fn parse_greeting(data: &[u8]) -> Result<u16, ProtoError> {
    let what = "greeting";
    let magic = u64_at(data, 0, what)?;
    if magic != NBD_MAGIC {
        return Err(ProtoError::BadMagic { what, found: magic });
    }
    // An oldstyle server has another number here.
    if u64_at(data, 8, what)? != OPTION_MAGIC {
        return Err(ProtoError::NotFixedNewstyle);
    }
    let flags = u16_at(data, 16, what)?;
    if flags & FLAG_FIXED_NEWSTYLE == 0 {
        return Err(ProtoError::NotFixedNewstyle);
    }
    Ok(flags)
}

/// The client's answer to the greeting; `flags` as far as the server offered them.
pub fn encode_client_flags(flags: u16) -> [u8; CLIENT_FLAGS_LEN] {
    u32::from(flags).to_be_bytes()
}

/// The client flags.
///
/// # Errors
///
/// When the client does not speak fixed newstyle, or sets flags that nobody has defined (the
/// protocol asks a server to end the connection then).
pub fn parse_client_flags(data: &[u8]) -> Result<u16, ProtoError> {
    let what = "client flags";
    let flags = u32_at(data, 0, what)?;
    let known = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
    match u16::try_from(flags) {
        Ok(flags) if flags & !known == 0 => {
            if flags & FLAG_FIXED_NEWSTYLE == 0 {
                Err(ProtoError::NotFixedNewstyle)
            } else {
                Ok(flags)
            }
        }
        _ => Err(ProtoError::Malformed { what }),
    }
}

/// The fixed part of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHeader {
    /// One of the `OPT_` numbers, or one unknown here.
    pub option: u32,
    /// Bytes of data behind the header, at most [`MAX_OPTION_LEN`].
    pub length: u32,
}

/// An option with its data.
pub fn encode_option(option: u32, data: &[u8]) -> Vec<u8> {
    [&OPTION_MAGIC.to_be_bytes()[..], &option.to_be_bytes(), &length_of(data).to_be_bytes(), data].concat()
}

/// The fixed part of an option.
///
/// # Errors
///
/// When it is no option, or its data is longer than [`MAX_OPTION_LEN`].
pub fn parse_option_header(data: &[u8]) -> Result<OptionHeader, ProtoError> {
    let what = "option";
    let magic = u64_at(data, 0, what)?;
    if magic != OPTION_MAGIC {
        return Err(ProtoError::BadMagic { what, found: magic });
    }
    Ok(OptionHeader { option: u32_at(data, 8, what)?, length: bounded(u32_at(data, 12, what)?, what)? })
}

/// The data of [`OPT_GO`]: which export, and which facts about it.
pub fn encode_go(export: &str, infos: &[u16]) -> Vec<u8> {
    let count = u16::try_from(infos.len()).unwrap_or(u16::MAX).to_be_bytes();
    let infos: Vec<u8> = infos.iter().flat_map(|info| info.to_be_bytes()).collect();
    [&encode_server(export)[..], &count, &infos].concat()
}

/// The data of [`OPT_GO`], parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoRequest<'a> {
    /// Export name; empty for the default export.
    pub export: &'a str,
    /// The `INFO_` numbers asked for.
    pub infos: Vec<u16>,
}

/// The data of [`OPT_GO`].
///
/// # Errors
///
/// When the lengths inside do not add up, or the name is not UTF-8.
pub fn parse_go(data: &[u8]) -> Result<GoRequest<'_>, ProtoError> {
    let what = "GO option";
    let malformed = ProtoError::Malformed { what };
    let name_length = u32_at(data, 0, what)? as usize;
    let rest = data.get(4..).unwrap_or_default();
    let (name, rest) = rest.split_at_checked(name_length).ok_or(malformed)?;
    let count = usize::from(u16_at(rest, 0, what)?);
    let list = rest.get(2..).unwrap_or_default();
    if list.len() != 2 * count {
        return Err(malformed);
    }
    Ok(GoRequest {
        export: std::str::from_utf8(name).map_err(|_| malformed)?,
        infos: list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect(),
    })
}

/// The fixed part of an option reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionReplyHeader {
    /// The option this answers.
    pub option: u32,
    /// One of the `REP_` numbers, or one unknown here.
    pub kind: u32,
    /// Bytes of data behind the header, at most [`MAX_OPTION_LEN`].
    pub length: u32,
}

/// An option reply with its data.
pub fn encode_option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let (option, kind, length) = (option.to_be_bytes(), kind.to_be_bytes(), length_of(data).to_be_bytes());
    [&OPTION_REPLY_MAGIC.to_be_bytes()[..], &option, &kind, &length, data].concat()
}

/// The fixed part of an option reply.
///
/// # Errors
///
/// When it is no option reply, or its data is longer than [`MAX_OPTION_LEN`].
pub fn parse_option_reply_header(data: &[u8]) -> Result<OptionReplyHeader, ProtoError> {
    let what = "option reply";
    let magic = u64_at(data, 0, what)?;
    if magic != OPTION_REPLY_MAGIC {
        return Err(ProtoError::BadMagic { what, found: magic });
    }
    Ok(OptionReplyHeader {
        option: u32_at(data, 8, what)?,
        kind: u32_at(data, 12, what)?,
        length: bounded(u32_at(data, 16, what)?, what)?,
    })
}

/// The data of a [`REP_SERVER`] reply.
pub fn encode_server(export: &str) -> Vec<u8> {
    [&length_of(export.as_bytes()).to_be_bytes(), export.as_bytes()].concat()
}

/// What a [`REP_INFO`] reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Info {
    /// [`INFO_EXPORT`]
    Export {
        /// Bytes in the export.
        size: u64,
        /// The `EXPORT_` flags.
        flags: u16,
    },
    /// [`INFO_BLOCK_SIZE`]
    BlockSize {
        /// Offsets and lengths must be multiples of this.
        minimum: u32,
        /// What suits the server best.
        preferred: u32,
        /// The longest payload the server takes.
        maximum: u32,
    },
    /// Information this program has no use for.
    Other(u16),
}

/// The data of a [`REP_INFO`] reply.
pub fn encode_info(info: &Info) -> Vec<u8> {
    match *info {
        Info::Export { size, flags } => {
            [&INFO_EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &flags.to_be_bytes()].concat()
        }
        Info::BlockSize { minimum, preferred, maximum } => {
            let sizes = [minimum, preferred, maximum].map(u32::to_be_bytes);
            [&INFO_BLOCK_SIZE.to_be_bytes()[..], sizes.as_flattened()].concat()
        }
        Info::Other(kind) => kind.to_be_bytes().to_vec(),
    }
}

/// The data of a [`REP_INFO`] reply.
///
/// # Errors
///
/// When it is shorter than its kind demands.
pub fn parse_info(data: &[u8]) -> Result<Info, ProtoError> {
    let what = "export information";
    Ok(match u16_at(data, 0, what)? {
        INFO_EXPORT => Info::Export { size: u64_at(data, 2, what)?, flags: u16_at(data, 10, what)? },
        INFO_BLOCK_SIZE => Info::BlockSize {
            minimum: u32_at(data, 2, what)?,
            preferred: u32_at(data, 6, what)?,
            maximum: u32_at(data, 10, what)?,
        },
        other => Info::Other(other),
    })
}

/// The protocol's name for an error reply, for messages.
pub fn option_error_name(kind: u32) -> &'static str {
    match kind.wrapping_sub(REP_ERROR_BIT) {
        1 => "NBD_REP_ERR_UNSUP (option not supported)",
        2 => "NBD_REP_ERR_POLICY (forbidden by the server)",
        3 => "NBD_REP_ERR_INVALID (invalid request)",
        4 => "NBD_REP_ERR_PLATFORM (not supported on this platform)",
        5 => "NBD_REP_ERR_TLS_REQD (TLS required)",
        6 => "NBD_REP_ERR_UNKNOWN (no such export)",
        7 => "NBD_REP_ERR_SHUTDOWN (server is shutting down)",
        8 => "NBD_REP_ERR_BLOCK_SIZE_REQD (block size must be negotiated)",
        9 => "NBD_REP_ERR_TOO_BIG (request too big)",
        _ => "an unknown error",
    }
}

fn bounded(length: u32, what: &'static str) -> Result<u32, ProtoError> {
    if length > MAX_OPTION_LEN {
        return Err(ProtoError::TooLong { what, limit: MAX_OPTION_LEN, found: length });
    }
    Ok(length)
}

/// Our own option data is a name of at most 4096 bytes and a few numbers.
fn length_of(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}
