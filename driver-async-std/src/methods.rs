//! What every kind of stream has in common.
//!
//! Each type has `with`, which gives its [`Driver`](crate::driver::Driver) to a closure; `Pin::get_mut` is fine because all are `Unpin`.

/// Writing: methods with flags, and `AsyncWrite` without.
macro_rules! writing {
    ($stream:ident) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> $stream<IO> {
            /// Sends as `send(2)` does: without [`SendFlags::MORE`] the data leaves in the call, as far as the transport takes it.
            ///
            /// Returns how many bytes were accepted, counted from the front: all of them, unless the transport pushes back. Offer the rest again, with the
            /// same flags. Waits only while nothing can be accepted, and then nothing has been: dropping the future loses and repeats nothing. Empty
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
                loop {
                    done += self.send(&data[done..], flags).await?;
                    if done == data.len() {
                        return Ok(());
                    }
                }
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
                loop {
                    done += poll_fn(|cx| self.poll_send_bytes(cx, data, flags)).await?;
                    if data.is_empty() {
                        return Ok(done);
                    }
                }
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
                self.with(|driver| driver.poll_send(cx, data, flags))
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
                self.with(|driver| driver.poll_send_vectored(cx, bufs, flags))
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
                self.with(|driver| driver.poll_send_bytes(cx, data, flags))
            }

            /// Holds the tail of every write until [`uncork`](Self::uncork), flags or none; limits and deadline stay in force.
            pub fn cork(&mut self) {
                self.with(|driver| driver.cork());
            }

            /// Ends [`cork`](Self::cork), releases everything and transmits. Never waits: what the transport does not take leaves with later calls.
            ///
            /// # Errors
            ///
            /// Those of the transport and of TLS.
            pub async fn uncork(&mut self) -> io::Result<()> {
                poll_fn(|cx| Poll::Ready(self.with(|driver| driver.uncork(cx)))).await
            }

            /// What was counted so far.
            pub fn stats(&self) -> Stats {
                self.look(|driver| driver.connection().stats())
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<IO> {
            /// `send` without flags.
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                self.get_mut().poll_send(cx, buf, SendFlags::NONE)
            }

            /// `send_vectored` without flags.
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().poll_send_vectored(cx, bufs, SendFlags::NONE)
            }

            /// Releases everything; ready when the transport has taken all of it and is flushed itself. A cork stays on.
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().with(|driver| driver.poll_flush(cx))
            }

            /// Releases everything, sends `close_notify` behind the last byte, and closes the transport; reading may go on.
            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().with(|driver| driver.poll_close(cx))
            }
        }
    };
}

/// Reading: `AsyncRead`.
macro_rules! reading {
    ($stream:ident) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<IO> {
            /// Reads plaintext; zero is the stream's proper end, `UnexpectedEof` one without `close_notify`.
            ///
            /// Fires a deadline that has come, and before it waits, releases what the same task holds.
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
                self.get_mut().with(|driver| driver.poll_read(cx, buf))
            }
        }
    };
}

pub(crate) use {reading, writing};
