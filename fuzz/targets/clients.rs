//! A clients file is valid or rejected with reasons, and no reason quotes a value.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pai_image_gateway::auth::{Clients, InvalidClients};

fuzz_target!(|text: &str| {
    // Files it names are not read: the folder is none.
    match Clients::check(text, Path::new("/dev/null/none")) {
        Ok(clients) => assert!(clients.names().all(|name| text.contains(name))),
        Err(InvalidClients(problems)) => assert!(!problems.is_empty()),
    }
});
