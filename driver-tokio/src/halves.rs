//! Halves of a stream, for two tasks.

use std::fmt;

use tls_cork::Connection;

use crate::handle::{Own, Reading, Share, Side, Writing};
use crate::{Stream, TlsStream};

/// The reading half of a stream, for a task of its own.
pub type OwnedReadHalf<IO> = Stream<Share<IO, Reading>>;

/// The writing half of a stream, for a task of its own.
///
/// A half that is dropped does not close the stream;
/// [`shutdown`](tokio::io::AsyncWrite::poll_shutdown) does.
pub type OwnedWriteHalf<IO> = Stream<Share<IO, Writing>>;

impl<IO, S: Side> Stream<Own<IO, S>> {
    /// Splits the stream into halves for two tasks. The writing half has the `send` methods.
    /// Deadlines fire as those of the stream.
    ///
    /// A reading half that waits in another task does not release the bytes that the writing half
    /// holds.
    pub fn into_split(self) -> (OwnedReadHalf<IO>, OwnedWriteHalf<IO>) {
        let (reading, writing) = self.0.into_shares();
        (Stream(reading), Stream(writing))
    }
}

impl<IO> TlsStream<IO> {
    /// Splits the stream into halves for two tasks.
    ///
    /// As [`Stream::into_split`](crate::Stream::into_split).
    pub fn into_split(self) -> (OwnedReadHalf<IO>, OwnedWriteHalf<IO>) {
        match self {
            Self::Client(stream) => stream.into_split(),
            Self::Server(stream) => stream.into_split(),
        }
    }
}

impl<IO> OwnedReadHalf<IO> {
    /// Joins the halves of a stream.
    ///
    /// # Errors
    ///
    /// If the halves are not of the same stream; the error holds both, unchanged.
    pub fn reunite(self, writer: OwnedWriteHalf<IO>) -> Result<TlsStream<IO>, ReuniteError<IO>> {
        if !self.0.is_same(&writer.0) {
            return Err(ReuniteError(self, writer));
        }
        drop(writer);
        Ok(if self.0.is_client() {
            TlsStream::Client(Stream(self.0.reunited()))
        } else {
            TlsStream::Server(Stream(self.0.reunited()))
        })
    }
}

impl<IO> OwnedWriteHalf<IO> {
    /// Joins the halves of a stream.
    ///
    /// # Errors
    ///
    /// If the halves are not of the same stream; the error holds both, unchanged.
    pub fn reunite(self, reader: OwnedReadHalf<IO>) -> Result<TlsStream<IO>, ReuniteError<IO>> {
        reader.reunite(self)
    }
}

impl<IO, Part> Stream<Share<IO, Part>> {
    /// Returns the transport and the session if the other half was dropped. Bytes that wait, in
    /// either direction, are still in the connection.
    ///
    /// # Errors
    ///
    /// If another half exists; the error holds this one, unchanged.
    pub fn into_inner(self) -> Result<(IO, Connection), IntoInnerError<Self>> {
        match self.0.into_engine() {
            Ok(engine) => {
                let (io, session) = engine.into_parts();
                Ok((io.inner, session))
            }
            Err(half) => Err(IntoInnerError(Stream(half))),
        }
    }
}

/// The error of a half that is not the only handle of its stream. It holds the half, unchanged.
pub struct IntoInnerError<S>(pub S);

impl<S> fmt::Debug for IntoInnerError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoInnerError").finish_non_exhaustive()
    }
}

impl<S> fmt::Display for IntoInnerError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream has another half: reunite both halves, or drop the other one")
    }
}

impl<S> std::error::Error for IntoInnerError<S> {}

/// The error of a reunion of halves that are not of the same stream. It holds both, unchanged.
pub struct ReuniteError<IO>(pub OwnedReadHalf<IO>, pub OwnedWriteHalf<IO>);

impl<IO> fmt::Debug for ReuniteError<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<IO> fmt::Display for ReuniteError<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of the same stream: reunite two halves from one `into_split`")
    }
}

impl<IO> std::error::Error for ReuniteError<IO> {}
