//! The loop against servers that misbehave.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::From;
use crate::client::Client;

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
/// Far more than an answer over loopback takes on a slow machine, and little to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server does with a connection: what it answers, and whether it then stays silent instead of closing.
struct Answer(String, bool);

/// Answers one connection after the other as it is told, and passes on what was asked.
async fn server(answers: Vec<Answer>) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    let (sender, requests) = unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        for Answer(text, hold) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = sender.send(request(&mut stream).await);
            stream.write_all(text.as_bytes()).await.unwrap();
            if hold {
                held.push(stream);
            }
        }
        std::future::pending::<()>().await;
    });
    (url, requests)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn event(offset: u64) -> String {
    format!("id: 0123456789.{offset}\ndata: {offset}\n\n")
}

fn watch(url: &str) -> Watcher {
    Client::new().patience(PATIENCE).watch(url, Transport::Sse, From::Oldest).unwrap()
}

async fn message(watcher: &mut Watcher) -> String {
    match watcher.next().await {
        Some(Ok(Update::Message(envelope))) => envelope.cursor.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn reconnecting(watcher: &mut Watcher) -> (Duration, ClientError) {
    match watcher.next().await {
        Some(Ok(Update::Reconnecting { after, cause })) => (after, cause),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_silent_connection_is_left_and_the_next_goes_on_from_the_cursor() {
    let answers = vec![
        Answer(format!("{EVENTS}{}{}", event(1), event(2)), true),
        Answer(format!("{EVENTS}{}", event(3)), true),
    ];
    let (url, mut requests) = server(answers).await;
    let mut watcher = watch(&url);
    assert_eq!(message(&mut watcher).await, "0123456789.1");
    assert_eq!(message(&mut watcher).await, "0123456789.2");
    let (_, cause) = reconnecting(&mut watcher).await;
    assert!(matches!(cause, ClientError::Silent(PATIENCE)), "{cause}");
    assert_eq!(message(&mut watcher).await, "0123456789.3");
    assert!(requests.recv().await.unwrap().starts_with("GET /a?since=0 HTTP/1.1\r\n"));
    assert!(requests.recv().await.unwrap().starts_with("GET /a?since=0123456789.2 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_gap_is_an_error_and_the_end() {
    let (url, _) = server(vec![Answer(format!("{EVENTS}{}{}", event(1), event(3)), true)]).await;
    let mut watcher = watch(&url);
    message(&mut watcher).await;
    let error = watcher.next().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "'a' has a gap: after 0123456789.1 came 0123456789.3");
    assert_eq!(error.remedy(), Remedy::Stop);
    assert!(watcher.next().await.is_none());
}

#[tokio::test]
async fn a_repeat_after_a_reconnect_is_found() {
    let answers = (0..2).map(|_| Answer(format!("{EVENTS}{}", event(1)), false)).collect();
    let (url, _) = server(answers).await;
    let mut watcher = watch(&url);
    message(&mut watcher).await;
    reconnecting(&mut watcher).await;
    assert!(matches!(watcher.next().await, Some(Err(ClientError::Gap { .. }))));
}

#[tokio::test]
async fn what_the_server_asks_for_is_waited() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let drain = "retry: 3000\n\nevent: @drain\ndata: {\"reconnect_in_ms\":5000}\n\n";
    for (answer, least) in [
        (busy.to_owned(), 7000),
        (format!("{EVENTS}retry: 4000\n\n"), 4000),
        (format!("{EVENTS}{drain}"), 5000),
    ] {
        let (url, _) = server(vec![Answer(answer, false)]).await;
        let (after, cause) = reconnecting(&mut watch(&url)).await;
        let least = Duration::from_millis(least);
        assert!(after >= least && after < least + Duration::from_secs(1), "{after:?} after: {cause}");
    }
}

#[tokio::test]
async fn what_no_retry_mends_is_the_end() {
    for (status, remedy) in
        [("400 X", Remedy::Stop), ("401 X", Remedy::Reauthenticate), ("404 X", Remedy::Stop)]
    {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 15\r\n\r\n{{\"detail\":\"no\"}}");
        let (url, _) = server(vec![Answer(answer, false)]).await;
        let mut watcher = watch(&url);
        let error = watcher.next().await.unwrap().unwrap_err();
        assert_eq!(error.remedy(), remedy, "{error}");
        assert!(watcher.next().await.is_none());
    }
}

#[tokio::test]
async fn an_answer_of_something_else_is_the_end() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n";
    for answer in [html, "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"] {
        let (url, _) = server(vec![Answer(answer.to_owned(), true)]).await;
        assert!(matches!(watch(&url).next().await, Some(Err(ClientError::Protocol(_)))));
    }
}

#[tokio::test]
async fn an_event_that_was_cut_off_does_not_count() {
    let answers = vec![
        Answer(format!("{EVENTS}{}id: 0123456789.2\ndata: 2\n", event(1)), false),
        Answer(format!("{EVENTS}{}", event(2)), true),
    ];
    let (url, mut requests) = server(answers).await;
    let mut watcher = watch(&url);
    message(&mut watcher).await;
    reconnecting(&mut watcher).await;
    assert_eq!(message(&mut watcher).await, "0123456789.2");
    requests.recv().await.unwrap();
    assert!(requests.recv().await.unwrap().starts_with("GET /a?since=0123456789.1 "));
}
