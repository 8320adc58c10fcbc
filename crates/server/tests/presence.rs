//! Who is in a channel: over every transport, until the last seat is left, and whatever ends it.

#[path = "authorization/http2.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod http2;
mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use support::token::{SECRET, now, signed, token};
use support::{DEADLINE, Live, Server, Transport, WebSocket};

/// Room for a busy machine where something is not to happen, or to happen only after a while.
const GRACE: Duration = Duration::from_secs(2);

/// A server with a channel of each mode. Everybody may read, and see who is there.
fn server(more: &str) -> Server {
    Server::guarded(&format!(
        "{more}\n[auth]\nsecret = \"{SECRET}\"\n[allow]\nwatch = true\npresence = true\npost = true\n\
         [channel.\"room/*\"]\npresence = \"principal\"\npresence_grace = \"2s\"\n\
         [channel.\"tabs/*\"]\npresence = \"connection\"\npresence_grace = \"2s\"\n\
         [channel.\"hall/*\"]\npresence = \"count\"\npresence_grace = \"0s\"\n\
         [channel.\"small/*\"]\npresence = \"principal\"\npresence_grace = \"0s\"\npresence_members = 2\n\
         [channel.\"quiet/*\"]\n"
    ))
}

fn of(subject: &str) -> String {
    token(subject, 600, &json!({}))
}

/// Somebody who reads `channel`.
fn reader(server: &Server, transport: Transport, channel: &str, subject: &str) -> Live {
    server.live(transport, &format!("{channel}?access_token={}", of(subject)))
}

