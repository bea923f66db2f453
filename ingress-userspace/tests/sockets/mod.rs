//! Real sockets in pairs, and what is sent over them: for tests of the relay that need nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::time::Duration;

use penstock::bpf::Joints;
use tokio::net::{TcpListener, TcpStream};

/// Far above what an emulated processor needs.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs a test with the eBPF programs of the process, within a bound on time. Where the kernel or the user's rights do not allow
/// them, says so by the test's name, and does nothing.
pub(crate) fn with_joints<F: Future<Output = ()>>(test: &str, body: impl FnOnce(&'static Joints) -> F) {
    let joints = match Joints::of_process() {
        Ok(joints) => joints,
        Err(error) => {
            // Directly to standard error: libtest hides what a passing test prints.
            return std::io::stderr().write_all(format!("SKIPPED: {test}: {error}\n").as_bytes()).unwrap();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(LIMIT, body(joints)).await };
    runtime.block_on(bounded).expect("the relay stalled");
}

/// Bytes whose place can be told from their value.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // By words: on an emulated processor the bytes one by one would take longer than their transfer.
    for (place, word) in bytes.chunks_mut(8).zip(1_u64..) {
        let word = (word ^ (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        place.copy_from_slice(&word.to_be_bytes()[..place.len()]);
    }
    bytes
}

/// A connected pair over loopback: what the relay holds, and the peer's end.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap().0);
    ours.set_nodelay(true).unwrap();
    theirs.set_nodelay(true).unwrap();
    (ours, theirs)
}
