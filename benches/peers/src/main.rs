//! Servers to compare the gateway with, and load:
//!
//! - `peers hyper LISTEN PORTS_FILE [each|shared WORKERS]`: bare hyper, the reference
//! - `peers floor LISTEN PORTS_FILE`: an epoll loop that writes fixed bytes, the lower bound
//! - `peers origin LISTEN PORTS_FILE BODY_BYTES`: an origin that has every image
//! - `peers load …`: requests, where wrk cannot send them
//!
//! LISTEN is an address or `unix:PATH`.

mod answer;
mod bare;
mod epoll;
mod load;
mod wire;

use std::error::Error;

use bare::Workers;

// The gateway's own allocator, so that the reference differs by what is done, not by how it is stored.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hyper", listen, ports_file] => bare::serve(listen, ports_file, Workers::One),
        ["hyper", listen, ports_file, kind, count] => {
            bare::serve(listen, ports_file, Workers::parse(kind, count)?)
        }
        ["floor", listen, ports_file] => {
            let fixed = answer::found(answer::BODY_BYTES);
            epoll::serve(listen, ports_file, move |_, out| out.extend(&fixed))
        }
        ["origin", listen, ports_file, body_bytes] => {
            let mut origin = answer::Origin::new(body_bytes.parse()?);
            epoll::serve(listen, ports_file, move |head, out| {
                origin.answer(head, out);
            })
        }
        ["load", ref options @ ..] => load::run(&load::Plan::parse(options)?),
        _ => Err("peers hyper|floor|origin|load …; see main.rs".into()),
    }
}
