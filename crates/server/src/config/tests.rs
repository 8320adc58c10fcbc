//! Configurations as people write them, and what they are told when they err.

use std::time::Duration;

use plainwire_hub::Conflate;
use plainwire_hub::access::{Allow, Bearer, Right};
use plainwire_hub::machine::{Change, State};
use plainwire_log::Durability;
use plainwire_protocol::{Json, Pointer};
use serde_json::json;

use super::*;

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

/// The faults of a text, as `LINE:COLUMN message`.
fn faults(text: &str) -> Vec<String> {
    let error = Config::parse(text, "test.toml").expect_err("faults");
    let place = |place: &Place| format!("{}:{}", place.line, place.column);
    error
        .faults()
        .iter()
        .map(|fault| format!("{} {}", fault.place.as_ref().map_or_else(String::new, place), fault.message))
        .collect()
}

/// One fault, at this place, that says this.
#[track_caller]
fn fault(text: &str, place: &str, part: &str) {
    let all = faults(text);
    let [one] = all.as_slice() else { panic!("one fault of {text:?}: {all:#?}") };
    assert!(one.starts_with(&format!("{place} ")) && one.contains(part), "{one:?}, not {place} … {part}");
}

#[test]
fn dev_is_the_counter_and_more() {
    let config = Config::dev();
    assert!(config.server.listen.ip().is_loopback());
    let counter = config.channel_for(&name("counter")).unwrap();
    let machine = counter.machine.as_ref().unwrap();
    let zero = State::parse(machine.initial()).unwrap();
    let command = |state: &State, name, args: &str| {
        machine.apply(state, &Change::Command { name, args: args.as_bytes() })
    };
    let five = command(&zero, "increment", r#"{"value":5}"#).unwrap();
    assert_eq!(five.state.json().as_str(), r#"{"count":5}"#);
    let problem = command(&five.state, "decrement", r#"{"value":6}"#).unwrap_err();
    assert_eq!(
        (problem.status, problem.reason.as_ref(), problem.detail.as_str()),
        (400, "count_negative", "count cannot be negative")
    );
    assert_eq!(counter.allowed_methods(), "GET, HEAD, OPTIONS");
    assert_eq!(counter.policy.durability, Durability::Fsync);

    let chat = config.channel_for(&name("chat/general")).unwrap();
    assert_eq!(chat.allowed_methods(), "GET, HEAD, OPTIONS, POST");
    assert!(chat.check_message(&Json::parse(b"7").unwrap()).is_ok());

    let scores = config.channel_for(&name("scores")).unwrap();
    assert_eq!(scores.allowed_methods(), "GET, HEAD, OPTIONS, PUT, PATCH");
    let machine = scores.machine.as_ref().unwrap();
    let none = State::parse(machine.initial()).unwrap();
    let change = Change::Command { name: "score", args: br#"{"team":"red"}"# };
    let next = machine.apply(&none, &change).unwrap();
    assert_eq!(next.data.unwrap().as_str(), r#"{"points":1,"team":"red"}"#);
    assert!(machine.apply(&next.state, &Change::MergePatch(br#"{"red":-1}"#)).is_err());

    let log = config.channel_for(&name("log/web")).unwrap();
    assert_eq!((log.policy.durability, log.policy.max_count), (Durability::Write, 1_000_000));
    assert!(config.channel_for(&name("other")).is_none());
    assert_eq!(config.alias("/increment").unwrap().path, "/counter:increment");
    let stream = config.alias("/stream").unwrap();
    assert_eq!((stream.path.as_str(), stream.query.as_deref()), ("/counter", Some("live=ndjson")));
}

#[test]
fn options_are_read_and_bounded() {
    let config =
        Config::parse("[server]\nheartbeat = '5s'\nmax_in_flight = 7\n[tail]\nmax_bytes = '2MiB'", "x")
            .unwrap();
    assert_eq!(config.server.heartbeat, Duration::from_secs(5));
    assert_eq!((config.server.max_in_flight, config.tail.max_bytes), (7, 2 << 20));
    assert_eq!(config.server.stream_lifetime, Duration::from_secs(3600));
    fault("[server]\nheartbeat = '1ms'", "2:13", "at least 1s and at most 10m");
    fault("[server]\nheartbeat = 25", "2:13", "expected a duration, not an integer");
    fault("[server]\nmax_body = '1MB'", "2:12", "write it like \"512B\"");
    fault("[server]\nmax_in_flight = -1", "2:17", "out of range");
    fault(
        "[server]\nengine = 'tape'",
        "2:10",
        "only \"disk\", \"redis\", \"nats\", \"kafka\" and \"memory\"",
    );
    fault("[server]\nlisten = 'localhost'", "2:10", "127.0.0.1:8080");
    fault("[server]\norigins = ['a.example/x']", "2:11", "is no origin");
    fault("[server]\norigins = 'https://a.example'", "2:11", "like [\"https://app.example\"]");
    fault("[server]\nhosts = [1]", "2:9", "expected a list of strings");
    fault("[server]\nhosts = ['a.example:80']", "2:9", "without a port");
    fault("[server]\nlisten = '0.0.0.0:80'\nconformance = true", "3:15", "loopback");
    fault("[server]\nmax_body = '2MiB'\n[limits]\nheld_bytes = '1MiB'", "4:14", "max_body");
    fault("server = 1", "1:10", "`server` is a table, not an integer");
}

#[test]
fn every_default_is_within_its_bounds() {
    let mut config = Config::empty();
    for row in options::Server::ROWS {
        config.server.set(row.name, row.default).unwrap_or_else(|message| panic!("{}: {message}", row.name));
    }
    for row in options::Tail::ROWS {
        config.tail.set(row.name, row.default).unwrap();
    }
    for row in options::ChannelOptions::ROWS {
        options::ChannelOptions::default().set(row.name, row.default).unwrap();
    }
    for row in options::Retain::ROWS {
        options::Retain::default().set(row.name, row.default).unwrap();
    }
}

#[test]
fn the_environment_wins() {
    let mut config = Config::parse("[server]\npage_limit = 5", "x").unwrap();
    let environment = |name: &str| match name {
        "PLAINWIRE_PAGE_LIMIT" => Some("9".to_owned()),
        "PLAINWIRE_ORIGINS" => Some("https://a.example, https://b.example".to_owned()),
        "PLAINWIRE_HOSTS" => Some("a.example".to_owned()),
        "PLAINWIRE_TAIL_MAX_COUNT" => Some("3".to_owned()),
        _ => None,
    };
    config.overlay(environment).unwrap();
    assert_eq!((config.server.page_limit, config.tail.max_count), (9, 3));
    assert!(["https://a.example", "https://b.example"].iter().all(|origin| {
        let origin = Origin::parse(origin).unwrap();
        config.server.origins.name(&origin) && !config.server.origins.any()
    }));
    assert!(config.server.hosts.contain("a.example") && !config.server.hosts.contain("b.example"));
    let bad = |name: &str| (name == "PLAINWIRE_HEARTBEAT").then(|| "soon".to_owned());
    let error = config.overlay(bad).unwrap_err().to_string();
    assert!(error.starts_with("PLAINWIRE_HEARTBEAT: \"soon\" is no duration"), "{error}");
    let open = |name: &str| match name {
        "PLAINWIRE_LISTEN" => Some("0.0.0.0:80".to_owned()),
        "PLAINWIRE_CONFORMANCE" => Some("true".to_owned()),
        _ => None,
    };
    assert!(config.overlay(open).is_err());
}

#[test]
fn the_most_specific_pattern_counts() {
    let config = Config::parse(
        "[channel.'**']\n[channel.'chat/*']\n[channel.'chat/general']\n[channel.'chat/**']\n[channel.'*']",
        "x",
    )
    .unwrap();
    for (channel, pattern) in [
        ("chat/general", "chat/general"),
        ("chat/x", "chat/*"),
        ("chat/x/y", "chat/**"),
        ("a", "*"),
        ("a/b", "**"),
    ] {
        assert_eq!(config.channel_for(&name(channel)).unwrap().pattern.as_str(), pattern, "{channel}");
    }
}

#[test]
fn retention() {
    let config =
        Config::parse("[channel.a]\nretain = { age = 'never', count = 5 }\nkey_window = '1h'", "x").unwrap();
    let policy = &config.channel_for(&name("a")).unwrap().policy;
    assert_eq!(
        (policy.max_age, policy.max_count, policy.max_bytes),
        (None, 5, options::Retain::default().bytes as u64)
    );
    assert_eq!(policy.key_window, Duration::from_secs(3600));
    fault("[channel.a]\nretain = { size = 5 }", "2:12", "unknown key `size`; there is: count, bytes, age");
    fault("[channel.a]\nretain = { count = 0 }", "2:20", "at least 1");
}

#[test]
fn messages_have_a_schema_if_one_is_given() {
    let config = Config::parse("[channel.a]\nmessage_schema = { required = ['text'] }", "x").unwrap();
    let check = |text: &str| {
        let channel = config.channel_for(&name("a")).unwrap();
        channel.check_message(&Json::parse(text.as_bytes()).unwrap())
    };
    assert!(check(r#"{"text":"hi"}"#).is_ok());
    assert_eq!(check("{}").unwrap_err().reason, "schema");
}

#[test]
fn wrong_keys_are_found_and_the_right_ones_named() {
    fault("[sever]", "1:2", "unknown key `sever`, did you mean `server`?");
    fault("[channel.a]\nstate = 0\n[channel.a.comand.x]\nset = 'state'", "3:12", "did you mean `command`?");
    fault(
        "[channel.a]\nstate = 0\n[channel.a.command.x]\nset = 'state'\ndate = ''",
        "5:1",
        "did you mean `data`?",
    );
    fault(
        "[channel.a]\nstate = 0\n[[channel.a.rule]]\nrule = 'true'\nmessage = ''\nraison = ''",
        "6:1",
        "did you mean `reason`?",
    );
    fault("[channel.a]\nstate = 0\n[channel.a.rule]\nrule = 'true'", "3:1", "two brackets");
    fault("[channel.a]\nreplace = true", "2:11", "`replace` needs a `state`");
    fault("[channel.a]\nmessages = false", "2:12", "could hold nothing");
    fault("[channel.'a:b']", "1:10", "no pattern of channel names");
    fault("[channel.'a*']", "1:10", "'*' stands for one whole segment");
    fault("[channel.a]\n[channel.a]", "2:10", "duplicate key");
    fault("[channel.a]\nstate = 0\n[channel.a.command.x]\nargs = {}", "3:20", "lacks `set`");
    fault("[channel.a]\nstate = 0\n[[channel.a.rule]]\nrule = 'true'", "3:1", "`message`");
    fault("[channel.a]\nstate = 1979-05-27", "2:9", "no dates");
    fault("[channel.a]\nstate = [1, inf]", "2:13", "no number inf");
    fault("[channel.a]\nmessage_schema = { type = 'nonsense' }", "2:18", "message_schema");
    fault("[channel.a]\nstate = 0\nschema = { type = 'strin' }", "3:10", "schema");
    fault("[channel.a]\nstate = 0\nschema = { type = 'string' }", "2:9", "does not fit the schema");
}

#[test]
fn mistakes_in_expressions_are_shown_in_the_file() {
    let command =
        |set: &str| format!("[channel.a]\nstate = {{ n = 0 }}\n[channel.a.command.go]\nset = {set}");
    fault(&command("'stat.n'"), "4:8", "command `go`, set: there is no variable `stat`");
    fault(&command("\"'ü' + stat.n\""), "4:14", "no variable `stat`");
    fault(&command("\"\"\"\n  state.n\n  + nothing\n\"\"\""), "6:5", "no variable `nothing`");
    fault(&command("'state.n +'"), "4:17", "command `go`, set");
    let rule = "[[channel.a.rule]]\nrule = 'next.n > 0'\nmessage = 'm'";
    fault(
        &format!("[channel.a]\nstate = {{ n = 0 }}\n{rule}"),
        "4:8",
        r#"rule 1: does not hold for the first state, {"n":0}"#,
    );
    fault(&format!("[channel.a]\nstate = {{ n = 1 }}\n{rule}\nstatus = 200"), "6:10", "between 400 and 499");
    fault(&command("'state'\nargs = { x = { type = 'int' } }"), "5:14", "argument `x`");
}

#[test]
fn aliases_point_at_something() {
    let alias = |alias: &str| {
        format!(
            "[channel.counter]\nstate = 0\n[channel.counter.command.add]\nset = 'state'\n[channel.'log/*']\n[alias]\n{alias}"
        )
    };
    let config = Config::parse(
        &alias("'/a' = '/counter:add'\n'/b' = '/log/x?limit=5'\n'/c' = '/b?live=sse'\n'/d' = '/_/live?channel=counter'\n'/x' = '/c'"),
        "x",
    )
    .unwrap();
    let target = config.alias("/x").unwrap();
    assert_eq!((target.path.as_str(), target.query.as_deref()), ("/log/x", Some("limit=5&live=sse")));
    fault(&alias("'/a' = '/nothing'"), "7:8", "points at nothing: no [channel] matches `nothing`");
    fault(&alias("'/a' = '/counter:ad'"), "7:8", "no command `ad`, did you mean `add`?");
    fault(&alias("'/a' = '/log/x:add'"), "7:8", "no command `add`");
    fault(&alias("'/a' = 'counter'"), "7:8", "\"/counter\"?");
    fault(&alias("'/a' = '/../x'"), "7:8", "names no channel");
    fault(&alias("'a' = '/counter'"), "7:1", "\"/a\"?");
    fault(&alias("'/a?b' = '/counter'"), "7:1", "without query");
    fault(&alias("'/_/a' = '/counter'"), "7:1", "belong to the server");
    fault(&alias("'/a' = 5"), "7:8", "not an integer");
    let circle = faults(&alias("'/a' = '/b'\n'/b' = '/a'\n'/c' = '/c'"));
    assert_eq!(circle.len(), 3, "{circle:#?}");
    assert!(circle.iter().all(|fault| fault.contains("circles")), "{circle:#?}");
}

#[test]
fn all_faults_come_at_once_and_with_a_caret() {
    let text =
        "[server]\nheartbeat = 'x'\n[channel.a]\n\tstate = { n = 0 }\n\tpach = true\n[alias]\n'/a' = '/a'\n";
    let error = Config::parse(text, "plainwire.toml").unwrap_err();
    assert_eq!(error.faults().len(), 3, "{error}");
    let text = error.to_string();
    let middle = "plainwire.toml:5:2: unknown key `pach`, did you mean `patch`?\n  |\n5 | \tpach = true\n  | \t^^^^\n\n";
    assert!(text.contains(middle), "{text}");
}

#[test]
fn syntax_errors_are_shown_too() {
    for (text, line) in
        [("[server\n", 1), ("a = \n", 1), ("[channel.chat/general]\n", 1), ("\n\nx = 'y\n", 3), ("\u{0}", 1)]
    {
        let error = Config::parse(text, "x.toml").unwrap_err();
        assert_eq!(error.faults()[0].place.as_ref().unwrap().line, line, "{error}");
    }
    let slash = Config::parse("[channel.chat/*]\n", "x.toml").unwrap_err().to_string();
    assert!(slash.contains("quoted"), "{slash}");
}

#[test]
fn a_file_that_cannot_be_read() {
    let error = Config::load("no/such/plainwire.toml").unwrap_err().to_string();
    assert!(error.starts_with("no/such/plainwire.toml: cannot be read"), "{error}");
}

#[test]
fn applications_add_channels_in_rust() {
    let mut config = Config::empty();
    config.add_channel(Channel::new(Pattern::parse("**").unwrap()));
    let reducer = Config::dev().channel_for(&name("counter")).unwrap().machine.clone().unwrap();
    config.add_channel(Channel::new(Pattern::parse("counter").unwrap()).with_state(reducer));
    assert!(config.channel_for(&name("counter")).unwrap().machine.is_some());
    assert!(config.channel_for(&name("x")).unwrap().machine.is_none());
}

/// `PLAINWIRE_WRITE_DOCS=1 cargo test -p plainwire reference` writes the file.
#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("PLAINWIRE_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "docs/configuration.md is out of date: run with PLAINWIRE_WRITE_DOCS=1");
}

#[test]
fn a_handler_is_an_http_url_of_a_channel_with_a_state() {
    let config = |line: &str| Config::parse(&format!("[channel.a]\nstate = {{}}\n{line}\n"), "test.toml");
    for url in ["http://localhost:3000/decide", "https://app.example/decide"] {
        let with = config(&format!("handler = '{url}'")).unwrap();
        assert!(with.channel_for(&name("a")).unwrap().handler.is_some());
    }
    for (url, why) in [("ftp://app/x", "http:// or https:// URL"), ("app", "http:// or"), ("http//", "URL")] {
        let error = config(&format!("handler = '{url}'")).unwrap_err().to_string();
        assert!(error.contains("3:11") && error.contains(why), "{url}: {error}");
    }
    let error = Config::parse("[channel.a]\nhandler = 'http://x/'\n", "test.toml").unwrap_err().to_string();
    assert!(error.contains("needs a `state`"), "{error}");
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let config = Config::parse("[tls]\ncertificate = 'a.pem'\nkey = 'b.pem'\n", "test.toml").unwrap();
    assert_eq!(config.tls.files(), Some((Path::new("a.pem"), Path::new("b.pem"))));
    assert_eq!(Config::empty().tls.files(), None);
    fault("[tls]\ncertificate = 'a.pem'\n", "1:1", "no `key`");
    fault("[tls]\nkey = 'a.pem'\n", "1:1", "no `certificate`");
    fault("[tls]\nmin_version = '1.1'\n", "2:15", "no version \"1.1\"");
    let key = |name: &str| (name == "PLAINWIRE_TLS_KEY").then(|| "b.pem".to_owned());
    let error = Config::empty().overlay(key).unwrap_err().to_string();
    assert!(error.contains("PLAINWIRE_TLS_") && error.contains("no `certificate`"), "{error}");
}

const SECRET: &str = "a secret of more than thirty-two bytes";

#[test]
fn tokens_and_keys() {
    assert!(!Config::dev().auth.is_configured());
    let text = format!(
        "[auth]\nsecret = '{SECRET}'\njwks = 'https://i.example/keys'\nissuer = 'a,b'\naudience = ['x', 'y']\n\
         algorithms = ['HS256', 'ES256']\ncookie = '__Host-token'\n[[auth.key]]\nsecret = '{SECRET}'\nkid = 'k'\nalg = 'HS256'"
    );
    let auth = Config::parse(&text, "x").unwrap().auth;
    assert!(auth.is_configured());
    assert_eq!(auth.entries().len(), 2);
    assert_eq!(
        (auth.options.issuer, auth.options.audience),
        (vec!["a,b".into()], vec!["x".into(), "y".into()])
    );
    assert_eq!(auth.options.algorithms.iter().map(|one| one.name()).collect::<Vec<_>>(), ["HS256", "ES256"]);
    assert_eq!(auth.options.leeway, Duration::from_secs(5));

    let mut config = Config::empty();
    config.overlay(|name| (name == "PLAINWIRE_AUTH_SECRET").then(|| SECRET.to_owned())).unwrap();
    assert!(config.auth.is_configured());
    config.overlay(|name| (name == "PLAINWIRE_AUTH_ISSUER").then(|| "a, b".to_owned())).unwrap();
    assert_eq!(config.auth.options.issuer, ["a", "b"]);
    let error =
        config.overlay(|name| (name == "PLAINWIRE_AUTH_SECRET").then(|| "sesame".to_owned())).unwrap_err();
    assert!(error.to_string().contains("6 bytes") && !error.to_string().contains("sesame"), "{error}");
}

#[test]
fn conflation_is_of_all_messages_or_by_a_place_in_them() {
    let conflate = |value: &str| {
        let config = Config::parse(&format!("[channel.a]\nconflate = {value}"), "test.toml").unwrap();
        config.channel_for(&name("a")).unwrap().conflate.clone()
    };
    assert_eq!(conflate("false"), None);
    assert_eq!(conflate("true").as_deref(), Some(&Conflate::all()));
    let by = Conflate::by(Pointer::parse("/a~1b/0").unwrap());
    assert_eq!(conflate("\"/a~1b/0\"").as_deref(), Some(&by));
    for (value, part) in [
        ("\"symbol\"", "begins with '/'"),
        ("\"/~\"", "'~0'"),
        ("\"true\"", "without quotes"),
        ("\"\"", "write true"),
        ("1", "expected true, false"),
    ] {
        fault(&format!("[channel.a]\nconflate = {value}"), "2:12", part);
    }
    // What would be lost of a state.
    let part = "[channel.a]\nstate = {}\nconflate = true\ncommand.go = { set = \"state\", data = \"1\" }";
    fault(part, "4:38", "`data` says a part of the state");
    Config::parse(&part.replace("true", "\"/team\""), "test.toml").unwrap();
    fault("[channel.a]\nstate = {}\nconflate = true\nmessages = true", "4:12", "would replace the changes");
    fault("[channel.a]\nfinite = true\nconflate = \"/n\"", "2:10", "all of it");
}

#[test]
fn a_finite_stream_has_no_state_of_its_own_and_needs_a_store_that_compares() {
    let config = Config::parse("[channel.a]\nfinite = true\n[channel.b]", "test.toml").unwrap();
    let [a, b] = ["a", "b"].map(|channel| config.channel_for(&name(channel)).unwrap());
    assert!(a.finite && a.keeps_state() && a.machine.is_none() && !b.keeps_state());
    fault("[channel.a]\nstate = {}\nfinite = true", "3:10", "no `state` of its own");
    fault("[server]\nengine = 'kafka'\n[channel.a]\nfinite = true", "4:10", "Kafka does not");
    assert!(Config::parse("[server]\nengine = 'kafka'\n[channel.a]\nfinite = false", "x").is_ok());
}

#[test]
fn bytes_fit_no_schema() {
    let config = "[channel.a]\nbinary = true\nmessage_schema = { type = 'object' }";
    fault(config, "2:10", "message_schema");
    assert!(Config::parse(&config.replace("true", "false"), "test.toml").is_ok());
}

#[test]
fn an_ephemeral_channel_keeps_little_and_no_state() {
    let config = "[channel.a]\nephemeral = true\n[channel.b]\nephemeral = true\nretain = { count = 7 }\n";
    let config = Config::parse(config, "test.toml").unwrap();
    let minute = Some(Duration::from_secs(60));
    for (channel, count) in [("a", 100), ("b", 7)] {
        let policy = &config.channel_for(&name(channel)).unwrap().policy;
        assert!(policy.ephemeral);
        assert_eq!((policy.max_count, policy.max_bytes, policy.max_age), (count, 256 << 10, minute));
        assert_eq!((policy.key_window, policy.key_bytes), (Duration::from_secs(60), 256 << 10));
    }
    for (line, place, part) in [
        ("state = {}", "3:9", "must outlive its readers"),
        ("finite = true", "3:10", "all of it"),
        ("durability = \"fsync\"", "3:14", "leave one of them out"),
    ] {
        fault(&format!("[channel.a]\nephemeral = true\n{line}"), place, part);
    }
}

#[test]
fn faults_of_tokens_and_keys() {
    fault("[auth]\nsecret = 'short'", "2:10", "at least 32");
    fault("[auth]\nsecret = 5", "2:10", "expected a secret, not an integer");
    fault("[auth]\njwks = 'i.example/keys'", "2:8", "https:// or http://");
    fault("[auth]\njwks = 'ftp://i.example/keys'", "2:8", "https:// or http://");
    fault("[auth]\njwks = 'https://me:pass@i.example/keys'", "2:8", "without a password");
    fault("[auth]\nalgorithms = ['none']", "2:14", "no algorithm \"none\"");
    fault("[auth]\nalgorithms = 'HS256'", "2:14", "like [\"ES256\"]");
    fault("[auth]\naudience = [1]", "2:12", "list of strings");
    fault("[auth]\nleeway = '2m'", "2:10", "at most 60s");
    fault("[auth]\ncookie = 'a b'", "2:10", "no name of a cookie");
    fault("[auth]\nkeys = []", "2:1", "did you mean `key`?");
    fault("[auth]\nkey = 'x'", "2:7", "[[auth.key]]");
    fault("[[auth.key]]\nkid = 'a'", "1:1", "one of `secret`");
    let two = format!("[[auth.key]]\nsecret = '{SECRET}'\nfile = '/dev/null'");
    fault(&two, "3:8", "one of `secret`");
    fault("[[auth.key]]\nfile = '/does/not/exist'", "2:8", "cannot be read");
    fault("[[auth.key]]\nfile = '/dev/null'", "2:8", "is not a file");
    fault("[[auth.key]]\npublic_key = 'x'", "2:14", "neither PEM");
    fault(&format!("[[auth.key]]\nsecret = '{SECRET}'\nalg = 'HS512'"), "2:10", "needs 64 bytes");
    fault(&format!("[[auth.key]]\nsecret = '{SECRET}'\nalg = 'HS1'"), "3:7", "no algorithm");
    fault("[[auth.key]]\nsecret = '-----BEGIN PUBLIC KEY-----'", "2:10", "PEM file");
}

/// What is wrong is shown on terminals and kept in logs.
#[test]
fn secrets_are_not_shown() {
    for text in [
        "[auth]\nsecret = 'sesame'",
        "[auth]\nsecret = \"sesame",
        "[auth]\n\"secret\"='sesame'\nsecret = 'sesame'",
        "auth = { cookie = 5, secret = 'sesame', jwks = 'x' }",
        "[[auth.key]]\nkid = 'a'\nsecret = 'sesame'",
        "[auth]\nkey = [{ kid = 5, secret = 'sesame' }]",
        "[admin]\ntoken = 'sesame'",
        "[admin]\ntoken='sesame\nlisten = 5",
        "admin.token = 'sesame'",
    ] {
        let error = Config::parse(text, "x").unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
        assert!(!format!("{error:?}").contains("sesame"), "{error:?}");
    }
    let shown = Config::parse("[channel.a]\nallow.watch = \"token == nil\"", "x").unwrap_err().to_string();
    assert!(shown.contains("token == nil"), "{shown}");
    let config = Config::parse(&format!("[auth]\nsecret = '{SECRET}'"), "x").unwrap();
    assert!(!format!("{config:?}").contains("thirty-two"));
}

/// Who may do what in a configuration: each right that a caller with these claims has on a channel, or may send as a command.
fn rights(
    config: &Config,
    claims: Option<serde_json::Value>,
    channel: &str,
    command: Option<&str>,
) -> String {
    let bearer = claims.map(|claims| Bearer::new(claims.as_object().unwrap()).unwrap());
    let name = name(channel);
    let found = config.channel_for(&name).unwrap();
    let has = |right: &Right| found.allows(*right, bearer.as_ref(), &name, command);
    Right::ALL.iter().filter(|right| has(right)).map(|right| right.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_is_allowed_where_nothing_is_said() {
    let config = Config::parse("[channel.a]", "x").unwrap();
    assert_eq!(rights(&config, None, "a", None), "");
    assert_eq!(rights(&config, Some(json!({"sub": "x"})), "a", Some("x")), "");
    let mut config = Config::empty();
    config.add_channel(Channel::new(Pattern::parse("a").unwrap()));
    assert_eq!(rights(&config, None, "a", None), "");
    config.add_channel(Channel::new(Pattern::parse("a").unwrap()).with_allow(Allow::everything()));
    assert_eq!(rights(&config, None, "a", None), "watch post command presence");
    assert_eq!(rights(&Config::dev(), None, "counter", None), "watch post command presence");
}

#[test]
fn a_channel_overrides_what_holds_for_all_right_by_right() {
    let config = Config::parse(
        "[allow]\nall = true\npost = 'token != null'\npresence = false\n[channel.a]\n[channel.b]\nallow.watch = false\nallow.command = \"command == 'go'\"\n\
         [channel.c]\nallow = false\n[channel.d]\nallow = { all = false, presence = true }\n[channel.e]\nallow = 'token.sub == \"x\"'",
        "x",
    )
    .unwrap();
    assert_eq!(rights(&config, None, "a", None), "watch command");
    assert_eq!(rights(&config, Some(json!({})), "a", None), "watch post command");
    assert_eq!(rights(&config, None, "b", Some("go")), "command");
    assert_eq!(rights(&config, Some(json!({})), "b", Some("stop")), "post");
    assert_eq!(rights(&config, Some(json!({"sub": "x"})), "c", Some("go")), "");
    assert_eq!(rights(&config, None, "d", None), "presence");
    assert_eq!(rights(&config, Some(json!({"sub": "x"})), "e", None), "watch post command presence");
    assert_eq!(rights(&config, None, "e", None), "");
}

#[test]
fn who_is_there_is_told_where_it_says_so() {
    let config = Config::parse(
        "[channel.'a/*']\npresence = 'connection'\npresence_grace = '9s'\n[channel.'a/b']\n[channel.c]\npresence = 'count'\n\
         [alias]\n'/who' = '/c/@presence'",
        "x",
    )
    .unwrap();
    let presence = |channel: &str| config.channel_for(&name(channel).presence().unwrap());
    let known = config.channel_for(&name("a/x")).unwrap().presence.as_ref().unwrap();
    assert_eq!(
        (known.mode, known.grace.as_secs(), known.members),
        (crate::PresenceMode::Connection, 9, 1000)
    );
    let told = presence("a/x").unwrap();
    assert_eq!(told.allowed_methods(), "GET, HEAD, OPTIONS");
    assert!(presence("a/b").is_none() && presence("d").is_none());
    assert!(presence("c").is_some());
    fault("[channel.a]\npresence = 'all'", "2:12", "`principal`, `connection` or `count`");
    fault("[channel.a]\npresence = true", "2:12", "not a boolean");
    fault("[channel.a]\npresence_grace = '1h'", "2:18", "at most 5m");
    fault("[channel.a]\n[alias]\n'/who' = '/a/@presence'", "3:10", "points at nothing");
}

#[test]
fn members_have_inboxes_where_it_says_so() {
    let config = Config::parse("[channel.'call/*']\ninboxes = true\n[channel.'call/quiet']\n", "x").unwrap();
    let inbox = |room: &str| config.channel_for(&name(room).inbox("ann").unwrap());
    let kept = inbox("call/x").unwrap();
    assert_eq!(kept.allowed_methods(), "GET, HEAD, OPTIONS, POST");
    assert_eq!(kept.policy.max_age.unwrap().as_secs(), 300);
    assert!(inbox("call/quiet").is_none() && inbox("lobby").is_none());
    // What is said of it is asked of the room, so that it grants nothing by itself.
    assert!(!kept.allows(Right::Watch, None, &name("call/x").inbox("ann").unwrap(), None));
    fault("[server]\nengine = 'kafka'\n[channel.a]\ninboxes = true", "4:11", "a topic for each member");
    assert!(Config::parse("[server]\nengine = 'kafka'\n[channel.a]\ninboxes = false", "x").is_ok());
}

#[test]
fn a_channel_for_each_user_takes_one_line() {
    let config =
        Config::parse("[channel.'inbox/{user}']\nallow.watch = 'token.sub == channel.user'", "x").unwrap();
    let alice = || Some(json!({"sub": "alice"}));
    assert_eq!(rights(&config, alice(), "inbox/alice", None), "watch");
    assert_eq!(rights(&config, alice(), "inbox/bob", None), "");
    assert_eq!(rights(&config, None, "inbox/alice", None), "");
    // For all channels: those without a name for it do not have it.
    let text = "allow = 'token.sub == channel.user'\n[channel.'inbox/{user}']\n[channel.'chat/*']";
    let config = Config::parse(text, "x").unwrap();
    assert_eq!(rights(&config, alice(), "inbox/alice", None), "watch post command presence");
    assert_eq!(rights(&config, alice(), "chat/alice", None), "");
}

#[test]
fn permissions_that_are_mistaken_are_shown() {
    fault("[allow]\nwacth = true", "2:1", "did you mean `watch`?");
    fault("[allow]\nwatch = 1", "2:9", "`true`, `false` or a CEL expression, not an integer");
    fault("[channel.a]\nallow.watch = 'tokn.sub == 1'", "2:16", "no variable `tokn`");
    fault("[channel.a]\nallow.watch = 'token.sub =='", "2:28", "`watch`");
    fault(
        "[channel.a]\nallow = { post = \"token.sub == channel.user\" }",
        "2:39",
        "no segment the name `user`, only `name`",
    );
    fault(
        "allow = 'channel.usr == 1'\n[channel.'a/{user}']",
        "1:17",
        "no segment the name `usr`, only `name`, `user`",
    );
    fault("[channel.a]\nallow = 'token'", "2:10", "never is");
    fault("[channel.a]\nallow.watch = true\nallow = true", "3:1", "duplicate key");
    fault("[channel.'a/*']\n[channel.'a/{b}']", "2:10", "`a/*` and `a/{b}` are the same channels");
    fault("[channel.'a/{b}/{b}']", "1:10", "two segments");
    fault("[channel.'a/{B}']", "1:10", "name in braces");
}
