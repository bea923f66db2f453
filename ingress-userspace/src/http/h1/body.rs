//! Message bodies on their way: the known length goes through the relay, the others are framed anew.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ingress_core::http::{
    BodyLength, CHUNK_END, ChunkedDecoder, Event, LAST_CHUNK, Reject, write_chunk_header,
};

use crate::bpf::{End as Side, Pair};
use crate::relay::{Duplex, End, Rungs, Way, scratch};
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::TransferKind;

/// How often it is tried to let the kernel read the client's records, before a body is copied: the first time finds the
/// boundary of a record, the second takes over, the third reads what rustls has opened until then.
const APPROACHES: u8 = 4;

/// Why a body ended.
#[derive(Debug)]
pub(crate) enum BodyEnd {
    /// All of it was handed over.
    Complete,
    /// All of it was handed over, and its source sent more than that.
    CompleteWithExcess,
    /// The source ended too early.
    Truncated,
    /// Its framing is refused.
    Malformed(Reject),
    /// It is longer than the limit.
    TooLarge,
    /// The source failed.
    Source,
    /// The sink failed.
    Sink,
}

impl From<End> for BodyEnd {
    fn from(end: End) -> Self {
        match end {
            End::Complete => Self::Complete,
            End::Truncated => Self::Truncated,
            End::Source(_) => Self::Source,
            End::Sink(_) => Self::Sink,
        }
    }
}

/// How a body is framed where it comes from.
#[derive(Debug)]
enum Source {
    Known(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

/// A body, from its first byte to its end.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    /// Who sends it.
    from: Side,
    /// Whether the receiver gets chunks; otherwise plain bytes.
    chunked_out: bool,
    /// Largest payload; 0 is no limit.
    limit: u64,
    payload: u64,
    complete: bool,
    /// An end by close says nothing any more.
    end_in_doubt: bool,
    /// What moves plain bytes of known length, once it has begun.
    relay: Option<Way>,
    /// What it may be moved by.
    rungs: Rungs,
    /// How often it is still tried to let the kernel move it.
    approaches: u8,
    /// Framed and not yet taken by the sink.
    pending: Vec<u8>,
    sent: usize,
}

impl Body {
    /// A request's body as it was announced; chunks go on as chunks.
    pub(crate) fn request(length: BodyLength, limit: u64, rungs: Rungs) -> Self {
        let chunked = matches!(length, BodyLength::Chunked);
        Self { limit, ..Self::new(length, Side::Client, ChunkedDecoder::request(), chunked, rungs) }
    }

    /// A response's body as it was announced. Chunks go out only if the source is chunked or ends by close.
    pub(crate) fn response(length: BodyLength, chunked_out: bool, rungs: Rungs) -> Self {
        Self::new(length, Side::Backend, ChunkedDecoder::response(), chunked_out, rungs)
    }

    fn new(length: BodyLength, from: Side, decoder: ChunkedDecoder, chunked_out: bool, rungs: Rungs) -> Self {
        let source = match length {
            BodyLength::Empty => Source::Known(0),
            BodyLength::Known(bytes) => Source::Known(bytes),
            BodyLength::Chunked => Source::Chunked(decoder),
            BodyLength::UntilClose => Source::UntilClose,
        };
        Self {
            complete: matches!(source, Source::Known(0)),
            end_in_doubt: false,
            source,
            from,
            chunked_out,
            limit: 0,
            payload: 0,
            relay: None,
            rungs,
            approaches: APPROACHES,
            pending: Vec::new(),
            sent: 0,
        }
    }

    /// Whether nobody knows how long it will be: it may go on for ever, as event streams do.
    pub(crate) fn is_endless(&self) -> bool {
        matches!(self.source, Source::Chunked(_) | Source::UntilClose)
    }

    /// Whether the end of the body has been read.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// Whether the end of the body has been read and handed over.
    pub(crate) fn delivered(&self) -> bool {
        self.complete && self.sent == self.pending.len()
    }

    /// Whether bytes wait for the sink, rather than for the source.
    pub(crate) fn waits_for_sink(&self) -> bool {
        self.sent < self.pending.len() || self.relay.as_ref().is_some_and(Way::waits_for_sink)
    }

