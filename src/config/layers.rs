//! Layers of settings, split into single values, so that one bad value hides no other and each keeps its origin.

use std::path::Path;

use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider, error::Kind};
use serde_json::Value;

use super::{Problem, Settings};

/// Prefix of environment variables that are settings, such as `PAI_GATEWAY__FRESHNESS__MAX`.
const VARIABLE_PREFIX: &str = "PAI_GATEWAY__";
/// Prefix that marks the origins given here among figment's own names.
pub(super) const SOURCE_PREFIX: &str = "setting:";

/// Single values, of which later ones override earlier ones, and problems found while splitting.
#[derive(Debug, Clone)]
pub struct Layers {
    pub(super) leaves: Vec<Leaf>,
    pub(super) problems: Vec<Problem>,
    shape: Value,
}

/// One value for one key, with its origin.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    key: String,
    value: Value,
    source: String,
}

impl Default for Layers {
    fn default() -> Self {
        Self::new()
    }
}

impl Layers {
    /// Creates a stack without layers: the defaults alone.
    #[must_use]
    pub fn new() -> Self {
        let shape =
            serde_json::to_value(Settings::default()).expect("settings are tables of plain values");
        Self {
            leaves: Vec::new(),
            problems: Vec::new(),
            shape,
        }
    }

    /// Adds a settings file, given as its text in TOML.
    #[must_use]
    pub fn file(mut self, path: &Path, text: &str) -> Self {
        let source = format!("file {}", path.display());
        match toml::from_str::<Value>(text) {
            Ok(value) => self.add(String::new(), value, &source),
            Err(error) => {
                let line = error.span().map_or(1, |span| {
                    text.get(..span.start).unwrap_or("").lines().count().max(1)
                });
                let key = format!("line {line}");
                self.problems.push(Problem::new(
                    &key,
                    &source,
                    "this is no TOML: write key = value, texts in quotes, each key once",
                ));
            }
        }
        self
    }

    /// Adds the problem that the named file could not be read.
    #[must_use]
    pub fn unreadable(mut self, path: &Path, error: &std::io::Error) -> Self {
        let remedy =
            format!("the settings file cannot be read ({error}): name one that this user may read");
        self.problems.push(Problem::new(
            "--config",
            &format!("file {}", path.display()),
            &remedy,
        ));
        self
    }

    /// Adds the environment variables that are settings; others are ignored.
    #[must_use]
    pub fn variables<'a>(
        mut self,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        for (name, text) in variables {
            if let Some(key) = name.strip_prefix(VARIABLE_PREFIX) {
                let key = key.to_ascii_lowercase().replace("__", ".");
                self.add_text(key, text, &format!("variable {name}"));
            }
        }
        self
    }

    /// Adds `--set` flags of the form `section.key=value`.
    #[must_use]
    pub fn flags<'a>(mut self, flags: impl IntoIterator<Item = &'a str>) -> Self {
        for flag in flags {
            let (key, text) = flag.split_once('=').unwrap_or((flag, ""));
            self.add_text(key.trim().to_owned(), text, "flag --set");
        }
        self
    }

    fn add(&mut self, key: String, value: Value, source: &str) {
        match value {
            Value::Object(table) => {
                for (name, value) in table {
                    let key = if key.is_empty() {
                        name
                    } else {
                        format!("{key}.{name}")
                    };
                    self.add(key, value, source);
                }
            }
            value => self.add_leaf(key, value, source),
        }
    }

    /// Adds a value given as text, converted to the type of the default: variables and flags have no types. A text
    /// that does not convert stays a text and is refused later, with the remedy for its key.
    fn add_text(&mut self, key: String, text: &str, source: &str) {
        let value = match self.default_of(&key) {
            Some(Value::Bool(_) | Value::Number(_)) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.into())
            }
            Some(Value::Array(_)) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect(),
            _ => text.into(),
        };
        self.add_leaf(key, value, source);
    }

    fn add_leaf(&mut self, key: String, value: Value, source: &str) {
        match self.default_of(&key) {
            Some(default) if !default.is_object() => self.leaves.push(Leaf {
                key,
                value,
                source: source.to_owned(),
            }),
            Some(_) => self.problems.push(Problem::new(
                &key,
                source,
                "this is a section; write its keys below it",
            )),
            None => {
                let remedy = match self.nearest(&key) {
                    Some(nearest) => format!("there is no such setting; the nearest is {nearest}"),
                    None => {
                        "there is no such setting; config/gateway.toml lists them all".to_owned()
                    }
                };
                self.problems.push(Problem::new(&key, source, &remedy));
            }
        }
    }

    fn default_of(&self, key: &str) -> Option<&Value> {
        self.shape.pointer(&format!("/{}", key.replace('.', "/")))
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let mut keys = Vec::new();
        leaves(&self.shape, "", &mut keys);
        let scored = keys
            .into_iter()
            .map(|known| (strsim::jaro_winkler(&known, key), known));
        scored
            .filter(|(score, _)| *score > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known)
    }
}

/// Collects the keys of every setting, at any depth.
fn leaves(value: &Value, key: &str, keys: &mut Vec<String>) {
    match value.as_object() {
        Some(table) => table
            .iter()
            .for_each(|(name, value)| leaves(value, &format!("{key}.{name}"), keys)),
        None => keys.push(key.trim_start_matches('.').to_owned()),
    }
}

impl Leaf {
    /// Tries the value alone over the defaults, so that one bad value hides no other.
    pub(super) fn try_alone(&self) -> Result<(), Problem> {
        let figment = Figment::from(Serialized::defaults(Settings::default())).merge(self);
        match figment.extract::<Settings>() {
            Ok(_) => Ok(()),
            Err(error) => Err(Problem::new(&self.key, &self.source, &remedy(error.kind))),
        }
    }
}

/// Returns the remedy for a value that does not fit. figment's own message is not used: it quotes the value.
fn remedy(kind: Kind) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidLength(_, expected) => {
            format!("write {expected}")
        }
        Kind::InvalidValue(_, expected) => format!("out of range: write {expected}"),
        Kind::UnknownVariant(_, known) => format!("write one of: {}", known.join(", ")),
        Kind::Message(message) => message,
        Kind::Unsupported(_)
        | Kind::UnsupportedKey(..)
        | Kind::MissingField(_)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::UnknownField(..) => {
            "this value cannot be used here; see config/gateway.toml".to_owned()
        }
    }
}

impl Provider for &Leaf {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("{SOURCE_PREFIX}{}", self.source))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::default(&self.key, &self.value).data()
    }
}
