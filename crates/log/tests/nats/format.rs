//! What versions before this one wrote to NATS is read, and what is written they can read.

use async_nats::{Client, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plainwire_log::suite::fixture::TestClock;
use serde_json::{Value, json};

use super::format_of_all::{CHANNEL, appends, check, check_said, position};
use super::proxy::Proxy;
use super::support::Nats;
use super::{eventually, follow, node};

const WRITTEN: &str = include_str!("v0.1.0.json");
const HEADER: &str = "Plainwire";
/// Stands for the server's id in a fixture.
const SERVER: &str = "SERVER";

fn written() -> Value {
    serde_json::from_str(WRITTEN).unwrap()
}

async fn connect(nats: &Nats) -> Client {
    async_nats::connect(format!("nats://127.0.0.1:{}", nats.port())).await.unwrap()
}

/// Stores a message, which must have the next sequence.
async fn store(client: &Client, message: &Value) {
    let text = |field: &str| message[field].as_str().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", text("id"));
    if !message["header"].is_null() {
        headers.insert(HEADER, text("header"));
    }
    let body = text("body").into();
    let answer = client.request_with_headers(text("subject"), headers, body).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["seq"], message["seq"], "{answer}");
}

/// Creates the stream as a version did, with what it wrote there, but for the last message; of a server's life.
async fn put(nats: &Nats, written: &Value, server: &str) -> Client {
    let client = connect(nats).await;
    let created = nats.ask("$JS.API.STREAM.CREATE.plainwire", &written["stream"].to_string());
    assert!(!created.contains("\"error\""), "{created}");
    let messages = written["messages"].as_array().unwrap();
    for message in &messages[..messages.len() - 1] {
        let mut message = message.clone();
        message["body"] = message["body"].as_str().unwrap().replace(SERVER, server).into();
        // A later version may say more.
        if let Some(header) = message["header"].as_str() {
            message["header"] = header.replacen('{', "{\"of-later\":1,", 1).into();
        }
        store(&client, &message).await;
    }
    client
}

/// The stream and what it has.
fn dump(nats: &Nats) -> Value {
    let info: Value = serde_json::from_str(&nats.ask("$JS.API.STREAM.INFO.plainwire", "")).unwrap();
    let last = info["state"]["last_seq"].as_u64().unwrap();
    let decode = |text: &Value| {
        let bytes = text.as_str().map(|text| STANDARD.decode(text).unwrap()).unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    };
    let messages = (1..=last).map(|seq| {
        let body = json!({ "seq": seq }).to_string();
        let stored: Value =
            serde_json::from_str(&nats.ask("$JS.API.STREAM.MSG.GET.plainwire", &body)).unwrap();
        let stored = &stored["message"];
        let headers = decode(&stored["hdrs"]);
        let header = |name: &str| {
            headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        json!({
            "seq": seq,
            "subject": stored["subject"],
            "id": header("Nats-Msg-Id"),
            "header": header(HEADER),
            "body": decode(&stored["data"]),
        })
    });
    let messages: Vec<Value> = messages.collect();
    json!({ "stream": info["config"], "messages": messages })
}

/// The header of a message.
fn header(message: &Value) -> Value {
    message["header"].as_str().map_or(Value::Null, |header| serde_json::from_str(header).unwrap())
}

fn epoch(written: &Value) -> Value {
    header(&written["messages"][1])["e"].clone()
}

/// Leaves out of a message what is drawn at random, having checked that each entry names the one before it.
fn without_chance(messages: &Value) -> Vec<Value> {
    let mut before = json!([0, 0]);
    let known = messages.as_array().unwrap().iter().map(|message| {
        let mut header = header(message);
        let mut message = message.clone();
        if header.is_null() {
            let lives: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
            assert!(lives["server"].is_string() && lives["seeds"][0].is_u64(), "{lives}");
            (message["body"], message["id"]) = (lives.as_object().unwrap().len().into(), Value::Null);
            return message;
        }
        assert_eq!(header["p"], before, "{header}");
        before = json!([message["seq"], header["i"]]);
        assert_eq!(message["id"], json!(format!("{:016x}", header["i"].as_u64().unwrap())));
        for random in ["i", "w", "l", "p", "e"] {
            header[random] = Value::Null;
        }
        (message["header"], message["id"]) = (header, Value::Null);
        message
    });
    known.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_versions_wrote_is_read() {
    let written = written();
    let at = position(&epoch(&written));
    for is_same_process in [true, false] {
        let nats = Nats::start();
        let id = connect(&nats).await.server_info().server_id;
        put(&nats, &written, if is_same_process { &id } else { "another" }).await;
        let way = Proxy::to(nats.port());
        let node = node(&way, &TestClock::default());
        check(&node, at).await;
        assert_eq!(node.head(CHANNEL).await.position.epoch == at.epoch, is_same_process);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_versions_announce_is_heard() {
    let (nats, written) = (Nats::start(), written());
    let id = connect(&nats).await.server_info().server_id;
    let client = put(&nats, &written, &id).await;
    let way = Proxy::to(nats.port());
    let node = node(&way, &TestClock::default());
    assert_eq!(follow(&node, CHANNEL).await.position, position(&epoch(&written)));
    store(&client, written["messages"].as_array().unwrap().last().unwrap()).await;
    eventually("it is told", || node.told.count() > 0).await;
    let commit = node.told.last().unwrap();
    assert_eq!((commit.messages.len(), commit.trimmed.get()), (1, 2));
    assert_eq!(commit.state.as_ref().map(plainwire_protocol::Json::as_str), Some("\"é\""));
    assert_eq!(commit.messages[0].position.offset.get(), 5);
    check_said(&commit.messages[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_as_earlier_versions_know_it() {
    let nats = Nats::start();
    let way = Proxy::to(nats.port());
    let node = node(&way, &TestClock::default());
    for append in appends(&node) {
        node.append(append).await.unwrap();
    }
    let (now, written) = (dump(&nats), written());
    for (option, value) in written["stream"].as_object().unwrap() {
        assert_eq!(&now["stream"][option], value, "{option}");
    }
    assert_eq!(without_chance(&now["messages"]), without_chance(&written["messages"]));
}
