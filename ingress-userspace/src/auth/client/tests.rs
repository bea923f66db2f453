//! The bounds of a request to a provider, each at a real socket. Time is tokio's, and stands until nothing else is left to do: bounds of
//! seconds cost none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use super::*;

/// A server on this thread, which treats each connection in the same way.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, connections }
    }

    /// One that reads a request, sends this, and then nothing more.
    async fn answering(answer: Vec<u8>) -> Self {
        let answer = Arc::new(answer);
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_head(&mut stream).await;
                // Whoever has read enough closes, which is no fault here.
                let _ = stream.write_all(&answer).await;
                hold(stream).await;
            }
        })
        .await
    }

    fn get(&self, client: &HyperClient) -> Sending {
        client.send(Request::get(format!("http://{}/", self.address)).body(Vec::new()).unwrap())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
}

/// Until the client closes.
async fn hold(mut stream: TcpStream) {
    let _ = stream.read(&mut [0]).await;
}

fn client() -> HyperClient {
    HyperClient::new(None, Schemes::HttpToo).unwrap()
}

#[test]
fn authorities_are_certificates_in_pem() {
    assert!(HyperClient::new(None, Schemes::Https).is_ok());
    for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(HyperClient::new(Some(pem.as_bytes()), Schemes::Https).is_err(), "{pem}");
    }
}

#[tokio::test]
async fn a_provider_is_asked_by_https_only() {
    let client = HyperClient::new(None, Schemes::Https).unwrap();
    for url in ["http://id.example/?code=secret", "ftp://id.example/", "/relative"] {
        let error = client.send(Request::get(url).body(Vec::new()).unwrap()).await.unwrap_err();
        assert!(matches!(&error, HttpError::Url(url) if !url.contains("secret")), "{url}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_trickles_has_ten_seconds_in_all() {
    let trickle = |head: &'static str| async move {
        Server::start(move |mut stream| async move {
            read_head(&mut stream).await;
            for byte in head.bytes().chain(std::iter::repeat(b'x')) {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
        .await
    };
    for head in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "HTTP/1.1 200 "]
    {
        let server = trickle(head).await;
        let begin = Instant::now();
        let outcome = server.get(&client()).await;
        assert_eq!(outcome.err(), Some(HttpError::Time(10)), "{head:?}");
        assert_eq!(begin.elapsed().as_secs(), 10, "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_has_ten_seconds() {
    let server = Server::answering(Vec::new()).await;
    let begin = Instant::now();
    assert_eq!(server.get(&client()).await.err(), Some(HttpError::Time(10)));
    assert_eq!(begin.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_opened_within_five_seconds_or_not_at_all() {
    // A listener that accepts nobody: when its queue is full, the kernel answers no more (listen(2)).
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 16, "the queue has an end");
    }
    let begin = Instant::now();
    let request = Request::get(format!("http://{address}/")).body(Vec::new()).unwrap();
    let error = client().send(request).await.unwrap_err();
    assert!(matches!(&error, HttpError::Connection(what) if what.starts_with("127.0.0.1: ")), "{error:?}");
    assert_eq!(begin.elapsed().as_secs(), CONNECT_TIME.as_secs());
}

#[tokio::test]
async fn an_answer_may_have_a_mebibyte_and_no_byte_more() {
    let body = vec![b'x'; MAX_ANSWER + 1];
    let with_length = |length: usize| {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(), &body[..length]].concat()
    };
    let chunked = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
        [head.as_bytes(), &body[..length], b"\r\n0\r\n\r\n"].concat()
    };
    for make in [&with_length as &dyn Fn(usize) -> Vec<u8>, &chunked] {
        let server = Server::answering(make(MAX_ANSWER)).await;
        assert_eq!(server.get(&client()).await.unwrap().body().len(), MAX_ANSWER);
        let server = Server::answering(make(MAX_ANSWER + 1)).await;
        assert_eq!(server.get(&client()).await.err(), Some(HttpError::Size));
    }
    // An answer that never ends is left when it is too large.
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    })
    .await;
    assert_eq!(server.get(&client()).await.err(), Some(HttpError::Size));
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded_too() {
    for (name, lines) in [("a line", 0), ("many lines", 1)] {
        let server = Server::start(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
            let part = if lines == 0 { "x".repeat(8192) } else { "x\r\nX: ".repeat(1024) };
            while stream.write_all(part.as_bytes()).await.is_ok() {}
        })
        .await;
        let error = server.get(&client()).await.unwrap_err();
        assert!(matches!(error, HttpError::Connection(_)), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = Server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let (host, length) = (elsewhere.address, "Content-Length: 0\r\n\r\n");
    for status in [301, 302, 303, 307, 308] {
        let answer = format!("HTTP/1.1 {status} X\r\nLocation: http://{host}/\r\n{length}");
        let server = Server::answering(answer.into_bytes()).await;
        assert_eq!(server.get(&client()).await.unwrap().status(), status);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn sixteen_requests_at_once_are_under_way_and_the_others_wait_or_are_refused() {
    let (server, client) = (Server::answering(Vec::new()).await, client());
    let waiting: Vec<_> = (0..WAITING).map(|_| tokio::spawn(server.get(&client))).collect();
    // All of them have begun, and nothing more happens until time passes.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(server.connections(), IN_FLIGHT);
    assert_eq!(server.get(&client).await.err(), Some(HttpError::Busy));
    let outcomes = join_all(waiting).await;
    // The wait for a place counts as well: nobody waits for longer than one request may take.
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().err() == Some(HttpError::Time(10))));
    assert_eq!(server.get(&client).await.err(), Some(HttpError::Time(10)), "places are free again");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    for part in ["", "HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nxx", "rubbish\r\n\r\n"] {
        let server = Server::start(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(part.as_bytes()).await;
        })
        .await;
        let error = server.get(&client()).await.unwrap_err();
        assert!(matches!(error, HttpError::Connection(_)), "{part:?}: {error:?}");
    }
}
