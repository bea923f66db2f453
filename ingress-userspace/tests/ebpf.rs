//! The embedded eBPF object on the running kernel: it loads, bpftool lists it, and connections are steered and counted.
//!
//! Each test runs in a network namespace of its own. Where the kernel or the user's rights do not allow that, the tests
//! say so by name and do nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use ingress_common::abi;
use ingress_common::counters::Counters;
use ingress_core::table::{SourceRule, SourceRules};
use penstock::bpf::Steering;
use socket2::{Domain, Socket, Type};

/// Set in the copy of this program that runs inside the namespace.
const INSIDE: &str = "PENSTOCK_TEST_NAMESPACE";

/// Runs a test in a fresh network namespace with loopback up: this program again, for this test only.
fn in_namespace(test: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Err(reason) = possible() {
        // Directly to standard error: libtest hides what a passing test prints.
        io::stderr().write_all(format!("SKIPPED: {test}: {reason}\n").as_bytes()).unwrap();
        return;
    }
    let output = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "the test did not run inside the namespace:\n{text}");
}

/// Whether this user may make a namespace and load programs here, and if not, why.
fn possible() -> Result<(), String> {
    let unshare =
        Command::new("unshare").args(["--net", "true"]).output().map_err(|e| format!("unshare: {e}"))?;
    if !unshare.status.success() {
        return Err(format!("no network namespace: {}", String::from_utf8_lossy(&unshare.stderr).trim()));
    }
    match Steering::load() {
        Ok(_) => Ok(()),
        Err(error) if rights_are_missing(&error) => Err(error.to_string()),
        Err(error) => panic!("the object must load on any kernel that has eBPF: {error}"),
    }
}

/// Whether the cause is EPERM or ENOSYS: a refusal by the verifier is no reason to skip.
fn rights_are_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported);
        }
        cause = error.source();
    }
    false
}

fn listener(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap()
}

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output().expect("bpftool is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bpftool_lists_the_program_and_its_maps() {
    in_namespace("bpftool_lists_the_program_and_its_maps", || {
        let _steering = Steering::load().unwrap();
        let programs = bpftool(&["prog", "show", "name", abi::STEER_PROGRAM]);
        assert!(programs.contains("sk_lookup"), "{programs}");
        let maps = bpftool(&["map", "show"]);
        for name in [abi::STEER_RULES, abi::STEER_SOCKETS, abi::STEER_DENIED, abi::STEER_COUNTERS] {
            assert!(maps.contains(name), "{name} is not in:\n{maps}");
        }
    });
}

#[test]
fn connections_without_a_rule_pass_and_are_counted() {
    in_namespace("connections_without_a_rule_pass_and_are_counted", || {
        let mut steering = Steering::load().unwrap();
        steering.attach().unwrap();
        let listener = listener(8080);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(steering.counters().unwrap(), Counters { passed: 1, ..Counters::default() });
    });
}

#[test]
fn a_rule_steers_to_a_listener_on_another_port() {
    in_namespace("a_rule_steers_to_a_listener_on_another_port", || {
        let mut steering = Steering::load().unwrap();
        let listener = listener(8080);
        steering.fill(0, &listener).unwrap();
        steering.steer("127.0.0.1:443".parse().unwrap(), 0).unwrap();
        steering.steer("0.0.0.0:80".parse().unwrap(), 0).unwrap();
        steering.attach().unwrap();
        for port in [443, 80] {
            let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(
                accepted.local_addr().unwrap().port(),
                port,
                "the client keeps the address it asked for"
            );
        }
        assert_eq!(steering.counters().unwrap(), Counters { steered: 2, ..Counters::default() });
    });
}

#[test]
fn a_dual_stack_listener_takes_both_families() {
    in_namespace("a_dual_stack_listener_takes_both_families", || {
        let mut steering = Steering::load().unwrap();
        let listener = TcpListener::bind("[::]:8080").unwrap();
        steering.fill(3, &listener).unwrap();
        let addresses: [SocketAddr; 2] = ["127.0.0.1:443".parse().unwrap(), "[::1]:443".parse().unwrap()];
        for address in addresses {
            steering.steer(address, 3).unwrap();
        }
        steering.attach().unwrap();
        for address in addresses {
            let client = TcpStream::connect(address).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.port(), client.local_addr().unwrap().port());
        }
        assert_eq!(steering.counters().unwrap(), Counters { steered: 2, ..Counters::default() });
    });
}

