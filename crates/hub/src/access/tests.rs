//! Rights as tokens and configurations give them, and everything that must give none.

use plainwire_protocol::PatternError;
use serde_json::{Value, json};

use super::*;

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn bearer(claims: Value) -> Bearer {
    Bearer::new(claims.as_object().unwrap()).unwrap()
}

fn grants(claim: Value) -> Grants {
    Grants::parse(&claim).unwrap()
}

/// Whether an expression permits something on a channel of `inbox/{user}`.
fn permits(text: &str, claims: Option<Value>, channel: &str) -> bool {
    let pattern = pattern("inbox/{user}");
    let bearer = claims.map(bearer);
    let permission = Permission::compile(text, &pattern).unwrap_or_else(|error| panic!("{text}: {error}"));
    let (bearer, channel) = (bearer.as_ref(), &name(channel));
    permission.holds(&Question { bearer, channel, pattern: &pattern, command: None })
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = Permission::compile(text, &pattern("inbox/{user}")).expect_err(text);
    assert!(error.message.contains(message), "{text}: {error}");
}

#[test]
fn a_grant_gives_what_it_says_and_no_more() {
    let given = grants(json!({"watch": ["chat/*", "log/**"], "post": ["chat/general"], "presence": ["**"]}));
    let gives = |right, channel: &str| given.gives(right, &name(channel), None);
    assert!(gives(Right::Watch, "chat/a") && gives(Right::Watch, "log/a/b"));
    assert!(
        !gives(Right::Watch, "chat") && !gives(Right::Watch, "chat/a/b") && !gives(Right::Watch, "Chat/a")
    );
    assert!(gives(Right::Post, "chat/general") && !gives(Right::Post, "chat/a"));
    assert!(gives(Right::Presence, "anything/at/all"));
    assert!(
        !gives(Right::Command, "chat/general")
            && !given.gives(Right::Command, &name("chat/general"), Some("x"))
    );
    for right in Right::ALL {
        assert!(!grants(json!({})).gives(right, &name("chat/a"), Some("x")));
        assert!(grants(json!({ right.as_str(): ["**"] })).gives(right, &name("chat/a"), Some("x")));
    }
}

#[test]
fn a_command_is_granted_by_name_or_with_all_others() {
    let given = grants(json!({"command": ["seats", "counter:increment", "game/*:move"]}));
    let gives = |channel: &str, command: &str| given.gives(Right::Command, &name(channel), Some(command));
    assert!(gives("seats", "book") && gives("seats", "free"));
    assert!(
        gives("counter", "increment") && !gives("counter", "decrement") && !gives("counter", "Increment")
    );
    assert!(gives("game/7", "move") && !gives("game/7", "end") && !gives("game", "move"));
    assert!(!given.gives(Right::Post, &name("seats"), None));
    assert!(!given.gives(Right::Command, &name("counter"), None));
}

#[test]
fn a_claim_that_cannot_be_understood_is_an_error() {
    use GrantError::*;
    let many = vec!["a"; MAX_GRANTS + 1];
    let long = "a".repeat(256);
    let wildcard = |right, grant: &str| Pattern { right, grant: grant.into(), error: PatternError::Wildcard };
    for (claim, error) in [
        (json!(null), NoObject),
        (json!(["chat/*"]), NoObject),
        (json!("**"), NoObject),
        (json!({"wacth": ["chat/*"]}), Right("wacth".into())),
        (json!({"watch": ["chat/*"], "admin": true}), Right("admin".into())),
        (json!({"watch": "chat/*"}), NoList(super::Right::Watch)),
        (json!({"post": [1]}), NoList(super::Right::Post)),
        (json!({"post": null}), NoList(super::Right::Post)),
        (json!({"command": many}), TooMany(super::Right::Command)),
        (json!({"watch": ["chat*"]}), wildcard(super::Right::Watch, "chat*")),
        (json!({"presence": ["**/a"]}), wildcard(super::Right::Presence, "**/a")),
        (
            json!({"watch": ["inbox/{sub}"]}),
            Braces { right: super::Right::Watch, grant: "inbox/{sub}".into() },
        ),
        (json!({"command": ["a:"]}), Command("a:".into())),
        (json!({"command": ["a:*"]}), Command("a:*".into())),
        (json!({"command": ["a:b:c"]}), Command("a:b:c".into())),
    ] {
        assert_eq!(Grants::parse(&claim), Err(error), "{claim}");
    }
    for bad in ["", "/chat", "chat/", "a//b", "../a", "chat/a:b", "a b", "@presence", "_/live", &long] {
        let parsed = Grants::parse(&json!({ "watch": [bad] }));
        assert!(matches!(parsed, Err(Pattern { .. })), "{bad}: {parsed:?}");
    }
    assert!(Grants::parse(&json!({ "watch": vec!["a"; MAX_GRANTS] })).is_ok());
}

