//! Finite streams: they end once, for everybody, and readers know it.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use plainwire::protocol::websocket::Incoming;
use serde_json::{Value, json};

use super::support::server::run;
use super::support::token::{SECRET, token};
use super::support::{Event, Late, Live, Response, Server, Transport};

const JOBS: &str = "[channel.\"jobs/*\"]\nfinite = true\n[channel.plain]\n";

fn told(event: &Event) -> (Option<&str>, &Value) {
    (event.event.as_deref(), &event.data)
}

/// Messages and what the server wrote among them, up to the end.
fn until_end(live: &mut Live) -> Vec<Event> {
    let late = Late::for_("the end of a stream");
    let mut events = Vec::new();
    loop {
        late.check().expect("in time");
        let event = live.next().expect("an event");
        if event.is("@live") || event.is("@ping") {
            continue;
        }
        let is_end = event.is("@end");
        events.push(event);
        if is_end {
            return events;
        }
    }
}

fn post_with(server: &Server, target: &str, body: &str, headers: &[(&str, &str)]) -> Response {
    server.connect().ask("POST", target, headers, Some(body.as_bytes()))
}

#[test]
fn whoever_comes_when_sees_all_of_it_and_its_end() {
    let server = Server::with_config(JOBS);
    let mut early: Vec<_> =
        Transport::ALL.map(|transport| (transport, server.live(transport, "/jobs/1?since=0"))).into();
    for token in ["a", "b", "c"] {
        server.accepted("/jobs/1", &json!(token).to_string());
    }
    for (_, live) in &mut early {
        assert_eq!(live.message().data, "a");
    }
    let ended = server.post("/jobs/1:complete", "{\"tokens\": 3}");
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(ended.json(), json!({"end": {"reason": "complete", "result": {"tokens": 3}}}));
    let end = json!({"reason": "complete", "result": {"tokens": 3}});
    for (transport, mut live) in early {
        let events = until_end(&mut live);
        let events: Vec<_> = events.iter().map(told).collect();
        assert_eq!(events, [(None, &json!("b")), (None, &json!("c")), (Some("@end"), &end)], "{transport:?}");
        is_over(transport, &mut live);
    }
    let cursor = ended.cursor();
    for transport in Transport::ALL {
        for (query, count) in [("since=0", 4), ("last=2", 2), ("", 1)] {
            let mut live = server.live(transport, &format!("/jobs/1?{query}"));
            let events = until_end(&mut live);
            assert_eq!(events.len(), count, "{transport:?} {query}: {events:?}");
            let last = events.last().unwrap();
            assert_eq!(told(last), (Some("@end"), &end), "{transport:?} {query}");
            assert_eq!(last.cursor.as_ref(), Some(&cursor), "{transport:?} {query}");
            is_over(transport, &mut live);
        }
    }
}

/// The stream ends: a WebSocket of one channel with 1000.
fn is_over(transport: Transport, live: &mut Live) {
    match transport {
        Transport::Sse | Transport::Ndjson => {
            let error = live.next().expect_err("nothing follows");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{transport:?}: {error}");
        }
        Transport::WebSocket | Transport::Deflated => {
            let error = live.next().expect_err("nothing follows").to_string();
            assert!(error.contains("Close") && error.contains("1000"), "{error}");
        }
        Transport::LongPoll => {}
    }
}