    /// Whether what is left of it is moved by the kernel, if both ends let it.
    pub(crate) fn pays(&self) -> bool {
        matches!((&self.source, self.rungs.splice_from), (Source::Known(left @ 1..), Some(from)) if *left >= from)
    }

    /// Puts bytes that are framed already before what comes.
    pub(crate) fn begin_with(&mut self, framed: Vec<u8>) {
        self.pending = framed;
        self.sent = 0;
    }

    /// Takes an end by close for an early one from now on: a write has met the source's reset, of which the kernel tells once.
    pub(crate) fn doubt_end(&mut self) {
        self.end_in_doubt = true;
    }

    /// Says that so many bytes were read from the connection that takes the body.
    pub(crate) fn sink_was_read(&mut self, bytes: usize) {
        if let Some(Way::Body(body)) = &mut self.relay {
            body.sink_was_read(bytes);
        }
    }

    /// What has come from the connection that takes the body, and comes before what is read there next.
    pub(crate) fn take_from_sink(&mut self) -> Vec<u8> {
        match &mut self.relay {
            Some(Way::Body(body)) => body.take_from_sink(),
            _ => Vec::new(),
        }
    }

    /// Whether nothing is missing of what the connection that takes the body has sent: while the kernel has it joined, an end in order
    /// does not say so.
    pub(crate) fn sink_is_whole(&self) -> bool {
        !matches!(&self.relay, Some(Way::Body(body)) if !body.sink_is_whole())
    }

    /// Leaves the sockets as they are, which the answer begins to use. If the kernel has them joined, that is said: nobody else
    /// may have either of them after this exchange.
    pub(crate) fn stay(&mut self) -> bool {
        if let Some(Way::Body(body)) = &mut self.relay {
            return body.stay();
        }
        self.not_joined();
        false
    }

    /// Leaves the sockmap out, where it was not begun with it.
    pub(crate) fn not_joined(&mut self) {
        self.rungs.sockmap = None;
    }

    /// What joins its sockets now. While they are read from, it has to live: a socket that leaves the map loses what was passed to it.
    pub(crate) fn pair(&self) -> Option<Rc<Pair>> {
        match &self.relay {
            Some(Way::Body(body)) => body.pair(),
            _ => None,
        }
    }

    /// Has it read and written, where it was not begun otherwise.
    pub(crate) fn copy_only(&mut self) {
        self.rungs = Rungs::COPY;
    }

    /// Bytes of payload so far.
    pub(crate) fn payload(&self) -> u64 {
        self.payload + self.relay.as_ref().map_or(0, Way::moved)
    }

    /// Counts by what it was moved, if it was of known length and not all of it came with its head.
    pub(crate) fn count(&self, metrics: &WorkerMetrics) {
        if let Some(way) = &self.relay {
            way.count(metrics, TransferKind::Body);
        }
    }

    /// Whether the kernel could move what is left of it, nothing was chosen for that yet, and it was not tried too often.
    pub(crate) fn approaches(&self) -> bool {
        self.relay.is_none() && self.approaches > 0 && self.pays()
    }

    /// Leaves what is left to userspace, where the kernel cannot read from the source.
    pub(crate) fn give_up_approach(&mut self) {
        self.approaches = 0;
    }

    /// Moves what comes next through userspace, at most the worker's scratch, without a choice about the rest.
    pub(crate) fn poll_some<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        excess: &mut Vec<u8>,
        mut progress: impl FnMut(u64),
    ) -> Poll<Result<(), BodyEnd>> {
        if ready!(self.poll_drain(cx, sink, &mut progress)).is_err() {
            return Poll::Ready(Err(BodyEnd::Sink));
        }
        ready!(scratch::with(|buffer| self.poll_read(cx, source, buffer, excess)))?;
        self.approaches = self.approaches.saturating_sub(1);
        Poll::Ready(Ok(()))
    }

