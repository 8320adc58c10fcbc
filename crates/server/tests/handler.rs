//! An app that decides a channel's commands itself: `handler` in the configuration.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use plainwire::protocol::Problem;
use plainwire::{Config, From, Plainwire, WriteOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct App {
    asked: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

impl App {
    /// Waits until it was asked so often.
    async fn is_asked(&self, times: usize) {
        while self.asked.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    }
}

/// Books seats, and misbehaves on demand.
async fn decide(State(app): State<App>, headers: HeaderMap, Json(question): Json<Value>) -> Response {
    app.asked.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(question["channel"], "seats/7");
    assert!(question["cursor"].as_str().is_some_and(|cursor| cursor.contains('.')));
    let left = question["state"]["left"].as_i64().unwrap();
    if question["args"]["slowly"] == true {
        app.release.notified().await;
    }
    match question["command"].as_str().unwrap() {
        "book" => match left - question["args"]["seats"].as_i64().unwrap_or(1) {
            left if left >= 0 => {
                Json(json!({ "state": { "left": left }, "event": "booked" })).into_response()
            }
            _ => {
                (StatusCode::CONFLICT, [("content-type", "text/x-sorry")], "sold out, sorry").into_response()
            }
        },
        "overbook" => Json(json!({ "state": { "left": -1 } })).into_response(),
        "crash" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "babble" => "not JSON".into_response(),
        command => (StatusCode::NOT_FOUND, Json(json!({ "unknown": command }))).into_response(),
    }
}

async fn start() -> (Plainwire, App) {
    let app = App::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/decide", post(decide)).with_state(app.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = format!(
        r#"
        [server]
        engine = "memory"
        [allow]
        all = true
        [channel."seats/*"]
        state = {{ left = 40 }}
        handler = "http://{address}/decide"
        handler_timeout = "2s"
        [channel."seats/*".command.give_back]
        args = {{ seats = {{ type = "integer" }} }}
        set = "{{'left': state.left + args.seats}}"
        [[channel."seats/*".rule]]
        rule = "next.left >= 0"
        message = "there are no more"
        "#
    );
    (Plainwire::start(Config::parse(&config, "test.toml").unwrap()).await.unwrap(), app)
}

async fn refused(live: &Plainwire, command: &str) -> Problem {
    let before = live.state("seats/7").await.unwrap();
    let problem = live.command("seats/7", command, &json!({})).await.unwrap_err();
    assert_eq!(live.state("seats/7").await.unwrap(), before, "nothing happened");
    problem
}

#[tokio::test]
async fn the_app_decides_and_the_rules_hold_for_it_too() {
    let (live, _) = start().await;
    let applied = live.command("seats/7", "book", &json!({ "seats": 2 })).await.unwrap();
    assert_eq!(applied.state.unwrap().as_str(), r#"{"left":38}"#);
    let given = live.command("seats/7", "give_back", &json!({ "seats": 1 })).await.unwrap();
    assert_eq!(
        given.state.unwrap().as_str(),
        r#"{"left":39}"#,
        "a command of the configuration is decided here"
    );
    assert_eq!(refused(&live, "overbook").await.detail, "there are no more");
    let mut watch = live.watch("seats/7", From::Oldest).await.unwrap();
    let first = watch.next_message().await.unwrap().unwrap();
    assert_eq!(first.event.as_ref().map(|event| event.as_str()), Some("booked"));
    assert_eq!(first.data.as_str(), r#"{"left":38}"#);
}

#[tokio::test]
async fn what_the_app_refuses_is_passed_on_word_for_word() {
    let (live, _) = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = live.clone();
    tokio::spawn(async move { server.serve(listener).await });
    let ask = |path: &'static str, body: &'static str| async move {
        let url = format!("http://{address}{path}");
        let curl = move || {
            std::process::Command::new("curl").args(["-si", "--max-time", "20", "-d", body, &url]).output()
        };
        let output = tokio::task::spawn_blocking(curl).await.unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let sold_out = ask("/seats/7:book", r#"{"seats":41}"#).await;
    assert!(sold_out.starts_with("HTTP/1.1 409 "), "{sold_out}");
    assert!(sold_out.contains("content-type: text/x-sorry\r\n"), "{sold_out}");
    assert!(sold_out.ends_with("\r\n\r\nsold out, sorry"), "{sold_out}");
    let unknown = ask("/seats/7:dance", "{}").await;
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.ends_with(r#"{"unknown":"dance"}"#), "{unknown}");
    let not_json = ask("/seats/7:book", "{").await;
    assert!(not_json.contains("body_json"), "{not_json}");
}

#[tokio::test]
async fn an_app_that_fails_changes_nothing() {
    let (live, app) = start().await;
    assert_eq!(refused(&live, "crash").await.status, 502);
    assert_eq!(refused(&live, "babble").await.status, 502);
    let late = live.command("seats/7", "book", &json!({ "slowly": true })).await.unwrap_err();
    assert_eq!(late.status, 504);
    app.release.notify_waiters();
    let booked = live.command("seats/7", "book", &json!({})).await.unwrap();
    assert_eq!(booked.state.unwrap().as_str(), r#"{"left":39}"#);
}

#[tokio::test]
async fn a_refusal_of_what_is_over_is_asked_again() {
    let (live, app) = start().await;
    live.command("seats/7", "book", &json!({ "seats": 40 })).await.unwrap();
    let asking = live.clone();
    let booking =
        tokio::spawn(async move { asking.command("seats/7", "book", &json!({ "slowly": true })).await });
    // Asked while there are none left: it will refuse. Before it says so, there are again.
    app.is_asked(2).await;
    live.command("seats/7", "give_back", &json!({ "seats": 3 })).await.unwrap();
    app.release.notify_one();
    app.is_asked(3).await;
    app.release.notify_one();
    let booked = booking.await.unwrap().unwrap();
    assert_eq!(booked.state.unwrap().as_str(), r#"{"left":2}"#);
}

#[tokio::test]
async fn concurrent_commands_are_decided_one_after_the_other() {
    let (live, app) = start().await;
    let book = |_| {
        let live = live.clone();
        tokio::spawn(async move { live.command("seats/7", "book", &json!({ "seats": 1 })).await.is_ok() })
    };
    let running: Vec<_> = (0..64).map(book).collect();
    let mut booked = 0;
    for one in running {
        booked += usize::from(one.await.unwrap());
    }
    assert_eq!(booked, 40);
    assert_eq!(live.state("seats/7").await.unwrap().unwrap().1.as_str(), r#"{"left":0}"#);
    assert_eq!(app.asked.load(Ordering::SeqCst), 64, "the app was asked once for each");
}

#[tokio::test]
async fn a_key_that_is_repeated_does_not_ask_the_app_again() {
    let (live, app) = start().await;
    let options = WriteOptions { idempotency_key: Some("k1".into()), ..WriteOptions::default() };
    let first = live.post("seats/7:book", &json!({}), options.clone()).await.unwrap();
    let again = live.post("seats/7:book", &json!({}), options).await.unwrap();
    assert_eq!((first.position, first.state, again.replayed), (again.position, again.state, true));
    assert_eq!(app.asked.load(Ordering::SeqCst), 1);
}
