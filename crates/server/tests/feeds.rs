//! A feed is the same on every transport: the same message at the same position, wherever and however it is resumed.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use plainwire::From;
use plainwire::client::{Client, Transport as Over, Update};
use serde_json::json;
use support::{DEADLINE, Event, Server, Transport, WebSocket, epoch, offset};

fn publish(server: &Server, channel: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let mut connection = server.connect();
    let post = |number: u64| {
        let response = connection.ask("POST", channel, &[], Some(number.to_string().as_bytes()));
        assert_eq!(response.status, 201, "{response:?}");
        response.cursor()
    };
    numbers.map(post).collect()
}

fn pair(event: &Event) -> (String, u64) {
    (event.cursor.clone().expect("a cursor"), event.data.as_u64().expect("a number"))
}

#[test]
fn the_same_message_has_the_same_position_on_every_transport() {
    let server = Server::dev();
    let mut cursors = publish(&server, "/chat/a", 1..=20);
    let mut feeds = Transport::ALL.map(|transport| server.live(transport, "/chat/a?since=0"));
    for feed in &mut feeds {
        feed.message();
    }
    cursors.extend(publish(&server, "/chat/a", 21..=40));
    for feed in &mut feeds {
        for (number, cursor) in (2..=40).zip(&cursors[1..]) {
            let message = feed.message();
            // Of a page, the last one's is the page's, which is the same.
            assert_eq!(pair(&message), (cursor.clone(), number));
        }
    }
    let page = server.get("/chat/a?since=0").json();
    let page: Vec<&str> =
        page["messages"].as_array().unwrap().iter().map(|m| m["cursor"].as_str().unwrap()).collect();
    assert_eq!(page, cursors);
    assert!(cursors.iter().all(|cursor| epoch(cursor) == epoch(&cursors[0])));
    assert_eq!(cursors.iter().map(|cursor| offset(cursor)).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
}

#[test]
fn transports_are_changed_in_mid_stream() {
    const COUNT: u64 = 300;
    let mut random = fastrand::Rng::with_seed(support::seed());
    let server = Server::dev();
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&server, "/chat/a", 1..=COUNT));
        let (mut cursor, mut next) = ("0".to_owned(), 1);
        while next <= COUNT {
            let transport = random.choice(Transport::ALL).expect("there are some");
            let mut feed = server.live(transport, &format!("/chat/a?since={cursor}"));
            for _ in 0..random.u64(1..30).min(COUNT + 1 - next) {
                let message = feed.message();
                assert_eq!(message.data, next, "{transport:?} after {cursor}");
                cursor = message.cursor.expect("a cursor");
                next += 1;
            }
        }
    });
}

#[test]
fn what_is_trimmed_is_said() {
    let server = Server::with_config(
        "[channel.log]\nretain = { count = 10 }\n[channel.state]\nstate = { n = 0 }\nretain = { count = 10 }\n\
         [channel.state.command.add]\nset = \"{'n': state.n + 1}\"\n",
    );
    let cursors = publish(&server, "/log", 1..=30);
    let response = server.get(&format!("/log?since={}", cursors[4]));
    assert_eq!(response.problem(), (410, "trimmed".to_owned()));
    assert_eq!(response.cursor(), cursors[19], "the ten newest are kept");
    let rest = server.get(&format!("/log?since={}", response.cursor())).json();
    assert_eq!(rest["messages"].as_array().unwrap().len(), 10);
    assert_eq!(rest["messages"][0]["data"], 21);
    for transport in Transport::STREAMS {
        let mut feed = server.live(transport, &format!("/log?since={}", cursors[4]));
        let reset = feed.next().unwrap();
        assert!(reset.is("@reset"), "{reset:?}");
        assert_eq!((reset.data, reset.cursor), (json!({"reason": "trimmed"}), Some(cursors[19].clone())));
        for number in 21..=30 {
            assert_eq!(feed.next().unwrap().data, number);
        }
        assert!(feed.next().unwrap().is("@live"));
    }
    let first = server.accepted("/state:add", "");
    for _ in 0..20 {
        server.accepted("/state:add", "");
    }
    for transport in Transport::STREAMS {
        let mut feed = server.live(transport, &format!("/state?since={first}"));
        assert!(feed.next().unwrap().is("@reset"));
        let state = feed.next().unwrap();
        assert!(state.is("@state") && state.data == json!({"n": 21}), "{state:?}");
        assert_eq!(offset(&state.cursor.unwrap()), 21);
        assert!(feed.next().unwrap().is("@live"));
    }
}

