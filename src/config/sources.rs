//! Where the settings of a process are read, so that they can be read again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Layers, Loaded, Problems, load};
use crate::bounded_read;

/// A file, variables and flags. Variables and flags are what they were when the process started.
#[derive(Debug, Clone, Default)]
pub struct SettingsSources {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// `section.key=value`, each.
    pub flags: Vec<String>,
}

impl SettingsSources {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`Problems`], all of them.
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
    /// The files that the settings were read from.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.sources.file.iter().cloned().collect()
    }

    /// Reads the settings again.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn again(&self) -> Result<Self, Problems> {
        self.sources.clone().load()
    }
}
