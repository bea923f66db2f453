//! `cargo xtask backend`: a small HTTP/1.1 server that answers with its name and what it was asked.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::shell::Outcome;

/// Options of `cargo xtask backend`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What the answers are signed with.
    #[arg(long)]
    name: String,
    /// The port on the loopback address.
    #[arg(long)]
    port: u16,
}

/// A longer head is not read.
const MAX_HEAD: u64 = 64 * 1024;

/// A connection that is silent for longer is closed. Longer than a proxy keeps it: the proxy should be the one to close.
const IDLE: Duration = Duration::from_mins(5);

/// Serves until it is stopped.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
        .map_err(|error| format!("port {} on the loopback address: {error}", arguments.port))?;
    serve(&listener, &arguments.name)
}

/// Serves on a listener, a thread for each connection.
pub(crate) fn serve(listener: &TcpListener, name: &str) -> Outcome {
    for stream in listener.incoming() {
        let (stream, name) = (stream?, name.to_owned());
        thread::spawn(move || {
            if let Err(error) = converse(&stream, &name)
                && !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::WouldBlock)
            {
                eprintln!("{name}: {error}");
            }
        });
    }
    Ok(())
}

/// Answers one request after another.
fn converse(stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let body = read_body(&mut reader, &head)?;
        let text = format!("{name} was asked, with a body of {body} bytes:\n\n{head}");
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nServer: {name}\r\n\r\n",
            text.len()
        );
        let is_head = head.starts_with("HEAD ");
        let answer = if is_head { response } else { response + &text };
        (&mut &*stream).write_all(answer.as_bytes())?;
        if header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            break;
        }
    }
    Ok(())
}

/// Reads a request head up to its empty line; none if the client has gone.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    let mut limited = reader.take(MAX_HEAD);
    loop {
        let start = head.len();
        if limited.read_line(&mut head)? == 0 {
            let clean = head.is_empty();
            return if clean { Ok(None) } else { Err(invalid("the head does not end")) };
        }
        if head[start..].trim_end().is_empty() {
            head.truncate(start);
            return Ok(Some(head));
        }
    }
}

/// Reads the body away, and returns its length.
fn read_body(reader: &mut impl BufRead, head: &str) -> io::Result<u64> {
    if header(head, "transfer-encoding").is_some() {
        return read_chunks(reader);
    }
    let length = header(head, "content-length").map_or(Ok(0), str::parse);
    skip(reader, length.map_err(|_| invalid("Content-Length is no number"))?)
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("the chunk size is no number"))?;
        if size == 0 {
            while !read_line(reader)?.trim_end().is_empty() {}
            return Ok(total);
        }
        total += skip(reader, size)?;
        skip(reader, 2)?;
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match reader.take(MAX_HEAD).read_line(&mut line)? {
        0 => Err(invalid("the body does not end")),
        _ => Ok(line),
    }
}

fn skip(reader: &mut impl BufRead, length: u64) -> io::Result<u64> {
    match io::copy(&mut reader.take(length), &mut io::sink())? {
        read if read == length => Ok(length),
        _ => Err(invalid("the body does not end")),
    }
}

/// The value of a header field, by its lower-case name.
fn header<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let mut reader = io::Cursor::new("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET");
        assert_eq!(read_head(&mut reader).unwrap().unwrap(), "GET / HTTP/1.1\r\nHost: a\r\n");
        assert!(read_head(&mut reader).is_err(), "the second head does not end");
        assert!(read_head(&mut reader).unwrap().is_none());
    }

    #[test]
    fn bodies_are_read_away() {
        let mut known = io::Cursor::new("hellorest");
        assert_eq!(read_body(&mut known, "POST / HTTP/1.1\r\nContent-Length: 5\r\n").unwrap(), 5);
        assert_eq!(known.position(), 5);
        let mut chunked = io::Cursor::new("5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nTrailer: a\r\n\r\nrest");
        assert_eq!(read_body(&mut chunked, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n").unwrap(), 8);
        assert_eq!(&chunked.get_ref()[chunked.position() as usize..], "rest");
    }
}
