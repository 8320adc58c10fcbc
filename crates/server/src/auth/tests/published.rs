//! Keys that an issuer publishes, from a server that counts how often it is asked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the issuer answers.
#[derive(Clone)]
enum Answer {
    /// These bytes, whole.
    Raw(Vec<u8>),
    /// Nothing at all; the connection stays open.
    Silence,
    /// The connection ends.
    Outage,
}

/// An issuer on a port of its own.
struct Issuer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    /// The requests, by their first lines.
    asked: watch::Receiver<Vec<String>>,
}

impl Issuer {
    async fn start(answer: Answer) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let (count, asked) = watch::channel(Vec::new());
        let answers = answer.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (answer, count) = (answers.lock().clone(), count.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let line =
                        String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
                    count.send_modify(|asked| asked.push(line));
                    match answer {
                        Answer::Raw(bytes) => {
                            let _ = socket.write_all(&bytes).await;
                        }
                        Answer::Silence => std::future::pending().await,
                        Answer::Outage => {}
                    }
                });
            }
        });
        Issuer { address, answer, asked }
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

fn http(head: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Raw(format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
}

fn set(keys: &[Value]) -> Answer {
    http("200 OK\r\ncache-control: max-age=300", &json!({"keys": keys}).to_string())
}

/// Runs a test beside the task that keeps up.
async fn with<T>(auth: &Auth, test: impl Future<Output = T>) -> T {
    let stopping = CancellationToken::new();
    let guard = stopping.clone().drop_guard();
    let test = async {
        let tested = test.await;
        drop(guard);
        tested
    };
    tokio::join!(auth.keep_up(stopping), test).1
}

fn auth_of(issuer: &Issuer, more: &str) -> Auth {
    auth(&format!("jwks = 'http://{}/keys'\n{more}", issuer.address))
}

/// Who a token is from, or why it is refused.
async fn fate(auth: &Auth, token: &str) -> Result<String, String> {
    let credential = Credential::new(token, Carrier::Header);
    match auth.authenticate(Some(&credential), now()).await {
        Ok(principal) => Ok(principal.unwrap().subject().unwrap().to_owned()),
        Err(problem) => Err(problem.reason.into_owned()),
    }
}

async fn until_fate(auth: &Auth, token: &str, expected: Result<&str, &str>) {
    let late = Instant::now() + DEADLINE;
    let mut revisions = auth.revisions();
    loop {
        let is = fate(auth, token).await;
        if is.as_deref().map_err(String::as_str) == expected {
            return;
        }
        assert!(Instant::now() < late, "it stays {is:?}");
        let _ = tokio::time::timeout(Duration::from_millis(100), revisions.changed()).await;
    }
}

#[tokio::test]
async fn the_first_token_waits_for_the_keys() {
    let (pair, rsa) = (p256(), rsa());
    let issuer = Issuer::start(set(&[pair.jwk(Some("a")), rsa.jwk(Some("b"))])).await;
    let auth = auth_of(&issuer, "");
    with(&auth, async {
        let (a, b) = (pair.sign_as("a", alice()), rsa.sign_as("b", alice()));
        let fates = tokio::join!(fate(&auth, &a), fate(&auth, &b), fate(&auth, &a));
        assert_eq!(fates, (Ok("alice".into()), Ok("alice".into()), Ok("alice".into())));
        assert_eq!(issuer.asked(), 1, "one fetch for all");
        taken(&auth, &a);
        assert_eq!(fate(&auth, &pair.sign_as("b", alice())).await, Err("token".into()));
        assert_eq!(issuer.asked(), 1, "a known key that does not fit is no reason to ask");
    })
    .await;
}

#[tokio::test]
async fn unknown_keys_are_asked_for_once_in_a_while() {
    let (old, new) = (p256(), p256());
    let issuer = Issuer::start(set(&[old.jwk(Some("old"))])).await;
    let auth = auth_of(&issuer, "jwks_cooldown = '1h'");
    with(&auth, async {
        assert!(fate(&auth, &old.sign_as("old", alice())).await.is_ok());
        issuer.answer(set(&[old.jwk(Some("old")), new.jwk(Some("new"))]));
        let principal = auth.at_once(&old.sign_as("old", alice()), now()).unwrap();
        let rotated = new.sign_as("new", alice());
        let several = std::array::from_fn::<_, 8, _>(|_| fate(&auth, &rotated));
        for fate in futures_util::future::join_all(several).await {
            assert_eq!(fate, Ok("alice".into()));
        }
        assert_eq!(issuer.asked(), 2, "one more for all of them");
        assert_eq!(auth.check(&principal, now()), Ok(()));
        for n in 0..50 {
            let forged = old.sign_as(&format!("forged-{n}"), alice());
            assert_eq!(subject(&auth, &forged), Err("token".into()), "refused at once");
        }
        assert_eq!(issuer.asked(), 2);
        // A secret is never published, so there is nothing to ask for.
        refused(&auth, &token(alice()), "token");
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_withdrawn_end_their_principals() {
    let pair = p256();
    let issuer = Issuer::start(set(&[pair.jwk(Some("a"))])).await;
    let auth = auth_of(&issuer, "jwks_max_age = '1s'");
    with(&auth, async {
        let token = pair.sign_as("a", alice());
        assert!(fate(&auth, &token).await.is_ok());
        let principal = auth.at_once(&token, now()).unwrap();
        let mut revisions = auth.revisions();
        issuer.answer(set(&[]));
        revisions.changed().await.unwrap();
        assert_eq!(auth.check(&principal, now()), Err(Ended::KeyRemoved));
        until_fate(&auth, &token, Err("token")).await;
    })
    .await;
}

#[tokio::test]
async fn the_last_good_keys_outlast_an_outage() {
    let pair = p256();
    let issuer = Issuer::start(set(&[pair.jwk(Some("a"))])).await;
    let auth = auth_of(&issuer, "jwks_max_age = '1s'\njwks_timeout = '200ms'");
    with(&auth, async {
        let token = pair.sign_as("a", alice());
        assert!(fate(&auth, &token).await.is_ok());
        let huge = format!("{{\"keys\":[],\"pad\":\"{}\"}}", "x".repeat(2 << 20));
        let elsewhere = format!("302 Found\r\nlocation: http://{}/other", issuer.address);
        for bad in [
            Answer::Outage,
            http("500 Internal Server Error", "{\"keys\":[]}"),
            http("200 OK", "<html>"),
            http("200 OK", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"),
            http(&elsewhere, ""),
            http("301 Moved Permanently\r\nlocation: file:///etc/passwd", ""),
            http("200 OK", &huge),
            Answer::Silence,
        ] {
            issuer.answer(bad);
            auth.fetches.fetched_now().await;
            taken(&auth, &token);
        }
        let asked = issuer.asked.borrow();
        assert!(asked.iter().all(|line| line == "GET /keys HTTP/1.1"), "nothing is followed: {asked:?}");
        assert!(asked.len() >= 9, "{asked:?}");
    })
    .await;
}

#[tokio::test]
async fn a_start_without_the_issuer() {
    let pair = p256();
    let issuer = Issuer::start(Answer::Outage).await;
    let auth = auth_of(&issuer, "jwks_cooldown = '1s'");
    with(&auth, async {
        let token = pair.sign_as("a", alice());
        assert_eq!(fate(&auth, &token).await, Err("keys_unavailable".into()));
        let credential = Credential::new(token.as_str(), Carrier::Header);
        let problem = auth.authenticate(Some(&credential), now()).await.unwrap_err();
        assert!(problem.status == 503 && problem.retry_after.is_some(), "{problem}");
        issuer.answer(set(&[pair.jwk(Some("a"))]));
        until_fate(&auth, &token, Ok("alice")).await;
    })
    .await;
}

#[tokio::test]
async fn another_url_is_fetched_and_the_same_one_stays() {
    let (a, b) = (p256(), p256());
    let (first, second) =
        (Issuer::start(set(&[a.jwk(None)])).await, Issuer::start(set(&[b.jwk(None)])).await);
    let url = |issuer: &Issuer| config(&format!("jwks = 'http://{}/keys'", issuer.address)).auth;
    let auth = Auth::new(&url(&first));
    with(&auth, async {
        assert!(fate(&auth, &a.sign(alice())).await.is_ok());
        auth.reconfigure(&url(&first));
        taken(&auth, &a.sign(alice()));
        auth.reconfigure(&url(&second));
        until_fate(&auth, &b.sign(alice()), Ok("alice")).await;
        refused(&auth, &a.sign(alice()), "token");
        assert_eq!((first.asked(), second.asked()), (1, 1));
        auth.reconfigure(&config("").auth);
        refused(&auth, &b.sign(alice()), "token");
    })
    .await;
}
