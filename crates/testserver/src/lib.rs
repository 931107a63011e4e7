//! Servers on this machine for tests: each request gets the reply that the test decides on, or none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this crate is for tests, which may panic")]

pub mod openai;
mod tls;

pub use tls::Authority;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with a status, header lines (each ending with `\r\n`) and a body.
    Say(u16, &'static str, String),
    /// Promises more than it sends, then closes.
    Half,
    /// Reads and closes.
    Die,
    /// Reads and says nothing for longer than a test waits.
    Hang,
}

impl Reply {
    /// A body of JSON with status 200.
    pub fn json(value: &Value) -> Self {
        Self::Say(200, "", value.to_string())
    }
}

/// A request with a body of JSON.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its first line and headers.
    pub head: String,
    /// Its body.
    pub body: Value,
    /// Requests before it.
    pub number: usize,
}

/// A server that runs until the test's process ends.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address, `http://127.0.0.1:port`.
    pub url: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    /// Starts a server; every connection has a thread and one request.
    pub fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", reply, |stream| Some(Box::new(stream)))
    }

    /// Starts a server of HTTPS whose certificate an authority vouches for.
    pub fn start_tls(
        authority: &Authority,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let config = authority.server();
        Self::listen("https", reply, move |stream| Some(Box::new(tls::accept(&config, stream)?)))
    }

    fn listen(
        scheme: &str,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        accept: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let server = Self { url, seen: Arc::default() };
        let accept = Arc::new(accept);
        let (seen, reply) = (Arc::clone(&server.seen), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, reply, accept) = (Arc::clone(&seen), Arc::clone(&reply), Arc::clone(&accept));
                thread::spawn(move || {
                    if let Some(mut stream) = accept(stream.unwrap()) {
                        serve(&mut *stream, &seen, &*reply);
                    }
                });
            }
        });
        server
    }

    /// Starts a server that gives its replies in turn, the last one for ever.
    pub fn in_turn(replies: Vec<Reply>) -> Self {
        Self::start(move |request| replies[request.number.min(replies.len() - 1)].clone())
    }

    /// The bodies of all requests so far.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets them.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A connection, encrypted or not.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn serve(stream: &mut dyn Stream, seen: &Mutex<Vec<Value>>, reply: &dyn Fn(&Request) -> Reply) {
    // A client that was killed may leave a connection without a request.
    let Some((head, body)) = read(stream) else { return };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(body.clone());
        seen.len() - 1
    };
    match reply(&Request { head, body, number }) {
        Reply::Say(status, headers, text) => {
            let length = text.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n"
            );
            let _ = stream.write_all((head + &text).as_bytes());
        }
        Reply::Half => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"choices\": [");
        }
        Reply::Die => {}
        Reply::Hang => thread::sleep(Duration::from_secs(60)),
    }
}

fn read(stream: &mut dyn Stream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, serde_json::from_slice(&body).unwrap()))
}
