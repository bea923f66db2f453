//! TLS in the kernel, against rustls, OpenSSL's s_client and records made by hand.
//!
//! Where the kernel has no TLS, the tests say so by name and do nothing.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod openssl;
mod rig;
mod wire;

use std::io::{self, Write as _};
use std::sync::OnceLock;

use openssl::SClient;
use penstock::tls::{ktls, provider, suite_name};
use rig::{Rig, pattern};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
    TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::{HandshakeKind, SupportedCipherSuite};
use wire::{ALERT, DATA, HANDSHAKE, Wire};

/// A suite for each version and cipher, with OpenSSL's option and name for it.
const SUITES: [(SupportedCipherSuite, [&str; 3]); 6] = [
    (TLS13_AES_128_GCM_SHA256, ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]),
    (TLS13_AES_256_GCM_SHA384, ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]),
    (TLS13_CHACHA20_POLY1305_SHA256, ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]),
    (TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
    (TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]),
    (TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"]),
];

fn skipped(test: &str, reason: &str) {
    // Directly to standard error: libtest hides what a passing test prints.
    io::stderr().write_all(format!("SKIPPED: {test}: {reason}\n").as_bytes()).unwrap();
}

/// Whether the kernel has TLS; if not, the test is reported as skipped.
fn possible(test: &str) -> bool {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    match FOUND
        .get_or_init(|| ktls::probe_within(rig::DEADLINE).map_err(|unavailable| unavailable.to_string()))
    {
        Ok(()) => true,
        Err(reason) => {
            skipped(test, reason);
            false
        }
    }
}

fn rig_1_3() -> Rig {
    Rig::new(&[TLS13_AES_128_GCM_SHA256])
}

fn rig_1_2() -> Rig {
    Rig::new(&[TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256])
}

#[test]
fn the_probe_says_what_is_missing() {
    if let Err(unavailable) = ktls::probe_within(rig::DEADLINE) {
        assert!(!unavailable.reason.is_empty() && !unavailable.remedy.is_empty(), "{unavailable}");
    }
}

#[test]
fn each_suite_moves_bodies_whole() {
    if !possible("each_suite_moves_bodies_whole") {
        return;
    }
    for (suite, _) in SUITES {
        let rig = Rig::new(&[suite]);
        let mut client = rig.connect();
        client.offload();
        assert!(!suite_name(&client.tls).is_empty());
        for (seed, length) in [0, 1, 100, 16_383, 16_384, 16_385, 50_000, 1_000_003].into_iter().enumerate() {
            client.receive_body(length, seed as u64);
            client.send_body(length, seed as u64);
        }
        client.finish();
        rig.end().unwrap();
    }
}

#[test]
fn every_offered_suite_can_be_moved() {
    if !possible("every_offered_suite_can_be_moved") {
        return;
    }
    let offered = provider();
    let ecdsa = |suite: &&SupportedCipherSuite| !suite.suite().as_str().unwrap().contains("_RSA_");
    assert_eq!(offered.cipher_suites.iter().filter(ecdsa).count(), SUITES.len());
}

#[test]
fn many_requests_in_a_row_and_at_once() {
    if !possible("many_requests_in_a_row_and_at_once") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        let mut client = rig.connect();
        client.offload();
        let mut seed = 0;
        for round in 0..30 {
            let lengths: Vec<usize> = (0..20).map(|at| (round * 997 + at * 131) % 5000).collect();
            let lines: Vec<_> =
                lines_of(&lengths, seed).into_iter().map(|line| format!("{line}\n")).collect();
            // One write, so that one record holds many requests.
            client.write(lines.concat().as_bytes());
            for length in lengths {
                assert!(client.read(length) == pattern(length, seed), "{length} bytes");
                seed += 1;
            }
        }
        client.finish();
        rig.end().unwrap();
    }
}

fn lines_of(lengths: &[usize], seed: u64) -> Vec<String> {
    lengths.iter().zip(seed..).map(|(length, seed)| format!("give {length} {seed}")).collect()
}

