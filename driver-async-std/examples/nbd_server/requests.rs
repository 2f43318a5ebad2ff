//! The transmission phase: takes the requests that have come together, executes them in order, and
//! sends their replies together.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_std::channel::Receiver;
use async_std::io::timeout;
use async_std::task::spawn_blocking;
use futures_util::AsyncReadExt;
use futures_util::future::{Either, select};
use tls_cork_nbd::{
    CMD_DISC, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE, CMD_WRITE_ZEROES, COMMAND_DF, COMMAND_FUA, COMMAND_NO_HOLE,
    ERROR_INVALID, ERROR_IO, ERROR_NO_SPACE, ERROR_PERMISSION, MAX_PAYLOAD, ProtoError, REQUEST_LEN, Request,
};

use super::export::Export;
use super::negotiation::{Client, invalid};
use super::replies::{Message, Reply};
use super::stream::{self, Stream};

/// The most bytes that are received at a time. Large payloads are read straight into their buffer.
const INBOX: usize = 64 * 1024;
/// The most bytes of data in one batch of requests, unless a single request has more.
const BATCH_BYTES: usize = 1024 * 1024;
/// The most requests in one batch.
const BATCH_REQUESTS: usize = 256;
/// The longest time for one batch of requests, and for its replies. A slower client is
/// disconnected.
const TRANSFER_LIMIT: Duration = Duration::from_secs(60);

/// Serves until the client disconnects, or until `stop` is closed and no request is in progress.
pub(crate) async fn serve(client: &mut Client, export: &Arc<Export>, stop: &Receiver<()>) -> io::Result<()> {
    let mut inbox = Inbox::new();
    loop {
        match select(pin!(stop.recv()), pin!(inbox.fill(&mut client.stream, REQUEST_LEN))).await {
            Either::Left(_) => return Ok(()),
            Either::Right((filled, _)) => match filled? {
                REQUEST_LEN.. => {}
                0 => return Ok(()),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
        let batch = timeout(TRANSFER_LIMIT, take_batch(&mut inbox, &mut client.stream)).await?;
        let replies = if export.may_block() || batch.is_long() {
            let export = Arc::clone(export);
            spawn_blocking(move || perform(&export, batch.jobs)).await
        } else {
            perform(export, batch.jobs)
        };
        let messages: Vec<Message> = replies.into_iter().map(|reply| reply.encode(client.structured)).collect();
        timeout(TRANSFER_LIMIT, stream::send(&mut client.stream, messages)).await?;
        if let Some(end) = batch.end {
            return end;
        }
    }
}

struct Job {
    request: Request,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    /// The end of the session after these jobs; `None` if it goes on.
    end: Option<io::Result<()>>,
}

impl Batch {
    /// Whether the batch may take long even in memory, because zeroes must be written.
    fn is_long(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job.request.command, CMD_TRIM | CMD_WRITE_ZEROES))
    }
}

/// Takes the first request in the inbox, and those after it that have arrived in full.
async fn take_batch(inbox: &mut Inbox, stream: &mut Stream) -> io::Result<Batch> {
    let mut batch = Batch::default();
    let mut bytes = 0;
    while let Some(header) = inbox.received().first_chunk::<REQUEST_LEN>() {
        let request = match Request::parse_any(header) {
            Ok(request) if request.command == CMD_WRITE && request.length > MAX_PAYLOAD => {
                // The payload that follows is too large to be buffered.
                let what = "WRITE request";
                let error = ProtoError::TooLong { what, limit: MAX_PAYLOAD, found: request.length };
                batch.end = Some(Err(invalid(error)));
                break;
            }
            Ok(request) if request.command == CMD_DISC => {
                batch.end = Some(Ok(()));
                break;
            }
            Ok(request) => request,
            Err(error) => {
                batch.end = Some(Err(invalid(error)));
                break;
            }
        };
        let payload = if request.command == CMD_WRITE { request.length as usize } else { 0 };
        let complete = inbox.received().len() >= REQUEST_LEN + payload;
        let data = match request.command {
            CMD_READ | CMD_WRITE | CMD_WRITE_ZEROES => request.length as usize,
            _ => 0,
        };
        let full = bytes + data > BATCH_BYTES || batch.jobs.len() >= BATCH_REQUESTS;
        if !batch.jobs.is_empty() && (full || !complete) {
            break;
        }
        bytes += data;
        inbox.consume(REQUEST_LEN);
        let payload = inbox.take(stream, payload).await?;
        batch.jobs.push(Job { request, payload });
    }
    Ok(batch)
}