#[test]
fn a_channel_of_ones_own() {
    let own = "token.sub == channel.user";
    let alice = || Some(json!({"sub": "alice"}));
    assert!(permits(own, alice(), "inbox/alice"));
    assert!(!permits(own, alice(), "inbox/bob") && !permits(own, alice(), "inbox/Alice"));
    assert!(!permits(own, None, "inbox/alice") && !permits(own, None, "inbox/null"));
    assert!(!permits(own, Some(json!({})), "inbox/alice"));
    for sub in [json!(null), json!(1), json!(["alice"]), json!({"alice": 1}), json!(true), json!("")] {
        for user in ["alice", "1", "null", "true"] {
            assert!(!permits(own, Some(json!({ "sub": sub })), &format!("inbox/{user}")), "{sub}, {user}");
        }
    }
    assert!(permits("channel['user'] == token['sub']", alice(), "inbox/alice"));
    assert!(permits("channel.name == 'inbox/' + token.sub", alice(), "inbox/alice"));
    assert!(permits(
        "has(channel.user) && channel == {'name': 'inbox/alice', 'user': 'alice'}",
        None,
        "inbox/alice"
    ));
}

#[test]
fn the_members_of_a_channel_come_from_nowhere_but_its_pattern() {
    let claims = Some(json!({"sub": "a", "channel.user": "bob", "channel": {"user": "bob"}, "user": "bob"}));
    assert!(!permits("channel.user == 'bob'", claims, "inbox/alice"));
    assert!(permits("[{'user': 'x'}].exists(channel, channel.user == 'x')", None, "inbox/alice"));
}

#[test]
fn what_an_expression_can_ask() {
    let claims = || Some(json!({"sub": "a", "age": 20, "roles": ["staff", "editor"], "org": {"id": 7}}));
    for text in [
        "true",
        "token != null",
        "'staff' in token.roles",
        "token.roles.exists(role, role == 'editor')",
        "token.age >= 18 && token.org.id == 7",
        "has(token.sub) && !has(token.banned)",
        "token[?'missing'].orValue('x') == 'x'",
        "token.missing == 1 || token.sub == 'a'",
        "command == ''",
    ] {
        assert!(permits(text, claims(), "inbox/a"), "{text}");
    }
    for text in ["token == null", "true", "token == null || token.sub == 'a'"] {
        assert!(permits(text, None, "inbox/a"), "{text}");
    }
}

/// Whatever goes wrong, the answer is no.
#[test]
fn what_cannot_be_evaluated_permits_nothing() {
    let claims = || Some(json!({"sub": "a", "roles": ["staff"], "list": vec![0; 1000]}));
    for text in [
        "token.missing == 'a'",
        "token.missing != 'a'",
        "!token.missing",
        "!(token.missing == 'a')",
        "token.sub.missing == 'a'",
        "!has(token.sub.missing)",
        "token.sub > 1",
        "token.sub",
        "token.roles[1] == 'staff'",
        "token.sub && true",
        "1 / 0 == 1",
        "token.list.map(a, token.list.map(b, token.list.map(c, c))) != [] || true",
        "token.list.all(a, token.list.all(b, a == b))",
    ] {
        assert!(!permits(text, claims(), "inbox/a"), "{text}");
    }
    // Of who has no token nothing is true but that there is none.
    for text in [
        "token.sub != 'bob'",
        "!token.banned",
        "!has(token.banned)",
        "!('x' in token.roles)",
        "token.sub == token.sub",
    ] {
        assert!(!permits(text, None, "inbox/a"), "{text}");
    }
}

