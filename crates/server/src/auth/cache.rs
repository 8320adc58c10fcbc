//! Tokens that were verified lately: a long poller sends the same one with each round. What is found here is checked anew for
//! everything but its signature.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::principal::Principal;

/// SHA-256 of a token. Tokens themselves are not kept.
pub(super) type TokenHash = [u8; 32];

/// Two generations: what is used moves into the young one, and when that is full, the old one is dropped.
pub(super) struct Cache {
    young: HashMap<TokenHash, Arc<Principal>>,
    old: HashMap<TokenHash, Arc<Principal>>,
    /// Most principals of one generation.
    most: usize,
}

pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

impl Cache {
    /// Holds at most so many principals.
    pub(super) fn new(most: usize) -> Cache {
        Cache { young: HashMap::new(), old: HashMap::new(), most: most / 2 }
    }

    pub(super) fn get(&mut self, token: &TokenHash) -> Option<Arc<Principal>> {
        if let Some(found) = self.young.get(token) {
            return Some(found.clone());
        }
        let found = self.old.remove(token)?;
        self.insert(*token, found.clone());
        Some(found)
    }

    pub(super) fn insert(&mut self, token: TokenHash, principal: Arc<Principal>) {
        if self.most == 0 {
            return;
        }
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, principal);
    }

    pub(super) fn remove(&mut self, token: &TokenHash) {
        self.young.remove(token);
        self.old.remove(token);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = Cache::new(8);
        let principal = Arc::new(Principal::for_tests(json!({})));
        let token = |n: usize| hash(&n.to_string());
        cache.insert(token(0), principal.clone());
        for n in 1..100 {
            cache.insert(token(n), principal.clone());
            assert!(cache.get(&token(0)).is_some(), "{n}");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.get(&token(1)).is_none() && cache.get(&token(99)).is_some());
        cache.remove(&token(99));
        assert!(cache.get(&token(99)).is_none());
        let mut none = Cache::new(0);
        none.insert(token(0), principal);
        assert!(none.get(&token(0)).is_none());
    }
}