#[test]
fn a_rule_without_its_listener_refuses() {
    in_namespace("a_rule_without_its_listener_refuses", || {
        let mut steering = Steering::load().unwrap();
        // Somebody else listens there, and must not get what is ours.
        let other = listener(443);
        steering.steer("127.0.0.1:443".parse().unwrap(), 0).unwrap();
        steering.attach().unwrap();
        let refused = TcpStream::connect(other.local_addr().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(steering.counters().unwrap(), Counters { refused: 1, ..Counters::default() });

        steering.release("127.0.0.1:443".parse().unwrap()).unwrap();
        TcpStream::connect(other.local_addr().unwrap()).unwrap();
        assert_eq!(steering.counters().unwrap(), Counters { passed: 1, refused: 1, ..Counters::default() });
    });
}

fn sources(networks: &[(&str, SourceRule)]) -> SourceRules {
    networks.iter().map(|(network, rule)| (network.parse().unwrap(), *rule)).collect()
}

fn connect_from(source: &str, port: u16) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket.into())
}

#[test]
fn denied_sources_are_refused_by_the_longest_network() {
    in_namespace("denied_sources_are_refused_by_the_longest_network", || {
        let mut steering = Steering::load().unwrap();
        let (ours, other) = (listener(443), listener(444));
        steering.watch("0.0.0.0:443".parse().unwrap()).unwrap();
        let list = [
            ("127.0.0.0/24", SourceRule::Refuse),
            ("127.0.0.8/32", SourceRule::Admit),
            ("::/0", SourceRule::Refuse),
        ];
        steering.deny(&sources(&list)).unwrap();
        steering.attach().unwrap();
        assert!(steering.is_attached());
        for (source, refused) in
            [("127.0.0.1", true), ("127.0.0.8", false), ("127.0.0.9", true), ("127.0.1.1", false)]
        {
            let error = connect_from(source, 443).err().map(|error| error.kind());
            assert_eq!(error, refused.then_some(ErrorKind::ConnectionRefused), "{source}");
        }
        // An address without a rule is somebody else's.
        connect_from("127.0.0.1", other.local_addr().unwrap().port()).unwrap();
        assert_eq!(steering.counters().unwrap(), Counters { passed: 3, denied: 2, ..Counters::default() });
        steering.deny(&sources(&list[2..])).unwrap();
        connect_from("127.0.0.1", ours.local_addr().unwrap().port()).unwrap();
    });
}

#[test]
fn the_trie_takes_one_full_list_in_place_of_another() {
    in_namespace("the_trie_takes_one_full_list_in_place_of_another", || {
        let mut steering = Steering::load().unwrap();
        let list = |second: u8| -> SourceRules {
            let hosts = (0..abi::STEER_DENIED_MAX as u32).map(|host| {
                let [.., high, low] = host.to_be_bytes();
                format!("10.{second}.{high}.{low}").parse().unwrap()
            });
            hosts.map(|network| (network, SourceRule::Refuse)).collect()
        };
        for second in 0..3 {
            steering.deny(&list(second)).unwrap();
        }
        let mut too_many = list(0);
        too_many.extend(sources(&[("192.0.2.0/24", SourceRule::Refuse)]));
        let error = steering.deny(&too_many).unwrap_err().to_string();
        assert!(error.contains("1025 source networks"), "{error}");
    });
}

#[test]
fn a_closed_listener_empties_its_slot() {
    in_namespace("a_closed_listener_empties_its_slot", || {
        let mut steering = Steering::load().unwrap();
        let closed = listener(8080);
        steering.fill(0, &closed).unwrap();
        steering.steer("127.0.0.1:443".parse().unwrap(), 0).unwrap();
        steering.attach().unwrap();
        drop(closed);
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, 443)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(steering.counters().unwrap(), Counters { refused: 1, ..Counters::default() });
    });
}

#[test]
fn dropping_it_detaches() {
    in_namespace("dropping_it_detaches", || {
        let mut steering = Steering::load().unwrap();
        let other = listener(443);
        steering.steer("127.0.0.1:443".parse().unwrap(), 0).unwrap();
        steering.attach().unwrap();
        drop(steering);
        TcpStream::connect(other.local_addr().unwrap()).unwrap();
    });
}
