//! Recording of answers as files, one for each call, without what must not leave the account.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::redact::Redactor;
use crate::api::Call;
use crate::cli::exit::ArgumentError;
use crate::cli::serve::write_whole;
use crate::upstream::{OriginAnswer, UpstreamError};

/// Answers of one run, redacted as they come, and the folder for them.
pub(super) struct Recording {
    folder: PathBuf,
    redactor: Redactor,
    /// Names of files and their contents; at most one for each call.
    files: Vec<(String, Value)>,
}

impl Recording {
    /// Creates the folder, or takes an empty one, so that the files of two runs never mix.
    ///
    /// # Errors
    /// A folder that has files, or that cannot be created.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let failed = || format!("--record: cannot create {}", folder.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
        let mut entries = std::fs::read_dir(folder).with_context(failed)?;
        if entries.next().is_some() {
            let mistake = format!(
                "--record: {} is not empty: name a new folder",
                folder.display()
            );
            return Err(ArgumentError(mistake).into());
        }
        Ok(Self {
            folder: folder.to_owned(),
            redactor: Redactor::default(),
            files: Vec::new(),
        })
    }

    /// Takes the answer to a call. Of an error without a classified answer only status and Code are kept; a call
    /// without any answer leaves no file.
    pub(super) fn take(&mut self, call: &Call, sent: &Result<OriginAnswer, UpstreamError>) {
        let operation = call.operation.action().as_str();
        let redactor = &mut self.redactor;
        let (status, headers, body) = match sent {
            Ok(OriginAnswer { reply, .. }) => (
                reply.status,
                redactor.headers(&reply.headers),
                redactor.body(&reply.body),
            ),
            Err(error) => match error.answer() {
                Some(answer) => (answer.status, Map::new(), json!({ "Code": answer.code })),
                None => return,
            },
        };
        let query = call.query.pairs();
        let query: Map<_, _> = query
            .map(|(name, value)| (name.to_owned(), redactor.parameter(name, value).into()))
            .collect();
        let image = call.operation.image();
        let image = image.map(|image| redactor.placeholder("ImageId", image.as_str()));
        let file = json!({
            "operation": operation,
            "image": image,
            "query": query,
            "status": status,
            "headers": headers,
            "body": body,
        });
        let name = format!("{:02}-{operation}.json", self.files.len() + 1);
        self.files.push((name, file));
    }

    /// Writes the files and returns a remark about them. A text that holds one of `secrets` in spite of the redaction
    /// is not written.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn write(self, secrets: &[&str]) -> anyhow::Result<String> {
        for (name, file) in &self.files {
            let text = format!("{file:#}\n");
            let path = self.folder.join(name);
            if secrets.iter().any(|secret| text.contains(secret)) {
                anyhow::bail!(
                    "--record: {} is not written: the answer quotes the credential",
                    path.display()
                );
            }
            write_whole(&path, &text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let (count, folder) = (self.files.len(), self.folder.display());
        Ok(format!(
            "{count} answers are in {folder}, with placeholders for ids, names, URIs and every text that is not known to be harmless; read them before you pass them on"
        ))
    }
}
