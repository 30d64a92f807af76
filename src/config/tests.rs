//! Tests of how a configuration is read and refused.

use std::io::Write as _;
use std::num::NonZeroU64;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::ExposeSecret as _;
use tempfile::NamedTempFile;
use toml::{Table, Value};

use super::layers::Layers;
use super::*;
use crate::domain::money::Money;
use crate::domain::server_variable::{FILE_SUFFIX, is_server_variable};

const ZERO_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let mut temp_file = NamedTempFile::new().unwrap();
    temp_file.write_all(file.as_bytes()).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(temp_file.path()), env)
        .map_err(|error| error.to_string().replace(temp_file.path().to_str().unwrap(), "FILE"))
}

fn refusal(file: &str, env: &[(&str, &str)]) -> String {
    load(file, env).expect_err("the configuration is refused")
}

/// Dotted names of all settings below a table.
fn leaves(table: &Table, prefix: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        match value.as_table() {
            Some(inner) => leaves(inner, &format!("{prefix}{key}."), found),
            None => found.push((format!("{prefix}{key}"), value.clone())),
        }
    }
}

fn default_settings() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    leaves(&DEFAULTS.parse().unwrap(), "", &mut found);
    found
}

#[test]
fn the_defaults_load_and_are_those_of_the_design() {
    let config = Config::load(None, std::iter::empty()).unwrap();

    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.turn.max_wait, Duration::from_hours(24));
    assert_eq!(config.model.max_body, ByteSize(4 << 20));
    assert_eq!(config.limits.per_conversation.count.get(), 20);
    assert_eq!(config.limits.per_conversation.period, Duration::from_mins(1));
    assert_eq!(config.events.retention, Duration::from_hours(24 * 30));
    assert_eq!(config.limits.spend_per_day, None);
    assert_eq!((config.limits.tokens_per_conversation, config.limits.tokens_per_day), (None, None));
    assert!(config.is_demo_enabled());
    assert!(matches!(config.database(), Database::Sqlite { .. }));
    assert!(matches!(config.model_choice(), ModelChoice::Offline { is_explicit: false }));
}

#[test]
fn every_setting_of_a_struct_is_in_the_default_file() {
    for (setting, _) in default_settings() {
        let mut table: Table = DEFAULTS.parse().unwrap();
        let (section, key) = setting.rsplit_once('.').unwrap_or(("", &setting));
        match section {
            "" => table.remove(key),
            section => table[section].as_table_mut().unwrap().remove(key),
        };

        let error = table.try_into::<Config>().expect_err("no struct has a default of its own");

        assert!(error.message().contains(&format!("missing field `{key}`")), "{setting}: {error}");
    }
}

#[test]
fn every_setting_of_the_default_file_is_explained_above_it() {
    let mut before = "";
    for line in DEFAULTS.lines() {
        if !line.starts_with('#') && line.contains(" = ") {
            assert!(before.starts_with("# "), "no comment above: {line}");
        }
        before = line;
    }
}

#[test]
fn every_setting_can_be_given_by_its_variable() {
    for (setting, value) in default_settings() {
        let name = format!("REJOINDER_{}", setting.to_uppercase().replace('.', "__"));
        let text = if value.is_array() { String::new() } else { value.to_string().replace('"', "") };

        load("", &[(&name, &text)]).unwrap();
        let error = refusal("", &[(&format!("{name}__X"), "1")]);

        assert!(error.contains(&format!("{name}__X")), "{error}");
    }
}

