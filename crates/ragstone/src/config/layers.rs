//! Layers of settings: merges them over the defaults and converts text to the type of the default.
//! Unknown keys of a file and misspelt names in the environment are refused.

use std::collections::BTreeSet;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use ragstone_core::nearest::nearest_name;

use super::names::{KnownNames, NameMeaning};
use super::{SettingProblem, SettingsError};

/// Text of `default.toml`: the defaults and the manual.
pub const DEFAULTS: &str = include_str!("default.toml");
/// Name of the defaults in messages that say where a value came from.
pub const BUILT_IN: &str = "the built-in defaults";

/// Keys whose values are lists of tables rather than of text.
const LISTS_OF_TABLES: [&str; 2] = ["access.issuers", "model.manifest.files"];

/// Sources of settings beside the defaults, lowest precedence first.
#[derive(Debug, Default, Clone)]
pub struct SettingsLayers {
    /// Name and text of the settings file, if there is one.
    pub file: Option<(String, String)>,
    /// Names and values of the lines of `.env`.
    pub dotenv: Vec<(String, String)>,
    /// Names and values of the environment's variables.
    pub environment: Vec<(String, String)>,
    /// Flags: how each was written, its key and its value.
    pub flags: Vec<(String, String, String)>,
}

/// Names in the environment that have the prefix of settings but are none: they are ignored and reported.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UnknownNames {
    /// Variables that Kubernetes sets for a Service whose name begins like this program's.
    pub of_services: BTreeSet<String>,
    /// All other such names.
    pub other: BTreeSet<String>,
}

/// One layer: values by key, and its name in messages.
struct NamedLayer {
    name: String,
    values: Dict,
}

impl Provider for NamedLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl SettingsLayers {
    /// Merges all layers over the defaults. Fails on unknown keys, misspelt names and values of a wrong type.
    pub fn build_figment(&self) -> Result<Figment, SettingsError> {
        let defaults = parse_toml(BUILT_IN, DEFAULTS)?;
        let mut known = Vec::new();
        collect_leaves(&defaults, "", &mut known);
        let mut figment = Figment::from(NamedLayer {
            name: BUILT_IN.into(),
            values: defaults,
        });
        let names = known_names(&known);
        let mut problems = self.misspelt_names(&names);
        if let Some((name, text)) = &self.file {
            let values = parse_toml(name, text)?;
            refuse_unknown(name, &values, &known, &mut problems);
            let name = name.clone();
            figment = figment.merge(NamedLayer { name, values });
        }
        for (name, key, value) in self.text_values(&names) {
            match parse_setting(&name, &key, &value, &known) {
                Ok(value) => {
                    let values = nest_value(&key, value);
                    figment = figment.merge(NamedLayer { name, values });
                }
                Err(problem) => problems.push(problem),
            }
        }
        SettingsError::unless_empty(problems).map(|()| figment)
    }

    /// Names in `.env` and the environment that have the prefix of settings but are none.
    pub fn unknown_names(&self) -> Result<UnknownNames, SettingsError> {
        let names = known_names(&known_keys()?);
        let mut unknown = UnknownNames::default();
        for (name, _) in self.environment_values() {
            match names.resolve_name(name) {
                NameMeaning::Unknown => unknown.other.insert(name.clone()),
                NameMeaning::Service => unknown.of_services.insert(name.clone()),
                _ => false,
            };
        }
        Ok(unknown)
    }

    /// All variables of `.env`, then of the environment, whether they are settings or not.
    fn environment_values(&self) -> impl Iterator<Item = &(String, String)> {
        let all = self.dotenv.iter().chain(&self.environment);
        all.filter(|(_, value)| !value.is_empty())
    }

    fn misspelt_names(&self, names: &KnownNames) -> Vec<SettingProblem> {
        let given = self.environment_values().map(|(name, _)| name);
        let misspelt = given.filter_map(|name| match names.resolve_name(name) {
            NameMeaning::Misspelt(meant) => Some((name, meant)),
            _ => None,
        });
        let problem = |(name, meant): (&String, String)| {
            let meant = match names.resolve_name(&meant) {
                NameMeaning::Key(key) => format!("{key}? It is set by {meant}"),
                _ => format!("{meant}?"),
            };
            SettingProblem {
                key: name.clone(),
                place: "the environment or .env".into(),
                detail: format!("there is no such setting; did you mean {meant}"),
            }
        };
        misspelt.map(problem).collect()
    }

