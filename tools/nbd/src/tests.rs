use super::*;

/// Every strict prefix of a message is an error, and none of them a panic.
fn every_prefix_is_short<T: std::fmt::Debug>(message: &[u8], parse: impl Fn(&[u8]) -> Result<T, ProtoError>) {
    for length in 0..message.len() {
        let parsed = parse(&message[..length]);
        assert!(
            matches!(parsed, Err(ProtoError::Short { .. } | ProtoError::Malformed { .. })),
            "{length} of {} bytes: {parsed:?}",
            message.len()
        );
    }
    assert!(parse(message).is_ok());
}

#[test]
fn prefixes_of_every_message_are_refused() {
    let flags = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
    every_prefix_is_short(&encode_greeting(flags), parse_greeting);
    every_prefix_is_short(&encode_client_flags(flags), parse_client_flags);
    every_prefix_is_short(&encode_option(OPT_GO, &[]), parse_option_header);
    every_prefix_is_short(&encode_go("disk", &[INFO_EXPORT, INFO_BLOCK_SIZE]), |data| {
        parse_go(data).map(|go| go.infos)
    });
    let reply = encode_option_reply(OPT_GO, REP_ACK, &[]);
    every_prefix_is_short(&reply, parse_option_reply_header);
    let export = Info::Export { size: 1, flags: 2 };
    every_prefix_is_short(&encode_info(&export), parse_info);
    every_prefix_is_short(&a_request().encode(), Request::parse);
    every_prefix_is_short(&SimpleReply { error: 0, cookie: 1 }.encode(), SimpleReply::parse);
    every_prefix_is_short(&a_chunk().encode(), Chunk::parse);
}

fn a_request() -> Request {
    Request { command: CMD_WRITE, flags: 1, cookie: 0x0102_0304_0506_0708, offset: 1 << 40, length: 512 }
}

fn a_chunk() -> Chunk {
    Chunk { flags: CHUNK_DONE, kind: CHUNK_OFFSET_DATA, cookie: 0x0102_0304_0506_0708, length: 8 + 512 }
}

#[test]
fn chunks_look_as_the_protocol_says() {
    let expected = [0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 2, 8];
    assert_eq!(a_chunk().encode(), expected);
    assert_eq!(Chunk::parse(&expected), Ok(a_chunk()));
    let error = encode_chunk_error(ERROR_INVALID);
    assert_eq!(error[..6], [0, 0, 0, 22, 0, (error.len() - 6) as u8]);
}

#[test]
fn requests_look_as_the_protocol_says() {
    let expected = [
        0x25, 0x60, 0x95, 0x13, // magic
        0, 1, // command flags
        0, 1, // NBD_CMD_WRITE
        1, 2, 3, 4, 5, 6, 7, 8, // cookie
        0, 0, 1, 0, 0, 0, 0, 0, // offset
        0, 0, 2, 0, // length
    ];
    assert_eq!(a_request().encode(), expected);
    assert_eq!(Request::parse(&expected), Ok(a_request()));
}

#[test]
fn replies_look_as_the_protocol_says() {
    let reply = SimpleReply { error: 28, cookie: 0x0102_0304_0506_0708 };
    let expected = [
        0x67, 0x44, 0x66, 0x98, // magic
        0, 0, 0, 28, // error
        1, 2, 3, 4, 5, 6, 7, 8, // cookie
    ];
    assert_eq!(reply.encode(), expected);
    assert_eq!(SimpleReply::parse(&expected), Ok(reply));
}

#[test]
fn the_greeting_looks_as_the_protocol_says() {
    assert_eq!(&encode_greeting(3), b"NBDMAGICIHAVEOPT\0\x03");
    assert_eq!(parse_greeting(b"NBDMAGICIHAVEOPT\0\x03"), Ok(3));
}

#[test]
fn options_look_as_the_protocol_says() {
    let option = encode_option(OPT_GO, &encode_go("ab", &[3]));
    let expected = b"IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x02ab\0\x01\0\x03";
    assert_eq!(option, expected);
    let header = OptionHeader { option: OPT_GO, length: 10 };
    assert_eq!(parse_option_header(&option), Ok(header));
    let go = GoRequest { export: "ab", infos: vec![INFO_BLOCK_SIZE] };
    assert_eq!(parse_go(&option[OPTION_HEADER_LEN..]), Ok(go));
}

