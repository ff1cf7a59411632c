//! Network namespaces, cabled to a bridge in one of them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::Outcome;

/// Where the origin and the shared tier are.
pub(crate) const ORIGIN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const LEFT: &str = "left";
pub(crate) const RIGHT: &str = "right";
const MIDDLE: &str = "middle";
const PREFIX: &str = "pai-fleet-";

/// Three of them. Dropping it removes them, and with them their cables.
pub(crate) struct Namespaces {
    stem: String,
}

impl Namespaces {
    pub(crate) fn make() -> Outcome<Self> {
        sweep()?;
        let made = Self {
            stem: format!("{PREFIX}{}", std::process::id()),
        };
        for place in [MIDDLE, LEFT, RIGHT] {
            ip(&format!("netns add {}-{place}", made.stem))?;
            ip(&format!("-n {}-{place} link set lo up", made.stem))?;
        }
        let middle = made.middle();
        ip(&format!("-n {middle} link add bridge type bridge"))?;
        ip(&format!(
            "-n {middle} address add {ORIGIN_ADDRESS}/24 dev bridge"
        ))?;
        ip(&format!("-n {middle} link set bridge up"))?;
        for (place, number) in [(LEFT, 2), (RIGHT, 3)] {
            let (host, cable) = (format!("{}-{place}", made.stem), cable(place));
            ip(&format!(
                "-n {middle} link add {cable} type veth peer name eth0 netns {host}"
            ))?;
            ip(&format!("-n {middle} link set {cable} master bridge up"))?;
            ip(&format!(
                "-n {host} address add 10.77.0.{number}/24 dev eth0"
            ))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        Ok(made)
    }

    /// What their names begin with.
    pub(crate) fn stem(&self) -> &str {
        &self.stem
    }

    /// The one with the bridge.
    pub(crate) fn middle(&self) -> String {
        format!("{}-{MIDDLE}", self.stem)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for place in [MIDDLE, LEFT, RIGHT] {
            drop(ip(&format!("netns delete {}-{place}", self.stem)));
        }
    }
}

/// Whether a host's cable is plugged in, seen from the bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Link {
    Up,
    Down,
}

/// Plugs a host's cable in or pulls it.
pub(crate) fn plug(place: &str, link: Link) -> Outcome<()> {
    let state = match link {
        Link::Up => "up",
        Link::Down => "down",
    };
    ip(&format!("link set {} {state}", cable(place)))
}

fn cable(place: &str) -> String {
    format!("to-{place}")
}

/// Removes what a run that was killed has left.
fn sweep() -> Outcome<()> {
    let Ok(names) = fs::read_dir("/run/netns") else {
        return Ok(());
    };
    for name in names {
        let name = name?.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            ip(&format!("netns delete {name}"))?;
        }
    }
    Ok(())
}

fn ip(words: &str) -> Outcome<()> {
    let done = Command::new("ip").args(words.split(' ')).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("ip {words}: {}", said.trim()).into())
}
