//! The environment variables that belong to the server. A workspace file names variables as its secrets, and chooses where
//! their values are sent, so it must not name these.

/// The beginning of the variables that are settings.
pub const SETTING_PREFIX: &str = "REJOINDER_";

/// The end of the variables that name a file with the value.
pub const FILE_SUFFIX: &str = "_FILE";

/// Also those that the libraries for model endpoints and traces read by themselves.
const PREFIXES: [&str; 3] = [SETTING_PREFIX, "OPENAI_", "OTEL_"];

/// Settings with other names, the password that PostgreSQL's driver reads, and the credentials that cloud platforms give to
/// the processes of a machine. `AWS_CONFIG` and `AWS_SHARED_CREDENTIALS` are files only, named with [`FILE_SUFFIX`].
const NAMES: [&str; 14] = [
    "DATABASE_URL",
    "RUST_LOG",
    "PGPASSWORD",
    "PGPASSFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONFIG",
    "AWS_SHARED_CREDENTIALS",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN",
];

/// Whether a variable belongs to the server, in any case: some systems do not distinguish it.
#[must_use]
pub fn is_server_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let base = name.strip_suffix(FILE_SUFFIX).unwrap_or(&name);
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_belongs_to_the_server_by_its_whole_name_or_its_prefix() {
        for name in [
            "DATABASE_URL",
            "DATABASE_URL_FILE",
            "database_url",
            "OPENAI_ADMIN_KEY",
            "REJOINDER_X",
            "PGPASSWORD",
            "AWS_SHARED_CREDENTIALS",
            "AWS_SHARED_CREDENTIALS_FILE",
        ] {
            assert!(is_server_variable(name), "{name}");
        }
        for name in
            ["", "_FILE", "ORDERS_TOKEN", "ORDERS_DATABASE_URL", "DATABASE_URL_2", "PGP_KEY", "REJOINDER"]
        {
            assert!(!is_server_variable(name), "{name}");
        }
    }
}
