//! What happens to tunnels, and to what is pinned, when the kernel has no room or somebody takes something away: the next rung
//! serves, the reason is told, and no byte is lost.
//!
//! Where the sockmap is not to be had, the tests say so by name and do nothing.
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::backend::{Peer, PeerEnd, RawBackend};
use support::client::{Client, End};
use support::peer::skipped;
use support::process::Penstock;
use support::site::{Site, Via};

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A directory for pins that no other test has. It is gone with its contents at the end.
struct Pinned(PathBuf);

impl Pinned {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("penstock-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(Path::new("/sys/fs/bpf").join(name))
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn config(&self, more: &str) -> String {
        format!("kernel:\n  sockmap: auto\n  sockmapAfter: 0\n  pinDirectory: {}\n{more}", self.0.display())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Where there is no bpffs, none was made.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PINS: [&str; 5] =
    ["penstock_flows", "penstock_pairs", "penstock_sent", "penstock_sides", "penstock_splice"];

/// Whether the kernel joins sockets for us; if not, the test is reported as skipped.
fn joins(penstock: &Penstock, test: &str) -> bool {
    let proven =
        penstock.metric("penstock_kernel_acceleration", &[("name", "sockmap"), ("state", "proven")]) > 0.5;
    if !proven {
        let why = penstock.log().into_iter().find(|line| line.contains("kernel accelerations"));
        skipped(test, &format!("no sockmap: {}", why.unwrap_or_default()));
    }
    proven
}

/// Whether there are pins; if not, the test is reported as skipped.
fn pins(penstock: &Penstock, pinned: &Pinned, test: &str) -> bool {
    if !joins(penstock, test) {
        return false;
    }
    let there = !pinned.names().is_empty();
    if !there {
        penstock.wait_log("are not pinned, and serve without");
        skipped(test, "no bpffs that this user can write to");
    }
    there
}

/// A client and a backend with a tunnel between them.
struct Open {
    client: Client,
    peer: Peer,
}

impl Open {
    fn new(site: &Site, backend: &RawBackend) -> Self {
        let mut client = site.client(Via::Plain);
        client.send(Via::Plain.text(HANDSHAKE));
        let mut peer = backend.accept();
        peer.request();
        peer.send(SWITCHING);
        assert_eq!(client.response("GET").status(), 101);
        Self { client, peer }
    }

    /// A message each way.
    fn talk(&mut self, text: &str) {
        self.client.send(format!("<{text}>"));
        self.peer.wait_for(&format!("<{text}>"));
        self.peer.send(format!("[{text}]"));
        assert_eq!(self.client.exactly(text.len() + 2), format!("[{text}]").as_bytes());
    }

    /// A flood each way, and both ends; `said` is what the client has said before.
    fn finish(mut self, said: &str) {
        let (up, down) = (pattern(3 << 20, 1), pattern(3 << 20, 2));
        let mut sender = self.client.try_clone();
        std::thread::scope(|scope| {
            let peer = &self.peer;
            scope.spawn(|| peer.send(&down));
            scope.spawn(|| sender.send(&up));
            assert!(self.client.exactly(down.len()) == down, "bytes were changed on their way to the client");
        });
        self.client.half_close();
        let (end, received) = self.peer.ended();
        assert_eq!(end, PeerEnd::Closed);
        assert!(
            received.starts_with(said.as_bytes()),
            "{}",
            String::from_utf8_lossy(&received[..said.len()])
        );
        assert!(received[said.len()..] == up, "bytes were changed on their way to the backend");
        self.peer.half_close();
        assert_eq!(self.client.ended(), (End::Closed, Vec::new()));
    }
}

fn pattern(length: u64, seed: u64) -> Vec<u8> {
    (0..length / 8)
        .flat_map(|word| ((word + 1) ^ (seed << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes())
        .collect()
}

fn by_sockmap(penstock: &Penstock) -> f64 {
    penstock.metric("penstock_relay_transfers_total", &[("rung", "sockmap"), ("kind", "tunnel")])
}

fn ways(penstock: &Penstock) -> f64 {
    penstock.metric("penstock_relay_transfers_total", &[("kind", "tunnel")])
}

/// Takes something away while a tunnel is joined, and looks what becomes of it and of the next one.
fn taken_away(
    test: &str,
    pinned: &Pinned,
    site: &Site,
    backend: &RawBackend,
    take: impl FnOnce(),
    told: &str,
) {
    let penstock = &site.penstock;
    if !pins(penstock, pinned, test) {
        return;
    }
    assert_eq!(pinned.names(), PINS);
    let mut joined = Open::new(site, backend);
    joined.talk("before");
    take();
    let line = penstock.wait_log("is used no more until the next start");
    assert!(line.contains(told) && line.contains("\"acceleration\":\"sockmap\""), "{line}");
    let withdrawn = [("name", "sockmap"), ("state", "withdrawn")];
    assert!(penstock.metric("penstock_kernel_acceleration", &withdrawn) > 0.5);
    // Whoever takes one of them away wants all of them gone.
    penstock.eventually("the other pins are removed", |_| pinned.names().is_empty());
    // What was joined goes on; what comes takes the next rung.
    let mut next = Open::new(site, backend);
    joined.talk("after");
    next.talk("after");
    joined.finish("<before><after>");
    next.finish("<after>");
    penstock.eventually("both tunnels are counted", |_| ways(penstock) > 3.5);
    assert!((by_sockmap(penstock) - 2.0).abs() < 0.5, "{}", by_sockmap(penstock));
}

#[test]
fn a_detached_program_falls_back_and_is_told() {
    const TEST: &str = "a_detached_program_falls_back_and_is_told";
    let (pinned, backend) = (Pinned::new(), RawBackend::manual());
    let site = Site::configured(&[backend.address()], &pinned.config(""));
    if support::peer::path("bpftool").is_err() {
        return skipped(TEST, "bpftool is not installed");
    }
    let detach = || {
        let (program, map) = (pinned.path("penstock_splice"), pinned.path("penstock_pairs"));
        let arguments = ["prog", "detach", "pinned", &program, "stream_verdict", "pinned", &map];
        let output = Command::new("bpftool").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    taken_away(TEST, &pinned, &site, &backend, detach, "somebody has detached the program penstock_splice");
}

#[test]
fn a_removed_pin_falls_back_and_is_told() {
    let (pinned, backend) = (Pinned::new(), RawBackend::manual());
    let site = Site::configured(&[backend.address()], &pinned.config(""));
    let remove = || fs::remove_file(pinned.path("penstock_sent")).unwrap();
    taken_away(
        "a_removed_pin_falls_back_and_is_told",
        &pinned,
        &site,
        &backend,
        remove,
        "somebody has removed the pin",
    );
}

#[test]
fn pins_end_with_the_process_unless_another_has_replaced_them() {
    const TEST: &str = "pins_end_with_the_process_unless_another_has_replaced_them";
    let (pinned, backend) = (Pinned::new(), RawBackend::manual());
    let mut first = Site::configured(&[backend.address()], &pinned.config(""));
    if !pins(&first.penstock, &pinned, TEST) {
        return;
    }
    let mut second = Site::configured(&[backend.address()], &pinned.config(""));
    first.penstock.wait_log("another process has pinned its eBPF programs and maps here");
    let mut tunnel = Open::new(&first, &backend);
    tunnel.talk("joined");
    tunnel.finish("<joined>");
    first.penstock.eventually("it is still used", |penstock| by_sockmap(penstock) > 1.5);
    first.penstock.signal("TERM");
    assert!(first.penstock.wait_exit().success());
    assert_eq!(pinned.names(), PINS, "those of the other process");
    second.penstock.signal("TERM");
    assert!(second.penstock.wait_exit().success());
    assert_eq!(pinned.names(), [""; 0]);
}

#[test]
fn a_handover_hands_over_the_pins_too_and_leaves_what_is_joined() {
    const TEST: &str = "a_handover_hands_over_the_pins_too_and_leaves_what_is_joined";
    let (pinned, backend) = (Pinned::new(), RawBackend::manual());
    let mut site = Site::configured(&[backend.address()], &pinned.config(""));
    if !pins(&site.penstock, &pinned, TEST) {
        return;
    }
    // One that was given its addresses: the same ones make a successor.
    let mut ephemeral = site.replace(&pinned.config(""));
    ephemeral.signal("TERM");
    assert!(ephemeral.wait_exit().success());
    let inodes = || PINS.map(|name| fs::metadata(pinned.path(name)).unwrap().ino());
    let before = inodes();
    let mut old = Open::new(&site, &backend);
    old.talk("before");
    let mut first = site.replace(&pinned.config(""));
    first.wait_log("handed over");
    site.penstock.eventually("the pins are the successor's", |_| {
        inodes().iter().zip(&before).all(|(new, old)| new != old)
    });
    old.talk("after");
    old.finish("<before><after>");
    assert!(first.wait_exit().success());
    assert!(first.log().iter().all(|line| !line.contains("is used no more until the next start")));
    assert_eq!(pinned.names(), PINS, "those of the successor");
    // Each process joins by its own maps: the pins are only names.
    let mut new = Open::new(&site, &backend);
    new.talk("new");
    new.finish("<new>");
    site.penstock.eventually("it was joined", |penstock| by_sockmap(penstock) > 1.5);
}

#[test]
fn a_socket_that_is_taken_out_of_the_map_loses_no_byte() {
    const TEST: &str = "a_socket_that_is_taken_out_of_the_map_loses_no_byte";
    let (pinned, backend) = (Pinned::new(), RawBackend::manual());
    let site = Site::configured(&[backend.address()], &pinned.config(""));
    if !pins(&site.penstock, &pinned, TEST) {
        return;
    }
    if support::peer::path("bpftool").is_err() {
        return skipped(TEST, "bpftool is not installed");
    }
    let mut tunnel = Open::new(&site, &backend);
    tunnel.talk("joined");
    let map = pinned.path("penstock_pairs");
    let deleted = (0..8_u8).filter(|slot| {
        let slot = slot.to_string();
        let arguments = ["map", "delete", "pinned", &map, "key", &slot, "0", "0", "0"];
        Command::new("bpftool").args(arguments).output().unwrap().status.success()
    });
    assert!(deleted.count() > 0, "no slot of the map could be emptied");
    tunnel.talk("taken out");
    tunnel.finish("<joined><taken out>");
}

#[test]
fn without_a_bpffs_tunnels_are_joined_all_the_same() {
    const TEST: &str = "without_a_bpffs_tunnels_are_joined_all_the_same";
    let (elsewhere, backend) = (tempfile::tempdir().unwrap(), RawBackend::manual());
    for directory in ["", "/a/b/c"] {
        let config = format!(
            "kernel:\n  sockmap: auto\n  sockmapAfter: 0\n  pinDirectory: {}{directory}\n",
            elsewhere.path().display()
        );
        let site = Site::configured(&[backend.address()], &config);
        if !joins(&site.penstock, TEST) {
            return;
        }
        let line = site.penstock.wait_log("are not pinned, and serve without");
        assert!(line.contains("bpffs"), "{line}");
        let mut tunnel = Open::new(&site, &backend);
        tunnel.talk("unpinned");
        tunnel.finish("<unpinned>");
        site.penstock.eventually("it was joined", |penstock| by_sockmap(penstock) > 1.5);
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing is left behind");
    }
}

#[test]
fn a_full_map_falls_back_until_there_is_room() {
    const TEST: &str = "a_full_map_falls_back_until_there_is_room";
    let backend = RawBackend::manual();
    let config = "kernel:\n  sockmap: auto\n  sockmapAfter: 0\n  sockmapTunnels: 1\n  pinDirectory: null\n";
    let site = Site::configured(&[backend.address()], config);
    let penstock = &site.penstock;
    if !joins(penstock, TEST) {
        return;
    }
    let full = |penstock: &Penstock| {
        let labels = [("rung", "sockmap"), ("reason", "map-full")];
        penstock.metric("penstock_relay_fallbacks_total", &labels)
    };
    let (mut joined, mut other) = (Open::new(&site, &backend), Open::new(&site, &backend));
    joined.talk("first");
    other.talk("second");
    other.finish("<second>");
    joined.finish("<first>");
    penstock.eventually("the fall-back is counted", |penstock| full(penstock) > 0.5 && ways(penstock) > 3.5);
    assert!((by_sockmap(penstock) - 2.0).abs() < 0.5, "{}", by_sockmap(penstock));
    // A slot is free again after a moment.
    let mut said = 0.0;
    penstock.eventually("a later tunnel is joined", |penstock| {
        let mut later = Open::new(&site, &backend);
        later.talk("later");
        later.finish("<later>");
        said += 2.0;
        penstock.eventually("it is counted", |penstock| ways(penstock) > 3.5 + said);
        by_sockmap(penstock) > 3.5
    });
}

#[test]
fn programs_say_what_they_do_if_they_are_asked() {
    const TEST: &str = "programs_say_what_they_do_if_they_are_asked";
    let backend = RawBackend::manual();
    for (word, speaks) in [("on", true), ("off", false)] {
        let config = format!(
            "kernel:\n  sockmap: auto\n  sockmapAfter: 0\n  pinDirectory: null\n  programLog: {word}\n"
        );
        let mut site = Site::configured(&[backend.address()], &config);
        if !joins(&site.penstock, TEST) {
            return;
        }
        let mut tunnel = Open::new(&site, &backend);
        tunnel.talk("hello");
        tunnel.finish("<hello>");
        // The probe has a slow reader for which the kernel holds too much: its program takes over from itself.
        site.penstock.signal("TERM");
        assert!(site.penstock.wait_exit().success());
        let said = site.penstock.log().iter().any(|line| line.contains("taken back at"));
        assert_eq!(said, speaks, "{word}");
    }
}