#[test]
fn what_comes_with_the_handshake_comes_first() {
    if !possible("what_comes_with_the_handshake_comes_first") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        let mut client = rig.connect();
        // rustls keeps it until the handshake is done, and sends it in the flight of Finished.
        client.tls.writer().write_all(b"offload\ntake 5 1\n").unwrap();
        client.tls.writer().write_all(&pattern(5, 1)).unwrap();
        assert_eq!(client.line(), "Ok(())");
        assert_eq!(client.line(), "same");
        client.receive_body(100_000, 2);
        client.finish();
        rig.end().unwrap();
    }
}

#[test]
fn rustls_keeps_a_connection_in_the_middle_of_a_record() {
    if !possible("rustls_keeps_a_connection_in_the_middle_of_a_record") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        for cut in [1, 4, 5, 6, 200] {
            let mut client = rig.connect();
            client.receive_body(10, 1);
            let first = client.encrypt(b"offload\n");
            let body = [b"take 1000 3\n".as_slice(), &pattern(1000, 3)].concat();
            let second = client.encrypt(&body);
            client.tcp.write_all(&[&first, &second[..cut]].concat()).unwrap();
            assert_eq!(client.line(), "Err(MidRecord)", "cut at {cut}");
            client.tcp.write_all(&second[cut..]).unwrap();
            assert_eq!(client.line(), "same");
            // rustls reads to the end of a record and no farther, so that the next attempt succeeds.
            client.offload();
            client.send_body(70_000, 4);
            client.finish();
            rig.end().unwrap();
        }
    }
}

#[test]
fn the_switch_comes_at_any_time() {
    if !possible("the_switch_comes_at_any_time") {
        return;
    }
    for (suite, _) in SUITES {
        let rig = Rig::new(&[suite]);
        let mut client = rig.connect();
        for seed in 0..20 {
            client.receive_body(20_000, seed);
            client.send_body(20_000, seed);
        }
        client.offload();
        // Once more does no harm.
        client.offload();
        client.receive_body(200_000, 30);
        client.send_body(200_000, 30);
        client.finish();
        rig.end().unwrap();
    }
}

#[test]
fn sessions_are_resumed() {
    if !possible("sessions_are_resumed") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = rig.connect();
            client.offload();
            client.receive_body(30_000, 1);
            assert_eq!(client.tls.handshake_kind(), Some(kind));
            client.finish();
            rig.end().unwrap();
        }
    }
}

#[test]
fn the_end_of_tcp_is_no_goodbye() {
    if !possible("the_end_of_tcp_is_no_goodbye") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        for half in [false, true] {
            let mut client = rig.connect();
            client.offload();
            client.say("take 10000 1");
            client.write(&pattern(5000, 1));
            if half {
                let record = client.encrypt(&pattern(5000, 1));
                client.tcp.write_all(&record[..2000]).unwrap();
            }
            client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(rig.end().is_err(), "a part was taken for the whole");
        }
    }
}

#[test]
fn both_say_goodbye() {
    if !possible("both_say_goodbye") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        let mut client = rig.connect();
        client.offload();
        // The server first; what the client has sent before is no error.
        client.say("bye");
        let mut rest = Vec::new();
        assert_eq!(rustls::Stream::new(&mut client.tls, &mut client.tcp).read_to_end_of(&mut rest), 0);
        rig.end().unwrap();
    }
}

trait ReadToEnd {
    fn read_to_end_of(&mut self, rest: &mut Vec<u8>) -> usize;
}

impl<T: io::Read> ReadToEnd for T {
    /// Fails unless the end is orderly.
    fn read_to_end_of(&mut self, rest: &mut Vec<u8>) -> usize {
        self.read_to_end(rest).unwrap()
    }
}

