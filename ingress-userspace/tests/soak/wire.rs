//! Bytes to and from a socket: paced, compared and watched.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Soak;
use super::flow::Way;
use super::pace::PIECE;
use super::pattern;
use super::plan::Body;

/// Why a connection is over before its plan is.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The plan says so.
    Cut,
    /// Something is wrong.
    Failed(String),
}

impl Stop {
    /// What failed, doing what.
    pub(crate) fn doing<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }
}

/// How a body ended.
#[derive(Debug)]
#[expect(dead_code, reason = "what the socket said is shown by Debug")]
pub(crate) enum Ended {
    /// As many bytes as were asked for.
    Whole,
    /// The sender has ended in order.
    Clean,
    /// It has not; what the socket said instead.
    Broken(String),
}

/// The receiving side of a connection.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    inner: R,
    /// Read and not used.
    left: Vec<u8>,
    buffer: Vec<u8>,
    expected: Vec<u8>,
}

/// How often it is looked whether something that was sent has come.
const LOOK: Duration = Duration::from_millis(100);

/// The longest head.
const HEAD: usize = 8192;

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, left: Vec::new(), buffer: vec![0; PIECE], expected: Vec::new() }
    }

    /// What is behind it, and what was read and not used.
    pub(crate) fn rest(&mut self) -> (&mut R, &[u8]) {
        (&mut self.inner, &self.left)
    }

    /// The next byte, which stays.
    pub(crate) async fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.left.is_empty() {
            let read = self.inner.read(&mut self.buffer[..HEAD]).await?;
            self.left.extend_from_slice(&self.buffer[..read]);
        }
        Ok(self.left.first().copied())
    }

    /// So many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.left.len() < count {
            let read = self.inner.read(&mut self.buffer[..HEAD]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left.extend_from_slice(&self.buffer[..read]);
        }
        let rest = self.left.split_off(count);
        Ok(std::mem::replace(&mut self.left, rest))
    }

    /// The head of a message; `None` at the end.
    pub(crate) async fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.left.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.left.split_off(end + 4);
                let head = std::mem::replace(&mut self.left, rest);
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            let read = self.inner.read(&mut self.buffer[..HEAD]).await?;
            if read == 0 && self.left.is_empty() {
                return Ok(None);
            }
            if read == 0 || self.left.len() > HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.left.extend_from_slice(&self.buffer[..read]);
        }
    }

    /// Receives a part of a body, compares it, and says where it ended. Without an end, everything up to the sender's.
    pub(crate) async fn body(
        &mut self,
        soak: &Soak,
        body: &mut Body,
        part: (u64, Option<u64>),
        way: &Way,
    ) -> Result<(u64, Ended), Stop> {
        let (mut at, end) = part;
        if at == 0 {
            way.begin_taking();
        }
        while end.is_none_or(|end| at < end) {
            let (room, time) = body.take.next(at);
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
            let room = end.map_or(room, |end| room.min(usize::try_from(end - at).unwrap_or(room)));
            let read = match self.some(soak, room, way).await {
                Ok(0) => return Ok((at, Ended::Clean)),
                Ok(read) => read,
                Err(error) => return Ok((at, Ended::Broken(error.to_string()))),
            };
            way.take(read);
            soak.tally.moved(read);
            pattern::check(body.key, at, &self.buffer[..read], &mut self.expected)
                .map_err(Stop::doing("content"))?;
            at += read as u64;
            if at > body.length {
                return Err(Stop::Failed(format!("{at} bytes of a body of {}", body.length)));
            }
        }
        Ok((at, Ended::Whole))
    }

    /// Some bytes into the buffer, while it is watched whether they come in time.
    async fn some(&mut self, soak: &Soak, room: usize, way: &Way) -> io::Result<usize> {
        if !self.left.is_empty() {
            let taken = self.left.len().min(room);
            self.buffer[..taken].copy_from_slice(&self.left[..taken]);
            self.left.drain(..taken);
            return Ok(taken);
        }
        let mut watch = Watch::default();
        loop {
            let reading = self.inner.read(&mut self.buffer[..room]);
            match tokio::time::timeout(LOOK, reading).await {
                Ok(read) => return read,
                Err(_) => watch.look(soak, way),
            }
        }
    }
}

/// How long something is on its way.
#[derive(Default)]
struct Watch {
    since: Option<(Instant, Duration)>,
    before: Duration,
}

impl Watch {
    fn look(&mut self, soak: &Soak, way: &Way) {
        if !way.owes() {
            *self = Self::default();
            return;
        }
        let (since, late) = self.since.get_or_insert((Instant::now(), soak.late()));
        let waited = since.elapsed().saturating_sub(soak.late().saturating_sub(*late));
        if soak.tally.waited(self.before, waited) {
            soak.tell(&format!("stalled: {way:?}"));
        }
        self.before = waited;
    }
}

/// Sends `head` and a part of a body. An error is the socket's.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    head: &[u8],
    body: &mut Body,
    part: Range<u64>,
    way: &Way,
) -> io::Result<()> {
    let mut at = part.start;
    if at == 0 {
        way.begin_sending();
    }
    let mut buffer = head.to_vec();
    let mut not_body = buffer.len();
    while at < part.end || not_body > 0 {
        let (size, time) = body.send.next(at);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        let size = size.min(usize::try_from(part.end - at).unwrap_or(size));
        buffer.resize(not_body + size, 0);
        pattern::fill(body.key, at, &mut buffer[not_body..]);
        let mut written = 0;
        while written < buffer.len() {
            let taken = writer.write(&buffer[written..]).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let before = written.saturating_sub(not_body);
            written += taken;
            way.send(written.saturating_sub(not_body) - before);
        }
        at += size as u64;
        buffer.clear();
        not_body = 0;
    }
    writer.flush().await
}