#[test]
fn of_several_channels_one_that_is_trimmed_holds_up_no_other() {
    let server = Server::with_config("[channel.\"log/*\"]\nretain = { count = 10 }\n[channel.\"chat/*\"]\n");
    let trimmed = publish(&server, "/log/a", 1..=30);
    let kept = publish(&server, "/chat/a", 1..=3);
    let ahead = publish(&server, "/log/b", 1..=30);
    let target = |since: &str| format!("/_/live?channel=log/a&channel=chat/a&channel=log/b&since={since}");
    for wait in ["", "&wait=20"] {
        let since = [&trimmed[4], &kept[0], &ahead[2]].map(String::as_str).join("~");
        let response = server.get(&(target(&since) + wait));
        assert_eq!(response.problem(), (410, "trimmed".to_owned()));
        assert_eq!(response.json()["channel"], "log/a");
        let goes_on = [&trimmed[19], &kept[0], &ahead[19]].map(String::as_str).join("~");
        assert_eq!((response.cursor(), &response.json()["cursor"]), (goes_on.clone(), &json!(goes_on)));
        let page = server.get(&target(&goes_on)).json();
        let messages = page["messages"].as_array().unwrap();
        let of = |channel: &str| -> Vec<u64> {
            let its = messages.iter().filter(|message| message["channel"] == channel);
            its.map(|message| message["data"].as_u64().unwrap()).collect()
        };
        assert_eq!((of("log/a"), of("log/b")), ((21..=30).collect(), (21..=30).collect()));
        assert_eq!(of("chat/a"), [2, 3]);
    }
}

#[test]
fn the_client_goes_on_in_each_of_several_channels_whatever_is_trimmed() {
    let server = Server::with_config("[channel.\"log/*\"]\nretain = { count = 10 }\n");
    let cursors = [publish(&server, "/log/a", 1..=30), publish(&server, "/log/b", 1..=30)];
    let since = format!("{}~{}", cursors[0][4], cursors[1][2]);
    let url = format!("http://{}/_/live?channel=log/a&channel=log/b", server.address);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for over in [Over::Sse, Over::Ndjson, Over::WebSocket, Over::LongPoll, Over::Poll] {
        let client = Client::new().interval(Duration::from_millis(20));
        let mut watcher = client.watch(&url, over, From::Cursor(since.clone())).unwrap();
        let (mut numbers, mut resets) = (BTreeMap::<_, Vec<u64>>::new(), Vec::new());
        let watched = async {
            while numbers.values().flatten().count() < 20 {
                match watcher.next().await.expect("it goes on").expect("nothing is missing") {
                    Update::Message(envelope) => {
                        let number = envelope.data.to().unwrap();
                        numbers.entry(envelope.channel.unwrap()).or_default().push(number);
                    }
                    Update::Reset(envelope) => resets.extend(envelope.cursor),
                    _ => {}
                }
            }
        };
        let done = runtime.block_on(async { tokio::time::timeout(DEADLINE, watched).await });
        done.unwrap_or_else(|_| panic!("{over:?}: {numbers:?}"));
        assert!(
            numbers.values().all(|numbers| *numbers == (21..=30).collect::<Vec<_>>()),
            "{over:?}: {numbers:?}"
        );
        resets.sort_unstable();
        let mut expected = cursors.each_ref().map(|cursors| cursors[19].clone());
        expected.sort_unstable();
        assert_eq!(resets, expected, "{over:?}");
    }
}

#[test]
fn the_client_goes_on_with_the_state_where_changes_are_lost() {
    let server = Server::with_config("[channel.board]\nstate = {}\nreplace = true\nretain = { count = 2 }\n");
    let put = |n: u64| {
        let body = json!({ "n": n }).to_string();
        server.connect().ask("PUT", "/board", &[], Some(body.as_bytes())).cursor()
    };
    let cursors: Vec<_> = (1..=9).map(put).collect();
    let url = format!("http://{}/board", server.address);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (over, n) in
        [Over::Sse, Over::Ndjson, Over::WebSocket, Over::LongPoll, Over::Poll].into_iter().zip(9..)
    {
        let client = Client::new().interval(Duration::from_millis(20));
        let mut watcher = client.watch(&url, over, From::Cursor(cursors[0].clone())).unwrap();
        let watched = async {
            let mut said = Vec::new();
            while said.len() < 3 {
                match watcher.next().await.expect("it goes on").expect("nothing is missing") {
                    Update::Reset(envelope) => {
                        said.push(("reset", envelope.cursor.clone(), envelope.reason().into()))
                    }
                    Update::State(envelope) | Update::Message(envelope) => {
                        said.push(("state", envelope.cursor, envelope.data.to().unwrap()));
                        if said.len() == 2 {
                            put(n + 1);
                        }
                    }
                    _ => {}
                }
            }
            said
        };
        let said = runtime.block_on(async { tokio::time::timeout(DEADLINE, watched).await });
        let said = said.unwrap_or_else(|_| panic!("{over:?}: nothing comes"));
        let next = server.get("/board").cursor();
        assert_eq!(said[0], ("reset", None, json!("trimmed")), "{over:?}");
        assert_eq!((said[1].0, &said[1].2), ("state", &json!({ "n": n })), "{over:?}");
        assert_eq!(said[2], ("state", Some(next), json!({ "n": n + 1 })), "{over:?}");
    }
}

