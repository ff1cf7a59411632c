//! Whether the server would do, before it has to.

use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::time::{error::Elapsed, timeout};

use super::connection::{Unconnected, connect};
use super::leading::{PUT, RELEASE, RENEW};
use super::orders::Order;
use super::reading::GET;
use super::{Shared, milliseconds};
use crate::api::{ImageId, ImageKey};

/// For all of it, connecting apart.
const LONGEST: Duration = Duration::from_secs(5);

/// Why the server would not do.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be reached, or does not let this user in.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It refuses a command that is needed.
    #[error("refuses a command: {0}")]
    Refused(String),
    /// It does not reply in time.
    #[error("does not reply in time")]
    Late,
}

impl Shared {
    /// Connects, and tries every command that is needed, on an image that there is not. How long the
    /// commands took, all together.
    ///
    /// # Errors
    /// [`Unusable`].
    pub async fn check(&self) -> Result<Duration, Unusable> {
        let longest = self.config.connect_timeout.0 * 2;
        let deaf = |_: redis::PushInfo| Ok::<(), redis::aio::SendError>(());
        let mut connection = timeout(longest, connect(&self.url, &self.config, deaf)).await??;
        let commands = async {
            connection.subscribe(&self.names.news()).await?;
            let key = ImageKey {
                image: made_up(),
                verbose: false,
            };
            let (lease, news) = (self.names.lease(&key), self.names.news());
            let life = milliseconds(LONGEST);
            let _got: redis::Value = GET
                .key(self.names.image(&key))
                .key(self.names.no(&key.image))
                .key(&lease)
                .arg(&["check"])
                .arg(life)
                .arg(0)
                .arg(0)
                .invoke_async(&mut connection)
                .await?;
            let mut renew = RENEW.key(&lease);
            let _renewed: bool = renew
                .arg("check")
                .arg(life)
                .invoke_async(&mut connection)
                .await?;
            let mut put = PUT.key(&lease);
            put.key(self.names.image(&key));
            put.arg("check").arg("check").arg(1).arg(&news).arg("");
            let _put: bool = put.invoke_async(&mut connection).await?;
            let mut release = RELEASE.key(&lease);
            release.arg("check").arg("").arg(0).arg(&news).arg("");
            let _released: bool = release.invoke_async(&mut connection).await?;
            redis::cmd("DEL")
                .arg(self.names.all(&key.image))
                .exec_async(&mut connection)
                .await?;
            self.write(&mut connection, Order::Begin).await?;
            let _orders: redis::Value = redis::cmd("XRANGE")
                .arg(self.names.orders())
                .arg(&["-", "+", "COUNT", "1"])
                .query_async(&mut connection)
                .await?;
            Ok::<(), RedisError>(())
        };
        let began = Instant::now();
        timeout(LONGEST, commands).await??;
        Ok(began.elapsed())
    }
}

/// Nobody's image.
fn made_up() -> ImageId {
    let id = format!("check-{:032x}", fastrand::u128(..));
    ImageId::parse(&id).expect("letters, digits and a dash make an id")
}

impl From<Elapsed> for Unusable {
    fn from(_: Elapsed) -> Self {
        Self::Late
    }
}

impl From<Unconnected> for Unusable {
    fn from(error: Unconnected) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<RedisError> for Unusable {
    fn from(error: RedisError) -> Self {
        Self::Refused(error.to_string())
    }
}