    /// Frames bytes that were read into `out`; returns how many belong to the body.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, BodyEnd> {
        let used = match &mut self.source {
            Source::Known(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                self.complete = *left == 0;
                out.extend_from_slice(&bytes[..used]);
                self.payload += used as u64;
                used
            }
            Source::UntilClose => {
                push(out, bytes, self.chunked_out);
                self.payload += bytes.len() as u64;
                bytes.len()
            }
            Source::Chunked(_) => self.feed_chunked(bytes, out)?,
        };
        if self.limit != 0 && self.payload > self.limit { Err(BodyEnd::TooLarge) } else { Ok(used) }
    }

    fn feed_chunked(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, BodyEnd> {
        let Source::Chunked(decoder) = &mut self.source else { return Ok(0) };
        let mut used = 0;
        while !self.complete {
            let decoded = decoder.decode(&bytes[used..]).map_err(BodyEnd::Malformed)?;
            let start = used;
            used += decoded.consumed;
            match decoded.event {
                Event::NeedMore => break,
                Event::Data(range) => {
                    self.payload += range.len() as u64;
                    push(out, &bytes[start + range.start..start + range.end], self.chunked_out);
                }
                Event::End => {
                    self.complete = true;
                    if self.chunked_out {
                        out.extend_from_slice(LAST_CHUNK);
                    }
                }
            }
        }
        Ok(used)
    }

    /// Moves on until the end or until a socket is not ready. What was read past the end of the body goes to `excess`.
    pub(crate) fn poll<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        excess: &mut Vec<u8>,
        mut progress: impl FnMut(u64),
    ) -> Poll<BodyEnd> {
        loop {
            if ready!(self.poll_drain(cx, sink, &mut progress)).is_err() {
                return Poll::Ready(BodyEnd::Sink);
            }
            if self.complete {
                return Poll::Ready(BodyEnd::Complete);
            }
            if let Source::Known(left) = self.source {
                let relay = self.relay.get_or_insert_with(|| self.rungs.body(left, self.from, source, sink));
                let end = ready!(relay.poll(cx, source, sink, &mut progress));
                if let Way::Body(body) = relay {
                    excess.append(&mut body.take_excess());
                }
                self.complete = matches!(end, End::Complete);
                return Poll::Ready(end.into());
            }
            let step = scratch::with(|buffer| self.poll_read(cx, source, buffer, excess));
            if let Err(end) = ready!(step) {
                return Poll::Ready(end);
            }
        }
    }

    fn poll_drain<T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            let taken = ready!(sink.poll_write(cx, &self.pending[self.sent..]))?;
            self.sent += taken;
            progress(taken as u64);
        }
        if matches!(self.source, Source::Known(_)) {
            // The relay goes on without it.
            self.pending = Vec::new();
        } else {
            self.pending.clear();
        }
        self.sent = 0;
        sink.poll_flush(cx)
    }

    fn poll_read<S: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        buffer: &mut [u8],
        excess: &mut Vec<u8>,
    ) -> Poll<Result<(), BodyEnd>> {
        let read = ready!(source.poll_read(cx, buffer)).map_err(|_| BodyEnd::Source)?;
        if read == 0 {
            return Poll::Ready(self.source_ended());
        }
        let mut pending = std::mem::take(&mut self.pending);
        let used = self.feed(&buffer[..read], &mut pending);
        self.pending = pending;
        excess.extend_from_slice(&buffer[used?..read]);
        Poll::Ready(Ok(()))
    }

    /// An end by close is an end only where the head announced it (RFC 9112 section 8).
    fn source_ended(&mut self) -> Result<(), BodyEnd> {
        if !matches!(self.source, Source::UntilClose) || self.end_in_doubt {
            return Err(BodyEnd::Truncated);
        }
        self.complete = true;
        if self.chunked_out {
            self.pending.extend_from_slice(LAST_CHUNK);
        }
        Ok(())
    }
}

fn push(out: &mut Vec<u8>, data: &[u8], chunked: bool) {
    if data.is_empty() {
        // A chunk of no data would be the last chunk.
        return;
    }
    if chunked {
        write_chunk_header(out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_END);
    } else {
        out.extend_from_slice(data);
    }
}
