//! The client's way to the transmission phase: greeting, STARTTLS, GO.

use std::io::{self, Read, Write};

use crate::{
    EXPORT_HAS_FLAGS, EXPORT_READ_ONLY, EXPORT_SEND_FLUSH, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, GREETING_LEN,
    INFO_BLOCK_SIZE, INFO_EXPORT, Info, MAX_PAYLOAD, OPT_GO, OPT_STARTTLS, OPTION_REPLY_HEADER_LEN, OptionReplyHeader,
    ProtoError, REP_ACK, REP_ERR_TLS_REQD, REP_ERROR_BIT, REP_INFO, encode_client_flags, encode_go, encode_option,
    option_error_name, parse_greeting, parse_info, parse_option_reply_header,
};

/// What the server said about the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportFacts {
    /// Bytes.
    pub size: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// FLUSH is supported.
    pub can_flush: bool,
    /// Offsets and lengths must be multiples of this.
    pub minimum_block: u32,
    /// The longest payload.
    pub maximum_payload: u32,
}

/// Goes as far as plaintext goes on a connection that has just been made: to the server's consent to
/// STARTTLS if `tls`, else to where options may be sent.
///
/// # Errors
///
/// When the stream fails, the server speaks another protocol or does not offer TLS.
pub fn begin(stream: &mut (impl Read + Write), tls: bool) -> io::Result<()> {
    let mut greeting = [0; GREETING_LEN];
    stream.read_exact(&mut greeting)?;
    let flags = parse_greeting(&greeting).map_err(invalid)?;
    let wanted = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
    stream.write_all(&encode_client_flags(flags & wanted))?;
    if !tls {
        return Ok(());
    }

    stream.write_all(&encode_option(OPT_STARTTLS, &[]))?;
    let mut header = [0; OPTION_REPLY_HEADER_LEN];
    stream.read_exact(&mut header)?;
    let reply = parse_option_reply_header(&header).map_err(invalid)?;
    // Bounded by the parser. Nothing may be left unread: what follows is TLS.
    let mut text = vec![0; reply.length as usize];
    stream.read_exact(&mut text)?;
    if reply.option != OPT_STARTTLS || reply.kind != REP_ACK {
        return Err(io::Error::other(format!(
            "the server does not offer TLS: {}{}",
            option_error_name(reply.kind),
            quoted(&text)
        )));
    }
    Ok(())
}

/// The option that chooses `export` and starts the transmission phase; [`GoReplies`] is the answer to it.
pub fn go(export: &str) -> Vec<u8> {
    encode_option(OPT_GO, &encode_go(export, &[INFO_EXPORT, INFO_BLOCK_SIZE]))
}

/// Option replies to GO, collected until the one that ends them.
#[derive(Debug, Default)]
pub struct GoReplies {
    received: Vec<u8>,
    facts: Option<ExportFacts>,
    sizes: Option<(u32, u32)>,
}

impl GoReplies {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, data: &[u8]) {
        self.received.extend_from_slice(data);
    }

    /// What the server said, once it has said it all.
    ///
    /// # Errors
    ///
    /// When the server refuses, or answers with something else than option replies.
    pub fn parse(&mut self) -> Result<Option<ExportFacts>, String> {
        let text = |e: ProtoError| e.to_string();
        while self.received.len() >= OPTION_REPLY_HEADER_LEN {
            let OptionReplyHeader { option, kind, length } = parse_option_reply_header(&self.received).map_err(text)?;
            let end = OPTION_REPLY_HEADER_LEN + length as usize;
            if self.received.len() < end {
                break;
            }
            let rest = self.received.split_off(end);
            let reply = std::mem::replace(&mut self.received, rest);
            let data = &reply[OPTION_REPLY_HEADER_LEN..];
            if option != OPT_GO {
                return Err(format!("the server answers option {option}, not GO"));
            }
            match kind {
                REP_INFO => self.note(parse_info(data).map_err(text)?),
                REP_ACK => {
                    let facts = self.facts.ok_or("the server did not tell the export's size")?;
                    let (minimum_block, maximum_payload) = self.sizes.unwrap_or((1, MAX_PAYLOAD));
                    return Ok(Some(ExportFacts { minimum_block: minimum_block.max(1), maximum_payload, ..facts }));
                }
                REP_ERR_TLS_REQD => {
                    return Err("the server requires TLS; use --ca FILE, not --plaintext".into());
                }
                kind if kind & REP_ERROR_BIT != 0 => {
                    return Err(format!("the server refuses the export: {}{}", option_error_name(kind), quoted(data)));
                }
                // Unknown replies that are no errors may be ignored.
                _ => {}
            }
        }
        Ok(None)
    }

    fn note(&mut self, info: Info) {
        match info {
            Info::Export { size, flags } => {
                let flag = |bit| flags & EXPORT_HAS_FLAGS != 0 && flags & bit != 0;
                self.facts = Some(ExportFacts {
                    size,
                    read_only: flag(EXPORT_READ_ONLY),
                    can_flush: flag(EXPORT_SEND_FLUSH),
                    minimum_block: 1,
                    maximum_payload: MAX_PAYLOAD,
                });
            }
            Info::BlockSize { minimum, maximum, .. } => self.sizes = Some((minimum, maximum)),
            Info::Other(_) => {}
        }
    }
}

/// The text a server may add to an error, made fit to print.
fn quoted(text: &[u8]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect();
    format!(" ({text:?})")
}

fn invalid(error: ProtoError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encode_info, encode_option_reply};

    fn reply(kind: u32, data: &[u8]) -> Vec<u8> {
        encode_option_reply(OPT_GO, kind, data)
    }

    fn good_replies() -> Vec<u8> {
        let export = Info::Export { size: 1 << 20, flags: EXPORT_HAS_FLAGS | EXPORT_SEND_FLUSH };
        let sizes = Info::BlockSize { minimum: 512, preferred: 4096, maximum: 1 << 16 };
        [reply(REP_INFO, &encode_info(&export)), reply(REP_INFO, &encode_info(&sizes)), reply(REP_ACK, &[])].concat()
    }

    #[test]
    fn facts_are_complete_only_with_the_last_byte() {
        let stream = good_replies();
        let mut replies = GoReplies::default();
        for (i, byte) in stream.iter().enumerate() {
            replies.feed(&[*byte]);
            let facts = replies.parse().expect("valid");
            assert_eq!(facts.is_some(), i + 1 == stream.len(), "byte {i}");
            if let Some(facts) = facts {
                assert_eq!(facts.size, 1 << 20);
                assert!(facts.can_flush && !facts.read_only);
                assert_eq!((facts.minimum_block, facts.maximum_payload), (512, 1 << 16));
            }
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let mut replies = GoReplies::default();
        replies.feed(&reply(REP_ERROR_BIT + 6, b"no\x07pe"));
        let error = replies.parse().expect_err("refused");
        assert!(error.contains("no such export"), "{error}");
        assert!(error.contains("\"nope\""), "{error}");
    }

    #[test]
    fn an_answer_without_a_size_is_refused() {
        let mut replies = GoReplies::default();
        replies.feed(&reply(REP_ACK, &[]));
        assert!(replies.parse().is_err());
    }

    #[test]
    fn an_answer_to_another_option_is_refused() {
        let mut replies = GoReplies::default();
        replies.feed(&encode_option_reply(OPT_STARTTLS, REP_ACK, &[]));
        assert!(replies.parse().is_err());
    }
}
