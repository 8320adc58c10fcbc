//! One connection for request after request: whoever reads them, each has its answer, in order, and nothing is lost between.

mod support;

use std::time::Duration;

use plainwire::protocol::websocket::{OpCode, accept_key};
use serde_json::{Value, json};
use support::websocket::frame;
use support::{Connection, Response, Server, WebSocket, offset};

const CHANNEL: &str = "/log/a";

/// A client that reads and writes numbers, and the cursor up to which it has seen them.
struct Client<'a> {
    server: &'a Server,
    connection: Connection,
    cursor: String,
    /// The number that comes next.
    next: u64,
    published: u64,
}

/// What can be asked for on a connection that goes on.
#[derive(Clone, Copy, Debug)]
enum Ask {
    LongPoll,
    Page,
    NotModified,
    Post,
    PostAsChunks,
    Head,
    HeadThatWaits,
    Missing,
}

const ASKS: [Ask; 8] = [
    Ask::LongPoll,
    Ask::Page,
    Ask::NotModified,
    Ask::Post,
    Ask::PostAsChunks,
    Ask::Head,
    Ask::HeadThatWaits,
    Ask::Missing,
];

impl<'a> Client<'a> {
    fn new(server: &'a Server) -> Client<'a> {
        let cursor = server.get(CHANNEL).cursor();
        Client { server, connection: server.connect(), next: 1, published: 0, cursor }
    }

    fn publish(&mut self) {
        self.published += 1;
        self.server.accepted(CHANNEL, &self.published.to_string());
    }

    /// The bytes of a request. Those that read ask for what follows the client's cursor.
    fn request(&mut self, ask: Ask) -> Vec<u8> {
        let since = &self.cursor;
        let head = match ask {
            Ask::LongPoll => format!("GET {CHANNEL}?since={since}&wait=20"),
            Ask::Page => format!("GET {CHANNEL}?since={since}"),
            Ask::NotModified => format!("GET {CHANNEL}?since=*"),
            Ask::Post | Ask::PostAsChunks => format!("POST {CHANNEL}"),
            Ask::Head => format!("HEAD {CHANNEL}?since={since}"),
            Ask::HeadThatWaits => format!("HEAD {CHANNEL}?since={since}&wait=20"),
            Ask::Missing => "GET /nothing".to_owned(),
        };
        let rest = match ask {
            Ask::NotModified => "If-None-Match: *\r\n\r\n".to_owned(),
            Ask::Post => "Content-Length: 7\r\n\r\n\"extra\"".to_owned(),
            Ask::PostAsChunks => {
                "Transfer-Encoding: chunked\r\n\r\n3\r\n\"ex\r\n4\r\ntra\"\r\n0\r\n\r\n".to_owned()
            }
            _ => "\r\n".to_owned(),
        };
        format!("{head} HTTP/1.1\r\nHost: localhost\r\n{rest}").into_bytes()
    }

    /// Reads the answer and holds it against what was asked.
    fn answer(&mut self, ask: Ask) {
        let head = self.connection.head().unwrap_or_else(|error| panic!("{ask:?}: {error}"));
        let mut response = head;
        if !matches!(ask, Ask::Head | Ask::HeadThatWaits) {
            response.body = self.connection.rest_of_body().expect("a body");
        }
        let status = match ask {
            Ask::NotModified => 304,
            Ask::Post | Ask::PostAsChunks => 201,
            Ask::Missing => 404,
            Ask::LongPoll | Ask::Page | Ask::Head | Ask::HeadThatWaits => 200,
        };
        assert_eq!(response.status, status, "{ask:?}: {response:?}");
        match ask {
            Ask::LongPoll | Ask::Page => self.seen(&response),
            Ask::NotModified | Ask::Head | Ask::HeadThatWaits => assert!(!response.cursor().is_empty()),
            Ask::Missing => assert_eq!(response.problem().1, "no_such_channel"),
            Ask::Post | Ask::PostAsChunks => assert!(response.json()["cursor"].is_string()),
        }
    }

    /// A page follows what was seen.
    fn seen(&mut self, page: &Response) {
        let messages = page.json()["messages"].as_array().expect("messages").clone();
        let before = offset(&self.cursor);
        for (message, at) in messages.iter().zip(before + 1..) {
            assert_eq!(offset(message["cursor"].as_str().expect("a cursor")), at, "{page:?}");
            if let Some(number) = message["data"].as_u64() {
                assert_eq!(number, self.next, "{page:?}");
                self.next += 1;
            }
        }
        assert_eq!(offset(&page.cursor()), before + messages.len() as u64);
        self.cursor = page.cursor();
    }
}

#[test]
fn everything_on_one_connection() {
    let server = Server::dev();
    let mut client = Client::new(&server);
    for _ in 0..3 {
        for ask in [
            Ask::LongPoll,
            Ask::Post,
            Ask::Page,
            Ask::NotModified,
            Ask::LongPoll,
            Ask::Head,
            Ask::PostAsChunks,
            Ask::LongPoll,
            Ask::LongPoll,
            Ask::Missing,
            Ask::Page,
        ] {
            client.publish();
            let request = client.request(ask);
            client.connection.send(&request);
            client.answer(ask);
        }
        // The client waits until it is told to go on.
        let head = format!(
            "POST {CHANNEL} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        );
        client.connection.send(head.as_bytes());
        assert_eq!(client.connection.head().expect("an answer").status, 100);
        client.connection.send(b"{}");
        assert_eq!(client.connection.response().status, 201);
    }
    // A poll that has to wait.
    let request = client.request(Ask::Page);
    client.connection.send(&request);
    client.answer(Ask::Page);
    assert_eq!(client.next, client.published + 1, "all numbers were seen");
    let request = client.request(Ask::LongPoll);
    client.connection.send(&request);
    client.publish();
    client.answer(Ask::LongPoll);
    // At last a stream.
    client.publish();
    let target = format!("{CHANNEL}?live=ndjson&since={}", client.cursor);
    client.connection.request("GET", &target, &[], None).expect("it is sent");
    assert_eq!(client.connection.head().expect("an answer").status, 200);
    let line = client.connection.some_body().expect("a line").expect("a line");
    let line: Value = serde_json::from_slice(&line).expect("JSON");
    assert_eq!(line["data"], client.published);
}

/// Requests in one packet, or in pieces, cut anywhere.
#[test]
fn requests_may_come_together_and_in_pieces() {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let server = Server::dev();
    for round in 0..60 {
        let mut client = Client::new(&server);
        client.next = 1;
        for _ in 0..random.usize(1..5) {
            client.publish();
        }
        // One that reads moves the cursor: the requests after it are made before that is known, so it comes last.
        let mut asks: Vec<Ask> =
            (0..random.usize(1..6)).map(|_| *random.choice(&ASKS[2..]).expect("some")).collect();
        asks.push(*random.choice(&ASKS[..2]).expect("some"));
        if random.bool() {
            asks.insert(0, Ask::LongPoll);
        }
        let mut bytes = Vec::new();
        for &ask in &asks {
            bytes.extend(client.request(ask));
        }
        while !bytes.is_empty() {
            let some = match round % 3 {
                0 => bytes.len(),
                1 => random.usize(1..=bytes.len()),
                _ => 1,
            };
            client.connection.send(&bytes[..some]);
            bytes.drain(..some);
            if round % 3 == 1 {
                // By now the piece was looked at, most likely.
                server.get("/nothing");
            }
        }
        let cursor = client.cursor.clone();
        for &ask in &asks {
            // The same page may be asked for twice.
            if matches!(ask, Ask::LongPoll | Ask::Page) {
                (client.next, client.cursor) = (1, cursor.clone());
            }
            client.answer(ask);
        }
        assert!(client.next > client.published, "round {round}: {asks:?}");
    }
}

#[test]
fn a_head_may_be_cut_anywhere() {
    let server = Server::dev();
    server.accepted(CHANNEL, "1");
    for target in ["/log/a?since=0&wait=5", "/log/a?since=0", "/log/a?live=sse"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for cut in 1..head.len() {
            let mut connection = server.connect();
            connection.send(&head.as_bytes()[..cut]);
            server.get("/nothing");
            connection.send(&head.as_bytes()[cut..]);
            assert_eq!(connection.head().expect("an answer").status, 200, "{target} cut at {cut}");
            assert!(connection.some_body().expect("a body").is_some());
        }
    }
}

/// What one connection asked for while it was answered something big is not forgotten, nor anything of the big answer.
#[test]
fn what_follows_a_big_answer_waits_for_its_end() {
    const COUNT: usize = 400;
    let server = Server::dev();
    let pad = "x".repeat(4000);
    let mut websocket = server.websocket("/log/quiet");
    for id in 0..COUNT {
        websocket.send_text(&json!({"id": id, "post": CHANNEL, "body": pad}).to_string());
    }
    for _ in 0..COUNT {
        assert_eq!(websocket.reply()["status"], 201);
    }
    for next in ["since=0&limit=1&wait=5", "since=0&live=sse", "since=0&limit=1"] {
        for first in ["", "&wait=5"] {
            let mut connection = Connection::narrow(server.address, 4096);
            let page =
                format!("GET {CHANNEL}?since=0&limit={COUNT}{first} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection
                .send(format!("{page}GET {CHANNEL}?{next} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
            for _ in 0..3 {
                assert_eq!(server.get("/log/a?limit=1").status, 200, "others are answered meanwhile");
            }
            let page = connection.response();
            let count = page.json()["messages"].as_array().expect("messages").len();
            // A long poll ends with what is there first: one read of the log.
            assert!(count == COUNT || !first.is_empty() && count > 0, "{count}");
            assert_eq!(connection.head().expect("an answer").status, 200);
        }
    }
}

#[test]
fn a_websocket_on_a_connection_that_had_requests() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let server = Server::dev();
    for requests_before in 0..4 {
        for together in [false, true] {
            let mut client = Client::new(&server);
            let before = &[Ask::Post, Ask::NotModified, Ask::Head][..requests_before];
            let mut bytes = Vec::new();
            for &ask in before {
                bytes.extend(client.request(ask));
                if !together {
                    client.connection.send(&std::mem::take(&mut bytes));
                    client.answer(ask);
                }
            }
            bytes.extend_from_slice(
                format!(
                    "GET /counter HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                .as_bytes(),
            );
            // Requests in the same packet as the handshake, the last one cut.
            for id in 0..100 {
                bytes
                    .extend(frame(OpCode::Text, json!({"id": id, "get": "/counter"}).to_string().as_bytes()));
            }
            let rest = bytes.split_off(bytes.len() - 5);
            client.connection.send(&bytes);
            if together {
                before.iter().for_each(|&ask| client.answer(ask));
            }
            let head = client.connection.head().expect("an answer");
            assert_eq!(head.status, 101, "{head:?}");
            assert_eq!(head.header("sec-websocket-accept"), Some(&*accept_key(KEY)));
            let mut websocket = WebSocket::established(client.connection, None);
            for id in 0..99 {
                let reply = websocket.reply();
                assert_eq!((&reply["id"], &reply["status"]), (&json!(id), &json!(200)));
            }
            websocket.send(&rest);
            assert_eq!(websocket.reply()["id"], 99);
        }
    }
}

#[test]
fn a_handshake_with_a_body_is_no_way_in() {
    let server = Server::dev();
    let mut connection = server.connect();
    connection.send(
        b"GET /counter HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nContent-Length: 6\r\n\r\nsecret",
    );
    let head = connection.head().expect("an answer");
    if head.status == 101 {
        // What comes after the body is the first frame: the body is none.
        let mut websocket = WebSocket::established(connection, None);
        assert_eq!(websocket.request(&json!({"id": 1, "get": "/counter"}))["status"], 200);
    } else {
        assert_eq!(head.status, 400, "{head:?}");
    }
}

/// What a client sends while it is streamed to waits until the stream is over.
#[test]
fn requests_during_a_stream_are_answered_after_it() {
    let server = Server::with_config("[server]\nstream_lifetime = \"10s\"\n[channel.\"log/*\"]\n");
    server.accepted(CHANNEL, "1");
    let streams = ["sse", "ndjson"].map(|live| {
        let mut connection = server.connect();
        let stream = format!("GET {CHANNEL}?since=0&live={live} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // One in the same packet, one later.
        let page = format!("GET {CHANNEL}?since=0&limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.send(format!("{stream}{page}").as_bytes());
        assert_eq!(connection.head().expect("an answer").status, 200);
        let poll = format!("GET {CHANNEL}?since=0&limit=1&wait=9 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.send(poll.as_bytes());
        connection
    });
    for mut connection in streams {
        connection.set_read_timeout(Duration::from_secs(30));
        let text = connection.rest_of_body().expect("it ends in order");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains("@live") && text.contains("@drain"), "{text}");
        for _ in 0..2 {
            let page = connection.response();
            assert_eq!((page.status, &page.json()["messages"][0]["data"]), (200, &json!(1)));
        }
        let response = connection.ask("POST", CHANNEL, &[], Some(b"2"));
        assert_eq!(response.status, 201);
    }
}
