//! What every kind of stream has in common.
//!
//! Each type has `with`, which gives its [`Engine`](crate::io::Engine) to a closure; `Pin::get_mut` is fine because all are `Unpin`.

use std::task::{Context, Poll};

/// Writing: methods with flags, and `AsyncWrite` without.
macro_rules! writing {
    ($stream:ident) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> $stream<IO> {
            /// Sends as `send(2)` does: without [`SendFlags::MORE`] the data leaves in the call, as far as the transport takes it.
            ///
            /// Returns how many bytes were accepted, counted from the front: all of them, unless the transport pushes back or they are more than about
            /// 256 KiB, the share of one call. Offer the rest again, with the same flags. Waits only while nothing can be accepted, and then nothing has been: dropping the future loses and repeats nothing. Empty
            /// data without `MORE` releases what is held.
            ///
            /// # Errors
            ///
            /// `BrokenPipe` after a close or a fatal error; otherwise those of the transport and of TLS. An error that was met after bytes had been
            /// accepted is told by the next call.
            pub async fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
                poll_fn(|cx| self.poll_send(cx, data, flags)).await
            }

            /// As [`send`](Self::send), from several slices that make one write.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub async fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
                poll_fn(|cx| self.poll_send_vectored(cx, bufs, flags)).await
            }

            /// As [`send`](Self::send), repeated until all of `data` is accepted.
            ///
            /// Dropping the future forgets how much that was; where that matters, use [`send_bytes`](Self::send_bytes) or [`send`](Self::send).
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub async fn send_all(&mut self, data: &[u8], flags: SendFlags) -> io::Result<()> {
                let mut done = 0;
                poll_fn(|cx| {
                    done += ready!(self.poll_send(cx, &data[done..], flags))?;
                    if done == data.len() { Poll::Ready(Ok(())) } else { next_turn(cx) }
                })
                .await
            }

            /// Sends owned bytes until all are accepted; large ones are never copied.
            ///
            /// What is accepted is split off the front of `data`: after an error, or if the future is dropped, the rest is still there. Returns how
            /// many bytes that were. Shared bytes keep their whole allocation alive until they are sealed.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub async fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<usize> {
                let mut done = 0;
                poll_fn(|cx| {
                    done += ready!(self.poll_send_bytes(cx, data, flags))?;
                    if data.is_empty() { Poll::Ready(Ok(done)) } else { next_turn(cx) }
                })
                .await
            }

            /// Polls one step of [`send`](Self::send).
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub fn poll_send(
                &mut self,
                cx: &mut Context<'_>,
                data: &[u8],
                flags: SendFlags,
            ) -> Poll<io::Result<usize>> {
                self.with(|engine| engine.poll_send(cx, data, flags))
            }

            /// Polls one step of [`send_vectored`](Self::send_vectored).
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub fn poll_send_vectored(
                &mut self,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
                flags: SendFlags,
            ) -> Poll<io::Result<usize>> {
                self.with(|engine| engine.poll_send_vectored(cx, bufs, flags))
            }

            /// Polls one step of [`send_bytes`](Self::send_bytes): what is accepted is split off the front of `data`.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub fn poll_send_bytes(
                &mut self,
                cx: &mut Context<'_>,
                data: &mut Bytes,
                flags: SendFlags,
            ) -> Poll<io::Result<usize>> {
                self.with(|engine| engine.poll_send_bytes(cx, data, flags))
            }

            /// Holds the tail of every write until [`uncork`](Self::uncork), flags or none; limits and deadline stay in force.
            pub fn cork(&mut self) {
                self.with(|engine| engine.cork());
            }

            /// Ends [`cork`](Self::cork), releases everything and transmits. Never waits: what the transport does not take leaves with later calls.
            ///
            /// # Errors
            ///
            /// Those of the transport and of TLS.
            pub async fn uncork(&mut self) -> io::Result<()> {
                poll_fn(|cx| Poll::Ready(self.with(|engine| engine.uncork(cx)))).await
            }

            /// What was counted so far.
            pub fn stats(&self) -> Stats {
                self.look(|engine| engine.session().stats())
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<IO> {
            /// `send` without flags, but nothing is accepted while the transport pushes back and bytes wait: a caller that goes on to
            /// do something else, as `io::copy` does when its source falls silent, leaves little behind.
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                self.get_mut().with(|engine| engine.poll_write(cx, buf))
            }

            /// As `poll_write`, from several slices that make one write.
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().with(|engine| engine.poll_write_vectored(cx, bufs))
            }

            /// Releases everything; ready when the transport has taken all of it and is flushed itself. A cork stays on.
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().with(|engine| engine.poll_flush(cx))
            }

            /// Releases everything, sends `close_notify` behind the last byte, and closes the transport; reading may go on.
            ///
            /// Ready when the transport has taken all of it, which does not promise that the peer gets it: see `close_gracefully`.
            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().with(|engine| engine.poll_close(cx))
            }
        }
    };
}

/// The end of a stream, by whoever both reads and writes.
macro_rules! ending {
    ($stream:ident) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> $stream<IO> {
            /// Ends the stream so that nothing is lost: closes it, then reads and discards until the peer's end.
            ///
            /// Closing and dropping a stream can cost what the transport has taken: if received bytes are unread then, and TLS 1.3 tickets are
            /// enough, the kernel answers the peer's next segment with a reset, and the peer's kernel discards what its program has not read.
            ///
            /// The peer decides how long this takes: put a time limit around the future, and drop the stream when it has passed. Dropping the
            /// future alone loses nothing; call it again.
            ///
            /// # Errors
            ///
            /// Those of closing and of reading, after which the peer may not have got everything. An end without `close_notify` is none: what
            /// is received does not count any more.
            pub async fn close_gracefully(&mut self) -> io::Result<()> {
                poll_fn(|cx| self.with(|engine| engine.poll_close_gracefully(cx))).await
            }
        }
    };
}

/// R16: lets others have their turn, and goes on in the next.
pub(crate) fn next_turn<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Reading: `AsyncRead`.
macro_rules! reading {
    ($stream:ident) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<IO> {
            /// Reads plaintext; zero is the stream's proper end, `UnexpectedEof` one without `close_notify`.
            ///
            /// Fires a deadline that has come, and before it waits, releases what the same task holds.
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
                self.get_mut().with(|engine| engine.poll_read(cx, buf))
            }
        }
    };
}

pub(crate) use {ending, reading, writing};
