//! States by their changes: patches that give the same as the whole states do, over every stream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{Connection, Event, Late, Live, Server, Transport, offset, seed};

const CONFIG: &str = "[server]\nengine = \"memory\"\n[limits]\ncommand_rate = 0\n\
    [channel.board]\nstate = {}\nreplace = true\npatch = true\n\
    [channel.fast]\nstate = {}\nreplace = true\nconflate = true\n\
    [channel.score]\nstate = { points = 0 }\nmessages = true\n\
    [channel.score.command.add]\nset = \"{'points': state.points + 1}\"\ndata = \"1\"\n[channel.chat]\n";

/// RFC 7396 §2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().expect("it is one");
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            value => merge(target.entry(name).or_insert(Value::Null), value),
        }
    }
}

/// A reader that makes the state of what it is told.
#[derive(Default)]
struct Follower {
    /// What is left out before the next that comes.
    skipped: u64,
    at: u64,
    state: Value,
    patches: usize,
    snapshots: usize,
    messages: usize,
}

impl Follower {
    fn take(&mut self, event: &Event) {
        match event.event.as_deref() {
            Some("@state") => {
                self.state = event.data.clone();
                self.snapshots += 1;
            }
            Some("@patch") => {
                let next = self.at + self.skipped + 1;
                assert_eq!(offset(&event.position), next, "a patch follows what it changes");
                merge(&mut self.state, &event.data);
                self.patches += 1;
            }
            Some(control @ ("@skipped" | "@reset" | "@ping")) => {
                assert_eq!(event.position, "", "the state is the one that it was");
                if control == "@skipped" {
                    self.skipped = event.data["count"].as_u64().expect("a number");
                }
                return;
            }
            Some("@live") => {}
            None => self.messages += 1,
            other => panic!("{other:?}"),
        }
        (self.at, self.skipped) = (offset(&event.position), 0);
    }

    fn until(&mut self, live: &mut Live, at: u64) {
        let late = Late::for_("the newest state");
        while self.at < at {
            late.check().expect("in time");
            self.take(&live.next().expect("an event"));
        }
    }
}

fn put(server: &mut Connection, path: &str, state: &Value) -> u64 {
    let response = server.ask("PUT", path, &[], Some(state.to_string().as_bytes()));
    assert_eq!(response.status, 200, "{response:?}");
    offset(&response.cursor())
}

/// A state in which one thing or another is changed.
fn changed(random: &mut fastrand::Rng, state: &Value) -> Value {
    let mut state = state.clone();
    let value = match random.u32(0..12) {
        0 => json!(null),
        1 => json!({"x": null}),
        2..5 => json!({"x": random.u32(0..9), "y": [null, 1]}),
        _ => json!(random.u32(..)),
    };
    let name = ["a", "b", "c", "__proto__"][random.usize(0..4)];
    match random.u32(0..10) {
        0 => return json!([random.u32(..)]),
        1 => return json!({"a": {"b": {"c": random.u32(..)}}}),
        2 if state.is_object() => drop(state.as_object_mut().unwrap().remove(name)),
        3 if state[name].is_object() => state[name]["x"] = value,
        _ if state.is_object() => state[name] = value,
        _ => return json!({ name: value }),
    }
    state
}

#[test]
fn patches_give_what_the_whole_states_give() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::with_config(CONFIG);
    let mut connection = server.connect();
    let mut state = json!({"title": "x".repeat(200)});
    let mut states = BTreeMap::from([(put(&mut connection, "/board", &state), state.clone())]);
    let mut readers = Vec::new();
    for transport in Transport::STREAMS {
        for target in ["/board?delta=merge-patch", "/_/live?channel=chat&channel=board&delta=merge-patch"] {
            let mut live = server.live(transport, target);
            let mut follower = Follower::default();
            follower.until(&mut live, 1);
            readers.push((live, follower));
        }
    }
    let mut last = 1;
    for _ in 0..200 {
        state = changed(&mut random, &state);
        last = put(&mut connection, "/board", &state);
        states.insert(last, state.clone());
        let (live, follower) = random.choice(readers.iter_mut()).unwrap();
        // Some keep up, some lag.
        follower.until(live, if random.bool() { last } else { 0 });
        assert_eq!(follower.state, states[&follower.at], "seed {seed}");
    }
    for (live, follower) in &mut readers {
        while follower.at < last {
            let next = live.next().expect("an event");
            follower.take(&next);
            assert_eq!(follower.state, states[&follower.at], "seed {seed}");
        }
        println!("{} patches, {} states", follower.patches, follower.snapshots);
        assert!(follower.patches > 50 && follower.snapshots > 1 && follower.messages == 0);
        // A cursor says that the state as of it is there.
        let mut again = Follower { at: last - 3, state: states[&(last - 3)].clone(), ..Follower::default() };
        let cursor = server.get("/board").cursor();
        let since = cursor.replace(&format!(".{last}"), &format!(".{}", last - 3));
        let mut live = server.live(Transport::Ndjson, &format!("/board?delta=merge-patch&since={since}"));
        again.until(&mut live, last);
        assert_eq!(again.state, state, "seed {seed}");
    }
}

