//! Sockets of the listeners, bound before anything else starts: a taken port is the commonest reason for a failed
//! start, and then nothing has to be undone.

use serde_json::{Value, json};

use super::StartError;
use crate::auth::Mode;
use crate::config::{Loaded, Settings};
use crate::server::{Address, BoundSocket, bind};
use crate::upstream::Origin;

/// BoundSocket sockets of the three listeners. They accept nothing until the gateway serves them.
pub struct Sockets {
    pub(super) data: BoundSocket,
    pub(super) admin: BoundSocket,
    pub(super) observe: Option<BoundSocket>,
    is_inherited: bool,
}

impl Sockets {
    /// Binds the addresses that the settings name. `data` is the data port's socket where systemd passed one on.
    ///
    /// # Errors
    /// [`StartError`] for an address that is malformed, taken or not this machine's, and for an inherited socket
    /// that would be open to everybody.
    pub fn bind(settings: &Settings, data: Option<BoundSocket>) -> Result<Self, StartError> {
        let is_inherited = data.is_some();
        let backlog = settings.listen.backlog;
        let data = match data {
            Some(inherited) => refuse_public(inherited, settings)?,
            None => {
                let (address, setting) = (settings.listen.address(), listen_setting(settings));
                let address = address.ok_or(StartError::Address(setting))?;
                bind_as(setting, &address, backlog)?
            }
        };
        let admin = settings
            .admin
            .listener()
            .ok_or(StartError::Address("admin.address"))?;
        let observe = match &settings.observe.address {
            Some(text) => {
                Some(Address::parse(text, None, 0).ok_or(StartError::Address("observe.address"))?)
            }
            None => None,
        };
        Ok(Self {
            data,
            admin: bind_as(admin_setting(settings), &admin, backlog)?,
            observe: observe
                .map(|address| bind_as("observe.address", &address, backlog))
                .transpose()?,
            is_inherited,
        })
    }

    /// Writes the first line of the log: version, origin, addresses and settings file.
    pub fn announce(&self, loaded: &Loaded) {
        let settings = &loaded.settings;
        let region = &settings.upstream.region;
        let origin = Origin::from_config(&settings.upstream);
        let file = loaded
            .files()
            .first()
            .map(|path| path.display().to_string());
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            commit = env!("PAI_GATEWAY_COMMIT"),
            origin = origin.as_ref().map(Origin::host).ok(),
            // An endpoint, where set, overrides the region.
            region = settings.upstream.endpoint.is_none().then_some(region.as_str()),
            auth_mode = settings.auth.mode.as_str(),
            listen = %self.data.address(),
            admin = %self.admin.address(),
            observe = self.observe.as_ref().map(|bound| bound.address().to_string()),
            tls = settings.listen.tls.is_on(),
            settings_file = file.as_deref().unwrap_or("none"),
            "pai-image-gateway starts"
        );
        if self.is_inherited {
            tracing::info!(address = %self.data.address(), "the data port's socket was passed on: listen.address is ignored");
        }
    }

    pub(super) fn addresses(&self) -> (Address, Address, Option<Address>) {
        (
            self.data.address().clone(),
            self.admin.address().clone(),
            self.observe.as_ref().map(|bound| bound.address().clone()),
        )
    }

    pub(super) fn listening(&self) -> Value {
        listening(
            self.data.address(),
            self.admin.address(),
            self.observe.as_ref().map(BoundSocket::address),
        )
    }
}

pub(super) fn listening(data: &Address, admin: &Address, observe: Option<&Address>) -> Value {
    json!({
        "listen": data.to_string(),
        "admin": admin.to_string(),
        "observe": observe.map(ToString::to_string),
    })
}

/// Refuses an inherited socket that other machines can reach while `auth.mode` is `none`. The settings' own address
/// is checked with the settings; this one is known only now.
fn refuse_public(data: BoundSocket, settings: &Settings) -> Result<BoundSocket, StartError> {
    if settings.auth.mode == Mode::None && !data.address().is_local() {
        return Err(StartError::Open(data.address().clone()));
    }
    Ok(data)
}

fn bind_as(
    setting: &'static str,
    address: &Address,
    backlog: u32,
) -> Result<BoundSocket, StartError> {
    bind(address, backlog).map_err(|cause| StartError::Bind { setting, cause })
}

fn listen_setting(settings: &Settings) -> &'static str {
    match settings.listen.unix {
        Some(_) => "listen.unix",
        None => "listen.address",
    }
}

fn admin_setting(settings: &Settings) -> &'static str {
    match settings.admin.unix {
        Some(_) => "admin.unix",
        None => "admin.address",
    }
}