#[test]
fn the_variable_of_every_setting_belongs_to_the_server() {
    for (setting, _) in default_settings() {
        let name = super::variables::variable_of(&setting);
        let file = format!("{name}{FILE_SUFFIX}");
        assert!(is_server_variable(&name) && is_server_variable(&file), "{name}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "listen = '0.0.0.0:80'\n[turn]\ndeadline = '90s'\nmax_attempts = 3\n";

    let config = load(file, &[("REJOINDER_TURN__DEADLINE", "2m")]).unwrap();

    assert_eq!(config.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.turn.deadline, Duration::from_mins(2));
    assert_eq!(config.turn.max_attempts, 3);
    assert_eq!(config.turn.max_rounds, 8);
}

#[test]
fn each_kind_of_value_is_read_from_the_environment() {
    let config = load(
        "",
        &[
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", "127.0.0.1:9000, crm.local"),
            ("REJOINDER_LIMITS__ENABLED", "false"),
            ("REJOINDER_LIMITS__PER_ADDRESS", "5/s"),
            ("REJOINDER_LIMITS__SPEND_PER_DAY", "2.50"),
            ("REJOINDER_LIMITS__TOKENS_PER_DAY", "5000000000"),
            ("REJOINDER_LIMITS__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8, 127.0.0.1"),
            ("REJOINDER_MODEL__MAX_IN_FLIGHT", "4"),
            ("REJOINDER_MODEL__MAX_BODY", "64KiB"),
            ("REJOINDER_TURN__LEASE", "250ms"),
            ("REJOINDER_SECRET_KEY", ZERO_KEY),
            ("REJOINDER_CONNECTIONS__BACKUP__BASE_URL", "http://127.0.0.1:11434/v1"),
            ("REJOINDER_DEMO", "false"),
            ("RUST_LOG", "debug"),
        ],
    )
    .unwrap();

    assert_eq!(config.outbound.allow_hosts.entries(), ["127.0.0.1:9000", "crm.local"]);
    assert!(!config.limits.enabled);
    assert_eq!(config.limits.per_address.period, Duration::from_secs(1));
    assert_eq!(config.limits.spend_per_day, Some(Money(2_500_000)));
    assert_eq!(config.limits.tokens_per_day, NonZeroU64::new(5_000_000_000));
    let proxies: [IpNet; 3] =
        ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"].map(|network| network.parse().unwrap());
    assert_eq!(*config.limits.trusted_proxies, proxies);
    assert_eq!(config.model.max_in_flight, Some(4));
    assert_eq!(config.model.max_body, ByteSize(65_536));
    assert_eq!(config.turn.lease, Duration::from_millis(250));
    assert_eq!(secret_keys(&config), [[0; 32]]);
    assert_eq!(config.connections["backup"].base_url.as_str(), "http://127.0.0.1:11434/v1");
    assert!(!config.is_demo_enabled());
    assert_eq!(config.log.filter, "debug");
}

#[test]
fn a_setting_that_does_not_exist_is_named_with_its_location() {
    insta::assert_snapshot!(refusal("listen = '[::1]:1'\n\n[widget]\ndedline = '1s'\n", &[]), @"setting `widget.dedline` (FILE, line 4): there is no setting `dedline`; did you mean `widget.deadline`?");
    insta::assert_snapshot!(refusal("[widgets]\ndeadline = '1s'\n", &[]), @"setting `widgets` (FILE, line 1): there is no setting `widgets`; did you mean `widget`?");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_WIDGET__DEDLINE", "1s")]), @"setting `widget.dedline` (environment variable REJOINDER_WIDGET__DEDLINE): there is no setting `dedline`; did you mean `REJOINDER_WIDGET__DEADLINE`?");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_LISTEN__PORT", "1")]), @"setting `listen.port` (environment variable REJOINDER_LISTEN__PORT): there is no such setting");
}

