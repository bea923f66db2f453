//! Whether splice(2) works here: a real transfer between throw-away sockets.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Begin, Spliced};
use crate::kernel::{PROBE_LIMIT, Unavailable};
use crate::relay::{Budget, End};

/// A body of several pipes.
const BODY: usize = 2 << 20;

/// What follows the body in the same segment, and must stay where it is.
const EXCESS: usize = 777;

/// How long the reader lets the sink's buffers fill up.
const READER_WAITS: Duration = Duration::from_millis(20);

const REMEDY: &str = "nothing has to be done: bodies are copied instead; if a seccomp profile or another sandbox refuses \
                      pipe2, fcntl(F_SETPIPE_SZ) or splice, allow them";

/// Moves a large body to a slow reader, with a budget that ends inside a segment, and an end of the source. Not to be called
/// inside of a runtime.
pub(crate) fn probe() -> Result<(), Unavailable> {
    run().map_err(|error| Unavailable {
        reason: format!("a transfer by splice(2) between two sockets failed: {error}"),
        remedy: REMEDY.to_owned(),
    })
}

fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PROBE_LIMIT, transfers()).await })?
}

async fn transfers() -> io::Result<()> {
    body().await?;
    end().await
}

/// The body, and nothing of what follows it.
async fn body() -> io::Result<()> {
    let (source, mut origin) = pair().await?;
    let (sink, mut target) = pair().await?;
    let sent = pattern(BODY + EXCESS);
    let writing = async { origin.write_all(&sent).await };
    let relaying = transfer(source, sink, Budget::Bytes(BODY as u64));
    let reading = async {
        tokio::time::sleep(READER_WAITS).await;
        let mut received = vec![0; BODY];
        target.read_exact(&mut received).await.map(|_| received)
    };
    let ((), (mut source, _sink), received) = tokio::try_join!(writing, relaying, reading)?;
    let mut excess = vec![0; EXCESS];
    source.read_exact(&mut excess).await?;
    same(&received, &sent[..BODY])?;
    same(&excess, &sent[BODY..])
}

/// All bytes, and then the end.
async fn end() -> io::Result<()> {
    let (source, mut origin) = pair().await?;
    let (sink, mut target) = pair().await?;
    let sent = pattern(100_000);
    let writing = async {
        origin.write_all(&sent).await?;
        origin.shutdown().await
    };
    let relaying = async { transfer(source, sink, Budget::UntilClose).await.map(drop) };
    let mut received = Vec::new();
    tokio::try_join!(writing, relaying, target.read_to_end(&mut received))?;
    same(&received, &sent)
}

/// Moves the bytes, all of them through pipes, and returns the sockets.
async fn transfer(
    mut source: TcpStream,
    mut sink: TcpStream,
    budget: Budget,
) -> io::Result<(TcpStream, TcpStream)> {
    let mut spliced = Spliced::new(budget, &[], Begin::Spliced);
    match poll_fn(|cx| spliced.poll(cx, &mut source, &mut sink, &mut |_| {})).await {
        End::Complete if spliced.fallback().is_none() => Ok((source, sink)),
        End::Complete => Err(io::Error::other("the kernel refuses it, or has no pipe to give")),
        End::Truncated => Err(io::ErrorKind::UnexpectedEof.into()),
        End::Source(error) | End::Sink(error) => Err(error),
    }
}

fn same(received: &[u8], sent: &[u8]) -> io::Result<()> {
    if received == sent { Ok(()) } else { Err(io::Error::other("other bytes arrived than were sent")) }
}

/// Bytes whose place can be told from their value.
fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // By words: a start on a busy machine has no time for two million steps.
    for (place, word) in bytes.chunks_mut(8).zip(1_u64..) {
        place.copy_from_slice(&word.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..place.len()]);
    }
    bytes
}

async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let ours = TcpStream::connect(listener.local_addr()?).await?;
    // Somebody else may have connected to the port first.
    loop {
        let (theirs, from) = listener.accept().await?;
        if from == ours.local_addr()? {
            return Ok((ours, theirs));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_probe_passes_where_the_contract_suite_does() {
        assert!(super::probe().is_ok());
    }
}
