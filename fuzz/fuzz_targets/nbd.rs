//! The NBD parsers: every input gives an answer or an error, and a parsed message encodes to the
//! same bytes.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tls_cork_nbd::{
    CHUNK_LEN, CLIENT_FLAGS_LEN, Chunk, GREETING_LEN, Info, MAX_OPTION_LEN, MAX_PAYLOAD, OPTION_HEADER_LEN,
    OPTION_REPLY_HEADER_LEN, REQUEST_LEN, Request, SIMPLE_REPLY_LEN, SimpleReply, encode_chunk_error,
    encode_client_flags, encode_go, encode_greeting, encode_info, encode_option, encode_option_reply, encode_server,
    error_name, option_error_name, parse_client_flags, parse_go, parse_greeting, parse_info, parse_option_header,
    parse_option_reply_header,
};
use tls_cork_nbd::{Outstanding, ReplyStream};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    Go { export: &'a str, infos: Vec<u16> },
    Option { option: u32, kind: u32, data: &'a [u8] },
    Info(u8, u64, u32),
    Request { command: u16, flags: u16, cookie: u64, offset: u64, length: u32 },
    Chunk { flags: u16, kind: u16, cookie: u64, length: u32 },
    Replies { reads: Vec<u8>, replies: Vec<Reply<'a>>, cut: u8 },
}

#[derive(Arbitrary, Debug)]
enum Reply<'a> {
    To(u8, u8),
    Raw(&'a [u8]),
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Bytes(data) => bytes(data),
    Input::Go { export, infos } => {
        let go = encode_go(export, &infos);
        let parsed = parse_go(&go).expect("our own");
        assert_eq!((parsed.export, &parsed.infos), (export, &infos));
        assert!((0..go.len()).all(|len| parse_go(&go[..len]).is_err()), "a prefix is an error");
        assert_eq!(encode_server(export).len(), 4 + export.len());
    }
    Input::Option { option, kind, data } => {
        let sent = encode_option(option, data);
        let header = parse_option_header(&sent).expect("our own");
        assert_eq!((header.option, header.length as usize), (option, data.len()));
        let sent = encode_option_reply(option, kind, data);
        let header = parse_option_reply_header(&sent).expect("our own");
        assert_eq!((header.option, header.kind, header.length as usize), (option, kind, data.len()));
        bytes(data);
    }
    Input::Info(kind, size, number) => {
        let info = match kind % 3 {
            0 => Info::Export { size, flags: number as u16 },
            1 => Info::BlockSize { minimum: number, preferred: size as u32, maximum: (size >> 32) as u32 },
            _ => Info::Other(4 + number as u16 / 2),
        };
        assert_eq!(parse_info(&encode_info(&info)), Ok(info));
    }
    Input::Request { command, flags, cookie, offset, length } => {
        let request = Request { command, flags, cookie, offset, length };
        assert_eq!(Request::parse_any(&request.encode()), Ok(request));
        match Request::parse(&request.encode()) {
            Ok(parsed) => assert_eq!(parsed, request),
            Err(_) => assert!(length > MAX_PAYLOAD),
        }
    }
    Input::Chunk { flags, kind, cookie, length } => {
        let chunk = Chunk { flags, kind, cookie, length };
        assert_eq!(Chunk::parse(&chunk.encode()), Ok(chunk));
        assert!(encode_chunk_error(length).len() > 6);
        assert!(!option_error_name(length).is_empty());
    }
    Input::Replies { reads, replies, cut } => {
        let (whole, cut) = (feed(&reads, &replies, usize::MAX), feed(&reads, &replies, 1 + usize::from(cut)));
        assert_eq!(whole, cut, "where the stream is cut does not matter");
    }
});

/// Runs every parser on the same bytes.
fn bytes(data: &[u8]) {
    if let Ok(flags) = parse_greeting(data) {
        assert_eq!(encode_greeting(flags)[..], data[..GREETING_LEN]);
    }
    if let Ok(flags) = parse_client_flags(data) {
        assert_eq!(encode_client_flags(flags)[..], data[..CLIENT_FLAGS_LEN]);
    }
    if let Ok(header) = parse_option_header(data) {
        assert!(header.length <= MAX_OPTION_LEN);
        let again = encode_option(header.option, &vec![0; header.length as usize]);
        assert_eq!(again[..OPTION_HEADER_LEN], data[..OPTION_HEADER_LEN]);
    }
    if let Ok(header) = parse_option_reply_header(data) {
        assert!(header.length <= MAX_OPTION_LEN);
        let again = encode_option_reply(header.option, header.kind, &vec![0; header.length as usize]);
        assert_eq!(again[..OPTION_REPLY_HEADER_LEN], data[..OPTION_REPLY_HEADER_LEN]);
    }
    if let Ok(go) = parse_go(data) {
        assert_eq!(encode_go(go.export, &go.infos), data);
    }
    if let Ok(info) = parse_info(data) {
        let again = encode_info(&info);
        assert_eq!(again, data[..again.len()]);
    }
    if let Ok(request) = Request::parse_any(data) {
        assert_eq!(request.encode()[..], data[..REQUEST_LEN]);
    }
    if let Err(error) = Request::parse(data) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(reply) = SimpleReply::parse(data) {
        assert_eq!(reply.encode()[..], data[..SIMPLE_REPLY_LEN]);
        assert!(!error_name(reply.error).is_empty());
    }
    if let Ok(chunk) = Chunk::parse(data) {
        assert_eq!(chunk.encode()[..], data[..CHUNK_LEN]);
    }
}

type Completions = Vec<(u64, Vec<u8>)>;

/// Feeds a stream of replies, in pieces of `cut` bytes, to reads of these lengths. Returns the
/// completions, the number of outstanding reads, and the result.
fn feed(reads: &[u8], replies: &[Reply<'_>], cut: usize) -> (Completions, usize, Result<(), String>) {
    let mut outstanding = Outstanding::new(8);
    let cookies: Vec<u64> = reads.iter().take(8).zip(0..).map(|(len, n)| outstanding.add(n, (*len).into())).collect();
    let mut wire = Vec::new();
    for reply in replies {
        match reply {
            Reply::To(n, error) => {
                let n = usize::from(*n) % 8;
                let cookie = cookies.get(n).copied().unwrap_or(u64::from(*error) << 32);
                wire.extend(SimpleReply { error: u32::from(*error) % 4 / 3, cookie }.encode());
                wire.extend(vec![*error; reads.get(n).copied().unwrap_or(0).into()]);
            }
            Reply::Raw(data) => wire.extend_from_slice(data),
        }
    }
    let (mut stream, mut done) = (ReplyStream::default(), Completions::new());
    let fed = wire.chunks(cut.min(wire.len()).max(1)).try_for_each(|piece| {
        stream.feed(piece, &mut outstanding, &mut |completion| {
            done.push((completion.offset, completion.data.to_vec()));
            Ok(())
        })
    });
    assert!(done.len() <= cookies.len() && outstanding.len() + outstanding.room() == 8);
    (done, outstanding.len(), fed)
}
