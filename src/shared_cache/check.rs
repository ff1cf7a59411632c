//! Self-test of the server for `check --online`: every command that the gateway needs, before it needs it.

use std::time::{Duration, Instant};

use redis::aio::SendError;
use redis::{PushInfo, RedisError, RedisResult, Value};
use tokio::time::{error::Elapsed, timeout};

use super::connection::{ConnectionError, RedisConnection, connect};
use super::fill::{PUT, RELEASE, RENEW};
use super::get::{GET, LONGEST_VALUE};
use super::nonces::RECORD;
use super::pace::{BEAT, RawReply};
use super::walks::{ANNOUNCE, CLAIM, READ, WalkGroup, WalkName};
use super::{SharedCache, milliseconds};
use crate::api::{Action, ImageId, ImageKey};
use crate::upstream::{FleetRequest, GrantId};

/// Time for all commands together, connecting not included.
const LONGEST: Duration = Duration::from_secs(5);

/// Reason why the server cannot be used as a shared cache.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No connection, or the sign-in failed.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// A command failed that the gateway needs, for example because an access list forbids it.
    #[error("refuses a command: {0}")]
    Refused(String),
    /// No reply within the time for connecting, or for all commands.
    #[error("does not reply in time")]
    Late,
}

impl SharedCache {
    /// Connects and tries every needed command on keys of a made-up image, which are deleted or expire.
    /// Returns the time that all commands took together.
    ///
    /// # Errors
    /// [`CheckError`] for the first step that fails.
    pub async fn check(&self) -> Result<Duration, CheckError> {
        let longest = self.config.connect_timeout.0 * 2;
        let ignore = |_: PushInfo| Ok::<(), SendError>(());
        let mut connection = timeout(longest, connect(&self.url, &self.config, ignore)).await??;
        let began = Instant::now();
        timeout(LONGEST, self.try_commands(&mut connection)).await??;
        Ok(began.elapsed())
    }

    async fn try_commands(&self, connection: &mut RedisConnection) -> RedisResult<()> {
        let key = ImageKey {
            image: unused_id(),
            verbose: false,
        };
        let (lease, news) = (self.names.lease(&key), self.names.channel());
        let life = milliseconds(LONGEST);
        connection.subscribe(&news).await?;
        let mut get = GET.key(self.names.image(&key));
        get.key(self.names.absence(&key.image)).key(&lease);
        get.arg(TOKEN).arg(life).arg(0).arg(0).arg(LONGEST_VALUE);
        let _got: Value = get.invoke_async(connection).await?;
        let mut renew = RENEW.key(&lease);
        renew.arg(TOKEN).arg(life);
        let _renewed: bool = renew.invoke_async(connection).await?;
        let mut put = PUT.key(&lease);
        put.key(self.names.image(&key));
        put.arg(TOKEN).arg(TOKEN).arg(1).arg(&news).arg("");
        let _put: bool = put.invoke_async(connection).await?;
        let mut release = RELEASE.key(&lease);
        release.arg(TOKEN).arg("").arg(0).arg(&news).arg("");
        let _released: bool = release.invoke_async(connection).await?;
        let mut nonce = RECORD.key(self.names.write_nonces_since());
        nonce.key(
            self.names
                .write_nonce(&std::array::from_fn(|_| fastrand::u8(..))),
        );
        nonce.arg(0).arg(life);
        let _recorded: u8 = nonce.invoke_async(connection).await?;
        self.try_pace(connection).await?;
        self.try_walk(connection).await?;
        let mut length = redis::cmd("STRLEN");
        length
            .arg(self.names.image(&key))
            .exec_async(connection)
            .await?;
        let _proved = self.prove_and_read(connection, None).await?;
        self.try_log(&key, connection).await
    }

    /// Takes a slot of an operation that has no pace, and gives it back.
    async fn try_pace(&self, connection: &mut RedisConnection) -> RedisResult<()> {
        let now = tokio::time::Instant::now();
        let mut request = FleetRequest {
            limit: 1,
            window: LONGEST,
            hold: LONGEST,
            wanted: 1,
            first: GrantId(1),
            urgent: 0,
            held_ahead: 0,
            ended: Vec::new(),
            unused: Vec::new(),
            throttled_until: None,
        };
        let take = self.pace_script(Action::Unknown, &request, now);
        let _taken: RawReply = take.invoke_async(connection).await?;
        (request.wanted, request.unused) = (0, vec![request.first]);
        let give_back = self.pace_script(Action::Unknown, &request, now);
        let _given_back: RawReply = give_back.invoke_async(connection).await?;
        let [.., waiting] = self.names.pace(Action::Unknown);
        let mut beat = BEAT.key(waiting);
        beat.arg(TOKEN).arg(1);
        let _replicas: u32 = beat.invoke_async(connection).await?;
        Ok(())
    }

    /// Takes the lease of a group that walks nothing for a millisecond, describes a walk and reads it.
    async fn try_walk(&self, connection: &mut RedisConnection) -> RedisResult<()> {
        let group = WalkGroup::new(std::iter::empty(), LONGEST, false);
        let (lease, scope) = (self.names.walk_lease(&group), 0);
        let walk = self.names.walk(&WalkName { group, scope });
        let mut claim = CLAIM.key(&lease);
        let _claimed: Value = claim.arg(TOKEN).arg(1).invoke_async(connection).await?;
        let mut announce = ANNOUNCE.key(&lease);
        announce.key(&walk).arg(TOKEN).arg(TOKEN).arg(1).arg(0);
        let _announced: bool = announce.invoke_async(connection).await?;
        let mut read = READ.key(&walk);
        let _read: Value = read.arg(LONGEST_VALUE).invoke_async(connection).await?;
        Ok(())
    }

    async fn try_log(&self, key: &ImageKey, connection: &mut RedisConnection) -> RedisResult<()> {
        // A stream of its own: a record in the fleet's log would invalidate, and a malformed one cause a gap.
        let (all, log) = (self.names.all(&key.image), self.names.trial_log());
        redis::cmd("DEL").arg(all).exec_async(connection).await?;
        let mut add = redis::cmd("XADD");
        add.arg(&log).arg(&["*", "by", TOKEN]);
        let _at: Value = add.query_async(connection).await?;
        let mut range = redis::cmd("XRANGE");
        range.arg(&log).arg(&["-", "+", "COUNT", "1"]);
        let _read: Value = range.query_async(connection).await?;
        redis::cmd("PUBLISH")
            .arg(&[&self.names.channel(), ""])
            .exec_async(connection)
            .await?;
        redis::cmd("DEL").arg(&log).exec_async(connection).await
    }
}

/// Token of a lease that no replica waits for.
const TOKEN: &str = "check";

/// Draws an id that no image has.
fn unused_id() -> ImageId {
    let id = format!("check-{:032x}", fastrand::u128(..));
    ImageId::parse(&id).expect("letters, digits and a dash make an id")
}

impl From<Elapsed> for CheckError {
    fn from(_: Elapsed) -> Self {
        Self::Late
    }
}

impl From<ConnectionError> for CheckError {
    fn from(error: ConnectionError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<RedisError> for CheckError {
    fn from(error: RedisError) -> Self {
        Self::Refused(error.to_string())
    }
}
