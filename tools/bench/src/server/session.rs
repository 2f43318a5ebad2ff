//! The server's side of the protocol: bytes in, bytes out, no I/O.

use tls_cork_nbd::{
    CMD_DISC, CMD_FLUSH, CMD_READ, CMD_WRITE, ERROR_INVALID, ERROR_NO_SPACE, EXPORT_HAS_FLAGS, EXPORT_SEND_FLUSH,
    INFO_BLOCK_SIZE, Info, MAX_PAYLOAD, OPT_ABORT, OPT_GO, OPT_STARTTLS, OPTION_HEADER_LEN, ProtoError, REP_ACK,
    REP_ERR_INVALID, REP_ERR_POLICY, REP_ERR_TLS_REQD, REP_ERR_UNSUP, REP_INFO, REQUEST_LEN, Request, SimpleReply,
    encode_info, encode_option_reply, parse_go, parse_option_header,
};

use super::export::Export;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    More,
    StartTls,
    Disconnect,
}

#[derive(Debug, Clone, Copy)]
enum State {
    OptionHeader,
    OptionData { option: u32, length: usize },
    Request,
    Payload { request: Request, received: usize, error: u32 },
}

#[derive(Debug)]
pub(super) struct Session<'a> {
    export: &'a Export,
    tls_available: bool,
    tls_active: bool,
    state: State,
    /// The beginning of a message whose rest has not come yet.
    partial: Vec<u8>,
    requests: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(export: &'a Export, tls_available: bool) -> Self {
        Self { export, tls_available, tls_active: false, state: State::OptionHeader, partial: Vec::new(), requests: 0 }
    }

    /// Requests of the transmission phase so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// From here on what is fed came through TLS.
    pub(super) fn tls_started(&mut self) {
        self.tls_active = true;
    }

    /// Takes what has come, and appends what is to be sent.
    pub(super) fn feed(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<Next, ProtoError> {
        loop {
            let next = match self.state {
                State::OptionHeader => {
                    let Some(header) = collect::<OPTION_HEADER_LEN>(&mut self.partial, &mut data) else {
                        return Ok(Next::More);
                    };
                    let header = parse_option_header(&header)?;
                    self.state = State::OptionData { option: header.option, length: header.length as usize };
                    Next::More
                }
                State::OptionData { option, length } => {
                    let (taken, rest) = data.split_at(data.len().min(length - self.partial.len()));
                    self.partial.extend_from_slice(taken);
                    data = rest;
                    if self.partial.len() < length {
                        return Ok(Next::More);
                    }
                    self.state = State::OptionHeader;
                    let option_data = std::mem::take(&mut self.partial);
                    self.handle_option(option, &option_data, out)
                }
                State::Request => {
                    let Some(request) = collect::<REQUEST_LEN>(&mut self.partial, &mut data) else {
                        return Ok(Next::More);
                    };
                    self.handle_request(Request::parse(&request)?, out)
                }
                State::Payload { request, received, error } => {
                    let missing = request.length as usize - received;
                    let (taken, rest) = data.split_at(data.len().min(missing));
                    if error == 0 {
                        self.export.write(position(request.offset) + received, taken);
                    }
                    data = rest;
                    if taken.len() < missing {
                        self.state = State::Payload { request, received: received + taken.len(), error };
                        return Ok(Next::More);
                    }
                    self.state = State::Request;
                    reply(out, request.cookie, error);
                    Next::More
                }
            };
            match next {
                Next::More => {}
                // Bytes already here were not protected, so whoever sent them must not be heard.
                Next::StartTls if !data.is_empty() => {
                    return Err(ProtoError::Unexpected { what: "plaintext behind STARTTLS" });
                }
                Next::StartTls | Next::Disconnect => return Ok(next),
            }
        }
    }

    fn handle_option(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
        let mut reply = |kind: u32, data: &[u8]| out.extend(encode_option_reply(option, kind, data));
        match option {
            OPT_ABORT => {
                reply(REP_ACK, &[]);
                return Next::Disconnect;
            }
            OPT_STARTTLS if !self.tls_available => {
                reply(REP_ERR_POLICY, b"this server has no certificate");
            }
            OPT_STARTTLS if self.tls_active || !data.is_empty() => reply(REP_ERR_INVALID, &[]),
            OPT_STARTTLS => {
                reply(REP_ACK, &[]);
                return Next::StartTls;
            }
            _ if self.tls_available && !self.tls_active => reply(REP_ERR_TLS_REQD, &[]),
            // There is one export; its name does not matter.
            OPT_GO => match parse_go(data) {
                Ok(go) => {
                    let export = Info::Export { size: self.export.size(), flags: EXPORT_HAS_FLAGS | EXPORT_SEND_FLUSH };
                    reply(REP_INFO, &encode_info(&export));
                    if go.infos.contains(&INFO_BLOCK_SIZE) {
                        let sizes = Info::BlockSize { minimum: 1, preferred: 4096, maximum: MAX_PAYLOAD };
                        reply(REP_INFO, &encode_info(&sizes));
                    }
                    reply(REP_ACK, &[]);
                    self.state = State::Request;
                }
                Err(_) => reply(REP_ERR_INVALID, &[]),
            },
            _ => reply(REP_ERR_UNSUP, &[]),
        }
        Next::More
    }

    fn handle_request(&mut self, request: Request, out: &mut Vec<u8>) -> Next {
        self.requests += 1;
        let Request { cookie, offset, length, .. } = request;
        let inside = self.export.contains(offset, length);
        match request.command {
            CMD_DISC => return Next::Disconnect,
            CMD_WRITE => {
                self.state = State::Payload { request, received: 0, error: if inside { 0 } else { ERROR_NO_SPACE } };
            }
            CMD_READ if inside => {
                reply(out, cookie, 0);
                self.export.read(position(offset), length as usize, out);
            }
            CMD_FLUSH => reply(out, cookie, 0),
            _ => reply(out, cookie, ERROR_INVALID),
        }
        Next::More
    }
}