fn perform(export: &Export, jobs: Vec<Job>) -> Vec<Reply> {
    let reply = |job: Job| Reply { request: job.request, result: carry_out(export, &job.request, &job.payload) };
    jobs.into_iter().map(reply).collect()
}

/// The data of a READ, or an NBD error number.
fn carry_out(export: &Export, request: &Request, payload: &[u8]) -> Result<Vec<u8>, u32> {
    let Request { command, flags, offset, length, .. } = *request;
    check(export, request)?;
    let done = match command {
        CMD_READ => return export.read(offset, length).map_err(|error| error_number(&error)),
        CMD_WRITE => export.write(offset, payload),
        CMD_TRIM => export.trim(offset, length),
        CMD_WRITE_ZEROES => export.write_zeroes(offset, length, flags & COMMAND_NO_HOLE != 0),
        _ => export.flush(),
    };
    let durable = command != CMD_FLUSH && flags & COMMAND_FUA != 0;
    let done = done.and_then(|()| if durable { export.flush() } else { Ok(()) });
    done.map(|()| Vec::new()).map_err(|error| error_number(&error))
}

fn check(export: &Export, request: &Request) -> Result<(), u32> {
    // FUA is allowed for every command; it has no effect where nothing is written.
    let (known_flags, past_the_end) = match request.command {
        CMD_READ => (COMMAND_FUA | COMMAND_DF, ERROR_INVALID),
        CMD_WRITE => (COMMAND_FUA, ERROR_NO_SPACE),
        CMD_TRIM => (COMMAND_FUA, ERROR_INVALID),
        CMD_WRITE_ZEROES => (COMMAND_FUA | COMMAND_NO_HOLE, ERROR_NO_SPACE),
        CMD_FLUSH if request.flags & !COMMAND_FUA == 0 => return Ok(()),
        _ => return Err(ERROR_INVALID),
    };
    if request.flags & !known_flags != 0 || (request.command == CMD_READ && request.length > MAX_PAYLOAD) {
        return Err(ERROR_INVALID);
    }
    if !export.contains(request.offset, request.length) {
        return Err(past_the_end);
    }
    Ok(())
}

fn error_number(error: &io::Error) -> u32 {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ERROR_NO_SPACE,
        io::ErrorKind::PermissionDenied => ERROR_PERMISSION,
        _ => ERROR_IO,
    }
}

/// Bytes that have been received and not yet parsed.
struct Inbox {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    fn new() -> Self {
        Self { buffer: vec![0; INBOX].into(), start: 0, end: 0 }
    }

    fn received(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
    }

    /// Receives until `least` bytes are here or the stream has ended, and returns the number of
    /// bytes here. A future that is dropped loses nothing.
    async fn fill(&mut self, stream: &mut Stream, least: usize) -> io::Result<usize> {
        if self.received().len() < least {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.received().len() < least {
            match stream.read(&mut self.buffer[self.end..]).await? {
                0 => break,
                n => self.end += n,
            }
        }
        Ok(self.received().len())
    }

    /// Takes `length` bytes, and receives those that are missing. Zeroed memory is touched only as
    /// bytes arrive.
    async fn take(&mut self, stream: &mut Stream, length: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length];
        let here = length.min(self.received().len());
        data[..here].copy_from_slice(&self.received()[..here]);
        self.consume(here);
        stream.read_exact(&mut data[here..]).await?;
        Ok(data)
    }
}