#[test]
fn option_replies_look_as_the_protocol_says() {
    let reply = encode_option_reply(OPT_STARTTLS, REP_ACK, &[]);
    let expected = [
        0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, // magic
        0, 0, 0, 5, // option
        0, 0, 0, 1, // type
        0, 0, 0, 0, // length
    ];
    assert_eq!(reply, expected);
}

#[test]
fn information_survives_the_wire() {
    let infos = [
        Info::Export { size: u64::MAX, flags: EXPORT_HAS_FLAGS | EXPORT_SEND_FLUSH },
        Info::BlockSize { minimum: 512, preferred: 4096, maximum: 1 << 25 },
        Info::Other(77),
    ];
    for info in infos {
        assert_eq!(parse_info(&encode_info(&info)), Ok(info));
    }
}

#[test]
fn other_magic_numbers_are_refused() {
    let wrong = |mut message: Vec<u8>| {
        message[0] ^= 1;
        message
    };
    let magic = |e| matches!(e, ProtoError::BadMagic { .. });
    assert!(parse_greeting(&wrong(encode_greeting(1).to_vec())).is_err_and(magic));
    assert!(parse_option_header(&wrong(encode_option(7, &[]))).is_err_and(magic));
    assert!(parse_option_reply_header(&wrong(encode_option_reply(7, 1, &[]))).is_err_and(magic));
    assert!(Request::parse(&wrong(a_request().encode().to_vec())).is_err_and(magic));
    let reply = SimpleReply { error: 0, cookie: 0 };
    assert!(SimpleReply::parse(&wrong(reply.encode().to_vec())).is_err_and(magic));
    assert!(Chunk::parse(&wrong(a_chunk().encode().to_vec())).is_err_and(magic));
}

#[test]
fn oldstyle_peers_are_told_apart() {
    let oldstyle = b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0";
    assert_eq!(parse_greeting(oldstyle), Err(ProtoError::NotFixedNewstyle));
    let not_fixed = encode_greeting(FLAG_NO_ZEROES);
    assert_eq!(parse_greeting(&not_fixed), Err(ProtoError::NotFixedNewstyle));
    assert_eq!(parse_client_flags(&[0; 4]), Err(ProtoError::NotFixedNewstyle));
}

#[test]
fn undefined_client_flags_are_refused() {
    for flags in [[0, 0, 0, 5], [0, 1, 0, 1], [0x80, 0, 0, 1]] {
        let parsed = parse_client_flags(&flags);
        assert!(matches!(parsed, Err(ProtoError::Malformed { .. })), "{flags:?}");
    }
}

#[test]
fn lengths_beyond_the_limits_are_refused() {
    let mut option = encode_option(OPT_GO, &[]);
    option[12..16].copy_from_slice(&(MAX_OPTION_LEN + 1).to_be_bytes());
    let too_long = |e| matches!(e, ProtoError::TooLong { .. });
    assert!(parse_option_header(&option).is_err_and(too_long));

    let mut reply = encode_option_reply(OPT_GO, REP_INFO, &[]);
    reply[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(parse_option_reply_header(&reply).is_err_and(too_long));

    let mut request = a_request();
    request.length = MAX_PAYLOAD;
    assert_eq!(Request::parse(&request.encode()), Ok(request));
    request.length += 1;
    assert!(Request::parse(&request.encode()).is_err_and(too_long));
    assert_eq!(Request::parse_any(&request.encode()), Ok(request));
    // A flush carries no data, whatever its length field says.
    request.command = CMD_FLUSH;
    assert!(Request::parse(&request.encode()).is_ok());
}

#[test]
fn contradicting_lengths_in_a_go_option_are_refused() {
    let good = encode_go("disk", &[INFO_EXPORT]);
    for (at, value) in [(3, 5), (3, 255), (0, 255), (9, 0), (9, 2), (8, 255)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(parse_go(&bad).is_err(), "byte {at} = {value}");
    }
    let not_text = [0, 0, 0, 1, 0xff, 0, 0];
    assert!(parse_go(&not_text).is_err());
}
