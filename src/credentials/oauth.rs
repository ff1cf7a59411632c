//! OAuth: a person's sign-in by browser, exchanged for a temporary key. The sign-in renews itself: its
//! access token by a refresh token, which may be good for one use. What is new is therefore written back
//! to the command line's file, as the vendor's own tools do, and where that cannot be, kept in memory.

mod memory;
mod store;

pub(super) use memory::Memory;
pub(super) use store::Store;

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::SourceError;
use super::answer::{self, Grant, text};
use super::client::{Client, Distance, Question};
use super::sts::timestamp;
use crate::signing::rpc;
use crate::telemetry::{Condition, told};

const WHO: &str = "OAuth";

/// With less than this left, in seconds, an access token is renewed: the vendor's own lead. A temporary
/// key likewise, so that the next is there before this one ends.
const LEAD: i64 = 1200;

/// Which of the vendor's two sites the sign-in is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// The site for China.
    Cn,
    /// The international one.
    Intl,
}

impl Site {
    /// The site of a profile's `oauth_site_type`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "CN" => Some(Self::Cn),
            "INTL" => Some(Self::Intl),
            _ => None,
        }
    }

    /// Who is asked.
    pub(super) const fn endpoint(self) -> &'static str {
        match self {
            Self::Cn => "https://oauth.aliyun.com",
            Self::Intl => "https://oauth.alibabacloud.com",
        }
    }

    /// The command line's own id.
    const fn client_id(self) -> &'static str {
        match self {
            Self::Cn => "4038181954557748008",
            Self::Intl => "4103531455503354461",
        }
    }
}

/// The tokens of a sign-in.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) access: Option<SecretString>,
    /// When the access token lapses, in seconds since 1970; 0 where that is not known.
    pub(super) expires: i64,
    pub(super) refresh: Option<SecretString>,
}

/// A sign-in, and the temporary key it was last exchanged for.
#[derive(Clone)]
pub(super) struct SignIn {
    pub(super) tokens: Tokens,
    pub(super) grant: Option<Grant>,
}

impl SignIn {
    /// What a profile says.
    pub(super) fn of(profile: &Value) -> Self {
        let secret = |key: &str| text(profile, key).map(SecretString::from);
        let number = |key: &str| profile.get(key).and_then(Value::as_i64).unwrap_or(0);
        let tokens = Tokens {
            access: secret("oauth_access_token"),
            expires: number("oauth_access_token_expire"),
            refresh: secret("oauth_refresh_token"),
        };
        let grant = || {
            let (id, key) = (
                text(profile, "access_key_id")?,
                text(profile, "access_key_secret")?,
            );
            let token = text(profile, "sts_token")?;
            let expires = Timestamp::from_second(number("sts_expiration")).ok()?;
            Some(Grant {
                expires: Some(expires),
                ..Grant::lasting(&id, &key, Some(&token))
            })
        };
        Self {
            tokens,
            grant: grant(),
        }
    }

    /// The key, if it holds for more than so many seconds.
    fn held(&self, seconds: i64, now: Timestamp) -> Option<Grant> {
        let grant = self.grant.clone()?;
        let ends = grant.expires?.as_second();
        (ends - now.as_second() > seconds).then_some(grant)
    }
}

/// A profile's sign-in, and what is needed to keep it.
#[derive(Clone)]
pub(super) struct OAuth {
    pub(super) site: Site,
    /// An address without path.
    pub(super) endpoint: String,
    pub(super) sign_in: SignIn,
    pub(super) store: Store,
    pub(super) memory: Arc<Memory>,
}