#[test]
fn a_value_that_does_not_parse_is_named_with_what_is_expected_and_redacted() {
    insta::assert_snapshot!(refusal("[turn]\nmax_rounds = 1\ndeadline = 'soon'\n", &[]), @"setting `turn.deadline` (FILE, line 3): expected a duration such as `250ms`, `120s`, `15m`, `24h` or `30d`");
    insta::assert_snapshot!(refusal("turn.max_attempts = -1", &[]), @"setting `turn.max_attempts` (FILE, line 1): expected a whole number");
    insta::assert_snapshot!(refusal("limits.tokens_per_day = 0", &[]), @"setting `limits.tokens_per_day` (FILE, line 1): expected a whole number above 0, or \"\" for none");
    insta::assert_snapshot!(refusal("turn = 3", &[]), @"setting `turn` (FILE, line 1): expected a section of settings");
    insta::assert_snapshot!(refusal("[outbound]\nallow_hosts = [1]", &[]), @"setting `outbound.allow_hosts` (FILE, line 2): expected a string");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_LIMITS__PER_CONVERSATION", "20")]), @"setting `limits.per_conversation` (environment variable REJOINDER_LIMITS__PER_CONVERSATION): expected a rate such as `10/s`, `20/min`, `100/hour` or `1000/day`");
    insta::assert_snapshot!(refusal("limits.trusted_proxies = ['10.0.0.0/33']", &[]), @"setting `limits.trusted_proxies` (FILE, line 1): expected networks such as `10.0.0.0/8` and `fd00::/8`, or addresses");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_LIMITS__ENABLED", "no")]), @"setting `limits.enabled` (environment variable REJOINDER_LIMITS__ENABLED): expected `true` or `false`");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_SECRET_KEY", "c2hvcnQ=")]), @"setting `secret_key` (environment variable REJOINDER_SECRET_KEY): expected 32 bytes in base64, as `openssl rand -base64 32` prints them, and after them, separated by commas, at most 7 earlier keys, or \"\" for none");
    insta::assert_snapshot!(refusal("", &[("DATABASE_URL", "mysql://root:pw@h/d")]), @"setting `database.url` (environment variable DATABASE_URL): expected a PostgreSQL URL such as `postgres://user@host/name` (unset: the embedded database in `data_dir`), or \"\" for none");
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_named() {
    insta::assert_snapshot!(refusal("[model]\napi_key = \"sk-secret\n", &[]), @"FILE, line 2: invalid basic string, expected `\"`");
    insta::assert_snapshot!(refusal("listen = 127.0.0.1:80\n", &[]), @"FILE, line 1: invalid float, expected nothing; a string must be in quotes");

    let missing = Config::load(Some(Path::new("/does/not/exist.toml")), std::iter::empty());
    assert_eq!(missing.unwrap_err().to_string(), "cannot read /does/not/exist.toml");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let both = [("REJOINDER_SECRET_KEY", ZERO_KEY), ("REJOINDER_SECRET_KEY_FILE", "/key")];
    insta::assert_snapshot!(refusal("", &both), @"setting `secret_key_file` (environment variable REJOINDER_SECRET_KEY_FILE): `secret_key` is set too: only one of the two may be");
    insta::assert_snapshot!(refusal("", &[("RUST_LOG", "warning")]), @"setting `log.filter` (environment variable RUST_LOG): expected levels such as `info` or `info,sqlx=debug`");
    insta::assert_snapshot!(refusal("", &[("RUST_LOG", "sqlx=loud")]), @"setting `log.filter` (environment variable RUST_LOG): expected levels such as `info` or `info,sqlx=debug`");
    insta::assert_snapshot!(refusal("store.shards = 0", &[]), @"setting `store.shards` (FILE, line 1): expected 1 or more");
    insta::assert_snapshot!(refusal("widget.deadline = '0s'", &[]), @"setting `widget.deadline` (FILE, line 1): expected more than nothing");
    insta::assert_snapshot!(refusal("events.retention = '59m'", &[]), @"setting `events.retention` (FILE, line 1): expected from 1h to 3650d");
    insta::assert_snapshot!(refusal("audit.address_retention = '59m'", &[]), @"setting `audit.address_retention` (FILE, line 1): expected from 1h to 3650d");
    insta::assert_snapshot!(refusal("webhooks.timeout = '31s'", &[]), @"setting `webhooks.timeout` (FILE, line 1): expected 30s or less");
    insta::assert_snapshot!(refusal("[connections.default]\nbase_url = 'http://h/v1'", &[]), @"setting `connections` (FILE, line 1): `default` is not a valid connection name: expected lower-case letters, digits, `-` and `_`, and not `default`, which is [model]");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_CONNECTIONS__B__API_KEY", "sk")]), @"setting `connections.b` (environment variable REJOINDER_CONNECTIONS__B__API_KEY): missing field `base_url`");
    insta::assert_snapshot!(refusal("embeddings.base_url = 'http://h/v1'", &[]), @"setting `embeddings.model` (built-in default): `embeddings.base_url` is set, so the model to use there has to be named");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_EMBEDDINGS__MODEL", "bge-m3")]), @"setting `embeddings.base_url` (built-in default): `embeddings.model` or `embeddings.api_key` is set, so the endpoint has to be named");
    insta::assert_snapshot!(refusal("embeddings.batch = 513", &[]), @"setting `embeddings.batch` (FILE, line 1): expected 512 or less");
    insta::assert_snapshot!(refusal("outbound.allow_hosts = ['http://x']", &[]), @"setting `outbound.allow_hosts` (FILE, line 1): expected `host` or `host:port`, without scheme or path");
}

