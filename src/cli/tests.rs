//! Parsing of the command line.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("rejoinder").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command.unwrap_or(Command::Serve))
}

#[test]
fn the_commands_are_well_formed_and_each_has_an_example() {
    fn check(command: &clap::Command) {
        let is_help = command.get_name() == "help";
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(is_help || help.starts_with("Example:\n  "), "{}", command.get_name());
        assert!(!command.clone().render_long_help().to_string().contains('`'), "{}", command.get_name());
        command.get_subcommands().for_each(check);
    }

    Cli::command().debug_assert();
    check(&Cli::command());
}

#[test]
fn a_key_is_asked_for_with_scopes_and_an_end() {
    let line = "keys create --workspace demo --name ci --scopes read,messages:write --expires-in 30d --json";

    let Ok(Command::Keys(Keys::Create { workspace, scopes, expires_in, output, .. })) = parse(line) else {
        panic!("not understood")
    };

    assert_eq!(workspace, "demo");
    assert_eq!(scopes, [Scope::Read, Scope::MessagesWrite]);
    assert_eq!(expires_in, Some(Duration::from_hours(30 * 24)));
    assert!(output.json);
}

#[test]
fn credit_takes_money_back_too() {
    let Ok(Command::Credit { amount, reference, .. }) = parse("credit demo -2.50 --reference r") else {
        panic!("not understood")
    };

    assert_eq!((amount, reference.as_deref()), (Money(-2_500_000), Some("r")));
}

#[test]
fn without_a_command_the_server_runs() {
    assert!(matches!(parse(""), Ok(Command::Serve)));
    assert!(matches!(parse("--config x.toml"), Ok(Command::Serve)));
}

#[test]
fn what_is_not_understood_is_exit_code_2_with_what_was_expected() {
    for (line, text) in [
        ("run", "unrecognized subcommand"),
        ("credit demo ten", "an amount is a decimal number"),
        ("keys revoke sk_1", "not an id of the form key_"),
        ("keys create --workspace demo --name x --scopes write", "expected one of messages:write"),
        ("keys create --workspace demo --name x --expires-in 1mo", "expected a duration such as 12h"),
        ("keys create --workspace demo --name x --expires-in 0s", "expected a duration such as 12h"),
        ("keys create --name x", "--workspace"),
        ("apply", "<FILE>"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(text), "{error}");
    }
}
