//! Sources of a process's settings, kept so that a reload reads the same ones.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Layers, Loaded, Problems, load};
use crate::bounded_read;

/// Settings file, variables and flags of a process. Only the file is read anew at a reload; variables and flags stay
/// as they were at the start.
#[derive(Debug, Clone, Default)]
pub struct SettingsSources {
    /// Settings file, if `--config` named one; the only source that may change.
    pub file: Option<PathBuf>,
    /// Environment of the process; variables that are no settings are ignored.
    pub variables: BTreeMap<String, String>,
    /// Values of `--set`, each `section.key=value`.
    pub flags: Vec<String>,
}

impl SettingsSources {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// [`Problems`] with every problem; a file that cannot be read is one of them.
    pub fn load(self) -> Result<Loaded, Problems> {
        let mut layers = Layers::new();
        if let Some(path) = &self.file {
            layers = match bounded_read::read_to_string(path) {
                Ok(text) => layers.file(path, &text),
                Err(error) => layers.unreadable(path, &error),
            };
        }
        let variables = self.variables.iter();
        let layers = layers
            .variables(variables.map(|(name, value)| (name.as_str(), value.as_str())))
            .flags(self.flags.iter().map(String::as_str));
        Ok(Loaded {
            sources: self,
            ..load(&layers)?
        })
    }
}

impl Loaded {
    /// Returns the files that the settings were read from, to be watched for changes.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.sources.file.iter().cloned().collect()
    }

    /// Reads the settings again from the same sources.
    ///
    /// # Errors
    /// [`Problems`] with every problem; the settings in force are not touched.
    pub fn again(&self) -> Result<Self, Problems> {
        self.sources.clone().load()
    }
}
