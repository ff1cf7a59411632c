//! An Authorization header has one reading or is rejected.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pai_image_gateway::signing::{Authorization, roa};

fuzz_target!(|text: &str| {
    let acs3 = Authorization::parse(text);
    if let Ok(parsed) = &acs3 {
        assert!(text.contains(parsed.access_key_id) && text.contains(parsed.signed_headers));
    }
    let older = roa::RoaAuthorization::parse(text);
    assert!(acs3.is_err() || older.is_err());
});