#[test]
fn a_log_that_began_anew_is_said() {
    let mut server = Server::dev();
    let before = publish(&server, "/chat/a", 1..=5);
    server.accepted("/counter:increment", r#"{"value":5}"#);
    let counter = server.get("/counter").cursor();
    server.kill();
    std::fs::remove_dir_all(server.data()).unwrap();
    server.restart();
    publish(&server, "/chat/a", 101..=110);
    let response = server.get(&format!("/chat/a?since={}", before[2]));
    assert_eq!(response.problem(), (410, "epoch_changed".to_owned()));
    for transport in Transport::STREAMS {
        let mut feed = server.live(transport, &format!("/chat/a?since={}", before[2]));
        let reset = feed.next().unwrap();
        assert!(reset.is("@reset"), "{reset:?}");
        assert_eq!(reset.data, json!({"reason": "epoch_changed"}));
        assert_eq!(feed.next().unwrap().data, 101);
        let mut feed = server.live(transport, &format!("/counter?since={counter}"));
        assert!(feed.next().unwrap().is("@reset"));
        let state = feed.next().unwrap();
        assert!(state.is("@state") && state.data == json!({"count": 0}), "{state:?}");
    }
}

#[test]
fn where_streams_begin() {
    let server = Server::dev();
    let cursors = publish(&server, "/chat/a", 1..=5);
    server.accepted("/counter:increment", r#"{"value":5}"#);
    let counter = server.get("/counter").cursor();
    for transport in Transport::STREAMS {
        let history = |target: &str| {
            let mut feed = server.live(transport, target);
            feed.until_live().into_iter().map(|event| event.data).collect::<Vec<_>>()
        };
        assert_eq!(history("/chat/a?since=0"), [1, 2, 3, 4, 5]);
        assert_eq!(history("/chat/a?last=2"), [4, 5]);
        assert_eq!(history("/chat/a?last=99"), [1, 2, 3, 4, 5]);
        assert_eq!(history(&format!("/chat/a?since={}&last=5", cursors[3])), [5], "a cursor wins");
        assert_eq!(history("/chat/a?since=*"), [json!(null); 0]);
        assert_eq!(history("/chat/a"), [json!(null); 0]);
        assert_eq!(history("/counter"), [json!({"count": 5})], "the snapshot");
        assert_eq!(history("/counter?since=*"), [json!({"count": 5})], "the snapshot");
        assert_eq!(history(&format!("/counter?since={counter}")), [json!(null); 0]);
        let both = "/_/live?channel=chat/a&channel=counter";
        let mut mixed = server.live(transport, &format!("{both}&since={}~*", cursors[2]));
        let mut seen = Vec::new();
        let mut live = 0;
        while live < 2 {
            let event = mixed.next().unwrap();
            live += usize::from(event.is("@live"));
            if !event.is("@live") {
                seen.push(format!("{} {}", event.channel.unwrap(), event.data));
            }
        }
        seen.sort();
        assert_eq!(seen, ["chat/a 4", "chat/a 5", "counter {\"count\":5}"]);
    }
}

#[test]
fn several_channels_resume_by_one_cursor() {
    let server = Server::dev();
    publish(&server, "/chat/a", 1..=10);
    publish(&server, "/chat/b", 101..=110);
    let target = "/_/live?channel=chat/a&channel=chat/b";
    for transport in [Transport::Sse, Transport::Ndjson] {
        let (mut cursor, mut seen) = ("0~0".to_owned(), Vec::new());
        while seen.len() < 20 {
            // One message over each connection.
            let message = server.live(transport, &format!("{target}&since={cursor}")).message();
            seen.push(message.data.as_u64().unwrap());
            cursor = message.cursor.expect("a combined cursor");
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=10).chain(101..=110).collect::<Vec<_>>());
        let page = server.get(&format!("{target}&since=0~0&limit=100"));
        assert_eq!(page.cursor(), cursor);
    }
}

#[test]
fn a_long_poll_wakes_at_once_and_answers_at_its_deadline() {
    let server = Server::dev();
    let at = server.get("/chat/a").cursor();
    let mut waiting = server.connect();
    waiting.request("GET", &format!("/chat/a?since={at}"), &[("prefer", "wait=60")], None).unwrap();
    // The poll waits already when this answer comes, or finds the message: either way it has it long before 60 s.
    let begun = Instant::now();
    let posted = server.accepted("/chat/a", "1");
    let woken = waiting.response();
    assert!(begun.elapsed() < Duration::from_secs(20), "it did not wake");
    assert_eq!((woken.status, woken.cursor()), (200, posted.clone()));
    assert_eq!(woken.header("preference-applied"), Some("wait=60"));

    let begun = Instant::now();
    let empty = server.connect().ask("GET", "/chat/a", &[("prefer", "wait=1")], None);
    assert!(begun.elapsed() >= Duration::from_secs(1), "it waited for its time");
    assert_eq!((empty.status, empty.cursor(), empty.body.len()), (204, posted, 0));
    server.accepted("/chat/a", "2");
    let next = server.get(&format!("/chat/a?since={}&wait=60", empty.cursor()));
    assert_eq!(next.json()["messages"][0]["data"], 2, "the cursor of an empty answer resumes");
}

#[test]
fn versions_and_caching() {
    let server = Server::dev();
    let cursors = publish(&server, "/chat/a", 1..=5);
    let ask = |target: &str, tag: &str| server.connect().ask("GET", target, &[("if-none-match", tag)], None);
    for target in ["/chat/a", "/counter"] {
        let first = server.get(target);
        let tag = first.header("etag").unwrap().to_owned();
        assert_eq!(tag, format!("\"{}\"", first.cursor()));
        for tag in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = ask(target, &tag);
            assert_eq!((again.status, again.body.len(), again.cursor()), (304, 0, first.cursor()), "{tag}");
        }
        assert_eq!(ask(target, "\"x\"").status, 200);
        assert_eq!(first.header("cache-control"), Some("no-cache"));
    }
    let tag = server.get("/counter").header("etag").unwrap().to_owned();
    server.accepted("/counter:increment", r#"{"value":1}"#);
    assert_eq!(ask("/counter", &tag).json(), json!({"count": 1}));

    let full = server.get(&format!("/chat/a?since={}&limit=3", cursors[0]));
    assert!(full.header("cache-control").unwrap().contains("immutable"), "{full:?}");
    let short = server.get(&format!("/chat/a?since={}&limit=5", cursors[0]));
    assert_eq!(short.header("cache-control"), Some("no-cache"), "it may grow");
    for target in ["/chat/a?since=0&limit=3", "/chat/a?last=3&limit=3", "/chat/a?since=*&limit=1"] {
        let moving = server.get(target);
        assert_eq!(moving.header("cache-control"), Some("no-cache"), "{target}: its beginning may move");
    }
    let stream = {
        let mut connection = server.connect();
        connection.request("GET", "/chat/a?live=sse", &[], None).unwrap();
        connection.head().unwrap()
    };
    assert!(stream.header("cache-control").unwrap().contains("no-transform"), "{stream:?}");
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    let head = server.connect().ask("HEAD", "/counter", &[("accept", "text/event-stream")], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn quiet_streams_show_that_they_live() {
    let server = Server::with_config("[server]\nheartbeat = \"1s\"\n[channel.c]\n");
    let mut sse = server.live(Transport::Sse, "/c");
    sse.until_live();
    for _ in 0..2 {
        assert_eq!(sse.raw().unwrap().as_deref(), Some(&b":\n\n"[..]));
    }
    let mut ndjson = server.live(Transport::Ndjson, "/c");
    ndjson.until_live();
    for _ in 0..2 {
        let ping = ndjson.next().unwrap();
        assert!(ping.is("@ping") && ping.cursor.is_none(), "{ping:?}");
    }
    let mut websocket = WebSocket::open(server.address, "/c");
    websocket.push().unwrap();
    for _ in 0..2 {
        let ping = websocket.next().unwrap();
        assert!(matches!(ping, plainwire::protocol::websocket::Incoming::Ping(_)), "{ping:?}");
        websocket.send_frame(plainwire::protocol::websocket::OpCode::Pong, b"");
    }
}
