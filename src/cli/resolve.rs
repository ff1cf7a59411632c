//! `resolve`: resolves many images in one request, to fill a gateway's cache or to see whether all exist.

mod names;
mod request;
mod target;

use std::io::{IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{ConfigArgs, Exit, block_on, print_error, printable};
use crate::environment::Environment;
use crate::gateway::ResolveConfig;
use names::read_names;
use request::{ImageResult, resolve_images};
use target::{CredentialArgs, Target};

/// Resolve many images in one request to a running gateway, which caches them.
///
/// Exit code 0 if every image was found, 1 if one is missing or failed, 2 if the request could not be made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway resolve ids.txt
  pai-image-gateway resolve - --url https://pai-gateway.example --bearer-file token --json < ids.txt")]
pub(super) struct Resolve {
    /// File with one image id or image URI on each line, or - for standard input. Blank lines and comments after # are
    /// skipped.
    file: String,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    credential: CredentialArgs,
    /// Fetch each image with its labels.
    #[arg(long)]
    verbose: bool,
    /// Print the result of each image, the image included, as a line of JSON; no summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Counts of the results so far, and the lines to print.
#[derive(Debug, Default)]
struct ResolveReport {
    found: usize,
    missing: usize,
    failed: usize,
    /// One line for each image that was not found.
    text: String,
}

impl Resolve {
    /// Returns exit code 0 when every image was found, 1 when one is missing or failed, and 2 when lines or arguments
    /// are malformed or the gateway gave no whole response.
    pub(super) fn run(self, environment: &Environment) -> Exit {
        match self.report(environment) {
            Ok(report) if report.missing + report.failed == 0 => Exit::Success,
            Ok(_) => Exit::Failure,
            Err(error) => {
                print_error(&format!("{error:#}"));
                Exit::Usage
            }
        }
    }

    fn report(self, environment: &Environment) -> anyhow::Result<ResolveReport> {
        let settings = self.config.load(environment).map(|loaded| loaded.settings);
        let max_ids = settings.as_ref().map_or_else(
            |_| ResolveConfig::default().max_ids,
            |settings| settings.resolve.max_ids,
        );
        let server = self.target.server(settings)?;
        let credential = self.credential.read(&server)?;
        let text = content(&self.file)?;
        let names = read_names(&text).with_context(|| format!("{}:", self.file))?;
        let (bar, mut report) = (bar(names.len()), ResolveReport::default());
        let requests = async {
            for names in names.chunks(max_ids as usize) {
                let body = json!({
                    "ImageIds": names.iter().filter_map(|name| name.id()).collect::<Vec<_>>(),
                    "ImageUris": names.iter().filter_map(|name| name.uri()).collect::<Vec<_>>(),
                    "Verbose": self.verbose,
                });
                resolve_images(
                    &server,
                    credential.as_ref(),
                    body.to_string(),
                    |line, text| {
                        report.count(&line);
                        bar.inc(1);
                        match self.json {
                            true => bar.suspend(|| print(text)),
                            false => Ok(()),
                        }
                    },
                )
                .await
                .with_context(|| format!("cannot resolve by the gateway at {server}"))?;
            }
            anyhow::Ok(())
        };
        let resolved = block_on(requests)?;
        bar.finish_and_clear();
        resolved?;
        if !self.json {
            print(report.text().as_bytes())?;
        }
        Ok(report)
    }
}

impl ResolveReport {
    fn count(&mut self, line: &ImageResult<'_>) {
        match &*line.status {
            "found" => return self.found += 1,
            "missing" => self.missing += 1,
            _ => self.failed += 1,
        }
        let (code, message) = (line.code.as_deref(), line.message.as_deref());
        let text = format!(
            "{:8}{}  {}: {}",
            line.status,
            line.name(),
            code.unwrap_or("?"),
            message.unwrap_or("")
        );
        self.text.push_str(&printable(&text));
        self.text.push('\n');
    }

    fn text(&self) -> String {
        format!(
            "{}{} found, {} missing, {} failed\n",
            self.text, self.found, self.missing, self.failed
        )
    }
}

fn content(file: &str) -> anyhow::Result<String> {
    if file == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    let written = std::io::stdout().write_all(text);
    written.context("cannot write to standard output")
}

/// Creates a progress bar, which is hidden unless standard error is a terminal.
fn bar(images: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(images as u64)
        .with_style(style)
        .with_message("resolve")
}