#[test]
fn the_last_record_is_not_lost_to_a_slow_client() {
    if !possible("the_last_record_is_not_lost_to_a_slow_client") {
        return;
    }
    for rig in [rig_1_3(), rig_1_2()] {
        for round in 0..20 {
            // Small buffers keep records waiting in the kernel when the server has said its last word.
            let mut client = rig.connect_with(|socket| {
                socket.set_recv_buffer_size(8192).unwrap();
                socket.set_tcp_mss(1400).unwrap();
            });
            client.offload();
            let length = 1_000_000 + round * 7919;
            client.write(format!("give {length} 9\nbye\n").as_bytes());
            let mut body = Vec::new();
            rustls::Stream::new(&mut client.tls, &mut client.tcp).read_to_end_of(&mut body);
            assert!(body == pattern(length, 9), "{} of {length} bytes came", body.len());
            rig.end().unwrap();
        }
    }
}

#[test]
fn key_updates_are_followed_or_end_the_connection() {
    if !possible("key_updates_are_followed_or_end_the_connection") {
        return;
    }
    let rig = rig_1_3();
    let mut client = rig.connect();
    client.offload();
    client.send_body(50_000, 1);
    assert_eq!(client.ask("listen"), "listening");
    client.tls.refresh_traffic_keys().unwrap();
    client.write(b"more");
    let mut told = Vec::new();
    client.tls.send_close_notify();
    rustls::Stream::new(&mut client.tls, &mut client.tcp).read_to_end_of(&mut told);
    match told.as_slice() {
        b"heard!\n" => {
            rig.end().unwrap();
            follow_updates(&rig);
        }
        // What the client sent before is answered, and the connection ended in order.
        b"deaf!\n" => {
            drop(client);
            rig.end().unwrap();
        }
        other => panic!("{:?}", String::from_utf8_lossy(other)),
    }
}

/// On a kernel that replaces keys.
fn follow_updates(rig: &Rig) {
    let mut client = rig.connect();
    client.offload();
    for seed in 0..10 {
        client.tls.refresh_traffic_keys().unwrap();
        client.send_body(100_000, seed);
        client.receive_body(100_000, seed);
    }
    client.finish();
    rig.end().unwrap();
}

/// So many records may be made with a key, where a test has to come to the end of one.
const LIMIT: u64 = 64;

#[test]
fn a_key_makes_no_more_records_than_it_may() {
    if !possible("a_key_makes_no_more_records_than_it_may") {
        return;
    }
    let rig = Rig::limited_to(TLS13_AES_128_GCM_SHA256, LIMIT);
    let mut client = rig.connect();
    client.offload();
    // Each answer is a record of its own.
    let mut answers = 0;
    while answers < 4 * LIMIT {
        client.say(&format!("give 100 {answers}"));
        let Ok(answer) = client.try_read(100) else { break };
        assert!(answer == pattern(100, answers), "answer {answers}");
        answers += 1;
    }
    if ktls::report().unwrap().rekey {
        // Its key was replaced in time, several times.
        assert_eq!(answers, 4 * LIMIT);
        client.finish();
        rig.end().unwrap();
    } else {
        assert!((LIMIT / 2..LIMIT).contains(&answers), "{answers} answers");
        let end = rig.end().unwrap_err();
        assert!(end.to_string().contains("as many records as it may"), "{end}");
    }
}

#[test]
fn a_connection_should_end_before_its_key_is_used_up() {
    if !possible("a_connection_should_end_before_its_key_is_used_up") {
        return;
    }
    let rig = Rig::limited_to(TLS13_AES_128_GCM_SHA256, LIMIT);
    let mut client = rig.connect();
    client.offload();
    assert_eq!(client.ask("should-end"), "false");
    client.receive_body(35 * 16 * 1024, 1);
    // Where the key can be replaced, it was.
    let replaced = ktls::report().unwrap().rekey;
    assert_eq!(client.ask("should-end"), if replaced { "false" } else { "true" });
    client.finish();
    rig.end().unwrap();
}