#[test]
fn mistakes_are_found_before_anybody_asks() {
    refused("token.sub ==", "");
    refused("tokn.sub == channel.user", "no variable `tokn`");
    refused("token.sub == channel.usr", "no segment the name `usr`, only `name`, `user`");
    refused("state.owner == token.sub", "no variable `state`");
    refused("token.sub.matches('a')", "no function `matches`");
    for never in [
        "token",
        "'true'",
        "1",
        "null",
        "[true]",
        "{'a': true}",
        "channel",
        "command",
        "size(token)",
        "1 + 1",
        "true ? 'a' : 'b'",
    ] {
        refused(never, "never is");
    }
    refused(&"a".repeat(5000), "longer than");
    let shared = [pattern("inbox/{user}"), pattern("chat/*")];
    let own = Permission::compile_for("token.sub == channel.user", &shared).unwrap();
    let bearer = bearer(json!({"sub": "a"}));
    let holds = |pattern: &Pattern, channel: &str| {
        let channel = &name(channel);
        own.holds(&Question { bearer: Some(&bearer), channel, pattern, command: None })
    };
    assert!(holds(&shared[0], "inbox/a") && !holds(&shared[1], "chat/a"));
}

#[test]
fn claims_that_no_expression_could_compare_are_refused() {
    let deep = (0..100).fold(json!(1), |value, _| json!({ "a": value }));
    for claims in [json!({"id": u64::MAX}), json!({"deep": deep})] {
        let refused = Bearer::new(claims.as_object().unwrap());
        assert!(matches!(refused, Err(BearerError::Claims(_))), "{refused:?}");
    }
    let claims = json!({"sub": "a", "plainwire": {"all": ["**"]}});
    assert!(matches!(
        Bearer::new(claims.as_object().unwrap()),
        Err(BearerError::Grants(GrantError::Right(_)))
    ));
    assert!(!format!("{:?}", bearer(json!({"sub": "alice"}))).contains("alice"));
}

#[test]
fn a_right_is_granted_or_permitted() {
    let pattern = pattern("counter");
    let channel = &name("counter");
    let given = bearer(json!({"plainwire": {"command": ["counter:increment"]}}));
    let ask = |allow: &Allow, right, bearer, command| {
        allow.allows(right, &Question { bearer, channel, pattern: &pattern, command })
    };
    for right in Right::ALL {
        assert!(!ask(&Allow::nothing(), right, None, Some("increment")));
        assert!(ask(&Allow::everything(), right, None, Some("increment")));
        let only = Allow::nothing().with(right, Permission::Always);
        for other in Right::ALL {
            assert_eq!(ask(&only, other, None, None), other == right);
        }
    }
    assert!(ask(&Allow::nothing(), Right::Command, Some(&given), Some("increment")));
    assert!(!ask(&Allow::nothing(), Right::Command, Some(&given), Some("decrement")));
    assert!(!ask(&Allow::nothing(), Right::Watch, Some(&given), None));
    let by_name = Permission::compile("command == 'decrement'", &pattern).unwrap();
    let both = Allow::nothing().with(Right::Command, by_name);
    assert!(ask(&both, Right::Command, Some(&given), Some("increment")));
    assert!(ask(&both, Right::Command, Some(&given), Some("decrement")));
    assert!(!ask(&both, Right::Command, Some(&given), Some("reset")));
    assert_eq!(both.permission(Right::Command).to_string(), "command == 'decrement'");
}