#[test]
fn who_has_seen_the_end_is_told_that_nothing_follows() {
    let server = Server::with_config(JOBS);
    server.accepted("/jobs/1", "1");
    let cursor = server.accepted("/jobs/1:fail", "{\"title\":\"out of memory\"}");
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let headers = [("accept", accept), ("last-event-id", &*cursor)];
        let answer = server.connect().ask("GET", "/jobs/1", &headers, None);
        assert_eq!((answer.status, answer.header("plainwire-ended")), (204, Some("failed")), "{answer:?}");
        assert_eq!(answer.cursor(), cursor);
    }
    let answer = server.get(&format!("/jobs/1?since={cursor}&wait=60"));
    assert_eq!((answer.status, answer.header("plainwire-ended")), (204, Some("failed")), "{answer:?}");
    let page = server.get("/jobs/1?since=0");
    assert_eq!(page.header("plainwire-ended"), Some("failed"));
    assert_eq!(page.json()["messages"][1]["event"], "@end");
    assert_eq!(page.json()["messages"][1]["data"]["problem"], json!({"title": "out of memory"}));
    let first = server.get("/jobs/1?since=0&limit=1");
    assert_eq!(first.header("plainwire-ended"), None);
    let empty = server.get(&format!("/jobs/1?since={cursor}"));
    assert_eq!((empty.status, empty.header("plainwire-ended")), (200, Some("failed")), "{empty:?}");

    // One that goes on beside it is watched on.
    let plain = server.accepted("/plain", "1");
    let target = format!("/_/live?channel=jobs/1&channel=plain&since={cursor}~{plain}");
    for transport in Transport::STREAMS {
        let mut live = server.live(transport, &target);
        let end = live.next().expect("an event");
        assert_eq!((end.channel.as_deref(), end.event.as_deref()), (Some("jobs/1"), Some("@end")));
        assert_eq!(end.data["reason"], "failed");
        let next = server.accepted("/plain", "2");
        let late = Late::for_("the message");
        loop {
            late.check().unwrap();
            let event = live.next().expect("an event");
            if event.position == next {
                break;
            }
            assert!(!event.is("@end"), "{transport:?}: it ends once: {event:?}");
        }
    }
}

#[test]
fn after_the_end_nothing_is_taken() {
    let mut server = Server::with_config(JOBS);
    server.accepted("/jobs/1", "1");
    let key = [("idempotency-key", "end")];
    let ended = post_with(&server, "/jobs/1:complete", "", &key);
    for _ in 0..2 {
        for target in ["/jobs/1", "/jobs/1:complete", "/jobs/1:fail", "/jobs/1:cancel"] {
            let refused = server.post(target, "{}");
            assert_eq!(refused.problem(), (409, "completed".to_owned()), "{target}");
            assert_eq!(refused.json()["ended"], "complete");
        }
        // Whoever did not hear that it was ended asks again.
        let again = post_with(&server, "/jobs/1:complete", "", &key);
        assert_eq!((again.status, again.cursor(), again.json()), (200, ended.cursor(), ended.json()));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(server.get("/jobs/1").json()["messages"].as_array().unwrap().len(), 2);
        server.kill();
        server.restart();
    }
    server.accepted("/jobs/2", "1");
    assert_eq!(server.post("/plain:complete", "").problem(), (404, "no_such_command".to_owned()));
    assert_eq!(server.post("/jobs/2:stop", "").problem(), (404, "no_such_command".to_owned()));
}

#[test]
fn a_consumer_asks_the_producer_to_stop() {
    let server = Server::guarded(&format!(
        "[auth]\nsecret = \"{SECRET}\"\n[channel.\"jobs/*\"]\nfinite = true\n\
         allow = {{ watch = true, post = \"token.sub == 'producer'\", command = \"token.sub == 'producer' || command == 'cancel'\" }}\n"
    ));
    let producer = token("producer", 60, &json!({}));
    let bearer = format!("Bearer {producer}");
    let as_producer = [("authorization", &*bearer)];
    let mut watching = server.live(Transport::WebSocket, "/jobs/1?since=0");
    assert_eq!(post_with(&server, "/jobs/1", "1", &as_producer).status, 201);
    assert_eq!(server.post("/jobs/1:complete", "").status, 401);
    let asked = server.post("/jobs/1:cancel", "{\"why\":\"enough\"}");
    assert_eq!((asked.status, asked.json()), (200, json!({"cancelled": true})));
    assert_eq!(server.post("/jobs/1:cancel", "").problem(), (409, "cancelled".to_owned()));
    // It stays open until the producer ends it.
    assert_eq!(post_with(&server, "/jobs/1", "2", &as_producer).status, 201);
    assert_eq!(post_with(&server, "/jobs/1:fail", "", &as_producer).status, 200);
    let events = until_end(&mut watching);
    let events: Vec<_> = events.iter().map(told).collect();
    assert_eq!(
        events,
        [
            (None, &json!(1)),
            (Some("@cancel"), &json!({"why": "enough"})),
            (None, &json!(2)),
            (Some("@end"), &json!({"reason": "failed", "problem": {}})),
        ]
    );
}

