//! An inbox for each user, with a mark that the user's devices share, as `docs/recipes.md` has it.

use serde_json::{Value, json};

use super::support::token::{SECRET, token};
use super::support::{Connection, Response, Server};

/// The configuration of the recipe.
fn recipe() -> String {
    let recipes = include_str!("../../../../docs/recipes.md");
    let recipe = recipes.split("## Notifications").nth(1).expect("a recipe");
    let config =
        recipe.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    format!("[auth]\nsecret = \"{SECRET}\"\n{config}")
}

/// Somebody's device.
struct Device {
    connection: Connection,
    bearer: String,
}

impl Device {
    fn of(server: &Server, subject: &str, claims: Option<&str>) -> Device {
        let token = match claims {
            None => token(subject, 300, &json!({})),
            Some(role) => {
                let now = super::support::token::now();
                let claims = json!({"sub": subject, "role": role, "iat": now, "exp": now + 300});
                super::support::token::signed(&claims, SECRET)
            }
        };
        Device { connection: server.connect(), bearer: format!("Bearer {token}") }
    }

    fn ask(&mut self, method: &str, target: &str, body: Option<&Value>) -> Response {
        let body = body.map(Value::to_string);
        let headers = [("authorization", &*self.bearer)];
        self.connection.ask(method, target, &headers, body.as_ref().map(String::as_bytes))
    }

    fn notify(&mut self, id: u64) -> String {
        let sent = self.ask("POST", "/inbox/ann", Some(&json!({"id": id})));
        assert_eq!(sent.status, 201, "{sent:?}");
        sent.cursor()
    }

    fn mark(&mut self, upto: u64) -> Response {
        self.ask("POST", "/inbox/ann/read:mark", Some(&json!({ "upto": upto })))
    }

    /// The ids on a page.
    fn ids(&mut self, query: &str) -> Vec<u64> {
        let page = self.ask("GET", &format!("/inbox/ann?{query}"), None);
        let messages = page.json()["messages"].as_array().expect("a page").clone();
        messages.iter().map(|message| message["data"]["id"].as_u64().expect("an id")).collect()
    }

    /// What its long poll is told.
    fn waits(&mut self, target: &str) {
        self.connection
            .request("GET", target, &[("authorization", &*self.bearer)], None)
            .expect("the server reads");
    }
}

#[test]
fn devices_share_a_mark_that_only_moves_forward() {
    let mut server = Server::guarded(&recipe());
    let mut backend = Device::of(&server, "service", Some("backend"));
    let [mut phone, mut laptop] = [(); 2].map(|()| Device::of(&server, "ann", None));
    let kept = backend.notify(1);
    assert_eq!(phone.ids("last=20"), [1]);

    // While the laptop was away; it kept its cursor.
    for id in 2..=4 {
        backend.notify(id);
    }
    assert_eq!(laptop.ids(&format!("since={kept}")), [2, 3, 4]);

    let begun = laptop.ask("GET", "/inbox/ann/read", None);
    assert_eq!(begun.json(), json!({"upto": 0}));
    laptop.waits(&format!("/inbox/ann/read?since={}&wait=30", begun.cursor()));
    assert_eq!(phone.mark(3).json(), json!({"upto": 3}));
    let told = laptop.connection.response();
    assert_eq!(told.json()["messages"][0]["data"], json!({"upto": 3}));

    // What was read stays read, and nobody hears of the attempt: the next that is told is the next mark.
    laptop.waits(&format!("/inbox/ann/read?since={}&wait=30", told.cursor()));
    for behind in [2, 0] {
        assert_eq!(phone.mark(behind).problem(), (400, "mark_back".to_owned()));
    }
    assert_eq!(phone.mark(4).status, 200);
    let told = laptop.connection.response().json();
    assert_eq!(told["messages"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["messages"][0]["data"], json!({"upto": 4}));

    server.kill();
    server.restart();
    let mut tablet = Device::of(&server, "ann", None);
    assert_eq!(tablet.ask("GET", "/inbox/ann/read", None).json(), json!({"upto": 4}));
    assert_eq!(tablet.mark(1).problem(), (400, "mark_back".to_owned()));
    assert_eq!(tablet.ids("since=0"), [1, 2, 3, 4]);
}

#[test]
fn an_inbox_is_nobody_elses() {
    let server = Server::guarded(&recipe());
    let mut backend = Device::of(&server, "service", Some("backend"));
    backend.notify(1);
    let mut ben = Device::of(&server, "ben", None);
    let mark = json!({"upto": 1});
    for (method, target, body) in [
        ("GET", "/inbox/ann", None),
        ("GET", "/inbox/ann?since=0&wait=1", None),
        ("GET", "/inbox/ann?live=sse", None),
        ("GET", "/_/live?channel=/inbox/ben&channel=/inbox/ann", None),
        ("GET", "/inbox/ann/read", None),
        ("POST", "/inbox/ann", Some(&mark)),
        ("POST", "/inbox/ben", Some(&mark)),
        ("POST", "/inbox/ann/read:mark", Some(&mark)),
    ] {
        assert_eq!(
            ben.ask(method, target, body).problem(),
            (403, "forbidden".to_owned()),
            "{method} {target}"
        );
        assert_eq!(server.connect().ask(method, target, &[], None).status, 401, "{method} {target}");
    }
    // The backend writes, and reads nothing of it.
    assert_eq!(backend.ask("GET", "/inbox/ann", None).status, 403);
    assert_eq!(ben.ask("GET", "/inbox/ben", None).status, 200);
    let mut ann = Device::of(&server, "ann", None);
    assert_eq!(ann.ids("since=0"), [1]);
    assert_eq!(ann.ask("GET", "/inbox/ann/read", None).json(), json!({"upto": 0}));
}