fn who(server: &Server, channel: &str) -> Value {
    let answer = server.get(&format!("{channel}/@presence"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until it is told so of `channel`.
#[track_caller]
fn until(server: &Server, channel: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let late = Instant::now() + DEADLINE;
    loop {
        let told = who(server, channel);
        if is_so(&told) {
            return told;
        }
        assert!(Instant::now() < late, "still {told}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn names(told: &Value) -> Vec<&str> {
    told["members"].as_object().expect("members").keys().map(String::as_str).collect()
}

/// Who watches a channel's presence, and what it knows by the messages alone.
struct Watcher {
    live: Live,
    members: BTreeMap<String, Value>,
    count: u64,
    /// What it was told, in short.
    told: Vec<String>,
}

impl Watcher {
    fn of(server: &Server, transport: Transport, channel: &str) -> Watcher {
        let live = server.live(transport, &format!("{channel}/@presence"));
        let mut watcher = Watcher { live, members: BTreeMap::new(), count: 0, told: Vec::new() };
        while watcher.next().is_none_or(|event| event != "@live") {}
        watcher
    }

    fn next(&mut self) -> Option<String> {
        let event = self.live.next().expect("the stream goes on");
        let name = event.event.expect("each has a name");
        let id = event.data["id"].as_str().map(str::to_owned);
        match (&*name, id) {
            ("@state", _) => {
                let members = event.data["members"].as_object().expect("members").clone();
                self.members = members.into_iter().collect();
            }
            ("join", Some(id)) => {
                self.told.push(format!("+{id}"));
                assert!(self.members.insert(id, event.data["member"].clone()).is_none());
            }
            ("update", Some(id)) => {
                self.told.push(format!("={id}"));
                assert!(self.members.insert(id, event.data["member"].clone()).is_some());
            }
            ("leave", Some(id)) => {
                self.told.push(format!("-{id}"));
                assert!(self.members.remove(&id).is_some());
            }
            ("count", None) => {}
            ("@live" | "@reset" | "@ping", _) => return Some(name),
            other => panic!("{other:?}"),
        }
        self.count = event.data["count"].as_u64().expect("every one has the count");
        Some(name)
    }

    #[track_caller]
    fn until(&mut self, is_so: impl Fn(&Watcher) -> bool) {
        let late = Instant::now() + DEADLINE;
        while !is_so(self) {
            assert!(Instant::now() < late, "{:?}", self.told);
            self.next();
        }
    }
}

#[test]
fn whoever_reads_over_any_transport_is_there_until_it_leaves() {
    let server = server("");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    for transport in Transport::STREAMS {
        let name = format!("{transport:?}");
        let live = reader(&server, transport, "/room/a", &name);
        watcher.until(|watcher| watcher.members.contains_key(&name));
        assert_eq!(names(&who(&server, "/room/a")), [&*name]);
        drop(live);
        watcher.until(|watcher| watcher.count == 0);
    }
    // A long poll that waits.
    let mut polling = server.connect();
    let target = format!("/room/a?since=0&wait=25&access_token={}", of("LongPoll"));
    polling.request("GET", &target, &[], None).expect("sent");
    watcher.until(|watcher| watcher.members.contains_key("LongPoll"));
    drop(polling);
    watcher.until(|watcher| watcher.count == 0);
    // Streams of HTTP/2, and long polls, whose connection hyper has.
    for (name, query) in [("H2Sse", "live=sse"), ("H2Ndjson", "live=ndjson")] {
        let mut connection = http2::Http2::open(server.address);
        let target = format!("/room/a?{query}&access_token={}", of(name));
        let request = connection.request("GET", &target).body(Full::<Bytes>::default()).expect("a request");
        assert_eq!(connection.ask(request).0.status(), 200);
        watcher.until(|watcher| watcher.members.contains_key(name));
        drop(connection);
        watcher.until(|watcher| watcher.count == 0);
    }
    let target = format!("/room/a?since=0&wait=3&access_token={}", of("H2LongPoll"));
    let address = server.address;
    let polling = std::thread::spawn(move || {
        let mut connection = http2::Http2::open(address);
        let request = connection.request("GET", &target).body(Full::<Bytes>::default()).expect("a request");
        connection.ask(request).0.status()
    });
    watcher.until(|watcher| watcher.members.contains_key("H2LongPoll"));
    assert_eq!(polling.join().expect("it does not panic"), 204);
    watcher.until(|watcher| watcher.count == 0);
    let told = ["Sse", "Ndjson", "WebSocket", "Deflated", "LongPoll", "H2Sse", "H2Ndjson", "H2LongPoll"];
    let told: Vec<String> = told.iter().flat_map(|name| [format!("+{name}"), format!("-{name}")]).collect();
    assert_eq!(watcher.told, told, "each once, in order");
    // Who asks once is not there.
    assert_eq!(server.get(&format!("/room/a?access_token={}", of("asking"))).status, 200);
    assert_eq!(server.get(&format!("/room/a?since=0&access_token={}", of("asking"))).status, 200);
    let last = reader(&server, Transport::Sse, "/room/a", "last");
    watcher.until(|watcher| watcher.count == 1);
    assert_eq!(watcher.told.last().map(String::as_str), Some("+last"));
    drop(last);
}

#[test]
fn presence_is_watched_over_any_transport_like_every_state() {
    let server = server("");
    let mut watchers = Transport::STREAMS.map(|transport| Watcher::of(&server, transport, "/room/a"));
    let ann = reader(&server, Transport::Sse, "/room/a", "ann");
    for watcher in &mut watchers {
        watcher.until(|watcher| watcher.members.contains_key("ann"));
        assert_eq!((watcher.count, &watcher.told), (1, &vec!["+ann".to_owned()]));
        assert!(watcher.members["ann"]["since"].as_u64().expect("a time") > 1_600_000_000_000);
    }
    // Who comes late has the state first; and whoever has its cursor goes on from there, as a poller does.
    let mut late = Watcher::of(&server, Transport::Sse, "/room/a");
    assert_eq!((late.count, late.told.len(), late.members.len()), (1, 0, 1));
    let read = server.get("/room/a/@presence");
    let etag = read.header("etag").expect("a version").to_owned();
    let unchanged = server.connect().ask("GET", "/room/a/@presence", &[("If-None-Match", &etag)], None);
    assert_eq!(unchanged.status, 304);
    drop(ann);
    late.until(|late| late.count == 0);
    let poll = server.get(&format!("/room/a/@presence?since={}&wait=20", read.cursor())).json();
    assert_eq!(
        (&poll["messages"][0]["event"], &poll["messages"][0]["data"]),
        (&json!("leave"), &json!({"id": "ann", "count": 0}))
    );
    // With the channel itself, over one stream.
    let target = format!("/_/live?channel=room/a&channel=room/a/@presence&access_token={}", of("bob"));
    let mut both = server.live(Transport::Ndjson, &target);
    let joined = both.message();
    assert_eq!(
        (joined.channel.as_deref(), joined.event.as_deref()),
        (Some("room/a/@presence"), Some("join"))
    );
    server.accepted("/room/a", "1");
    assert_eq!(both.message().channel.as_deref(), Some("room/a"));
}

#[test]
fn a_principal_is_listed_once_and_a_connection_each_time() {
    let server = server("");
    let [one, two] = [0; 2].map(|_| reader(&server, Transport::Sse, "/room/a", "ann"));
    let nobody = server.live(Transport::Sse, "/room/a");
    let told = until(&server, "/room/a", |told| told["count"] == 2);
    assert_eq!(names(&told), ["ann"], "who has no name is counted and not listed");
    drop(one);
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    drop(nobody);
    watcher.until(|watcher| watcher.count == 1);
    drop(two);
    watcher.until(|watcher| watcher.count == 0);
    assert_eq!(watcher.told, ["-ann"]);

    let [one, two] = [0; 2].map(|_| reader(&server, Transport::WebSocket, "/tabs/a", "ann"));
    let nobody = server.live(Transport::Sse, "/tabs/a");
    let told = until(&server, "/tabs/a", |told| told["count"] == 3);
    let members = told["members"].as_object().expect("members");
    let mut subjects: Vec<_> = members.values().map(|member| member["sub"].as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, [None, Some("ann"), Some("ann")]);
    drop((one, nobody));
    let told = until(&server, "/tabs/a", |told| told["count"] == 1);
    assert_eq!(told["members"].as_object().expect("members").len(), 1);
    drop(two);
    until(&server, "/tabs/a", |told| *told == json!({"count": 0, "members": {}, "nodes": {}}));
}

#[test]
fn of_many_only_the_number_is_told() {
    let server = server("");
    let mut watcher = Watcher::of(&server, Transport::Sse, "/hall/a");
    let mut readers: Vec<Live> = (0..5).map(|_| reader(&server, Transport::Sse, "/hall/a", "ann")).collect();
    watcher.until(|watcher| watcher.count == 5);
    readers.truncate(2);
    watcher.until(|watcher| watcher.count == 2);
    assert_eq!(names(&who(&server, "/hall/a")), [""; 0]);
    drop(readers);
    watcher.until(|watcher| watcher.count == 0);
    assert!(watcher.told.is_empty());
    // And of more than are listed.
    let mut watcher = Watcher::of(&server, Transport::Sse, "/small/a");
    let mut readers = Vec::new();
    for (index, name) in ["ann", "bob", "cid"].into_iter().enumerate() {
        readers.push(reader(&server, Transport::Sse, "/small/a", name));
        watcher.until(|watcher| watcher.count == index as u64 + 1);
    }
    assert_eq!(watcher.told, ["+ann", "+bob"]);
    readers.remove(0);
    watcher.until(|watcher| watcher.told == ["+ann", "+bob", "-ann", "+cid"]);
    assert_eq!(watcher.count, 2);
}

#[test]
fn a_token_says_what_others_see_of_its_bearer() {
    let server = server("");
    let with = |subject: &str, info: Value| {
        let claims = json!({"sub": subject, "exp": now() + 600, "info": info, "roles": ["secret"]});
        server.live(Transport::Sse, &format!("/room/a?access_token={}", signed(&claims, SECRET)))
    };
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    let _ann = with("ann", json!({"name": "Ann"}));
    watcher.until(|watcher| watcher.count == 1);
    assert_eq!(watcher.members["ann"]["info"], json!({"name": "Ann"}));
    let _renamed = with("ann", json!({"name": "Anna"}));
    watcher.until(|watcher| watcher.told == ["+ann", "=ann"]);
    assert_eq!(watcher.members["ann"]["info"], json!({"name": "Anna"}));
    let _large = with("bob", json!("x".repeat(2000)));
    watcher.until(|watcher| watcher.count == 2);
    assert_eq!(watcher.members["bob"].get("info"), None, "more than a KiB is not told");
    assert!(!who(&server, "/room/a").to_string().contains("secret"));
}

#[test]
fn who_shows_a_credential_later_is_there_under_it() {
    let server = server("");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    let mut socket = server.websocket("/room/a");
    watcher.until(|watcher| watcher.count == 1);
    assert!(watcher.members.is_empty());
    assert_eq!(socket.request(&json!({"id": 1, "auth": of("ann")}))["status"], json!(200));
    watcher.until(|watcher| watcher.members.contains_key("ann"));
    assert_eq!((watcher.count, &watcher.told), (1, &vec!["+ann".to_owned()]));
    let claims = json!({"sub": "ann", "exp": now() + 600, "info": "new"});
    assert_eq!(socket.request(&json!({"id": 2, "auth": signed(&claims, SECRET)}))["status"], json!(200));
    watcher.until(|watcher| watcher.told.last().is_some_and(|told| told == "=ann"));
    assert_eq!(watcher.members["ann"]["info"], "new");
    drop(socket);
    watcher.until(|watcher| watcher.count == 0);
}

#[test]
fn only_who_may_see_who_is_there_does_and_nobody_writes_it() {
    let server = Server::guarded(&format!(
        "[auth]\nsecret = \"{SECRET}\"\n[channel.\"room/{{room}}\"]\npresence = \"principal\"\n\
         allow.presence = \"channel.room == token.room\"\n[channel.\"quiet/*\"]\nallow = true\n"
    ));
    let granted = |grants: Value| token("ann", 600, &grants);
    let watch = granted(json!({"watch": ["**"], "post": ["**"], "command": ["**"]}));
    let see = granted(json!({"presence": ["room/a"]}));
    let claims = json!({"sub": "cid", "exp": now() + 600, "room": "a"});
    let by_rule = signed(&claims, SECRET);
    let get = |target: &str, token: &str| {
        server.connect().ask("GET", target, &[("Authorization", &format!("Bearer {token}"))], None)
    };
    assert_eq!(server.get("/room/a/@presence").problem(), (401, "unauthenticated".to_owned()));
    assert_eq!(get("/room/a/@presence", &watch).problem(), (403, "forbidden".to_owned()));
    for token in [&see, &by_rule] {
        assert_eq!(get("/room/a/@presence", token).status, 200);
        assert_eq!(get("/room/%61/%40presence", token).status, 200);
        assert_eq!(get("/room/b/@presence", token).problem().0, 403);
        assert_eq!(get("/room/a", token).problem().0, 403, "to see who is there is not to read");
    }
    assert_eq!(get("/_/live?channel=room/a&channel=room/a/@presence", &watch).problem().0, 403);
    let mut socket = WebSocket::open(server.address, &format!("/_/live?channel=room/a&access_token={watch}"));
    let refused = socket.request(&json!({"id": 1, "watch": "/room/a/@presence"}));
    assert_eq!(
        (&refused["status"], &refused["body"]["reason"]),
        (&json!(403), &json!("forbidden")),
        "{refused}"
    );
    let mut socket = WebSocket::open(server.address, &format!("/room/a/@presence?access_token={see}"));
    assert_eq!(socket.push().expect("the state")["event"], "@state");
    // Nobody writes it.
    for (method, target, expected) in [
        ("POST", "/room/a/@presence", (405, "method")),
        ("PUT", "/room/a/@presence", (405, "method")),
        ("PATCH", "/room/a/@presence", (405, "method")),
        ("POST", "/room/a/@presence:join", (404, "no_such_command")),
    ] {
        let send = |token: &str| {
            let headers = [
                ("Authorization", &*format!("Bearer {token}")),
                ("Content-Type", "application/merge-patch+json"),
            ];
            server.connect().ask(method, target, &headers, Some(b"{}"))
        };
        let answer = send(&see);
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{method} {target}");
        match expected.0 {
            405 => assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS")),
            _ => assert_eq!(send(&watch).problem(), (403, "forbidden".to_owned()), "{method} {target}"),
        }
    }
    let posted = socket.request(&json!({"id": 2, "post": "/room/a/@presence", "body": {}}));
    assert_eq!(posted["status"], json!(405), "{posted}");
    let untouched = get("/room/a/@presence", &see).json();
    assert_eq!(untouched, json!({"count": 0, "members": {}, "nodes": {}}));
    // A channel that does not tell says so.
    let (status, reason) = server.get("/quiet/a/@presence").problem();
    assert_eq!((status, &*reason), (404, "no_such_channel"));
    assert!(server.get("/quiet/a/@presence").text().contains("has no `presence`"));
}

#[test]
fn who_is_away_for_a_moment_has_not_left() {
    let server = server("");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    let poll = format!("/room/a?since=0&wait=1&access_token={}", of("poll"));
    let mut connection = server.connect();
    for _ in 0..3 {
        assert_eq!(connection.ask("GET", &poll, &[], None).status, 204);
        std::thread::sleep(GRACE / 4);
    }
    // A stream that comes back, over another transport.
    for transport in Transport::STREAMS {
        drop(reader(&server, transport, "/room/a", "ann"));
        std::thread::sleep(GRACE / 8);
    }
    watcher.until(|watcher| watcher.told.last().is_some_and(|told| told == "-ann"));
    let told: Vec<&str> = watcher.told.iter().map(String::as_str).collect();
    assert!(
        matches!(told[..], ["+poll", "+ann", "-poll", "-ann"] | ["+poll", "-poll", "+ann", "-ann"]),
        "{told:?}"
    );
    // Over a WebSocket channels are left and come to as one likes.
    let mut socket = server.websocket(&format!("/quiet/a?access_token={}", of("bob")));
    assert_eq!(socket.request(&json!({"id": 1, "watch": "/room/a"}))["status"], json!(200));
    watcher.until(|watcher| watcher.members.contains_key("bob"));
    assert_eq!(socket.request(&json!({"id": 2, "watch": "/room/a"}))["status"], json!(200));
    assert_eq!(socket.request(&json!({"id": 3, "unwatch": "/room/a"}))["status"], json!(200));
    watcher.until(|watcher| watcher.count == 0);
    assert_eq!(watcher.told[4..], ["+bob", "-bob"]);
}

#[test]
fn who_vanishes_is_gone() {
    let server = server("[server]\nheartbeat = \"1s\"");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    // One that is killed.
    let url = format!("http://{}/room/a?live=sse&access_token={}", server.address, of("killed"));
    let mut curl = Command::new("curl").args(["-sN", &url]).stdout(Stdio::null()).spawn().expect("curl runs");
    watcher.until(|watcher| watcher.members.contains_key("killed"));
    curl.kill().expect("it is killed");
    curl.wait().expect("it ends");
    watcher.until(|watcher| watcher.count == 0);
    // One whose connection stays open, and who answers no ping.
    let silent = server.websocket(&format!("/room/a?access_token={}", of("silent")));
    watcher.until(|watcher| watcher.members.contains_key("silent"));
    watcher.until(|watcher| watcher.count == 0);
    drop(silent);
    // One whose credential ends.
    let ending =
        server.live(Transport::Sse, &format!("/room/a?access_token={}", token("ending", 2, &json!({}))));
    watcher.until(|watcher| watcher.members.contains_key("ending"));
    watcher.until(|watcher| watcher.count == 0);
    drop(ending);
    assert_eq!(watcher.told, ["+killed", "-killed", "+silent", "-silent", "+ending", "-ending"]);
}

#[test]
fn a_thousand_come_and_go_and_nobody_is_left_over() {
    let seed = support::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let server = server("");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    let mut readers: Vec<Live> = Vec::new();
    for number in 0..1000 {
        let transport = Transport::STREAMS[number % 4];
        readers.push(reader(&server, transport, "/room/a", &format!("u{number}")));
        if random.u8(..4) == 0 {
            readers.swap_remove(random.usize(..readers.len()));
        }
    }
    let left = readers.len();
    let told = until(&server, "/room/a", |told| told["count"] == left);
    assert_eq!(told["members"].as_object().expect("members").len(), left);
    watcher.until(|watcher| (watcher.count, watcher.members.len()) == (left as u64, left));
    assert_eq!(watcher.members.len(), left, "by messages alone");
    drop(readers);
    until(&server, "/room/a", |told| *told == json!({"count": 0, "members": {}, "nodes": {}}));
    watcher.until(|watcher| watcher.count == 0 && watcher.members.is_empty());
    let appended = support::offset(&server.get("/room/a/@presence").cursor());
    println!("{} messages told of {} comings and goings", appended, watcher.told.len());
}

#[test]
fn nobody_is_left_over_from_before_a_restart_and_who_comes_back_in_time_never_left() {
    let mut server = server("");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    let readers = ["ann", "bob"].map(|name| reader(&server, Transport::Sse, "/room/a", name));
    let _ghost = reader(&server, Transport::Sse, "/room/b", "ghost");
    watcher.until(|watcher| watcher.count == 2);
    until(&server, "/room/b", |told| told["count"] == 1);
    let cursor = server.get("/room/a/@presence").cursor();
    server.kill();
    drop(readers);
    server.restart();
    let restarted = Instant::now();
    let _back = reader(&server, Transport::WebSocket, "/room/a", "ann");
    let mut live = server.live(Transport::Ndjson, &format!("/room/a/@presence?since={cursor}"));
    let told = loop {
        let message = live.message();
        if message.event.as_deref() != Some("count") {
            break message;
        }
    };
    assert_eq!((told.event.as_deref(), &told.data["id"]), (Some("leave"), &json!("bob")));
    assert!(restarted.elapsed() + Duration::from_millis(500) > GRACE, "he was given time to come back");
    assert_eq!(names(&who(&server, "/room/a")), ["ann"]);
    // Where nobody looked meanwhile, the first who does sees no ghost.
    assert_eq!(who(&server, "/room/b"), json!({"count": 0, "members": {}, "nodes": {}}));
}

/// However long a stop takes: nobody can come back to a server that stops.
#[test]
fn a_stop_in_order_tells_nobody_that_those_left_who_come_back() {
    let mut server = server("[server]\nshutdown_timeout = \"5s\"");
    let mut watcher = Watcher::of(&server, Transport::Ndjson, "/room/a");
    let readers = ["ann", "bob"].map(|name| reader(&server, Transport::Sse, "/room/a", name));
    watcher.until(|watcher| watcher.count == 2);
    let cursor = server.get("/room/a/@presence").cursor();
    // Somebody who does not finish keeps it from ending, for longer than the grace.
    let mut slow = server.connect();
    slow.send(b"POST /room/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n");
    let asked = Instant::now();
    server.terminate();
    drop(readers);
    server.wait();
    assert!(asked.elapsed() > GRACE + Duration::from_secs(1), "{:?}", asked.elapsed());
    server.restart();
    let _back = reader(&server, Transport::Sse, "/room/a", "ann");
    let page = |since: &str| server.get(&format!("/room/a/@presence?since={since}")).json();
    until(&server, "/room/a", |told| names(told) == ["ann"]);
    let told = page(&cursor);
    let events =
        told["messages"].as_array().expect("messages").iter().filter(|message| message["event"] != "count");
    let events: Vec<_> = events.map(|message| (&message["event"], &message["data"]["id"])).collect();
    assert_eq!(events, [(&json!("leave"), &json!("bob"))], "{told}");
}

#[test]
fn a_configuration_that_is_read_again_may_say_otherwise() {
    let config = |presence: &str| {
        format!("[auth]\nsecret = \"{SECRET}\"\n[allow]\nall = true\n[channel.\"room/*\"]\n{presence}\n")
    };
    let server = Server::guarded(&config("presence = \"principal\"\npresence_grace = \"0s\""));
    let _ann = reader(&server, Transport::Sse, "/room/a", "ann");
    until(&server, "/room/a", |told| told["count"] == 1);
    let mut watching = server.live(Transport::Sse, "/room/a/@presence");
    watching.until_live();
    server.reconfigure(&config(""));
    let end = watching.next().expect("it says why it ends");
    assert_eq!((end.event.as_deref(), &end.data["reason"]), (Some("@end"), &json!("no_such_channel")));
    assert_eq!(server.get("/room/a/@presence").problem().0, 404);
    server.reconfigure(&config("presence = \"principal\"\npresence_grace = \"0s\""));
    let bob = reader(&server, Transport::Sse, "/room/a", "bob");
    assert_eq!(names(&until(&server, "/room/a", |told| told["count"] == 2)), ["ann", "bob"]);
    drop(bob);
    until(&server, "/room/a", |told| told["count"] == 1);
}
