//! What is held for a client that reads nothing: on every rung there is a bound, and it is not in our memory.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::client::HOSTS;
use crate::plan::Rung;
use crate::rig::Rig;
use crate::support::client::Client;
use crate::support::peer::skipped;

/// What four socket buffers take at the most with the kernel's defaults: 4 MiB where something is sent (`tcp_wmem`), 6 MiB
/// where it is received (`tcp_rmem`), each between the backend and us and between us and the client; and what the rung itself
/// holds, which is far below the rest.
const HELD: u64 = 24 << 20;

/// By how much our own memory may grow, in KiB.
const GROWN: u64 = 2048;

/// How many clients come one after the other, at the most, until one costs less than that.
const ROUNDS: usize = 4;

/// A sender that is not taken anything from for so long is at its end.
const STUCK: Duration = Duration::from_secs(3);

/// An upgrade, which becomes a tunnel.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// The answers of the backend.
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";

/// How many bytes a backend gets rid of, and by how many KiB our memory grows.
fn held(rig: &Rig, listener: &TcpListener, tls: bool, tunnel: bool) -> (u64, u64) {
    let [_, _, before] = rig.memory();
    let host = if tls { HOSTS[1] } else { HOSTS[0] };
    let clients = rig.clients();
    let mut client =
        if tls { Client::https(clients.https, host, &clients.tls[1]) } else { Client::http(clients.http) };
    let upgrade = if tunnel { UPGRADE } else { "" };
    client.send(format!("GET /soak/0/0 HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n"));
    let (mut backend, _) = listener.accept().unwrap();
    read_head(&mut backend);
    backend.write_all(if tunnel { SWITCHING } else { BODY }.as_bytes()).unwrap();
    backend.set_write_timeout(Some(STUCK)).unwrap();
    let piece = vec![b'x'; 256 << 10];
    let mut sent = 0;
    loop {
        match backend.write(&piece) {
            Ok(taken) => sent += taken as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("the connection is gone: {error}"),
        }
        assert!(sent < 4 * HELD, "there is no end to what is taken");
    }
    let [_, _, after] = rig.memory();
    // It was there all the time.
    drop(client);
    (sent, after.saturating_sub(before))
}

fn read_head(backend: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        backend.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

fn bounded(test: &str, rung: Rung, ways: &[(bool, bool)]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::new(rung, listener.local_addr().unwrap());
    if let Some(reason) = rig.lacks(rung) {
        return skipped(test, &reason);
    }
    for (tls, tunnel) in ways {
        // What is taken once, by the first client of each worker, is not what each costs: that would be taken every time.
        held(&rig, &listener, *tls, *tunnel);
        let (mut sent, mut grown) = held(&rig, &listener, *tls, *tunnel);
        for _ in 1..ROUNDS {
            if grown >= GROWN {
                (sent, grown) = held(&rig, &listener, *tls, *tunnel);
            }
        }
        let what = format!("{} rung, TLS {tls}, tunnel {tunnel}: {} KiB held", rung.name(), sent >> 10);
        eprintln!("{what}, of which {grown} KiB in our memory");
        assert!(sent < HELD && grown < GROWN, "{what}, {grown} KiB in our memory");
    }
}

#[test]
fn bounded_by_copy() {
    bounded("bounded_by_copy", Rung::Copy, &[(false, false), (true, false), (false, true), (true, true)]);
}

#[test]
fn bounded_by_splice() {
    bounded("bounded_by_splice", Rung::Splice, &[(false, false), (false, true)]);
}

#[test]
fn bounded_by_the_sockmap() {
    bounded("bounded_by_the_sockmap", Rung::Sockmap, &[(false, true)]);
}

#[test]
fn bounded_by_splice_to_tls_in_the_kernel() {
    bounded("bounded_by_splice_to_tls_in_the_kernel", Rung::Ktls, &[(true, false)]);
}