impl OAuth {
    /// The key at hand, else a new one; the one at hand for its last minutes if there is no new one.
    pub(super) async fn load(&self, client: &Client) -> Result<Grant, SourceError> {
        let mut newest = self.memory.newest(&self.store, &self.sign_in);
        if let Some(grant) = newest.held(LEAD, client.clock().now()) {
            return Ok(grant);
        }
        let error = match self.renew(&mut newest, client).await {
            Ok(grant) => {
                client
                    .conditions()
                    .recovered(Condition::OAuthNotRenewed, "");
                return Ok(grant);
            }
            Err(error) => error,
        };
        let Some(grant) = newest.held(0, client.clock().now()) else {
            return Err(error);
        };
        let conditions = client.conditions();
        conditions.occurred(Condition::OAuthNotRenewed, "", || told(&error));
        Ok(grant)
    }

    async fn renew(&self, newest: &mut SignIn, client: &Client) -> Result<Grant, SourceError> {
        let left = newest.tokens.expires - client.clock().now().as_second();
        let stale = newest.tokens.access.is_none() || left <= LEAD;
        if let Some(refresh) = newest.tokens.refresh.as_ref().filter(|_| stale) {
            newest.tokens = self.refreshed(refresh, client).await?;
            // At once: the old refresh token may be good for nothing now, whatever happens next.
            self.keep(newest, client).await;
        }
        let grant = self.exchanged(&newest.tokens, client).await?;
        newest.grant = Some(grant.clone());
        self.keep(newest, client).await;
        Ok(grant)
    }

    /// Never fails: a key that cannot be written down is as good as one that can.
    async fn keep(&self, newest: &SignIn, client: &Client) {
        match self.store.write(newest).await {
            Ok(()) => {
                self.memory.forget();
                client
                    .conditions()
                    .recovered(Condition::OAuthNotWritten, "");
            }
            Err(problem) => {
                let conditions = client.conditions();
                conditions.occurred(Condition::OAuthNotWritten, "", || {
                    let Store { path, profile } = &self.store;
                    format!("{path}, profile {profile}: {problem}")
                });
                self.memory.keep(&self.store, &self.sign_in.tokens, newest);
            }
        }
    }

    /// New tokens for the refresh token.
    async fn refreshed(
        &self,
        refresh: &SecretString,
        client: &Client,
    ) -> Result<Tokens, SourceError> {
        let now = client.clock().now();
        let date = timestamp(now);
        let form = rpc::query([
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose_secret()),
            ("client_id", self.site.client_id()),
            ("Timestamp", &date),
        ]);
        let question = Question {
            method: Method::POST,
            headers: vec![(
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            )],
            body: form,
            ..Question::get(
                WHO,
                Distance::Network,
                format!("{}/v1/token", self.endpoint),
            )
        };
        let object = answer::object(WHO, &client.ask(question).await?)?;
        let secret = |key, problem| {
            let found = text(&object, key).map(SecretString::from);
            found.ok_or(SourceError::Answer { who: WHO, problem })
        };
        let seconds = object.get("expires_in").and_then(Value::as_i64);
        Ok(Tokens {
            access: Some(secret("access_token", "it has no access_token")?),
            expires: now.as_second().saturating_add(seconds.unwrap_or(3600)),
            refresh: Some(secret("refresh_token", "it has no refresh_token")?),
        })
    }

    /// A temporary key for the access token.
    async fn exchanged(&self, tokens: &Tokens, client: &Client) -> Result<Grant, SourceError> {
        let access = tokens.access.as_ref().ok_or(SourceError::Missing {
            missing: "the profile has neither an oauth_access_token nor an oauth_refresh_token",
            remedy: "sign in again with the vendor's command line",
        })?;
        let question = Question {
            method: Method::POST,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                (
                    "authorization",
                    format!("Bearer {}", access.expose_secret()),
                ),
            ],
            ..Question::get(
                WHO,
                Distance::Network,
                format!("{}/v1/exchange", self.endpoint),
            )
        };
        let reply = client.ask(question).await?;
        let object = answer::object(WHO, &reply)?;
        answer::unfailed(WHO, &reply, &object)?;
        Grant::temporary(WHO, &object)
    }
}