#[test]
fn foreign_and_empty_variables_are_ignored() {
    let config = load(
        "model.api_key = 'sk-file'",
        &[
            ("PATH", "/bin"),
            ("DATABASE_URL", ""),
            ("OPENAI_API_KEY", " "),
            ("REJOINDER_SERVICE_HOST", "10.0.0.1"),
            ("REJOINDER_SERVICE_PORT_HTTP", "80"),
            ("REJOINDER_PORT", "tcp://10.0.0.1:80"),
            ("REJOINDER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ],
    )
    .unwrap();

    assert!(config.database.url.is_none());
    assert_eq!(config.model.api_key.unwrap().expose_secret(), "sk-file");
    assert!(refusal("", &[("REJOINDER_PORT", "80")]).contains("REJOINDER_PORT"));
}

/// The variables that Kubernetes makes for a service with one named port.
fn service_links(prefix: &str) -> Vec<(String, String)> {
    let values = [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "80"),
        ("SERVICE_PORT_HTTP_MAIN", "80"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP_PROTO", "tcp"),
        ("PORT_80_TCP_PORT", "80"),
        ("PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    values.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value.to_owned())).collect()
}

#[test]
fn variables_of_kubernetes_services_are_ignored_and_misspelled_settings_are_not() {
    for prefix in ["REJOINDER_", "REJOINDER_WEB_", "REJOINDER_POSTGRES_RW_"] {
        let env = service_links(prefix);
        Config::load(None, env.into_iter()).unwrap();
    }
    let host = ("REJOINDER_WEB_SERVICE_HOST", "10.0.0.1");
    let refused = |name: &str, value: &str| {
        let error = refusal("", &[host, (name, value)]);
        assert!(error.contains(name), "{error}");
    };

    refused("REJOINDER_WEB_PORT", "80");
    refused("REJOINDER_WEB_PORT_80_TCP_NAME", "x");
    refused("REJOINDER_WEB_PORT_HTTP", "80");
    refused("REJOINDER_API_PORT", "tcp://10.0.0.1:80");
    refused("REJOINDER_WEB_DEADLINE", "1s");
    refused("REJOINDER_API_SERVICE_HOST", "localhost");
}

#[test]
fn the_setting_that_was_probably_meant_is_suggested() {
    insta::assert_snapshot!(refusal("", &[("REJOINDER_DATABASE_URL", "postgres://h/d")]), @"setting `database_url` (environment variable REJOINDER_DATABASE_URL): there is no setting `database_url`; did you mean `DATABASE_URL`?");
    insta::assert_snapshot!(refusal("", &[("REJOINDER_LIMIT__ENABLED", "false")]), @"setting `limit` (environment variable REJOINDER_LIMIT__ENABLED): there is no setting `limit`; did you mean `REJOINDER_LIMITS__ENABLED`?");
    let unlike = refusal("", &[("REJOINDER_COLOUR", "red")]);
    assert!(!unlike.contains("did you mean") && unlike.contains("`listen`"), "{unlike}");
}

#[test]
fn every_variable_may_name_a_file() {
    let secret = |text: &str| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let files = [secret("postgres://u:pw@h/d\n"), secret("sk-file\r\n"), secret("\n")];
    let [url, key, empty] = files.each_ref().map(|file| file.path().to_str().unwrap());

    let config = load(
        "",
        &[
            ("DATABASE_URL_FILE", url),
            ("DATABASE_URL", ""),
            ("OPENAI_API_KEY_FILE", key),
            ("OPENAI_MODEL_FILE", ""),
            ("REJOINDER_EMBEDDINGS__API_KEY_FILE", key),
            ("REJOINDER_EMBEDDINGS__BASE_URL", "http://h/v1"),
            ("REJOINDER_EMBEDDINGS__MODEL", "m"),
            ("REJOINDER_CONNECTIONS__B__API_KEY_FILE", key),
            ("REJOINDER_CONNECTIONS__B__BASE_URL", "http://h/v1"),
            ("RUST_LOG_FILE", "/no/such/file"),
        ],
    )
    .unwrap();
    let refused = |env: &[(&str, &str)]| refusal("", env).replace(empty, "EMPTY");

    assert!(matches!(config.database(), Database::Postgres { url } if url.expose_secret().ends_with("@h/d")));
    assert_eq!(config.model.api_key.unwrap().expose_secret(), "sk-file");
    assert_eq!(config.embeddings.api_key.unwrap().expose_secret(), "sk-file");
    assert_eq!(config.connections["b"].api_key.as_ref().unwrap().expose_secret(), "sk-file");
    insta::assert_snapshot!(refused(&[("OPENAI_API_KEY_FILE", key), ("OPENAI_API_KEY", "sk")]), @"setting `model.api_key` (environment variable OPENAI_API_KEY_FILE): OPENAI_API_KEY is set too: only one of the two may be");
    insta::assert_snapshot!(refused(&[("DATABASE_URL_FILE", "/no/such/file")]), @"setting `database.url` (environment variable DATABASE_URL_FILE): cannot read /no/such/file: No such file or directory (os error 2)");
    insta::assert_snapshot!(refused(&[("DATABASE_URL_FILE", empty)]), @"setting `database.url` (environment variable DATABASE_URL_FILE): EMPTY is empty");
    assert!(refused(&[("REJOINDER_TURN__DEADLIN_FILE", key)]).contains("REJOINDER_TURN__DEADLINE"));
}

#[test]
fn an_empty_variable_of_ours_unsets_an_optional_setting() {
    let config = load("model.api_key = 'sk-file'", &[("REJOINDER_MODEL__API_KEY", "")]).unwrap();

    assert!(config.model.api_key.is_none());
}

#[test]
fn the_model_follows_from_what_is_set() {
    let postgres = ("DATABASE_URL", "postgres://u:pw@h/d");
    let key = ("OPENAI_API_KEY", "sk");
    let ollama = ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1");
    let model = ("OPENAI_MODEL", "llama3.2");
    let offline = ("REJOINDER_MODEL__KIND", "offline");
    let openai = ("REJOINDER_MODEL__KIND", "openai");
    let openai_url = ("OPENAI_BASE_URL", "https://api.openai.com/v1/");
    let chosen = |env: &[(&str, &str)]| match load("", env).unwrap().model_choice() {
        ModelChoice::OpenAi { base_url, key, model } => {
            format!("{model} at {base_url}{}", if key.is_some() { " with key" } else { "" })
        }
        ModelChoice::Offline { .. } => "offline".to_owned(),
        ModelChoice::Missing(text) => format!("missing {}", text.split(' ').next().unwrap()),
    };

    assert_eq!(chosen(&[]), "offline");
    assert_eq!(chosen(&[model]), "missing OPENAI_MODEL");
    assert_eq!(chosen(&[model, offline]), "offline");
    assert_eq!(chosen(&[postgres]), "missing no");
    assert_eq!(chosen(&[postgres, offline]), "offline");
    assert_eq!(chosen(&[openai]), "missing no");
    assert_eq!(chosen(&[key, offline]), "offline");
    assert_eq!(chosen(&[key]), "gpt-5-mini at https://api.openai.com/v1 with key");
    assert_eq!(chosen(&[key, openai_url]), "gpt-5-mini at https://api.openai.com/v1/ with key");
    assert_eq!(chosen(&[ollama]), "missing OPENAI_BASE_URL");
    assert_eq!(chosen(&[postgres, ollama, model]), "llama3.2 at http://127.0.0.1:11434/v1");
}

#[test]
fn embeddings_have_an_endpoint_of_their_own() {
    let openai = [("OPENAI_API_KEY", "sk"), ("OPENAI_BASE_URL", "http://h/v1"), ("OPENAI_MODEL", "m")];
    let own = [("REJOINDER_EMBEDDINGS__BASE_URL", "http://e/v1"), ("REJOINDER_EMBEDDINGS__MODEL", "bge-m3")];
    let both: Vec<(&str, &str)> = openai.into_iter().chain(own).collect();

    assert!(load("", &openai).unwrap().embeddings_choice().is_none());
    let choice = load("", &both).unwrap().embeddings_choice().unwrap();

    assert_eq!((choice.base_url.as_str(), choice.model.as_str()), ("http://e/v1", "bge-m3"));
    assert!(choice.key.is_none());
}

#[test]
fn the_demo_is_enabled_on_loopback_or_by_its_setting() {
    let is_enabled = |env: &[(&str, &str)]| load("", env).unwrap().is_demo_enabled();

    assert!(is_enabled(&[("REJOINDER_LISTEN", "[::1]:8080")]));
    assert!(!is_enabled(&[("REJOINDER_LISTEN", "0.0.0.0:8080")]));
    assert!(is_enabled(&[("REJOINDER_LISTEN", "0.0.0.0:8080"), ("REJOINDER_DEMO", "true")]));
    assert!(!is_enabled(&[("DATABASE_URL", "postgres://h/d")]));
}

fn secret_keys(config: &Config) -> Vec<[u8; 32]> {
    config.read_secret_keys().unwrap().unwrap().iter().map(|key| *key.expose_secret()).collect()
}

#[test]
fn earlier_secret_keys_follow_the_current_one() {
    const ONE_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{ONE_KEY}\n{ZERO_KEY}").unwrap();

    let from_file = load("", &[("REJOINDER_SECRET_KEY_FILE", file.path().to_str().unwrap())]).unwrap();
    let from_text = load("", &[("REJOINDER_SECRET_KEY", &format!("{ONE_KEY}, {ZERO_KEY}"))]).unwrap();

    assert_eq!(secret_keys(&from_file), [[1; 32], [0; 32]]);
    assert_eq!(secret_keys(&from_text), [[1; 32], [0; 32]]);
    let broken = refusal("", &[("REJOINDER_SECRET_KEY", &format!("{ONE_KEY},c2hvcnQ="))]);
    assert!(broken.contains("at most 7 earlier keys") && !broken.contains(ONE_KEY), "{broken}");
    let too_many = refusal("", &[("REJOINDER_SECRET_KEY", &[ONE_KEY; 9].join(","))]);
    assert!(too_many.contains("at most 7 earlier keys"), "{too_many}");
}

#[test]
fn the_secret_key_may_come_from_a_file() {
    let mut key = NamedTempFile::new().unwrap();
    writeln!(key, "{ZERO_KEY}").unwrap();
    let path = key.path().to_str().unwrap();

    let config = load("", &[("REJOINDER_SECRET_KEY_FILE", path)]).unwrap();

    assert_eq!(secret_keys(&config), [[0; 32]]);
}

#[test]
fn debug_output_redacts_secrets() {
    let config = load(
        "connections.b = { base_url = 'http://h/v1', api_key = 'canary' }",
        &[
            ("DATABASE_URL", "postgres://u:canary@h/d"),
            ("OPENAI_API_KEY", "canary"),
            ("REJOINDER_EMBEDDINGS__BASE_URL", "http://h/v1"),
            ("REJOINDER_EMBEDDINGS__MODEL", "m"),
            ("REJOINDER_EMBEDDINGS__API_KEY", "canary"),
            ("REJOINDER_SECRET_KEY", ZERO_KEY),
        ],
    )
    .unwrap();

    let choices = format!("{:?} {:?}", config.model_choice(), config.embeddings_choice());
    let output = format!("{config:?} {:?} {choices}", config.database());

    assert!(!output.contains("canary"), "{output}");
    assert!(!output.contains("[0, 0"), "{output}");
}

#[test]
fn rates_sizes_and_amounts_of_another_form_are_refused() {
    use super::value::SettingValue;

    for text in ["", "0/min", "-1/min", "20", "20/fortnight", "/s", "1.5/s"] {
        assert_eq!(Rate::parse(text), None, "{text}");
    }
    for text in ["", "4", "MiB", "4MB", "-1B", "99999999999999999GiB"] {
        assert_eq!(ByteSize::parse(text), None, "{text}");
    }
    for text in ["", "-1", "free", "0.0000001"] {
        assert_eq!(Money::parse(text), None, "{text}");
    }
    for text in ["", "-1s", "soon", "5", "1y"] {
        assert_eq!(Duration::parse(text), None, "{text}");
    }
    for text in ["ftp://h", "http://u:p@h/v1", "http://h/?q", "localhost:11434"] {
        assert_eq!(Url::parse(text).ok().and_then(|_| <Url as SettingValue>::parse(text)), None, "{text}");
    }
}

#[test]
fn layers_of_defaults_alone_come_from_nowhere_else() {
    let layers = Layers::defaults().unwrap();

    let error = layers.error("turn.deadline", "x".to_owned());

    assert_eq!(error.to_string(), "setting `turn.deadline` (built-in default): x");
}
