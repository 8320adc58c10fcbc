//! What the server refuses to start with.

mod support;

use std::path::Path;

use support::Server;
use support::server::run;

#[track_caller]
fn refuses(args: &[&str], parts: &[&str]) {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "it never said that it listens: {output:?}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_data_directory_that_another_process_uses() {
    let server = Server::dev();
    let cursor = server.accepted("/chat/a", "1");
    let data = server.data();
    let pid = server.pid().to_string();
    refuses(
        &["dev", "--listen", "127.0.0.1:0", "--data", text(&data)],
        &["in use", &pid, "choose another directory"],
    );
    assert_eq!(server.get("/chat/a?since=0").cursor(), cursor, "the first goes on");
    server.accepted("/chat/a", "2");
}

#[test]
fn an_address_that_is_in_use_or_not_for_dev_mode() {
    let server = Server::dev();
    let directory = tempfile::TempDir::new().unwrap();
    let data = directory.path().join("data");
    let data = ["--data", text(&data)];
    let address = server.address.to_string();
    refuses(&["dev", "--listen", &address, data[0], data[1]], &["in use", "--listen"]);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        refuses(&["dev", "--listen", address, data[0], data[1]], &["--allow-remote", "plainwire serve"]);
        refuses(
            &["dev", "--conformance", "--allow-remote", "--listen", address, data[0], data[1]],
            &["conformance"],
        );
    }
}

#[test]
fn a_data_directory_that_is_something_else() {
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
    refuses(
        &["dev", "--listen", "127.0.0.1:0", "--data", text(directory.path())],
        &["not a data directory", "thesis.txt"],
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "it was left as it was");
}

#[test]
fn configurations() {
    let state = "[channel.c]\nstate = { count = -1 }\n[[channel.c.rule]]\nrule = \"next.count >= 0\"\nmessage = \"below zero\"\n";
    let cases: &[(&str, &[&str])] = &[
        (state, &["plainwire.toml:4", "does not hold", "{\"count\":-1}"]),
        ("[server]\nlissen = \"127.0.0.1:0\"\n", &["plainwire.toml:2", "lissen"]),
        ("[channel.c]\nretain = { cuont = 1 }\n", &["plainwire.toml:2", "cuont"]),
        ("[channel.c]\nstate = {}\n[channel.c.command.x]\nset = \"state.\"\n", &["plainwire.toml:4"]),
        ("[channel.\"a/../b\"]\n", &["plainwire.toml:1"]),
        ("[server]\nheader_timeout = \"1ms\"\n", &["plainwire.toml:2", "at least 1s"]),
        ("[server\n", &["plainwire.toml:1"]),
        ("[server]\nlisten = \"0.0.0.0:0\"\nconformance = true\n", &["conformance", "loopback"]),
    ];
    for (toml, parts) in cases {
        let directory = tempfile::TempDir::new().unwrap();
        let config = directory.path().join("plainwire.toml");
        std::fs::write(&config, toml).unwrap();
        let data = directory.path().join("data");
        refuses(&["serve", "--config", text(&config), "--data", text(&data)], parts);
        assert!(!data.exists(), "nothing was begun");
    }
    refuses(&["serve", "--config", "/nonexistent/plainwire.toml"], &["/nonexistent/plainwire.toml"]);
}
