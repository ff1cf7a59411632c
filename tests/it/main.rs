//! The gateway as its users meet it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod vectors;
