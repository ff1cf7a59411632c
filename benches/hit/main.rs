//! The cost of a hit for the server, against bare hyper in the same run: `cargo bench --bench hit`.
//!
//! All servers answer the same bytes to the same requests, written as the Python SDK writes them,
//! over 64 keep-alive connections for 1,000 images. Each is a process pinned to one processor, the
//! load comes from another; the measure is the server's own CPU time per request, in short rounds in
//! turn, so that noise on the machine affects all alike.

mod load;
mod server;

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use pai_image_gateway::emulator::{Emulator, Settings};

use load::Round;
use server::{BARE, Server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const IMAGES: usize = 1_000;
const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(300);

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if std::env::args().any(|argument| argument == BARE) {
        return runtime.block_on(server::bare_hyper());
    }
    // `cargo test --benches` only asks whether this builds and starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let origin_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let origin = origin_runtime.block_on(Emulator::start(Settings {
        images: IMAGES,
        ..Settings::default()
    }))?;
    let folder = tempfile::tempdir()?;
    let signed_in = clients(&folder)?;
    let mut rows = Vec::new();
    for (name, command) in [
        ("bare hyper", Server::bare()?),
        ("hit", Server::gateway(origin.address(), &[])),
        (
            "hit, verified",
            Server::gateway(origin.address(), &signed_in),
        ),
    ] {
        rows.push(Row {
            name,
            server: Server::start(command)?,
            costs: Vec::new(),
        });
    }
    for row in &rows {
        runtime.block_on(Round::new().send(row.server.address, ROUND))?;
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            let (round, before) = (Round::new(), row.server.cpu()?);
            let answered = runtime.block_on(round.send(row.server.address, ROUND))?;
            let used = row.server.cpu()? - before;
            row.costs.push(used.as_secs_f64() * 1e6 / answered as f64);
        }
    }
    report(&rows)
}

/// A clients' file that lets the load in, and the settings that name it.
fn clients(folder: &tempfile::TempDir) -> Outcome<[String; 2]> {
    std::fs::write(folder.path().join("secret"), load::KEY_SECRET)?;
    let file = folder.path().join("clients.toml");
    let text = format!(
        "[[client]]\nname = \"bench\"\naccess_key_id = \"{}\"\naccess_key_secret_file = \"secret\"\n\
         permissions = [\"get\"]\nworkspaces = [\"*\"]\nusers = [\"*\"]\nofficial = true\n",
        load::KEY_ID
    );
    std::fs::write(&file, text)?;
    Ok([
        "auth.mode=required".to_owned(),
        format!("auth.clients_file={}", file.display()),
    ])
}

struct Row {
    name: &'static str,
    server: Server,
    /// CPU µs a request, of each round.
    costs: Vec<f64>,
}

fn report(rows: &[Row]) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| | CPU µs a request | against bare hyper | half of the rounds between |\n|---|---|---|---|"
    )?;
    let bare = &rows[0].costs;
    for Row { name, costs, .. } in rows {
        let ratios: Vec<f64> = costs
            .iter()
            .zip(bare)
            .map(|(one, bare)| one / bare)
            .collect();
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&ratios, share));
        let cost = quantile(costs, 0.5);
        writeln!(
            out,
            "| {name} | {cost:.2} | {middle:.2} | {low:.2} and {high:.2} |"
        )?;
    }
    Ok(())
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
