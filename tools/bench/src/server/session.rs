//! The server's side of the protocol: bytes in, answers out, no I/O.

use tls_cork_nbd::{
    CMD_DISC, CMD_FLUSH, CMD_READ, CMD_WRITE, ERROR_INVALID, ERROR_NO_SPACE, EXPORT_HAS_FLAGS, EXPORT_SEND_FLUSH,
    INFO_BLOCK_SIZE, Info, MAX_PAYLOAD, OPT_ABORT, OPT_GO, OPT_STARTTLS, OPTION_HEADER_LEN, ProtoError, REP_ACK,
    REP_ERR_INVALID, REP_ERR_POLICY, REP_ERR_TLS_REQD, REP_ERR_UNSUP, REP_INFO, REQUEST_LEN, Request, encode_info,
    encode_option_reply, parse_go, parse_option_header,
};

use super::export::Export;

/// Something to send; the order is the order of the requests.
#[derive(Debug)]
pub(super) enum Answer {
    Option(Vec<u8>),
    Simple { cookie: u64, error: u32 },
    Read { cookie: u64, offset: usize, length: usize },
}

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

    pub(super) fn export(&self) -> &'a Export {
        self.export
    }

    /// Requests of the transmission phase so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// From here on what is fed came through TLS.
    pub(super) fn tls_started(&mut self) {
        self.tls_active = true;
    }

    pub(super) fn feed(&mut self, mut data: &[u8], answers: &mut Vec<Answer>) -> Result<Next, ProtoError> {
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
                    self.handle_option(option, &option_data, answers)
                }
                State::Request => {
                    let Some(request) = collect::<REQUEST_LEN>(&mut self.partial, &mut data) else {
                        return Ok(Next::More);
                    };
                    self.handle_request(Request::parse(&request)?, answers)
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
                    answers.push(Answer::Simple { cookie: request.cookie, error });
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

    fn handle_option(&mut self, option: u32, data: &[u8], answers: &mut Vec<Answer>) -> Next {
        let mut reply = |kind: u32, data: &[u8]| {
            answers.push(Answer::Option(encode_option_reply(option, kind, data)));
        };
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

    fn handle_request(&mut self, request: Request, answers: &mut Vec<Answer>) -> Next {
        self.requests += 1;
        let Request { cookie, offset, length, .. } = request;
        let inside = self.export.contains(offset, length);
        match request.command {
            CMD_DISC => return Next::Disconnect,
            CMD_WRITE => {
                self.state = State::Payload { request, received: 0, error: if inside { 0 } else { ERROR_NO_SPACE } };
            }
            CMD_READ if inside => {
                answers.push(Answer::Read { cookie, offset: position(offset), length: length as usize });
            }
            CMD_FLUSH => answers.push(Answer::Simple { cookie, error: 0 }),
            _ => answers.push(Answer::Simple { cookie, error: ERROR_INVALID }),
        }
        Next::More
    }
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
    use tls_cork_nbd::{INFO_EXPORT, REP_ERROR_BIT, encode_go, encode_option};

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

    /// The kind of the option reply, which stands behind its magic number and option.
    fn reply_kind(answer: &Answer) -> Option<u32> {
        match answer {
            Answer::Option(bytes) => bytes.get(12..16)?.try_into().ok().map(u32::from_be_bytes),
            _ => None,
        }
    }

    #[test]
    fn a_session_is_the_same_in_pieces_of_any_size() {
        let payload = [9; 100];
        let stream = [
            go(),
            request(CMD_WRITE, 50, 100, &payload),
            request(CMD_WRITE, 4096, 1, &[1]),
            request(CMD_READ, 50, 100, &[]),
            request(CMD_READ, 4000, 97, &[]),
            request(CMD_FLUSH, 0, 0, &[]),
            request(99, 0, 0, &[]),
            request(CMD_DISC, 0, 0, &[]),
        ]
        .concat();
        for step in [1, 2, 27, 28, 29, stream.len()] {
            let export = memory();
            let mut session = Session::new(&export, false);
            let mut answers = Vec::new();
            let mut next = Next::More;
            for piece in stream.chunks(step) {
                assert_eq!(next, Next::More);
                next = session.feed(piece, &mut answers).expect("valid");
            }
            assert_eq!(next, Next::Disconnect);
            assert_eq!(session.requests(), 7);
            let answers: Vec<String> = answers.iter().skip(2).map(|a| format!("{a:?}")).collect();
            assert_eq!(
                answers,
                [
                    "Simple { cookie: 7, error: 0 }",
                    "Simple { cookie: 7, error: 28 }",
                    "Read { cookie: 7, offset: 50, length: 100 }",
                    "Simple { cookie: 7, error: 22 }",
                    "Simple { cookie: 7, error: 0 }",
                    "Simple { cookie: 7, error: 22 }",
                ]
            );
            let mut stored = Vec::new();
            export.read(49, 102, &mut stored);
            assert_eq!(stored, [&[0][..], &payload, &[0]].concat());
        }
    }

    #[test]
    fn a_tls_server_says_nothing_about_its_export_before_tls() {
        let export = memory();
        let mut session = Session::new(&export, true);
        let mut answers = Vec::new();
        assert_eq!(session.feed(&go(), &mut answers), Ok(Next::More));
        assert_eq!(answers.iter().map(reply_kind).collect::<Vec<_>>(), [Some(REP_ERR_TLS_REQD)]);

        answers.clear();
        let start = encode_option(OPT_STARTTLS, &[]);
        assert_eq!(session.feed(&start, &mut answers), Ok(Next::StartTls));
        session.tls_started();
        assert_eq!(session.feed(&go(), &mut answers), Ok(Next::More));
        let kinds: Vec<_> = answers.iter().map(reply_kind).collect();
        assert_eq!(kinds, [Some(REP_ACK), Some(REP_INFO), Some(REP_ACK)]);
    }

    #[test]
    fn plaintext_behind_starttls_is_refused() {
        let export = memory();
        let mut session = Session::new(&export, true);
        let stream = [encode_option(OPT_STARTTLS, &[]), go()].concat();
        let fed = session.feed(&stream, &mut Vec::new());
        assert!(matches!(fed, Err(ProtoError::Unexpected { .. })), "{fed:?}");
    }

    #[test]
    fn unknown_options_and_bad_names_are_refused_and_negotiation_goes_on() {
        let export = memory();
        let mut session = Session::new(&export, false);
        let mut answers = Vec::new();
        let stream = [
            encode_option(1234, b"data"),
            encode_option(OPT_STARTTLS, &[]),
            encode_option(OPT_GO, b"\0\0\0\x05ab"),
            go(),
        ]
        .concat();
        assert_eq!(session.feed(&stream, &mut answers), Ok(Next::More));
        let kinds: Vec<_> = answers.iter().filter_map(reply_kind).collect();
        assert_eq!(kinds, [REP_ERR_UNSUP, REP_ERR_POLICY, REP_ERR_INVALID, REP_INFO, REP_ACK]);
        assert!(kinds[0] & REP_ERROR_BIT != 0);
    }
}
