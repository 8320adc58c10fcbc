//! The examples run, and end by themselves.

mod support;

use std::path::PathBuf;
use std::process::{Command, Output};

use support::server::attach;
use support::{Connection, Live, Transport};

/// The example's program. `cargo test` builds it, but for `--test examples` alone.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test runs");
    let target = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let program = target.join("examples").join(name);
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "plainwire", "--example", name]);
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs").success());
    }
    program
}

fn run(name: &str) -> String {
    let Output { status, stdout, stderr } = Command::new(program(name)).output().expect("it runs");
    assert!(status.success(), "{name}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

#[test]
fn publish_and_watch() {
    let said = run("publish_and_watch");
    let alarms: Vec<&str> = said.lines().filter(|line| line.ends_with("in the attic")).collect();
    let expected = [41, 45, 44].map(|celsius| format!("{celsius} degrees in the attic"));
    assert_eq!(alarms, expected, "{said}");
    assert!(said.contains("readings until the end"), "{said}");
}

#[test]
fn reducer() {
    let said = run("reducer");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("4: {") && lines[1].starts_with("0: {"), "{said}");
    assert_eq!(&lines[2..4], ["4: 409 taken", "9: 400 off_board"]);
    assert!(lines[4].ends_with("\"moves\":3}"), "{said}");
}

#[test]
fn embed_axum() {
    let mut command = Command::new(program("embed_axum"));
    command.arg("127.0.0.1:0");
    let (mut child, address, stderr) = attach(command);
    let mut stream = Live::open(address, Transport::Sse, "/live/orders").expect("it is below the prefix");
    stream.until_live();
    let order = Connection::open(address).ask("POST", "/order", &[("connection", "close")], None);
    assert_eq!(order.status, 200, "{order:?}");
    // The shutdown follows at once: the order may come first, and the goodbye is last.
    while !stream.next().expect("a goodbye").is("@drain") {}
    let status = child.wait();
    assert!(status.success(), "{:?}", stderr.iter().collect::<Vec<_>>());
}
