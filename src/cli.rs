//! The command line: arguments, output and exit codes. Results go to standard output, everything else to standard
//! error. The exit code is 0 for success, 1 for a failure, 2 for invalid arguments.

mod progress;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

use crate::app;
use crate::app::commands::{self, Charset, CreateKey, Format, KeyId, Money, OperatorKeyId, Report, Scope};
use crate::config::Config;
use crate::lifecycle;
use progress::Progress;

/// A self-hosted conversation server.
#[derive(Debug, Parser)]
#[command(name = "rejoinder", version, after_help = "Example:\n  rejoinder serve --config rejoinder.toml")]
struct Cli {
    /// Configuration file [default: ./rejoinder.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default command)
    #[command(
        after_help = "Example:\n  DATABASE_URL=postgres://rejoinder@localhost/rejoinder rejoinder serve"
    )]
    Serve,
    /// Migrate the database to this version; create the embedded one if it does not exist
    #[command(
        after_help = "Example:\n  DATABASE_URL=postgres://rejoinder@localhost/rejoinder rejoinder migrate"
    )]
    Migrate {
        /// Use the current secret key from now on, although stored secrets were encrypted with another one
        #[arg(long)]
        accept_new_secret_key: bool,
    },
    /// Apply a workspace file and print what changed
    #[command(after_help = "Example:\n  ORDERS_TOKEN=secret rejoinder apply shop.toml --dry-run")]
    Apply {
        /// The workspace file (TOML), or - for standard input
        file: PathBuf,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Create, list and revoke API keys
    #[command(
        subcommand,
        after_help = "Example:\n  rejoinder keys create --workspace demo --name \"Back end\""
    )]
    Keys(Keys),
    /// Create, list and revoke keys of the operator's API
    #[command(subcommand, after_help = "Example:\n  rejoinder operator keys create --name \"Billing\"")]
    Operator(Operator),
    /// Add credit to a workspace
    #[command(after_help = "Example:\n  rejoinder credit demo 25.00 --reference invoice-1042")]
    Credit {
        /// Slug of the workspace
        workspace: String,
        /// In dollars; a negative amount takes credit back
        #[arg(allow_negative_numbers = true)]
        amount: Money,
        /// Repeating a reference changes nothing [default: a new one]
        #[arg(long, value_name = "TEXT")]
        reference: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Encrypt all stored secrets with the current secret key, so that earlier ones can be removed
    #[command(after_help = "Example:\n  REJOINDER_SECRET_KEY=$NEW_KEY,$OLD_KEY rejoinder reencrypt")]
    Reencrypt {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// After a restore of the database from a backup: prepare it for a server, and list the API keys for review
    #[command(after_help = "Example:\n  rejoinder restored --yes")]
    Restored {
        /// Do not ask first
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the machine-readable description of the APIs (openapi.json)
    #[command(after_help = "Example:\n  rejoinder openapi > openapi.json")]
    Openapi,
    /// Read a document from standard input and write it as Markdown: the child process of the server
    #[command(
        hide = true,
        after_help = "Example:\n  rejoinder read-document --format pdf < leaflet.pdf > leaflet.md"
    )]
    ReadDocument {
        /// One of markdown, text, html, pdf
        #[arg(long)]
        format: Format,
        /// The charset that was declared with the file
        #[arg(long, value_name = "LABEL")]
        charset: Option<Charset>,
    },
    /// Check whether a server can start: configuration, address, database, secret key, model and embeddings
    #[command(after_help = "Example:\n  OPENAI_API_KEY=secret rejoinder check")]
    Check {
        /// Also read all stored rows, and report those that refer to nothing; takes a while on a large database
        #[arg(long)]
        store: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Ask the server on this machine whether it is ready; the exit code is 0 or 1
    #[command(after_help = "Example:\n  HEALTHCHECK CMD [\"rejoinder\", \"healthcheck\"]")]
    Healthcheck {
        /// Only whether the process is alive; the database may be unavailable
        #[arg(long)]
        live: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Create a key and print it once
    #[command(
        after_help = "Example:\n  rejoinder keys create --workspace demo --name \"Back end\" --expires-in 30d"
    )]
    Create {
        /// Slug of the workspace
        #[arg(long, value_name = "SLUG")]
        workspace: String,
        /// What the key is for
        #[arg(long)]
        name: String,
        /// Comma-separated list of messages:write, billing:read, read, config, keys, export, erase [default: the first four]
        #[arg(long, value_delimiter = ',', value_parser = parse_scope)]
        scopes: Vec<Scope>,
        /// Such as 12h, 30d or 8w [default: never]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List the keys of a workspace or of all workspaces
    #[command(after_help = "Example:\n  rejoinder keys list --workspace demo --json")]
    List {
        /// Slug of the workspace [default: all]
        #[arg(long, value_name = "SLUG")]
        workspace: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revoke a key
    #[command(after_help = "Example:\n  rejoinder keys revoke key_01kb3w2v9ye8qanvd4c7g6h5mt")]
    Revoke {
        /// As printed by the list of keys (key_…)
        id: KeyId,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Subcommand)]
enum Operator {
    /// Create, list and revoke keys of the operator's API
    #[command(subcommand, after_help = "Example:\n  rejoinder operator keys create --name \"Billing\"")]
    Keys(OperatorKeys),
}

#[derive(Debug, Subcommand)]
enum OperatorKeys {
    /// Create a key that manages all workspaces, and print it once
    #[command(after_help = "Example:\n  rejoinder operator keys create --name \"Billing\" --expires-in 90d")]
    Create {
        /// What the key is for
        #[arg(long)]
        name: String,
        /// Such as 12h, 30d or 8w [default: never]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List the keys
    #[command(after_help = "Example:\n  rejoinder operator keys list --json")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revoke a key
    #[command(after_help = "Example:\n  rejoinder operator keys revoke opk_01kb3w2v9ye8qanvd4c7g6h5mt")]
    Revoke {
        /// As printed by the list of keys (opk_…)
        id: OperatorKeyId,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct OutputArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a command; the first argument is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, errors to standard error; a closed stream is ignored.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match execute(cli) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(Command::Openapi) = cli.command {
        write_stdout(&app::openapi()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Without configuration and database, because the input may be hostile.
    if let Some(Command::ReadDocument { format, charset }) = cli.command {
        return commands::read_document(format, charset);
    }
    let config = match (Config::from_process(cli.config.as_deref()), &cli.command) {
        (Ok(config), _) => config,
        (Err(error), Some(Command::Check { output, .. })) => {
            print(&commands::invalid_configuration(error), *output)?;
            return Ok(ExitCode::FAILURE);
        }
        (Err(error), _) => return Err(error.into()),
    };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            lifecycle::run(tokio::runtime::Runtime::new()?, app::serve(config))?;
        }
        Command::Migrate { accept_new_secret_key } => {
            let progress = Progress::on_stderr();
            let show = |step| progress.show(step);
            let migrated = block_on(commands::migrate(&config, accept_new_secret_key, &show))??;
            drop(progress);
            print(&migrated, OutputArgs { json: false })?;
        }
        Command::Apply { file, dry_run, output } => {
            let progress = Progress::on_stderr();
            let applied = block_on(commands::apply(&config, &file, dry_run, &|step| progress.show(step)))??;
            drop(progress);
            print(&applied, output)?;
        }
        Command::Keys(keys) => execute_keys(&config, keys)?,
        Command::Operator(Operator::Keys(keys)) => execute_operator_keys(&config, keys)?,
        Command::Credit { workspace, amount, reference, output } => {
            let reference = reference.map_or_else(announce_reference, Ok)?;
            print(&block_on(commands::credit(&config, &workspace, amount, &reference))??, output)?;
        }
        Command::Reencrypt { output } => print(&block_on(commands::reencrypt(&config))??, output)?,
        Command::Restored { yes, output } => {
            if !yes {
                confirm(&commands::describe_restored(&config)?)?;
            }
            print(&block_on(commands::restored(&config))??, output)?;
        }
        Command::Healthcheck { live } => {
            print(&block_on(commands::healthcheck(&config, live))??, OutputArgs { json: false })?;
        }
        Command::Openapi | Command::ReadDocument { .. } => {}
        Command::Check { store, output } => {
            let (report, is_usable) = block_on(commands::check(&config, store))?;
            print(&report, output)?;
            return Ok(if is_usable { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn execute_keys(config: &Config, keys: Keys) -> anyhow::Result<()> {
    match keys {
        Keys::Create { workspace, name, scopes, expires_in, output } => {
            let request = CreateKey { workspace, name, scopes, expires_in };
            print(&block_on(commands::create_key(config, request))??, output)
        }
        Keys::List { workspace, output } => {
            print(&block_on(commands::list_keys(config, workspace.as_deref()))??, output)
        }
        Keys::Revoke { id, output } => print(&block_on(commands::revoke_key(config, id))??, output),
    }
}

fn execute_operator_keys(config: &Config, keys: OperatorKeys) -> anyhow::Result<()> {
    match keys {
        OperatorKeys::Create { name, expires_in, output } => {
            print(&block_on(commands::create_operator_key(config, &name, expires_in))??, output)
        }
        OperatorKeys::List { output } => print(&block_on(commands::list_operator_keys(config))??, output),
        OperatorKeys::Revoke { id, output } => {
            print(&block_on(commands::revoke_operator_key(config, id))??, output)
        }
    }
}

/// Asks on the terminal whether to do what this text describes.
fn confirm(text: &str) -> anyhow::Result<()> {
    anyhow::ensure!(io::stdin().is_terminal(), "there is no terminal to ask: add --yes");
    write!(io::stderr(), "{text}Continue? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    anyhow::ensure!(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()), "nothing was changed");
    Ok(())
}

/// Runs a future on this thread.
fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(lifecycle::run(runtime, work))
}

/// Printed before it is used, so that a command whose result was lost can be repeated with it.
fn announce_reference() -> io::Result<String> {
    let reference = commands::generate_reference();
    writeln!(io::stderr(), "reference: {reference}")?;
    Ok(reference)
}

fn print(report: &Report, output: OutputArgs) -> anyhow::Result<()> {
    if output.json {
        write_stdout(&format!("{}\n", serde_json::to_string_pretty(&report.json)?))
    } else {
        write_stdout(&report.text)
    }
}

/// Writes a result. A closed pipe is not an error.
fn write_stdout(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|_| {
        let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let span = SpanParser::new().parse_span(text).ok();
    let duration = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a duration such as 12h, 30d or 8w".to_owned())
}

#[cfg(test)]
mod tests;
