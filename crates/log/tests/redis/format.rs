//! What versions before this one wrote to Redis is read, and what is written they can read.

use std::time::Duration;

use futures_util::StreamExt as _;
use plainwire_log::suite::fixture::TestClock;
use serde_json::{Value, json};

use super::format_of_all::{CHANNEL, appends, check, check_said, position};
use super::support::{Redis, reply};
use super::{eventually, follow, node};

const WRITTEN: &str = include_str!("v0.1.0.json");
const BASE: &str = "plainwire:{chat/a%7Bé%7D}";
/// How numbers and texts are packed in the head: in a fixture they are a list.
const PACKED: [(&str, &str); 2] = [("p", ">ddddddsss"), ("k", ">ddd")];
/// Stands for the replication id in a fixture.
const REPLICATION: &str = "REPLICATION";

fn written() -> Value {
    serde_json::from_str(WRITTEN).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn replication_id(redis: &Redis) -> String {
    let told = reply(redis.port(), &["INFO", "replication"]);
    told.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap().trim().to_owned()
}

/// Puts what a version wrote into Redis, as if this process of it had been there or another one.
fn put(redis: &Redis, written: &Value, replication: &str) {
    let key = |of: &str| format!("{BASE}:{of}");
    let texts_of = |list: &Value| list.to_string().replace(REPLICATION, replication);
    for (field, format) in PACKED {
        let pack = format!(
            "redis.call('HSET', KEYS[1], '{field}', struct.pack('{format}', unpack(cjson.decode(ARGV[1]))))"
        );
        redis.command(&["EVAL", &pack, "1", &key("head"), &texts_of(&written["head"][field])]);
    }
    for (field, value) in written["keys"].as_object().unwrap() {
        redis.command(&["HSET", &key("keys"), field, value.as_str().unwrap()]);
    }
    for entry in written["log"].as_array().unwrap() {
        redis.command(&[&["XADD", &key("log"), entry[0].as_str().unwrap()], &texts(&entry[1])[..]].concat());
    }
    redis.command(&["SET", &key("state"), written["state"].as_str().unwrap()]);
    redis.command(&[&["RPUSH", &key("order")], &texts(&written["order"])[..]].concat());
}

/// What is in Redis of the channel.
fn dump(redis: &Redis) -> Value {
    let ask = |command: &str, of: &str, more: &str| {
        let script = format!("return cjson.encode(redis.call('{command}', KEYS[1]{more}))");
        let answer = reply(redis.port(), &["EVAL", &script, "1", &format!("{BASE}:{of}")]);
        serde_json::from_str::<Value>(answer.split_once("\r\n").unwrap().1).unwrap()
    };
    let hash = |of: &str| {
        let list = ask("HGETALL", of, "");
        let pairs = list.as_array().unwrap().chunks(2);
        Value::Object(pairs.map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].clone())).collect())
    };
    let head = PACKED.map(|(field, format)| {
        let unpack = format!(
            "local all = {{ struct.unpack('{format}', redis.call('HGET', KEYS[1], '{field}')) }} all[#all] = nil \
             return cjson.encode(all)"
        );
        let answer = reply(redis.port(), &["EVAL", &unpack, "1", &format!("{BASE}:head")]);
        (field.to_owned(), serde_json::from_str::<Value>(answer.split_once("\r\n").unwrap().1).unwrap())
    });
    json!({
        "head": Value::Object(head.into_iter().collect()),
        "log": ask("XRANGE", "log", ", '-', '+'"),
        "state": ask("GET", "state", ""),
        "keys": hash("keys"),
        "order": ask("LRANGE", "order", ", 0, -1"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_versions_wrote_is_read() {
    let written = written();
    let at = position(&written["head"]["p"][6]);
    for is_same_process in [true, false] {
        let redis = Redis::start();
        let replication = if is_same_process { replication_id(&redis) } else { "0".repeat(40) };
        put(&redis, &written, &replication);
        // A later version may have been there, and gone again.
        redis.command(&["HSET", &format!("{BASE}:head"), "of-later", "1"]);
        let node = node(&redis, &TestClock::default());
        check(&node, at).await;
        assert_eq!(node.head(CHANNEL).await.position.epoch == at.epoch, is_same_process);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_versions_announce_is_heard() {
    let (redis, written) = (Redis::start(), written());
    put(&redis, &written, &replication_id(&redis));
    let node = node(&redis, &TestClock::default());
    assert_eq!(follow(&node, CHANNEL).await.position, position(&written["head"]["p"][6]));
    redis.command(&["PUBLISH", BASE, written["announced"].as_str().unwrap()]);
    eventually("it is told", || node.told.count() > 0).await;
    let commit = node.told.last().unwrap();
    assert_eq!((commit.messages.len(), commit.trimmed.get()), (1, 2));
    assert_eq!(commit.state.as_ref().map(plainwire_protocol::Json::as_str), Some("\"é\""));
    assert_eq!(commit.messages[0].position.offset.get(), 5);
    check_said(&commit.messages[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_and_announced_is_as_earlier_versions_know_it() {
    let redis = Redis::start();
    let node = node(&redis, &TestClock::default());
    let mut appends = appends(&node);
    let last = appends.pop().unwrap();
    for append in appends {
        node.append(append).await.unwrap();
    }
    let mut now = dump(&redis);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut news = client.get_async_pubsub().await.unwrap();
    news.subscribe(BASE).await.unwrap();
    node.append(last).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(20), news.on_message().next()).await.unwrap();
    now["announced"] = heard.unwrap().get_payload::<String>().unwrap().into();
    // Epochs and nodes are drawn at random.
    let written = written();
    let random = |dump: &Value| {
        let writer = dump["head"]["p"][8].as_str().unwrap().split_once(':').unwrap().0.to_owned();
        [dump["head"]["p"][6].as_str().unwrap().to_owned(), writer]
    };
    let mut text = now.to_string().replace(&replication_id(&redis), REPLICATION);
    for (now, then) in random(&now).iter().zip(random(&written)) {
        text = text.replace(now, &then);
    }
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), written);
}
