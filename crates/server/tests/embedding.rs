//! The library: inside an axum app, and from Rust.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/between.rs"]
mod between;
mod support;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use between::{Behind, Between};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::Empty;
use plainwire::config::{Channel, Engine};
use plainwire::protocol::websocket::OpCode;
use plainwire::protocol::{ControlEvent, Json, Pattern, Problem};
use plainwire::{Allow, Change, Config, Event, From, Log, Next, Plainwire, Reducer, State, WriteOptions};
use plainwire_log::memory::MemoryLog;
use plainwire_log::{Append, AppendError, Appended};
use serde_json::json;
use support::{Live, Transport, WebSocket, offset};
use tokio::net::TcpListener;
use tokio::sync::watch;

fn memory(channels: &str) -> Config {
    Config::parse(&format!("[server]\nengine = \"memory\"\n[allow]\nall = true\n{channels}"), "test").unwrap()
}

async fn served(live: &Plainwire) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = live.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    address
}

/// Runs what blocks beside the server.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_prefix_of_an_axum_app_on_every_transport() {
    let live = Plainwire::start(memory("[channel.\"chat/*\"]\n")).await.unwrap();
    let app: Router =
        Router::new().route("/", get(|| async { "the app" })).nest_service("/live", live.service());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    let cursor = live.publish("chat/a", &1).await.unwrap().position.to_string();
    blocking(move || {
        let ask = |method: &str, target: &str, body: Option<&[u8]>| {
            support::Connection::open(address).ask(method, target, &[], body)
        };
        assert_eq!(ask("GET", "/", None).text(), "the app");
        assert_eq!(ask("GET", "/live/chat/a?since=0", None).cursor(), cursor);
        assert_eq!(ask("GET", "/live/nothing", None).problem(), (404, "no_such_channel".to_owned()));
        let mut streams =
            Transport::ALL.map(|transport| Live::open(address, transport, "/live/chat/a?since=0").unwrap());
        assert_eq!(ask("POST", "/live/chat/a", Some(b"2")).status, 201);
        for stream in &mut streams {
            assert_eq!([stream.message().data, stream.message().data], [1, 2]);
        }
        let mut websocket = WebSocket::open(address, "/live/chat/b");
        let reply = websocket.request(&json!({"id": 1, "post": "/chat/a", "body": 3}));
        assert_eq!(reply["status"], 201, "requests name channels, wherever the service is mounted: {reply}");
    })
    .await;
    live.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_rust() {
    let mut config = Config::dev();
    config.server.engine = Engine::Memory;
    let live = Plainwire::start(config).await.unwrap();
    let applied = live.command("counter", "increment", &json!({"value": 5})).await.unwrap();
    assert_eq!(applied.state.unwrap().as_str(), r#"{"count":5}"#);
    let refused = live.command("counter", "decrement", &json!({"value": 6})).await.unwrap_err();
    assert_eq!((refused.status, &*refused.reason), (400, "count_negative"));
    let (position, state) = live.state("counter").await.unwrap().unwrap();
    assert_eq!((position, state.as_str()), (applied.position, r#"{"count":5}"#));
    assert_eq!(live.state("chat/a").await.unwrap(), None);
    assert_eq!(live.publish("nothing", &1).await.unwrap_err().status, 404);
    assert_eq!(live.publish("chat/..", &1).await.unwrap_err().status, 400);
    assert_eq!(live.publish("counter", &1).await.unwrap_err().status, 405);

    let keyed = WriteOptions { idempotency_key: Some("k".to_owned()), ..WriteOptions::default() };
    let first = live.post("chat/a", &"once", keyed.clone()).await.unwrap();
    let again = live.post("chat/a", &"once", keyed.clone()).await.unwrap();
    assert_eq!((first.position, first.replayed, again.replayed), (again.position, false, true));
    assert_eq!(live.post("chat/a", &"twice", keyed).await.unwrap_err().status, 422);
    let stale = WriteOptions { if_match: Some(position), ..WriteOptions::default() };
    live.command("counter", "increment", &json!({"value": 1})).await.unwrap();
    let stale = live.post("counter:increment", &json!({"value": 1}), stale).await.unwrap_err();
    assert_eq!((stale.status, &*stale.reason), (412, "stale"));

    // A snapshot, then what changes it.
    let mut watch = live.watch("counter", From::Now).await.unwrap();
    match watch.next().await {
        Some(Ok(Event::Control(control))) => {
            assert!(
                matches!(control.event, ControlEvent::State(state) if state.as_str() == r#"{"count":6}"#)
            );
        }
        other => panic!("{other:?}"),
    }
    live.command("counter", "increment", &json!({"value": 4})).await.unwrap();
    let message = watch.next_message().await.unwrap().unwrap();
    assert_eq!(message.data.as_str(), r#"{"count":10}"#);
    let bad = live.watch("chat/a", From::Cursor("x".to_owned())).await;
    assert_eq!(bad.err().unwrap().status, 400);
    live.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_compose_and_end_with_the_server() {
    let live = Plainwire::start(memory("[channel.numbers]\n")).await.unwrap();
    let numbers = |watch: plainwire::Watch| {
        watch.filter_map(|event| {
            ready(match event.unwrap() {
                Event::Message(message) => Some(message.data.to::<u64>().unwrap()),
                Event::Control(_) => None,
            })
        })
    };
    let watch = live.watch("numbers", From::Now).await.unwrap();
    let even = tokio::spawn(
        numbers(watch).filter(|n| ready(n % 2 == 0)).map(|n| n * 10).take(3).collect::<Vec<_>>(),
    );
    let all = tokio::spawn(numbers(live.watch("numbers", From::Oldest).await.unwrap()).collect::<Vec<_>>());
    let mut cursor = None;
    for number in 1..=8 {
        let applied = live.publish("numbers", &number).await.unwrap();
        cursor.get_or_insert(applied.position.to_string());
    }
    assert_eq!(even.await.unwrap(), [20, 40, 60]);
    let since = live.watch("numbers", From::Cursor(cursor.unwrap())).await.unwrap();
    assert_eq!(numbers(since).take(2).collect::<Vec<_>>().await, [2, 3]);
    let last = live.watch("numbers", From::Last(2)).await.unwrap();
    assert_eq!(numbers(last).take(2).collect::<Vec<_>>().await, [7, 8]);
    // It has not been read at all: the shutdown does not wait for it, and it ends.
    let unread = live.watch("numbers", From::Oldest).await.unwrap();
    live.shutdown().await;
    let seen = all.await.unwrap();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "a whole beginning");
    assert!(unread.count().await <= 10);
    let refused = live.publish("numbers", &9).await.unwrap_err();
    assert_eq!((refused.status, &*refused.reason), (503, "shutting_down"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_after_a_watch_was_given_out_is_in_it() {
    let config = memory("[channel.numbers]\n[channel.sum]\nstate = 0\nreplace = true\nmessages = true\n");
    let live = Plainwire::start(config).await.unwrap();
    let mut watches = Vec::new();
    for channel in ["numbers", "sum"] {
        watches.push(live.watch(channel, From::Now).await.unwrap());
        for number in 1..=3 {
            live.publish(channel, &number).await.unwrap();
        }
    }
    for mut watch in watches {
        for number in 1..=3 {
            let message = watch.next_message().await.unwrap().unwrap();
            assert_eq!(message.data.to::<u64>().unwrap(), number);
        }
    }
    live.shutdown().await;
}

/// Sums what it is given, up to a hundred.
struct UpToAHundred;

impl Reducer for UpToAHundred {
    fn initial(&self) -> Json {
        Json::of(&0)
    }

    fn apply(&self, state: &State, change: &Change<'_>) -> Result<Next, Problem> {
        let Change::Command { name: "add", args } = change else {
            return Err(Problem::new(404, "no_such_command", "there is 'add'"));
        };
        let bad = |error| Problem::new(400, "arguments", error);
        let sum =
            state.json().to::<u64>().map_err(bad)? + serde_json::from_slice::<u64>(args).map_err(bad)?;
        if sum > 100 {
            return Err(Problem::new(409, "too_much", "a hundred is enough"));
        }
        Ok(Next { state: State::parse(Json::of(&sum)).unwrap(), event: None, data: None })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_in_rust_hold_under_concurrency() {
    let mut config = memory("");
    let sums = Channel::new(Pattern::parse("sum/*").unwrap()).with_state(Arc::new(UpToAHundred));
    config.add_channel(sums.with_allow(Allow::everything()));
    let live = Plainwire::start(config).await.unwrap();
    let adding: Vec<_> = (0..64)
        .map(|_| {
            let live = live.clone();
            tokio::spawn(async move { live.command("sum/a", "add", &3).await.is_ok() })
        })
        .collect();
    let mut applied = 0;
    for add in adding {
        applied += u64::from(add.await.unwrap());
    }
    assert_eq!(applied, 33);
    let (position, state) = live.state("sum/a").await.unwrap().unwrap();
    assert_eq!((position.offset.get(), state.as_str()), (33, "99"));
    let address = served(&live).await;
    blocking(move || {
        let ask = |target: &str, body: &[u8]| {
            support::Connection::open(address).ask("POST", target, &[], Some(body))
        };
        assert_eq!(ask("/sum/a:add", b"2").problem(), (409, "too_much".to_owned()));
        assert_eq!(ask("/sum/a:add", b"x").problem(), (400, "arguments".to_owned()));
        assert_eq!(ask("/sum/a", b"1").problem(), (405, "method".to_owned()));
        assert_eq!(ask("/sum/a:add", b"1").text(), "100");
    })
    .await;
    live.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_lifetime_is_over() {
    let mut config = memory("[channel.c]\n");
    config.server.stream_lifetime = Duration::from_millis(300);
    let live = Plainwire::start(config).await.unwrap();
    live.publish("c", &1).await.unwrap();
    let address = served(&live).await;
    blocking(move || {
        for transport in Transport::STREAMS {
            let mut stream = Live::open(address, transport, "/c?since=0").unwrap();
            assert_eq!(stream.next().unwrap().data, 1);
            assert!(stream.next().unwrap().is("@live"));
            let drain = stream.next().unwrap();
            assert!(drain.is("@drain"), "{transport:?}: {drain:?}");
            match transport {
                // Over HTTP the body ends in order, and the connection is as good as new.
                Transport::Sse | Transport::Ndjson => {
                    assert_eq!(stream.raw().unwrap(), None);
                    assert_eq!(stream.connection().ask("GET", "/c?since=0", &[], None).status, 200);
                }
                _ => assert!(stream.next().unwrap_err().to_string().contains("1012")),
            }
        }
    })
    .await;
    live.shutdown().await;
}

/// A gate at which appends wait.
struct Gated {
    begun: watch::Sender<u64>,
    open: watch::Receiver<bool>,
}

/// The other side of the gate.
struct Gate {
    begun: watch::Receiver<u64>,
    open: watch::Sender<bool>,
}

impl Between for Gated {
    fn append(
        &self,
        log: &Arc<MemoryLog>,
        append: Append,
    ) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let (appending, mut open) = (log.append(append), self.open.clone());
        self.begun.send_modify(|begun| *begun += 1);
        async move {
            let _ = open.wait_for(|open| *open).await;
            appending.await
        }
        .boxed()
    }
}

async fn gated(channels: &str) -> (Plainwire, Gate) {
    let (gate, open) = watch::channel(false);
    let (begin, begun) = watch::channel(0);
    let log = Arc::new(Behind::new(Gated { begun: begin, open }));
    let live = Plainwire::builder(memory(channels)).log(log).start().await.unwrap();
    (live, Gate { begun, open: gate })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_bound_in_flight_is_429_and_the_rest_is_done() {
    const MOST: u64 = 1024;
    const BEYOND: u64 = 3;
    let (live, gate) = gated("[channel.a]\n[channel.b]\n").await;
    let address = served(&live).await;
    blocking(move || {
        let mut websocket = WebSocket::open(address, "/b");
        let mut bytes = Vec::new();
        for id in 0..MOST + BEYOND {
            let request = json!({"id": id, "post": "/a", "body": id}).to_string();
            bytes.extend(support::websocket::frame(OpCode::Text, request.as_bytes()));
        }
        websocket.send(&bytes);
        for id in MOST..MOST + BEYOND {
            let reply = websocket.reply();
            assert_eq!((&reply["id"], &reply["status"]), (&json!(id), &json!(429)), "{reply}");
            assert_eq!(reply["body"]["reason"], "in_flight");
            assert!(reply["retry_after"].is_u64(), "{reply}");
        }
        gate.open.send(true).unwrap();
        let mut answered: Vec<u64> = (0..MOST)
            .map(|_| {
                let reply = websocket.reply();
                assert_eq!(reply["status"], 201, "{reply}");
                assert_eq!(offset(reply["cursor"].as_str().unwrap()), reply["id"].as_u64().unwrap() + 1);
                reply["id"].as_u64().unwrap()
            })
            .collect();
        answered.sort_unstable();
        assert_eq!(answered, (0..MOST).collect::<Vec<_>>(), "one reply each");
        assert_eq!(websocket.request(&json!({"id": "next", "post": "/a", "body": 0}))["status"], 201);
    })
    .await;
    live.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_what_is_under_way() {
    let (live, mut gate) = gated("[channel.a]\n").await;
    let address = served(&live).await;
    let mut under_way = blocking(move || {
        let mut connection = support::Connection::open(address);
        connection.request("POST", "/a", &[], Some(b"1")).unwrap();
        let mut websocket = WebSocket::open(address, "/a?since=*");
        websocket.send_text(&json!({"id": 1, "post": "/a", "body": 2}).to_string());
        (connection, websocket)
    })
    .await;
    gate.begun.wait_for(|begun| *begun == 2).await.unwrap();
    let stopping = live.clone();
    let shutdown = tokio::spawn(async move { stopping.shutdown().await });
    let ready = async || {
        let request = http::Request::get("/_/ready").body(Empty::<Bytes>::new()).unwrap();
        live.service().handle(request).await.status() == 200
    };
    while ready().await {
        tokio::task::yield_now().await;
    }
    assert!(!shutdown.is_finished(), "two writes are under way");
    gate.open.send(true).unwrap();
    shutdown.await.unwrap();
    blocking(move || {
        assert_eq!(under_way.0.response().status, 201);
        let reply = under_way.1.reply();
        assert_eq!((&reply["id"], &reply["status"]), (&json!(1), &json!(201)), "{reply}");
        assert_eq!(under_way.1.close_code(), Some(1012));
    })
    .await;
}