#[test]
fn a_head_shares_its_record_with_what_follows() {
    if !possible("a_head_shares_its_record_with_what_follows") {
        return;
    }
    let rig = rig_1_3();
    for (head, body, first) in [(100, 5000, 5100), (300, 30_000, 16_384), (100, 1, 101)] {
        let mut client = rig.connect();
        client.offload();
        let mut wire = Wire::new(client);
        let command = wire.record(DATA, format!("message {head} {body}\n").as_bytes(), 0);
        wire.send(&command);
        let (_, content) = wire.receive().unwrap();
        assert_eq!(content.len(), first, "{head} and {body} bytes");
        let rest = wire.read(head + body - first);
        let message = [content, rest].concat();
        assert!(message[..head] == pattern(head, 1) && message[head..] == pattern(body, 2));
        let goodbye = wire.record(ALERT, &[1, 0], 0);
        wire.send(&goodbye);
        assert_eq!(wire.alert(), Some([1, 0]));
        rig.end().unwrap();
    }
}

#[test]
fn a_switch_that_fails_halfway_ends_in_silence() {
    const TEST: &str = "a_switch_that_fails_halfway_ends_in_silence";
    if !possible(TEST) {
        return;
    }
    let rig = rig_1_3();
    let mut client = rig.connect();
    let captured = client.ask("capture");
    if captured != "Ok(())" {
        return skipped(TEST, &format!("no sockmap to put the socket into: {captured}"));
    }
    let mut wire = Wire::new(client);
    let command = wire.record(DATA, b"offload\n", 0);
    wire.send(&command);
    // Not a byte in plaintext: what comes is a record that opens, or nothing.
    match wire.receive() {
        None => drop(rig.end().unwrap_err()),
        Some((DATA, answer)) if answer == b"Err(Socket)\n" => {}
        Some(other) => panic!("the kernel took a socket that is in a sockmap: {other:?}"),
    }
}

/// What hand-made records do to a connection.
enum Effect {
    /// It goes on.
    None,
    /// It ends, and the client is told by an alert of this description.
    Alert(u8),
    /// It ends.
    End,
}

type Records = fn(&mut Wire) -> Vec<u8>;

const CASES: [(&str, Records, Effect); 16] = [
    ("empty records", |wire| (0..5).flat_map(|_| wire.record(DATA, &[], 0)).collect(), Effect::None),
    ("padded empty records", |wire| wire.record(DATA, &[], 500), Effect::None),
    ("a warning", |wire| wire.record(ALERT, &[1, 90], 0), Effect::None),
    ("a padded warning", |wire| wire.record(ALERT, &[1, 90], 90), Effect::None),
    ("a fatal alert", |wire| wire.record(ALERT, &[2, 80], 0), Effect::End),
    ("another warning", |wire| wire.record(ALERT, &[1, 100], 0), Effect::End),
    ("a long alert", |wire| wire.record(ALERT, &[1, 90, 0], 0), Effect::Alert(50)),
    ("a short alert", |wire| wire.record(ALERT, &[1], 0), Effect::Alert(50)),
    ("a ticket", |wire| wire.record(HANDSHAKE, &[4, 0, 0, 1, 0], 0), Effect::Alert(10)),
    ("a wrong key update", |wire| wire.record(HANDSHAKE, &[24, 0, 0, 1, 7], 0), Effect::Alert(47)),
    ("a long handshake message", |wire| wire.record(HANDSHAKE, &[1; 9000], 0), Effect::Alert(10)),
    ("another type", |wire| wire.record(99, &[1], 0), Effect::Alert(10)),
    ("no type", |wire| wire.seal(vec![0; 100]), Effect::End),
    ("a change of cipher", |_| vec![20, 3, 3, 0, 1, 1], Effect::End),
    (
        "a wrong tag",
        |wire| {
            let mut record = wire.record(DATA, b"hello", 0);
            *record.last_mut().unwrap() ^= 1;
            record
        },
        Effect::End,
    ),
    ("no TLS", |_| b"GET / HTTP/1.1\r\n\r\n".to_vec(), Effect::End),
];

