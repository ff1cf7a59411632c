//! Memory and processor time of the shared cache's server.

use std::time::Instant;

use super::Outcome;
use super::support::redis::Redis;

/// What it has used by some time.
pub(crate) struct Usage {
    at: Instant,
    processor: f64,
    commands: f64,
}

impl Usage {
    pub(crate) async fn read(redis: &Redis) -> Outcome<Self> {
        let told = redis.command(&["INFO", "everything"]).await;
        Ok(Self {
            at: Instant::now(),
            processor: field(&told, "used_cpu_user")? + field(&told, "used_cpu_sys")?,
            commands: field(&told, "total_commands_processed")?,
        })
    }

    /// What it has used since, for so many gateways, in words.
    pub(crate) async fn since(&self, redis: &Redis, replicas: usize) -> Outcome<String> {
        let (now, told) = (
            Self::read(redis).await?,
            redis.command(&["INFO", "clients"]).await,
        );
        let seconds = now.at.duration_since(self.at).as_secs_f64();
        Ok(format!(
            "While images expired, the server used {:.0} % of a processor for {:.1} commands a second and \
             gateway, those within its scripts too, over {:.0} connections.",
            (now.processor - self.processor) / seconds * 100.0,
            (now.commands - self.commands) / seconds / replicas as f64,
            // One is ours.
            field(&told, "connected_clients")? - 1.0,
        ))
    }
}

/// What it holds for each image, in words.
pub(crate) async fn held(redis: &Redis) -> Outcome<String> {
    let keys = redis.command(&["KEYS", "pai:1:*}:image"]).await;
    let mut bytes = Vec::new();
    for key in keys.lines() {
        let told = redis
            .command(&["MEMORY", "USAGE", key, "SAMPLES", "0"])
            .await;
        bytes.push(told.parse::<f64>()?);
    }
    let each = bytes.iter().sum::<f64>() / bytes.len() as f64;
    Ok(format!(
        "The server held {} images in {each:.0} bytes each, of bodies of 626 bytes.",
        bytes.len()
    ))
}

fn field(info: &str, name: &str) -> Outcome<f64> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name).ok_or(name)?;
    Ok(value.trim().parse()?)
}
