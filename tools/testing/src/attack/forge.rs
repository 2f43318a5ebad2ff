//! Cipher suites that can seal records of any content type.
//!
//! Application data that begins with a mark stands for another record, whose content type and
//! content follow the mark. That record is sealed with the session's own keys and sequence numbers,
//! so that the other end accepts it as genuine.

use rustls::crypto::cipher::{
    AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

const MARK: [u8; 8] = *b"\0forged\0";

/// Application data that a forging session turns into a record of type `kind`, with the content
/// `body` and then `zeros` zero bytes.
pub(super) fn order(kind: u8, body: &[u8], zeros: u16) -> Vec<u8> {
    [&MARK, &[kind][..], &zeros.to_be_bytes(), body].concat()
}

/// The default provider with cipher suites that forge.
pub(super) fn provider() -> CryptoProvider {
    let suites = [
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    CryptoProvider { cipher_suites: suites.map(forging).to_vec(), ..aws_lc_rs::default_provider() }
}

fn forging(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let copy = |common: &CipherSuiteCommon| CipherSuiteCommon { ..*common };
    match suite {
        SupportedCipherSuite::Tls13(suite) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: copy(&suite.common),
            aead_alg: Box::leak(Box::new(Forge13(suite.aead_alg))),
            ..*suite
        }))),
        SupportedCipherSuite::Tls12(suite) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: copy(&suite.common),
            aead_alg: Box::leak(Box::new(Forge12(suite.aead_alg))),
            ..*suite
        }))),
    }
}

struct Forge(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Forge {
    fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let content = msg.payload.to_vec();
        let Some([kind, high, low, body @ ..]) = content.strip_prefix(&MARK) else {
            return self.0.encrypt(msg, seq);
        };
        let mut body = body.to_vec();
        body.resize(body.len() + usize::from(u16::from_be_bytes([*high, *low])), 0);
        let forged = OutboundPlainMessage {
            typ: ContentType::from(*kind),
            version: msg.version,
            payload: OutboundChunks::Single(&body),
        };
        self.0.encrypt(forged, seq)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.0.encrypted_payload_len(payload_len)
    }
}

struct Forge13(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Forge13 {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Forge(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

struct Forge12(&'static dyn Tls12AeadAlgorithm);

impl Tls12AeadAlgorithm for Forge12 {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Forge(self.0.encrypter(key, iv, extra)))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }
}