    /// Values given as text, lowest precedence first: name in messages, key, value. Empty values are skipped, except
    /// those of flags.
    fn text_values(&self, names: &KnownNames) -> Vec<(String, String, String)> {
        let named = |(name, value): &(String, String), place: &str| match names.resolve_name(name) {
            NameMeaning::Key(key) if !value.is_empty() => Some((format!("{name}{place}"), key, value.clone())),
            _ => None,
        };
        let dotenv = self.dotenv.iter().filter_map(|pair| named(pair, " in .env"));
        let environment = self.environment.iter().filter_map(|pair| named(pair, ""));
        // A key's short name has lower precedence than its systematic one, in whatever order the system lists them.
        let mut environment: Vec<_> = environment.collect();
        environment.sort_by_key(|(name, ..)| (name.contains("__"), name.clone()));
        dotenv.chain(environment).chain(self.flags.iter().cloned()).collect()
    }
}

fn parse_toml(name: &str, text: &str) -> Result<Dict, SettingsError> {
    let data = Toml::string(text).data().map_err(|error| {
        SettingsError::from(SettingProblem {
            key: name.to_owned(),
            place: String::new(),
            detail: error.to_string().trim_end_matches(" in TOML source string").to_owned(),
        })
    })?;
    Ok(data.into_values().next().unwrap_or_default())
}

/// Every key that has a value, with the default as its type.
fn collect_leaves(dict: &Dict, prefix: &str, into: &mut Vec<(String, Value)>) {
    for (key, value) in dict {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Dict(_, inner) => collect_leaves(inner, &path, into),
            other => into.push((path, other.clone())),
        }
    }
}

fn refuse_unknown(name: &str, values: &Dict, known: &[(String, Value)], problems: &mut Vec<SettingProblem>) {
    let mut given = Vec::new();
    collect_leaves(values, "", &mut given);
    let unknown = given.into_iter().filter(|(key, _)| !is_known(key, known));
    problems.extend(unknown.map(|(key, _)| SettingProblem {
        detail: describe_unknown_key(&key, known),
        key,
        place: name.to_owned(),
    }));
}

/// Every key, with its default.
pub(super) fn known_keys() -> Result<Vec<(String, Value)>, SettingsError> {
    let mut known = Vec::new();
    collect_leaves(&parse_toml(BUILT_IN, DEFAULTS)?, "", &mut known);
    Ok(known)
}

/// What names in the environment mean, given the keys that there are.
pub(super) fn known_names(known: &[(String, Value)]) -> KnownNames {
    KnownNames::new(known.iter().map(|(key, _)| key.clone()))
}

fn is_known(key: &str, known: &[(String, Value)]) -> bool {
    known.iter().any(|(name, _)| name == key)
}

fn describe_unknown_key(key: &str, known: &[(String, Value)]) -> String {
    match nearest_name(key, known.iter().map(|(name, _)| name.as_str())) {
        Some(near) => format!("there is no such setting; did you mean {near}?"),
        None => "there is no such setting; `ragstone doctor --settings` prints all of them".into(),
    }
}

fn parse_setting(name: &str, key: &str, text: &str, known: &[(String, Value)]) -> Result<Value, SettingProblem> {
    let problem = |detail: String| SettingProblem {
        key: key.to_owned(),
        place: name.to_owned(),
        detail,
    };
    let Some((_, default)) = known.iter().find(|(known, _)| known == key) else {
        return Err(problem(describe_unknown_key(key, known)));
    };
    match default {
        Value::Num(..) => match text.trim().parse::<i64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => Err(problem(format!("must be a whole number, got {text:?}"))),
        },
        Value::Bool(..) => match text.trim().to_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Value::from(true)),
            "0" | "false" | "no" | "off" => Ok(Value::from(false)),
            _ => Err(problem(format!("must be true or false, got {text:?}"))),
        },
        Value::Array(..) if LISTS_OF_TABLES.contains(&key) => parse_tables(text).map_err(problem),
        Value::Array(..) => parse_list(text).map_err(problem),
        _ => Ok(Value::from(text)),
    }
}

/// Parses a JSON list of text, or text separated by commas.
fn parse_list(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('[') {
        let items: Vec<String> =
            serde_json::from_str(text).map_err(|error| format!("must be a JSON list of text: {error}"))?;
        return Ok(Value::from(items));
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Ok(Value::from(items.map(String::from).collect::<Vec<_>>()))
}

/// Parses a JSON list of objects.
fn parse_tables(text: &str) -> Result<Value, String> {
    let items: Vec<Dict> =
        serde_json::from_str(text).map_err(|error| format!("must be a JSON list of objects: {error}"))?;
    Ok(Value::from(items.into_iter().map(Value::from).collect::<Vec<_>>()))
}

fn nest_value(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((section, rest)) => Dict::from([(section.to_owned(), Value::from(nest_value(rest, value)))]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}
