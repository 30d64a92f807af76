//! The environment variables that are settings: their names, those that name a file (`…_FILE`), and the variables of
//! Kubernetes that are not ours.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use super::{ConfigError, Origin};
use crate::domain::server_variable::{FILE_SUFFIX, SETTING_PREFIX};

/// Variables with other names than `REJOINDER_…`, and their settings.
const ALIASES: [(&str, &str); 6] = [
    ("DATABASE_URL", "database.url"),
    ("OPENAI_API_KEY", "model.api_key"),
    ("OPENAI_BASE_URL", "model.base_url"),
    ("OPENAI_MODEL", "model.model"),
    (LOG_FILTER, "log.filter"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "telemetry.capture_content"),
];

/// Other programs may use `RUST_LOG_FILE` for themselves, so that variable names no file of ours.
const LOG_FILTER: &str = "RUST_LOG";

const SERVICE_HOST: &str = "SERVICE_HOST";

/// A variable that is a setting.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Variable {
    /// Has the prefix `REJOINDER_`. If a setting is given under both names, this one wins.
    is_prefixed: bool,
    /// The dotted setting.
    pub(super) setting: String,
    /// As written in the environment.
    pub(super) name: String,
    pub(super) value: String,
}

/// The variables that are settings, the strongest last. `is_setting` tells whether the defaults have a dotted setting.
///
/// # Errors
/// If a variable and its `…_FILE` are both set, or the file is empty or cannot be read.
pub(super) fn settings_of(
    env: impl Iterator<Item = (String, String)>,
    is_setting: impl Fn(&str) -> bool,
) -> Result<Vec<Variable>, ConfigError> {
    let env: BTreeMap<String, String> = env.collect();
    let links = link_families(&env);
    let mut found = Vec::new();
    for (name, value) in &env {
        if links.iter().any(|family| is_service_link(name, value, family)) {
            continue;
        }
        let base = name.strip_suffix(FILE_SUFFIX).filter(|base| *base != LOG_FILTER);
        let file_of = base.and_then(|base| Some((base, setting_of(base)?)));
        let own = setting_of(name);
        let is_own = own.as_ref().is_some_and(|(_, setting)| is_setting(setting));
        if let Some((base, (is_prefixed, setting))) = file_of.filter(|_| !is_own) {
            if value.trim().is_empty() {
                continue;
            }
            let is_base_set = env.get(base).is_some_and(|value| !value.trim().is_empty());
            let value = read_file(value.trim(), is_base_set.then_some(base)).map_err(|message| {
                let origin = Origin::Environment(name.clone());
                ConfigError::Setting { setting: setting.clone(), origin, message }
            })?;
            found.push(Variable { is_prefixed, setting, name: name.clone(), value });
        } else if let Some((is_prefixed, setting)) = own
            && (is_prefixed || !value.trim().is_empty())
        {
            found.push(Variable { is_prefixed, setting, name: name.clone(), value: value.clone() });
        }
    }
    // The variable of a file comes after its base, which is empty if both are there.
    found.sort();
    Ok(found)
}

/// Whether the variable has the prefix, and its dotted setting; `None` if it is not ours.
fn setting_of(name: &str) -> Option<(bool, String)> {
    if let Some((_, setting)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some((false, (*setting).to_owned()));
    }
    let rest = name.strip_prefix(SETTING_PREFIX)?;
    Some((true, rest.to_lowercase().replace("__", ".")))
}

/// The name of the variable of a dotted setting.
pub(super) fn variable_of(setting: &str) -> String {
    let alias = ALIASES.iter().find(|(_, of)| *of == setting);
    alias.map_or_else(
        || format!("{SETTING_PREFIX}{}", setting.to_uppercase().replace('.', "__")),
        |(name, _)| (*name).to_owned(),
    )
}

/// The value in a file, without the line end that editors and `echo` add. `base`: the variable that is set as well.
pub(super) fn read_file(path: &str, base: Option<&str>) -> Result<String, String> {
    if let Some(base) = base {
        return Err(format!("{base} is set too: only one of the two may be"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err(format!("{path} is empty")) } else { Ok(value.to_owned()) }
}

/// Kubernetes gives each pod the addresses of every service. A service called `rejoinder` makes
/// `REJOINDER_SERVICE_HOST`, `REJOINDER_PORT=tcp://…` and the like, and `rejoinder-web` makes
/// `REJOINDER_WEB_SERVICE_HOST` and its own. Returns the prefix of each service: the part before `SERVICE_HOST`.
fn link_families(env: &BTreeMap<String, String>) -> Vec<&str> {
    let services = env.iter().filter(|(_, value)| value.parse::<IpAddr>().is_ok());
    let prefixes = services.filter_map(|(name, _)| name.strip_suffix(SERVICE_HOST));
    prefixes.filter(|prefix| prefix.starts_with(SETTING_PREFIX)).collect()
}

/// Whether the variable describes the service of this prefix, in the forms of Kubernetes (`pkg/kubelet/envvars`).
fn is_service_link(name: &str, value: &str, family: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = name.strip_prefix(family) else { return false };
    if rest == SERVICE_HOST {
        return true;
    }
    if rest == "SERVICE_PORT" || rest.starts_with("SERVICE_PORT_") {
        return is_number(value);
    }
    if rest == "PORT" {
        return value.contains("://");
    }
    let Some((number, tail)) = rest.strip_prefix("PORT_").and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let (protocol, detail) = tail.split_once('_').unwrap_or((tail, ""));
    is_number(number)
        && matches!(protocol, "TCP" | "UDP" | "SCTP")
        && match detail {
            "" => value.contains("://"),
            "PROTO" => true,
            "PORT" => is_number(value),
            "ADDR" => value.parse::<IpAddr>().is_ok(),
            _ => false,
        }
}
