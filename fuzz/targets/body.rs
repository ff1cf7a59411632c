//! A body is one complete JSON object or none, to every reader alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pai_image_gateway::api::{ImageFields, OriginError, parse_timestamp};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

fuzz_target!(|body: &[u8]| {
    let read = ImageFields::parse(body);
    if let Ok(fields) = &read {
        serde_json::from_slice::<IgnoredAny>(body).expect("what is read is JSON");
        // Beyond JSON's grammar, serde_json's values know numbers of 64 bits alone.
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(body) else {
            return;
        };
        // A field that was read is there, and says so.
        if let Some(workspace) = fields.ownership.workspace.as_deref() {
            assert_eq!(object["WorkspaceId"], workspace);
        }
        if let Some(user) = fields.ownership.user.as_deref() {
            assert_eq!(object["UserId"], user);
        }
        if let Some(time) = &fields.modified {
            let _ = parse_timestamp(time);
        }
    }
    let _ = OriginError::parse(400, body);
});