#[test]
fn a_reader_far_behind_and_what_no_patch_tells_get_the_whole_state() {
    let server = Server::with_config(CONFIG);
    let mut connection = server.connect();
    let first = {
        put(&mut connection, "/board", &json!({"n": 0}));
        server.get("/board").cursor()
    };
    for n in 1..=20 {
        put(&mut connection, "/board", &json!({ "n": n }));
    }
    // Nobody listened: no patch is known.
    let mut live = server.live(Transport::Sse, &format!("/board?delta=merge-patch&since={first}"));
    let [skipped, event] = [live.next().expect("an event"), live.next().expect("an event")];
    assert!(skipped.is("@skipped") && skipped.data["count"] == 19, "{skipped:?}");
    assert!(event.is("@state") && event.data["n"] == 20 && offset(&event.position) == 21, "{event:?}");
    // A message that says a part of the state, and one that changes nothing.
    let mut live = server.live(Transport::Ndjson, "/score?delta=merge-patch");
    live.until_live();
    server.accepted("/score:add", "{}");
    server.accepted("/score", "\"hello\"");
    let [state, message] = [live.next().unwrap(), live.next().unwrap()];
    assert!(state.is("@state") && state.data == json!({"points": 1}), "{state:?}");
    assert_eq!((message.event, message.data), (None, json!("hello")));
    // Though both are there before the reader looks: what comes after a state is not in it.
    server.accepted("/score:add", "{}");
    server.accepted("/score", "\"again\"");
    let mut live =
        server.live(Transport::Ndjson, &format!("/score?delta=merge-patch&since={}", message.position));
    let [state, message] = [live.next().unwrap(), live.next().unwrap()];
    assert!(state.is("@state") && state.data == json!({"points": 2}), "{state:?}");
    assert_eq!((message.event, message.data), (None, json!("again")));
}

#[test]
fn a_lagging_reader_of_a_state_that_conflates_gets_one_patch() {
    const COUNT: u64 = 300;
    let server = Server::with_config(CONFIG);
    let mut connection = server.connect();
    put(&mut connection, "/fast", &json!({"n": 0, "pad": ""}));
    let mut live =
        Live::over(Connection::narrow(server.address, 4096), Transport::WebSocket, "/fast?delta=merge-patch")
            .expect("the stream begins");
    live.until_live();
    let mut state = Value::Null;
    for n in 1..=COUNT {
        let pad: String = (0..100_000).map(|_| fastrand::alphanumeric()).collect();
        state = json!({"n": n, "pad": pad});
        put(&mut connection, "/fast", &state);
    }
    let mut follower = Follower { at: 1, state: json!({"n": 0, "pad": ""}), ..Follower::default() };
    follower.until(&mut live, COUNT + 1);
    assert_eq!(follower.state, state);
    assert!(follower.patches + follower.snapshots < COUNT as usize / 2, "{} patches", follower.patches);
}

#[test]
fn a_websocket_asks_for_it_watch_by_watch_and_pages_refuse() {
    let server = Server::with_config(CONFIG);
    let mut connection = server.connect();
    put(&mut connection, "/board", &json!({"a": 1, "b": 2}));
    let mut websocket = server.websocket("/chat");
    let watch = json!({"id": 1, "watch": "/board", "delta": "merge-patch"});
    assert_eq!(websocket.request(&watch)["status"], 200);
    // A channel without a state has messages as ever.
    let watch = json!({"id": 2, "watch": "/chat", "delta": "merge-patch"});
    assert_eq!(websocket.request(&watch)["status"], 200);
    put(&mut connection, "/board", &json!({"a": 1, "b": 3}));
    let patch = loop {
        let push = websocket.push().expect("a push");
        if push["event"] == "@patch" {
            break push;
        }
    };
    assert_eq!((&patch["channel"], &patch["data"]), (&json!("board"), &json!({"b": 3})));
    assert!(patch["at"].is_number());
    server.accepted("/chat", "\"hi\"");
    assert_eq!(websocket.push().expect("a push")["data"], "hi");
    for refused in [
        json!({"id": 3, "watch": "/board", "delta": "json-patch"}),
        json!({"id": 4, "get": "/board", "delta": "merge-patch"}),
    ] {
        let reply = websocket.request(&refused);
        assert_eq!((&reply["status"], &reply["body"]["reason"]), (&json!(400), &json!("request")), "{reply}");
    }
    for target in ["/board?delta=merge-patch", "/board?delta=merge-patch&wait=5", "/board?live=sse&delta=x"] {
        assert_eq!(server.get(target).problem(), (400, "query".to_owned()), "{target}");
    }
}