fn reply(out: &mut Vec<u8>, cookie: u64, error: u32) {
    out.extend_from_slice(&SimpleReply { error, cookie }.encode());
}

/// Takes one message of `N` bytes off `data`, together with what `partial` has of it.
fn collect<const N: usize>(partial: &mut Vec<u8>, data: &mut &[u8]) -> Option<[u8; N]> {
    if partial.is_empty()
        && let Some((message, rest)) = data.split_first_chunk::<N>()
    {
        *data = rest;
        return Some(*message);
    }
    let (taken, rest) = data.split_at(data.len().min(N - partial.len()));
    partial.extend_from_slice(taken);
    *data = rest;
    let message = *partial.first_chunk::<N>()?;
    partial.clear();
    Some(message)
}

/// Offsets inside a memory export fit the address space; a null export ignores them.
fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ExportKind;
    use tls_cork_nbd::{INFO_EXPORT, OPTION_REPLY_HEADER_LEN, encode_go, encode_option, parse_option_reply_header};

    fn memory() -> Export {
        Export::new(ExportKind::Memory, 4096).expect("small")
    }

    fn request(command: u16, offset: u64, length: u32, payload: &[u8]) -> Vec<u8> {
        let header = Request { command, flags: 0, cookie: 7, offset, length };
        [&header.encode()[..], payload].concat()
    }

    fn go() -> Vec<u8> {
        encode_option(OPT_GO, &encode_go("any", &[INFO_EXPORT]))
    }

    /// The kinds of the option replies in `out`.
    fn kinds(mut out: &[u8]) -> Vec<u32> {
        let mut kinds = Vec::new();
        while !out.is_empty() {
            let header = parse_option_reply_header(out).expect("a reply");
            kinds.push(header.kind);
            out = &out[OPTION_REPLY_HEADER_LEN + header.length as usize..];
        }
        kinds
    }

    #[test]
    fn a_session_is_the_same_in_pieces_of_any_size() {
        let payload = [9; 100];
        let stream = [
            go(),
            request(CMD_WRITE, 50, 100, &payload),
            request(CMD_WRITE, 4096, 1, &[1]),
            request(CMD_READ, 49, 102, &[]),
            request(CMD_READ, 4000, 97, &[]),
            request(CMD_FLUSH, 0, 0, &[]),
            request(99, 0, 0, &[]),
            request(CMD_DISC, 0, 0, &[]),
        ]
        .concat();
        let reply = |error| SimpleReply { error, cookie: 7 }.encode().to_vec();
        let read = [&[0][..], &payload, &[0]].concat();
        let expected = [reply(0), reply(28), reply(0), read, reply(22), reply(0), reply(22)].concat();
        for step in [1, 2, 27, 28, 29, stream.len()] {
            let export = memory();
            let mut session = Session::new(&export, false);
            let (mut out, mut next) = (Vec::new(), Next::More);
            for piece in stream.chunks(step) {
                assert_eq!(next, Next::More);
                next = session.feed(piece, &mut out).expect("valid");
            }
            assert_eq!((next, session.requests()), (Next::Disconnect, 7));
            assert!(out.ends_with(&expected), "steps of {step}");
            assert_eq!(kinds(&out[..out.len() - expected.len()]), [REP_INFO, REP_ACK]);
        }
    }

    #[test]
    fn a_tls_server_says_nothing_about_its_export_before_tls() {
        let export = memory();
        let mut session = Session::new(&export, true);
        let mut out = Vec::new();
        let start = encode_option(OPT_STARTTLS, &[]);
        let fed = session.feed(&[go(), start.clone()].concat(), &mut out);
        assert_eq!((fed, kinds(&out)), (Ok(Next::StartTls), vec![REP_ERR_TLS_REQD, REP_ACK]));
        session.tls_started();
        out.clear();
        assert_eq!(session.feed(&go(), &mut out), Ok(Next::More));
        assert_eq!(kinds(&out), [REP_INFO, REP_ACK]);

        // What came in plaintext behind STARTTLS.
        let fed = Session::new(&export, true).feed(&[start, go()].concat(), &mut out);
        assert!(matches!(fed, Err(ProtoError::Unexpected { .. })), "{fed:?}");
    }

    #[test]
    fn unknown_options_and_bad_names_are_refused_and_negotiation_goes_on() {
        let export = memory();
        let mut out = Vec::new();
        let options = [(1234, &b"data"[..]), (OPT_STARTTLS, &[]), (OPT_GO, b"\0\0\0\x05ab")];
        let stream = [options.map(|(option, data)| encode_option(option, data)).concat(), go()].concat();
        assert_eq!(Session::new(&export, false).feed(&stream, &mut out), Ok(Next::More));
        assert_eq!(kinds(&out), [REP_ERR_UNSUP, REP_ERR_POLICY, REP_ERR_INVALID, REP_INFO, REP_ACK]);
    }
}
