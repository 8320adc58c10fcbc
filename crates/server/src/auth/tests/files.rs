//! Key files that change while the server runs.

use std::time::{Duration, Instant};

use super::*;
use crate::auth::files::look;

const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until a token's fate is this.
async fn until(auth: &Auth, token: &str, fate: Result<&str, &str>) {
    let late = Instant::now() + DEADLINE;
    let mut revisions = auth.revisions();
    loop {
        let is = subject(auth, token);
        if is.as_deref().map_err(String::as_str) == fate {
            return;
        }
        assert!(Instant::now() < late, "it stays {is:?}, and does not become {fate:?}");
        let _ = tokio::time::timeout(Duration::from_millis(200), revisions.changed()).await;
    }
}

#[tokio::test]
async fn a_file_is_read_again() {
    let directory = tempfile::TempDir::new().unwrap();
    let (path, next) = (directory.path().join("keys.pem"), directory.path().join("next.pem"));
    let (a, b, c) = (p256(), p256(), ed25519());
    std::fs::write(&path, &a.public_pem).unwrap();
    let auth = auth(&format!("[[auth.key]]\nfile = '{}'", path.display()));
    taken(&auth, &a.sign(alice()));
    let watched = async {
        let principal = auth.at_once(&a.sign(alice()), now()).unwrap();
        // Both keys, then the new one alone: put in place as one.
        std::fs::write(&next, format!("{}{}", a.public_pem, b.public_pem)).unwrap();
        std::fs::rename(&next, &path).unwrap();
        until(&auth, &b.sign(alice()), Ok("alice")).await;
        assert_eq!(auth.check(&principal, now()), Ok(()));
        std::fs::write(&next, b.jwk(None).to_string()).unwrap();
        std::fs::rename(&next, &path).unwrap();
        until(&auth, &a.sign(alice()), Err("token")).await;
        assert_eq!(auth.check(&principal, now()), Err(Ended::KeyRemoved));
        // What is broken, or gone, changes nothing; written in place it heals.
        for broken in ["-----BEGIN PUBLIC KEY-----\nAAAA", "", "{\"keys\":[{\"kty\":\"EC\"}]}"] {
            std::fs::write(&path, broken).unwrap();
            look(&auth, &mut Default::default()).await;
            taken(&auth, &b.sign(alice()));
        }
        std::fs::remove_file(&path).unwrap();
        look(&auth, &mut Default::default()).await;
        taken(&auth, &b.sign(alice()));
        std::fs::write(&path, &c.public_pem).unwrap();
        until(&auth, &c.sign(alice()), Ok("alice")).await;
        refused(&auth, &b.sign(alice()), "token");
    };
    let stopping = CancellationToken::new();
    let guard = stopping.clone().drop_guard();
    tokio::join!(auth.keep_up(stopping), async {
        watched.await;
        drop(guard);
    });
}

#[tokio::test]
async fn a_secret_in_a_file() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let auth = auth(&format!("[[auth.key]]\nsecret_file = '{}'", path.display()));
    let old = token(alice());
    taken(&auth, &old);
    let secret = "another secret that is longer than 32 bytes";
    std::fs::write(&path, secret).unwrap();
    look(&auth, &mut Default::default()).await;
    refused(&auth, &old, "token");
    taken(&auth, &Signer::from_secret(secret.as_bytes(), None).unwrap().sign(&object(alice())).unwrap());
    std::fs::write(&path, "short").unwrap();
    look(&auth, &mut Default::default()).await;
    taken(&auth, &Signer::from_secret(secret.as_bytes(), None).unwrap().sign(&object(alice())).unwrap());
}

#[tokio::test]
async fn a_configuration_that_read_an_older_file_does_not_keep_it() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("keys.pem");
    let (a, b) = (p256(), p256());
    std::fs::write(&path, &a.public_pem).unwrap();
    let config = config(&format!("[[auth.key]]\nfile = '{}'", path.display()));
    let auth = Auth::new(&config.auth);
    let mut failures = Default::default();
    std::fs::write(&path, &b.public_pem).unwrap();
    look(&auth, &mut failures).await;
    auth.reconfigure(&config.auth);
    taken(&auth, &a.sign(alice()));
    look(&auth, &mut failures).await;
    refused(&auth, &a.sign(alice()), "token");
    taken(&auth, &b.sign(alice()));
}