#[test]
fn a_producer_counts_its_tokens_and_each_is_applied_once() {
    let mut server = Server::with_config(JOBS);
    let send = |server: &Server, number: u64, target: &str| {
        let header = number.to_string();
        post_with(server, target, &number.to_string(), &[("plainwire-sequence", &header)])
    };
    for number in 1..=3 {
        assert_eq!(send(&server, number, "/jobs/1").status, 201);
    }
    for number in 1..=3 {
        let again = send(&server, number, "/jobs/1");
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")), "{again:?}");
    }
    let gap = send(&server, 5, "/jobs/1");
    assert_eq!(gap.problem(), (409, "sequence".to_owned()));
    assert_eq!(gap.json()["expected"], 4);
    server.kill();
    server.restart();
    assert_eq!(send(&server, 3, "/jobs/1").status, 200);
    // Over a WebSocket they may be on their way together.
    let mut websocket = server.websocket("/_/live");
    for number in 3..=6 {
        websocket.send_text(
            &json!({"id": number, "post": "/jobs/1", "body": number, "sequence": number}).to_string(),
        );
    }
    let mut replies: Vec<_> = (3..=6).map(|_| websocket.reply()).collect();
    replies.sort_by_key(|reply| reply["id"].as_u64());
    let statuses: Vec<_> = replies.iter().map(|reply| reply["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 201, 201, 201], "{replies:?}");
    assert_eq!(send(&server, 8, "/jobs/1:complete").problem().0, 409);
    assert_eq!(send(&server, 7, "/jobs/1:complete").status, 200);
    assert_eq!(send(&server, 7, "/jobs/1:complete").header("idempotency-replayed"), Some("true"));
    assert_eq!(send(&server, 2, "/jobs/1").header("idempotency-replayed"), Some("true"));
    assert_eq!(send(&server, 8, "/jobs/1").problem(), (409, "completed".to_owned()));
    let page = server.get("/jobs/1?since=0").json();
    let data: Vec<_> =
        page["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect();
    assert_eq!(data[..6], [1, 2, 3, 4, 5, 6].map(Value::from));
    for (target, number) in [("/jobs/2", "0"), ("/jobs/2", "x"), ("/plain", "1")] {
        let refused = post_with(&server, target, "1", &[("plainwire-sequence", number)]);
        assert_eq!(refused.problem(), (400, "sequence".to_owned()), "{target} {number}");
    }
}

#[test]
fn a_websocket_goes_on_without_what_has_ended() {
    let server = Server::with_config(JOBS);
    let mut websocket = server.websocket("/_/live");
    let watched = websocket.request(&json!({"id": 1, "watch": "/jobs/1"}));
    assert_eq!(watched["status"], 200);
    server.accepted("/jobs/1:complete", "");
    let end = loop {
        let push = websocket.push().expect("a push");
        if push["event"] == "@end" {
            break push;
        }
    };
    assert_eq!(end["data"], json!({"reason": "complete"}));
    // The connection stays, and may ask for it again.
    let again = websocket.request(&json!({"id": 2, "watch": "/jobs/1", "since": end["cursor"]}));
    assert_eq!(again["status"], 200, "{again}");
    let repeated = websocket.push().expect("a push");
    assert_eq!((&repeated["event"], &repeated["cursor"]), (&json!("@end"), &end["cursor"]));
    assert_eq!(websocket.request(&json!({"id": 3, "unwatch": "/jobs/1"}))["status"], 200);
    websocket.send_text(&json!({"id": 4, "get": "/jobs/1"}).to_string());
    let Incoming::Text(reply) = websocket.next().expect("a reply") else { panic!("a reply") };
    assert!(reply.as_str().contains("@end"), "{}", reply.as_str());
}

#[test]
fn what_was_trimmed_does_not_bring_a_stream_back() {
    let config = "[channel.\"jobs/*\"]\nfinite = true\nretain = { count = 2 }\n";
    let server = Server::with_config(config);
    for number in 0..5 {
        server.accepted("/jobs/1", &number.to_string());
    }
    server.accepted("/jobs/1:complete", "");
    for transport in Transport::ALL {
        let mut live = server.live(transport, "/jobs/1?since=0");
        let events = until_end(&mut live);
        let events: Vec<_> = events.iter().map(told).collect();
        assert_eq!(
            events,
            [(None, &json!(4)), (Some("@end"), &json!({"reason": "complete"}))],
            "{transport:?}"
        );
    }
    assert_eq!(server.post("/jobs/1", "6").problem().1, "completed");
}

#[test]
fn the_command_line_ends_with_the_stream() {
    let server = Server::with_config(JOBS);
    let url = |path: &str| format!("http://{}{path}", server.address);
    let complete = url("/jobs/1");
    for (line, number) in [("compiling", "1"), ("linking", "2"), ("linking", "2")] {
        let posted = run(&["post", &complete, &format!("\"{line}\""), "--sequence", number]);
        assert!(posted.status.success(), "{posted:?}");
    }
    assert!(run(&["post", &url("/jobs/1:complete"), "{\"status\":0}"]).status.success());
    server.accepted("/jobs/2", "1");
    server.accepted("/jobs/2:fail", "{\"detail\":\"no space left\"}");
    let ways = ["sse", "ndjson", "websocket", "longpoll", "poll"];
    for (over, http2) in ways.into_iter().flat_map(|over| [(over, None), (over, Some("--http2"))]) {
        let watch = |args: &[&str]| {
            let args: Vec<_> = [&["watch", "--over", over], args].concat().into_iter().chain(http2).collect();
            run(&args)
        };
        for (path, works, count) in [("/jobs/1", true, 3), ("/jobs/2", false, 2)] {
            let output = watch(&[&url(path), "--from-start", "--json"]);
            let lines = String::from_utf8(output.stdout.clone()).expect("UTF-8");
            assert_eq!(
                (output.status.success(), lines.lines().count()),
                (works, count),
                "{over}: {output:?}"
            );
            assert!(lines.lines().last().unwrap().contains("\"@end\""), "{over}: {lines}");
            let said = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(said.contains("no space left"), !works, "{over}: {said}");
        }
        // From the end, and of several channels.
        let end = server.get("/jobs/1").cursor();
        let output = watch(&[&complete, "--since", &end]);
        assert!(output.status.success(), "{over}: {output:?}");
        let both = url("/_/live?channel=jobs/1&channel=jobs/2");
        let output = watch(&[&both, "--from-start"]);
        assert_eq!(output.status.code(), Some(1), "{over}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5, "{over}: {output:?}");
    }
}

#[test]
fn what_a_program_prints_is_piped_to_a_stream_through_a_crash() {
    let mut server = Server::with_config(JOBS);
    let url = format!("http://{}/jobs/1", server.address);
    let mut child = Command::new(env!("CARGO_BIN_EXE_plainwire"))
        .args(["pipe", "--tee", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let mut output = child.stdout.take().expect("piped");
    // Else it would wait for somebody to read it.
    let passed_on = std::thread::spawn(move || io::read_to_string(&mut output).expect("UTF-8"));
    let mut printed = String::new();
    for number in 0..300 {
        if number == 100 {
            server.kill();
        }
        if number == 200 {
            server.restart();
        }
        let line =
            if number == 150 { format!("a{}", "ü".repeat(100_000)) } else { format!("line {number}") };
        input.write_all(format!("{line}\n").as_bytes()).expect("it reads");
        printed += &format!("{line}\n");
        if number % 50 == 49 {
            // What was printed so far is one message or several.
            std::thread::park_timeout(std::time::Duration::from_millis(150));
        }
    }
    input.write_all(b"no line feed at the end").expect("it reads");
    printed += "no line feed at the end";
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(passed_on.join().expect("it ends"), printed);
    let page = server.get("/jobs/1?since=0&limit=1000");
    assert_eq!(page.header("plainwire-ended"), Some("complete"));
    let messages = page.json()["messages"].as_array().expect("a page").clone();
    let text: String = messages.iter().filter_map(|message| message["data"].as_str()).collect();
    assert_eq!(text, printed);
    // It has been written to: another producer does not go on with it.
    let mut again = Command::new(env!("CARGO_BIN_EXE_plainwire"))
        .args(["pipe", &url])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    again.stdin.take().expect("piped").write_all(b"more\n").expect("it reads");
    let output = again.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("somebody else"), "{output:?}");
}
