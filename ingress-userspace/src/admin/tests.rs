//! The admin server over loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// Longer than any test may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn state() -> AdminState {
    let metrics = Arc::new(Metrics::new().unwrap());
    metrics.worker();
    AdminState {
        metrics,
        readiness: Box::new(|| Readiness::Ready),
        explain: Box::new(
            |url| {
                if url == "bad" { Err("no URL".to_owned()) } else { Ok(format!("<{url}>\n")) }
            },
        ),
        reports: Box::new(|| json!({ "objects": [] })),
        table: Box::new(|| json!({ "generation": 3 })),
        allowed_hosts: vec!["admin.example".to_owned()],
    }
}

fn socket() -> Vec<TcpListener> {
    vec![bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()]
}

fn server() -> AdminServer {
    spawn(socket(), state()).unwrap()
}

fn connect(server: &AdminServer) -> TcpStream {
    let stream = TcpStream::connect(server.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status, head and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server that closes while some of the request is unread resets the connection after its answer.
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn send(server: &AdminServer, request: &str) -> Answer {
    let mut stream = connect(server);
    stream.write_all(request.as_bytes()).unwrap();
    read(stream)
}

fn get(server: &AdminServer, target: &str) -> Answer {
    send(server, &format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
}

#[test]
fn pages_are_served() {
    let server = server();
    let metrics = get(&server, "/metrics");
    assert!(metrics.body.contains("\npenstock_workers 1\n"), "{}", metrics.body);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert!(metrics.head.contains("cache-control: no-store"), "{}", metrics.head);
    assert_eq!(get(&server, "/livez").body, "alive\n");
    assert_eq!(get(&server, "/readyz").status, 200);
    assert!(get(&server, "/").body.contains("/explain?url="));
    let table = get(&server, "/table");
    assert!(table.head.contains("content-type: application/json"), "{}", table.head);
    assert_eq!(serde_json::from_str::<Value>(&table.body).unwrap(), json!({ "generation": 3 }));
    assert_eq!(get(&server, "/reports").body, "{\"objects\":[]}\n");
    assert_eq!(get(&server, "/secrets").status, 404);
}

#[test]
fn explanations_decode_their_url() {
    let server = server();
    let answer = get(&server, "/explain?url=https%3A%2F%2Fshop.example%2Fa%3Fb%3Dc");
    assert_eq!((answer.status, &*answer.body), (200, "<https://shop.example/a?b=c>\n"));
    assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
    assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
    assert_eq!(get(&server, "/explain?url=bad").status, 400);
    assert_eq!(get(&server, "/explain").status, 400);
}

#[test]
fn readiness_is_asked_each_time() {
    let calls = AtomicUsize::new(0);
    let readiness = move || match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Readiness::NotSynchronised,
        1 => Readiness::Ready,
        _ => Readiness::Draining,
    };
    let state = AdminState { readiness: Box::new(readiness), ..state() };
    let server = spawn(socket(), state).unwrap();
    let statuses = [0; 3].map(|_| get(&server, "/readyz").status);
    assert_eq!(statuses, [503, 200, 503]);
    assert_eq!(get(&server, "/livez").status, 200);
}

#[test]
fn head_has_a_length_and_no_content() {
    let answer = send(&server(), "HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((answer.status, &*answer.body), (200, ""));
    assert!(answer.head.contains("content-length: 6"), "{}", answer.head);
}

#[test]
fn nothing_can_be_changed() {
    let server = server();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let answer = send(
            &server,
            &format!("{method} /table HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"),
        );
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
}

#[test]
fn foreign_names_are_refused() {
    let server = server();
    let status = |host: &str, path: &str| send(&server, &format!("GET {path} HTTP/1.1\r\n{host}\r\n")).status;
    assert_eq!(status("Host: evil.example\r\n", "/table"), 421);
    assert_eq!(status("Host: evil.example\r\n", "/metrics"), 421);
    assert_eq!(status("Host: 127.0.0.1\r\nHost: evil.example\r\n", "/table"), 421);
    assert_eq!(status("Host: 127.0.0.1\r\n", "http://evil.example/table"), 421);
    assert_eq!(status("Host: \u{e9}\r\n", "/table"), 421);
    assert_eq!(status("Host: admin.example:9090\r\n", "/table"), 200);
    assert_eq!(status("Host: [::1]:9090\r\n", "/table"), 200);
    assert_eq!(status("Host: evil.example\r\n", "/livez"), 200);
    assert_eq!(send(&server, "GET /table HTTP/1.0\r\n\r\n").status, 200);
}

#[test]
fn requests_are_bounded() {
    let server = server();
    let long = "a".repeat(9000);
    assert_eq!(get(&server, &format!("/explain?url={long}")).status, 431);
    assert_eq!(send(&server, &format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {long}\r\n\r\n")).status, 431);
    assert_eq!(send(&server, "nonsense\r\n\r\n").status, 400);
}

#[test]
fn one_request_per_connection() {
    let two = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let answer = send(&server(), &two);
    assert_eq!(answer.body, "alive\n");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
}

#[test]
fn slow_clients_are_cut_off() {
    let limits = Limits { head_timeout: Duration::from_millis(20), ..Limits::default() };
    let server = spawn_with(socket(), state(), limits).unwrap();
    let silent = connect(&server);
    let mut slow = connect(&server);
    slow.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    for mut stream in [silent, slow] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn connections_are_bounded() {
    let limits = Limits { connections: 1, head_timeout: PATIENCE, ..Limits::default() };
    let server = spawn_with(socket(), state(), limits).unwrap();
    let idle = connect(&server);
    let mut waiting = connect(&server);
    waiting.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = waiting.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(idle);
    assert_eq!(read(waiting).status, 200);
}

#[test]
fn large_answers_are_bounded_and_given_up() {
    // More than the buffers of both sockets hold, so that it stays in memory while its reader does not read.
    let large: Mutex<Value> = Mutex::new(json!("x".repeat(16 << 20)));
    let state = AdminState { table: Box::new(move || large.lock().unwrap().clone()), ..state() };
    let limits =
        Limits { large_answers: 1, connection_timeout: Duration::from_millis(500), ..Limits::default() };
    let server = spawn_with(socket(), state, limits).unwrap();
    let mut reader = connect(&server);
    reader.write_all(b"GET /table HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!(get(&server, "/metrics").status, 503);
    assert_eq!(get(&server, "/livez").status, 200);
    // The reader never reads on; its time runs out, and its place is free.
    while get(&server, "/metrics").status == 503 {}
    drop(reader);
}

#[test]
fn every_address_is_served_until_the_end() {
    let addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
    let server = spawn(addresses.map(|address| bind(address).unwrap()).into(), state()).unwrap();
    let bound = server.addresses().to_vec();
    for address in &bound {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(read(stream).status, 200);
    }
    let error = bind(bound[0]).unwrap_err();
    assert!(error.to_string().contains("--admin"), "{error}");
    drop(server);
    for address in &bound {
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