#[test]
fn records_that_no_library_sends() {
    if !possible("records_that_no_library_sends") {
        return;
    }
    let rig = rig_1_3();
    for (name, records, effect) in CASES {
        let mut client = rig.connect();
        client.offload();
        let mut wire = Wire::new(client);
        let bytes = records(&mut wire);
        wire.send(&bytes);
        match effect {
            Effect::None => {
                let more = wire.record(DATA, b"give 10 3\n", 100);
                // However it is cut.
                for byte in more {
                    wire.send(&[byte]);
                }
                assert_eq!(wire.read(10), pattern(10, 3), "{name}");
                let goodbye = wire.record(ALERT, &[1, 0], 0);
                wire.send(&goodbye);
                assert_eq!(wire.alert(), Some([1, 0]), "{name}");
                rig.end().unwrap();
            }
            Effect::Alert(description) => {
                assert_eq!(wire.alert(), Some([2, description]), "{name}");
                rig.end().unwrap_err();
            }
            Effect::End => {
                rig.end().unwrap_err();
                // No word in plaintext, and none that the client could not open.
                assert_eq!(wire.alert(), None, "{name}");
            }
        }
    }
}

#[test]
fn a_flood_of_nothing_ends() {
    if !possible("a_flood_of_nothing_ends") {
        return;
    }
    let rig = rig_1_3();
    let floods: [Records; 2] = [
        |wire| (0..40).flat_map(|_| wire.record(ALERT, &[1, 90], 0)).collect(),
        |wire| (0..6).flat_map(|_| wire.record(ALERT, &[1, 90], 0)).collect(),
    ];
    for flood in floods {
        let mut client = rig.connect();
        client.offload();
        let mut wire = Wire::new(client);
        let bytes = flood(&mut wire);
        wire.send(&bytes);
        assert_eq!(wire.alert(), Some([2, 10]));
        rig.end().unwrap_err();
    }
}

#[test]
fn openssl_talks_to_the_kernel() {
    const TEST: &str = "openssl_talks_to_the_kernel";
    if !possible(TEST) {
        return;
    }
    for (suite, arguments) in SUITES {
        let rig = Rig::new(&[suite]);
        let Some(mut client) = SClient::start(rig.address, &arguments) else {
            return skipped(TEST, "openssl is not installed");
        };
        client.say("offload");
        client.prints(b"Ok(())\n");
        for seed in 0..5 {
            client.say(&format!("give 60000 {seed}"));
            client.prints(&pattern(60_000, seed));
            client.say(&format!("take 5 {seed}"));
            client.say("four");
            client.prints(b"different\n");
        }
        // It closes with close_notify.
        client.quit();
        rig.end().unwrap();
    }
}

#[test]
fn openssl_updates_its_keys() {
    const TEST: &str = "openssl_updates_its_keys";
    if !possible(TEST) {
        return;
    }
    // "K" asks for an update in return, "k" does not.
    for command in ["K", "k"] {
        let rig = rig_1_3();
        let Some(mut client) = SClient::start(rig.address, &SUITES[0].1) else {
            return skipped(TEST, "openssl is not installed");
        };
        client.say("offload");
        client.prints(b"Ok(())\n");
        client.say("listen");
        client.prints(b"listening\n");
        client.say(command);
        client.prints(b"KEYUPDATE\n");
        client.say("x");
        // "heard" or "deaf": the next command must be a line of its own.
        client.prints(b"!\n");
        client.quit();
        rig.end().unwrap();
    }
}

#[test]
fn openssl_may_not_renegotiate() {
    const TEST: &str = "openssl_may_not_renegotiate";
    if !possible(TEST) {
        return;
    }
    let rig = rig_1_2();
    let Some(mut client) = SClient::start(rig.address, &SUITES[3].1) else {
        return skipped(TEST, "openssl is not installed");
    };
    client.say("offload");
    client.prints(b"Ok(())\n");
    client.say("R");
    client.prints(b"RENEGOTIATING\n");
    // OpenSSL takes our warning for the end of the connection.
    rig.end().unwrap_err();
}
