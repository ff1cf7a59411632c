//! A request line has one meaning or is rejected.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use pai_image_gateway::api::{Call, Operation};

fuzz_target!(|text: &str| {
    let (method, target) = text.split_once(' ').unwrap_or(("GET", text));
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return;
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let Ok(call) = Call::classify(&method, path, query) else {
        return;
    };
    let reads = method == Method::GET || call.operation == Operation::Resolve;
    assert_eq!(call.operation.is_write(), !reads);
    // What goes to the origin is understood as the same again.
    let canonical = call.query.canonical();
    let again = Call::classify(&method, &call.operation.path(), Some(&canonical));
    let again = again.expect("what was understood is understood again");
    assert_eq!(again.operation, call.operation);
    if let Operation::GetImage(key) = &call.operation {
        assert!(path.len() >= key.image.as_str().len());
    }
});
