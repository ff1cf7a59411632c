//! The sockets, bound before anything else starts.

use serde_json::{Value, json};

use super::StartError;
use crate::auth::Mode;
use crate::config::Settings;
use crate::server::{Address, Bound, bind};

/// The sockets, bound before anything else starts.
pub(super) struct Sockets {
    pub(super) data: Bound,
    pub(super) admin: Bound,
    pub(super) observe: Option<Bound>,
}

impl Sockets {
    pub(super) fn bind(settings: &Settings, data: Option<Bound>) -> Result<Self, StartError> {
        let backlog = settings.listen.backlog;
        let data = match data {
            Some(inherited) => may_be_open(inherited, settings)?,
            None => {
                let address = settings.listen.address();
                bind(
                    &address.ok_or(StartError::Address("listen.address"))?,
                    backlog,
                )?
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
            admin: bind(&admin, backlog)?,
            observe: observe.map(|address| bind(&address, backlog)).transpose()?,
        })
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
            self.observe.as_ref().map(Bound::address),
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

/// A socket that was opened for this process does not open the gateway to everybody either.
fn may_be_open(data: Bound, settings: &Settings) -> Result<Bound, StartError> {
    if settings.auth.mode == Mode::None && !data.address().is_local() {
        return Err(StartError::Open(data.address().clone()));
    }
    tracing::info!(address = %data.address(), "the data port's socket was passed on; listen.address does not count");
    Ok(data)
}
