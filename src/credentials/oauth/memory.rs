//! A sign-in that could not be written down: one, since the gateway has one credential.

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::{SignIn, Store, Tokens};

/// Keeps the newest sign-in while the file has an older one.
#[derive(Default)]
pub(in crate::credentials) struct Memory(Mutex<Option<Kept>>);

struct Kept {
    /// Whose it is.
    store: Store,
    /// The tokens in the file when this was new; others there mean that somebody signed in again.
    above: Tokens,
    sign_in: SignIn,
}

impl Memory {
    /// The newer of what the file says and what is kept.
    pub(super) fn newest(&self, store: &Store, file: &SignIn) -> SignIn {
        let slot = self.0.lock();
        let kept = slot.as_ref();
        kept.filter(|kept| kept.store == *store && is_same(&kept.above, &file.tokens))
            .map_or_else(|| file.clone(), |kept| kept.sign_in.clone())
    }

    /// Keeps a sign-in that could not be written.
    pub(super) fn keep(&self, store: &Store, above: &Tokens, sign_in: &SignIn) {
        *self.0.lock() = Some(Kept {
            store: store.clone(),
            above: above.clone(),
            sign_in: sign_in.clone(),
        });
    }

    /// The file has the newest.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }
}

fn is_same(one: &Tokens, other: &Tokens) -> bool {
    let plain = |secret: &Option<SecretString>| {
        let secret = secret.as_ref();
        secret.map(|secret| secret.expose_secret().to_owned())
    };
    plain(&one.access) == plain(&other.access) && plain(&one.refresh) == plain(&other.refresh)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sign_in(refresh: &str) -> SignIn {
        SignIn::of(&json!({ "oauth_access_token": "a", "oauth_refresh_token": refresh }))
    }

    fn refresh(sign_in: &SignIn) -> &str {
        sign_in.tokens.refresh.as_ref().unwrap().expose_secret()
    }

    #[test]
    fn what_is_kept_stands_in_for_the_file_until_that_changes() {
        let store = |profile: &str| Store {
            path: "config.json".to_owned(),
            profile: profile.to_owned(),
        };
        let (memory, ours) = (Memory::default(), store("p"));
        let (old, new) = (sign_in("old"), sign_in("new"));
        assert_eq!(refresh(&memory.newest(&ours, &old)), "old");
        memory.keep(&ours, &old.tokens, &new);
        assert_eq!(refresh(&memory.newest(&ours, &old)), "new");
        assert_eq!(refresh(&memory.newest(&store("q"), &old)), "old");
        let again = sign_in("again");
        assert_eq!(refresh(&memory.newest(&ours, &again)), "again");
        memory.forget();
        assert_eq!(refresh(&memory.newest(&ours, &old)), "old");
    }
}
