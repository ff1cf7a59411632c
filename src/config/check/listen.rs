//! Rules of the `[listen]` settings, except for the address, which depends on `auth.mode`.

use crate::server::{Config, TlsConfig, read_tls};

/// Checks the section: bounds above 0, and a TLS configuration whose files can be used. The address is checked
/// together with `auth.mode`, which decides whether it may be public.
pub(super) fn check(listen: &Config, rule: &mut impl FnMut(&str, bool, &str)) {
    rule(
        "listen.max_connections",
        listen.max_connections > 0,
        "write a number above 0",
    );
    rule(
        "listen.max_in_flight",
        listen.max_in_flight > 0,
        "write a number above 0",
    );
    rule(
        "listen.max_head",
        listen.max_head.0 >= 8192,
        "write at least \"8KiB\": SDK heads need it",
    );
    rule(
        "listen.max_streams",
        listen.max_streams > 0,
        "write a number above 0",
    );
    for (key, size) in [
        ("listen.max_buffered", listen.max_buffered),
        (
            "listen.max_buffered_per_connection",
            listen.max_buffered_per_connection,
        ),
    ] {
        rule(key, size.0 >= 64 << 10, "write at least \"64KiB\"");
    }
    rule(
        "listen.write_timeout",
        !listen.write_timeout.0.is_zero(),
        "write a duration above 0, such as \"10s\"",
    );
    if listen.tls.is_on() {
        rule(
            "listen.tls.cert_file",
            listen.unix.is_none(),
            "TLS is for a port: leave out listen.unix, or the files of listen.tls",
        );
        tls(&listen.tls, rule);
    }
}

/// Checks that certificate, key and client CA can be loaded, so that `serve` does not fail on them later.
fn tls(tls: &TlsConfig, rule: &mut impl FnMut(&str, bool, &str)) {
    rule(
        "listen.tls.handshake_timeout",
        !tls.handshake_timeout.0.is_zero(),
        "write a duration above 0, such as \"5s\"",
    );
    if let Err(bad) = read_tls(tls) {
        for file in bad.0 {
            rule(file.key, false, &file.remedy);
        }
    }
}
