//! Valid files, and the lines and texts of errors.

mod widget;

use super::*;
use std::time::Duration;

use crate::domain::tool::HeaderText;

const FILE: &str = r#"
[workspace]
slug = "demo"
name = "Demo Ltd"
balance = "10.00"
default_assistant = "front-desk"
pricing = { api = "0.02" }

[[assistants]]
slug = "front-desk"
name = "Front desk"
system_prompt = "You answer."
parameters = { temperature = 0.3 }
tools = ["availability", "orders"]

[[calendars]]
slug = "demos"
time_zone = "Europe/Berlin"
hours = { mon = ["09:00-17:00"] }

[[tools]]
slug = "availability"
kind = "calendar_availability"
calendar = "demos"

[[tools]]
slug = "orders"
kind = "webhook"
name = "get_order_status"
description = "Looks up an order"
method = "GET"
url = "https://shop.example/orders/{order_id}"
headers = { authorization = { env = "ORDERS_TOKEN" }, accept = "application/json" }
parameters = { type = "object", properties = { order_id = { type = "string" } }, required = ["order_id"] }

[[conversations]]
widget_uuid = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
assistant = "front-desk"
type = "widget"
"#;

fn error(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    WorkspaceFile::parse(&FILE.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn a_file_is_read_with_the_defaults_of_its_tools() {
    let file = WorkspaceFile::parse(FILE).unwrap();

    assert_eq!(file.workspace.balance, Money(10_000_000));
    assert_eq!((file.workspace.pricing.widget, file.workspace.pricing.api), (Money(10_000), Money(20_000)));
    assert_eq!(file.tools[0].spec.name, "check_calendar_availability");
    assert_eq!(file.secrets().map(|name| name.env.as_str()).collect::<Vec<_>>(), ["ORDERS_TOKEN"]);
    let FileToolConfig::Webhook(webhook) = &file.tools[1].config else { panic!("no webhook") };
    assert_eq!(webhook.timeout, Duration::from_secs(10));
    assert_eq!(webhook.headers["accept"], HeaderText::Plain("application/json".to_owned()));
}

#[test]
fn a_workspace_has_token_budgets() {
    let with = |budget: &str| WorkspaceFile::parse(&FILE.replace("balance = \"10.00\"", budget));

    let workspace = with("tokens_per_day = 5_000_000_000").unwrap().workspace;

    assert_eq!(workspace.tokens_per_day, NonZeroU64::new(5_000_000_000));
    assert_eq!(workspace.tokens_per_conversation, None);
    let error = with("tokens_per_conversation = 0").unwrap_err().to_string();
    assert!(error.starts_with("line 5: workspace.tokens_per_conversation: invalid value"), "{error}");
}

#[test]
fn the_demo_file_is_valid() {
    let file = WorkspaceFile::parse(include_str!("../../../config/demo/workspace.toml")).unwrap();

    assert_eq!(file.workspace.slug, "demo");
    assert_eq!((file.tools.len(), file.knowledge_bases[0].documents.len()), (4, 4));
    assert!(file.assistants[0].version.system_prompt.contains("offer two or three"));
}

#[test]
fn the_types_of_a_webhook_endpoint_have_one_name() {
    let with = |key: &str| {
        WorkspaceFile::parse(&format!(
            "{FILE}[[webhook_endpoints]]\nslug = \"crm\"\nurl = \"https://crm.example/\"\n{key} = [\"message.created\"]\n"
        ))
    };

    assert_eq!(with("types").unwrap().webhook_endpoints[0].event_types(), [EventType::MessageCreated]);
    let error = with("events").unwrap_err().to_string();
    assert!(error.starts_with("line 43: webhook_endpoints[0].events: unknown field `events`"), "{error}");
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    for (from, to, expected) in [
        (
            "name = \"Demo Ltd\"",
            "title = \"x\"",
            "line 4: workspace.title: unknown field `title`, expected one of `slug`",
        ),
        (
            "system_prompt",
            "prompt",
            "line 12: assistants[0].prompt: unknown field `prompt`, expected one of `id`, `identity_secrets`, `slug`, `name`",
        ),
        ("calendar = \"demos\"", "diary = 1", "line 24: tools[0].diary: unknown field `diary`, expected "),
        (
            "env = \"ORDERS_TOKEN\"",
            "file = \"x\"",
            "line 33: tools[1].headers.authorization.file: unknown field `file`, expected `env`",
        ),
        ("[[conversations]]", "[conversation]", "line 36: conversation: unknown field `conversation`"),
    ] {
        let error = error(from, to);
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(error("[workspace]", "[workspace").starts_with("line 2: "));
}

#[test]
fn an_unknown_key_that_one_other_table_has_is_sent_there() {
    for (from, to, table) in [
        ("[workspace]", "allow_hosts = []\n[workspace]", "in [workspace]"),
        ("type = \"widget\"", "type = \"widget\"\nallow_hosts = []", "in [workspace]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nsystem_prompt = \"x\"", "in [[assistants]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nheaders = {}", "in [[tools]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nbody = \"x\"", "in [[tools]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\napi = \"1\"", "in [workspace.pricing]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nquick_replies = []", "in [assistants.widget]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nslot_minutes = 5", "in [[calendars]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nmon = []", "in [calendars.hours]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nusername = \"x\"", "in [calendars.caldav]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\ndocuments = []", "in [[knowledge_bases]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nenabled = true", "in [[webhook_endpoints]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nassistant = \"x\"", "in [[conversations]]"),
        ("name = \"Demo Ltd\"", "name = \"Demo Ltd\"\nassistants = []", "at the top of the file"),
    ] {
        let error = error(from, to);
        assert!(
            error.contains("unknown field") && error.ends_with(&format!("; it belongs {table}")),
            "{error}"
        );
    }
    // Several tables have it, or none.
    for key in ["description", "nothing"] {
        let error = error("name = \"Demo Ltd\"", &format!("name = \"Demo Ltd\"\n{key} = \"x\""));
        assert!(error.contains("unknown field") && !error.contains("belongs"), "{error}");
    }
}

#[test]
fn errors_do_not_name_types_of_rust() {
    for (from, to, expected) in [
        ("{ api = \"0.02\" }", "1", "expected a table of prices, such as { api = \"0.02\" }"),
        ("{ env = \"ORDERS_TOKEN\" }", "1", "expected a text, or { env = \"NAME\" }"),
        ("\"GET\"", "\"GET\"\nsecret = \"x\"", "invalid type: string \"x\", expected { env = \"NAME\" }"),
        ("balance = \"10.00\"", "balance = 10", "expected an amount such as \"0.005\""),
        ("\"GET\"", "\"GET\"\ntimeout = 10", "expected a duration such as \"10s\""),
        ("time_zone", "slot_minutes = \"5\"\ntime_zone", "string \"5\", expected a whole number"),
        (
            "time_zone",
            "slot_minutes = -5\ntime_zone",
            "invalid value: integer `-5`, expected a whole number from 0 to 4294967295",
        ),
        ("{ mon = [\"09:00-17:00\"] }", "1", "expected a table of days, such as { mon = [\"09:00-17:00\"] }"),
        ("{ mon = [\"09:00-17:00\"] }", "{ mon = \"9-17\" }", "expected an array"),
        ("{ temperature = 0.3 }", "0.3", "expected a table"),
        (
            "time_zone",
            "caldav = \"https://dav.example/\"\ntime_zone",
            "expected a table with the url of the calendar",
        ),
    ] {
        let error = error(from, to);
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn a_variable_of_the_server_is_refused_as_a_secret() {
    let problem = "is a variable of the server: a secret of this file needs a variable of its own";
    for name in ["DATABASE_URL", "DATABASE_URL_FILE", "OPENAI_API_KEY", "REJOINDER_SECRET_KEY", "PGPASSWORD"]
    {
        let expected = format!("line 33: tools[1].headers.authorization.env: {name} {problem}");
        assert_eq!(error("ORDERS_TOKEN", name), expected);
    }
    let secret = "{ env = \"DATABASE_URL\" }";
    let caldav =
        format!("{{ url = \"https://dav.example/me/\", username = \"me\", password = {secret} }}\ntime_zone");
    let endpoint =
        format!("[[webhook_endpoints]]\nslug = \"crm\"\nurl = \"https://crm.example/\"\nsecret = {secret}\n");
    for (from, to, path) in [
        ("\"GET\"", format!("\"GET\"\nsecret = {secret}"), "line 32: tools[1].secret.env"),
        ("\"GET\"", format!("\"GET\"\nsecrets = {{ key = {secret} }}"), "line 32: tools[1].secrets.key.env"),
        ("time_zone", format!("caldav = {caldav}"), "line 18: calendars[0].caldav.password.env"),
        (
            "[[conversations]]",
            format!("{endpoint}[[conversations]]"),
            "line 39: webhook_endpoints[0].secret.env",
        ),
    ] {
        assert_eq!(error(from, &to), format!("{path}: DATABASE_URL {problem}"));
    }
}

#[test]
fn a_value_of_a_wrong_type_is_named_with_its_line() {
    for (from, to, expected) in [
        ("api = \"0.02\"", "api = 0.02", "line 7: workspace.pricing.api: invalid type: floating point"),
        (
            "[\"availability\", \"orders\"]",
            "[\"availability\", 1]",
            "line 14: assistants[0].tools[1]: invalid type",
        ),
        ("name = \"get_order_status\"", "name = 7", "line 29: tools[1].name: invalid type"),
        (
            "type = \"widget\"",
            "type = \"page\"",
            "line 39: conversations[0].type: \"page\" is not one of: widget, test, ",
        ),
        ("name = \"Front desk\"\n", "", "line 9: assistants[0]: missing field `name`"),
        ("kind = \"webhook\"\n", "", "line 26: tools[1]: missing field `kind`"),
    ] {
        let error = error(from, to);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_field_that_is_added_to_the_query_of_a_url_cannot_repeat_a_name_of_it() {
    let refused = |method: &str, query: &str, more: &str| {
        let text = FILE.replace("orders/{order_id}", &format!("orders{query}"));
        let text = text.replace("method = \"GET\"", &format!("method = \"{method}\"\n{more}"));
        WorkspaceFile::parse(&text).err().map(|error| error.problem)
    };
    let argument = "tools[1].parameters: \"order_id\" is in the query of the url already";
    let fixed = "tools[1].static: \"status\" is in the query of the url already";
    let status = "static = { status = \"all\" }";

    for query in ["?order_id=1", "?ORDER_ID=1#top", "?a=b&order%5Fid[]=1"] {
        assert_eq!(refused("GET", query, "").as_deref(), Some(argument), "{query}");
    }
    assert_eq!(refused("DELETE", "?status=open", status).as_deref(), Some(fixed));
    assert_eq!(refused("GET", "?id={order_id}&order_id={order_id}", ""), None, "it is only in its place");
    assert_eq!(refused("GET", "?order=1#order_id=1", ""), None);
    assert_eq!(refused("POST", "?status=open&order_id=1", status), None, "they are in the body");
}

#[test]
fn a_calendar_may_be_on_a_server() {
    let with =
        |caldav: &str| FILE.replacen("hours = { mon", &format!("caldav = {{ {caldav} }}\nhours = {{ mon"), 1);
    let keys = "username = \"me\", password = { env = \"CALDAV_PASSWORD\" }";

    let file =
        WorkspaceFile::parse(&with(&format!("url = \"https://dav.example/me/work\", {keys}"))).unwrap();
    let caldav = file.calendars[0].caldav.clone().unwrap();
    assert_eq!(
        (caldav.url.as_str(), caldav.username.as_deref()),
        ("https://dav.example/me/work/", Some("me"))
    );
    assert!(file.secrets().any(|name| name.env == "CALDAV_PASSWORD"));

    for (raw, problem) in [
        ("url = \"\"", "caldav.url: empty"),
        ("url = \"dav.example\"", "caldav.url: it cannot be read as a URL"),
        ("url = \"https://dav.example/?a\"", "caldav.url: the URL of a calendar must not contain ? or #"),
        ("url = \"https://dav.example/\", username = \"a:b\"", "caldav.username: it cannot hold a colon"),
        ("url = \"https://dav.example/\", username = \" \"", "caldav.username: empty"),
        ("url = \"https://dav.example/\", username = \"me\"", "caldav.username: there is no password for it"),
        (
            "url = \"https://dav.example/\", password = { env = \"X\" }",
            "caldav.password: there is no username for it",
        ),
        ("url = \"https://dav.example/\", password = \"x\"", "invalid type: string"),
        ("username = \"me\"", "missing field `url`"),
        ("url = \"https://dav.example/\", token = \"x\"", "unknown field `token`"),
    ] {
        let error = WorkspaceFile::parse(&with(raw)).unwrap_err().to_string();
        assert!(error.starts_with("line 19: ") && error.contains(problem), "{raw}: {error}");
    }
}

#[test]
fn a_knowledge_base_is_checked() {
    let parse = |text: &str| WorkspaceFile::parse(&format!("{FILE}{text}"));
    let base = |rest: &str| parse(&format!("[[knowledge_bases]]\nslug = \"help\"\n{rest}"));
    let error = |rest: &str| base(rest).unwrap_err().to_string();

    let file = base(
        "documents = [ { title = \"Über uns\", text = \"Hi\" }, { slug = \"b\", title = \"B\", path = \"b.PDF\" } ]",
    );
    let file = file.unwrap();
    let checked = &file.knowledge_bases[0];
    assert_eq!((checked.language, checked.documents[0].slug.as_str()), (Language::English, "uber-uns"));
    assert_eq!(checked.documents[1].source, FileSource::Path("b.PDF".to_owned(), Format::Pdf));

    assert!(
        error("language = \"klingon\"")
            .starts_with("line 42: knowledge_bases[0].language: \"klingon\" is none of: simple, ")
    );
    let one = |document: &str| error(&format!("documents = [\n  {document}\n]"));
    let at = "line 43: knowledge_bases[0].documents[0]";
    assert_eq!(one("{ title = \"A\" }"), format!("{at}: text or path is missing"));
    assert_eq!(
        one("{ title = \"A\", text = \"a\", path = \"a.md\" }"),
        format!("{at}: it has text and path: one of them is wanted")
    );
    assert_eq!(
        one("{ title = \"返品\", text = \"a\" }"),
        format!("{at}: its title makes no slug: give it one")
    );
    for (fields, expected) in [
        (
            "url = \"javascript:x\"",
            "url: must be an http or https URL of at most 2048 characters, also when it is percent-encoded",
        ),
        ("slug = \"doc_01k9z3x8f5e4r9t2m6q7w8y0ab\"", "slug: an id is no slug"),
    ] {
        let error = one(&format!("{{ title = \"A\", text = \"a\", {fields} }}"));
        assert!(error.ends_with(expected), "{error}");
    }
    let title = "Ä".repeat(255);
    let file = base(&format!(
        "documents = [ {{ title = \"{title}\", text = \"a\", url = \" HTTPS://Shop.Example\" }} ]"
    ));
    assert_eq!(file.unwrap().knowledge_bases[0].documents[0].url.as_deref(), Some("https://shop.example/"));
    assert!(
        one(&format!("{{ title = \"{title}Ä\", text = \"a\" }}"))
            .ends_with("title: must not be greater than 255 characters")
    );
    assert!(
        one("{ title = \"A\", path = \"a.doc\" }")
            .contains("documents[0].path: its name does not end in one of")
    );
    for path in ["/etc/a.md", "../a.md", "help/../../a.md", "help/../a.md", ".."] {
        let outside = "must lead to a file in the folder of this file: a relative path without ..";
        assert_eq!(one(&format!("{{ title = \"A\", path = \"{path}\" }}")), format!("{at}.path: {outside}"));
    }
    assert!(base("documents = [ { title = \"A\", path = \"./..data/a.md\" } ]").is_ok());
    assert!(
        one("{ title = \"A\", text = \"a\" },\n  { title = \"a!\", text = \"b\" }")
            .contains("\"a\" is there twice")
    );
    let tool = parse("[[tools]]\nslug = \"help\"\nkind = \"knowledge\"").unwrap_err();
    assert!(tool.to_string().contains("knowledge_base"), "{tool}");
}

#[test]
fn an_argument_may_be_named_anywhere_in_the_schema() {
    let composed = "{ type = \"object\", \"$ref\" = \"#/$defs/order\", \"$defs\" = { order = { properties = { order_id = {} } } } }";
    let plain = FILE.lines().find_map(|line| line.strip_prefix("parameters = { type")).unwrap();

    let file = FILE.replace(&format!("{{ type{plain}"), composed);

    assert!(file.contains("$defs"), "{file}");
    WorkspaceFile::parse(&file).unwrap();
}

#[test]
fn unknown_references_are_refused() {
    for (from, to, text) in [
        (
            "default_assistant = \"front-desk\"",
            "default_assistant = \"back-desk\"",
            "line 6: workspace.default_assistant: there is no assistant \"back-desk\"",
        ),
        ("\"orders\"]", "\"parcels\"]", "line 14: assistants[0].tools[1]: there is no tool \"parcels\""),
        (
            "calendar = \"demos\"",
            "calendar = \"x\"",
            "line 24: tools[0].calendar: there is no calendar \"x\"",
        ),
        (
            "assistant = \"front-desk\"\ntype",
            "assistant = \"x\"\ntype",
            "line 38: conversations[0].assistant: there is no assistant \"x\"",
        ),
    ] {
        assert_eq!(error(from, to), text);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn invalid_values_are_refused() {
    for (from, to, text) in [
        ("balance = \"10.00\"", "balance = \"-1\"", "line 5: workspace.balance: an amount below zero"),
        (
            "balance = \"10.00\"",
            "balance = \"ten\"",
            "line 5: workspace.balance: an amount is a decimal number",
        ),
        ("slug = \"demo\"", "slug = \"De mo\"", "line 3: workspace.slug: \"De mo\" is not a slug"),
        (
            "temperature = 0.3",
            "temperature = nan",
            "line 13: assistants[0].parameters.temperature: not a number",
        ),
        ("temperature = 0.3", "since = 2026-01-01", "line 13: assistants[0].parameters.since: a bare date"),
        ("temperature = 0.3", "stream = true", "line 13: assistants[0].parameters.stream: set by the server"),
        ("You answer.", "You\\u0000", "line 12: assistants[0].system_prompt: a text cannot contain U+0000"),
        (
            "\"orders\"]",
            "\"availability\"]",
            "line 14: assistants[0].tools[1]: \"availability\" and \"availability\"",
        ),
        ("get_order_status", "get order", "line 29: tools[1].name: \"get order\" is no name for a model"),
        (
            "get_order_status",
            "check_calendar_availability",
            "line 14: assistants[0].tools[1]: \"availability\" and",
        ),
        (
            "tools = [",
            "variables = { a = 1 }\nvisitor_variables = { b = {}, a = {} }\ntools = [",
            "line 15: assistants[0].visitor_variables.a: also in `variables`, which no visitor can override",
        ),
        (
            "tools = [",
            "visitor_variables = { a = { max_length = 0 } }\ntools = [",
            "line 14: assistants[0].visitor_variables.a.max_length: 0 is not between 1 and 4096",
        ),
        (
            "tools = [",
            "visitor_variables = { \"a b\" = {} }\ntools = [",
            "line 14: assistants[0].visitor_variables.a b: not a name of a variable",
        ),
        (
            "tools = [",
            "visitor_variables = { a = { default = 1 } }\ntools = [",
            "line 14: assistants[0].visitor_variables.a.default: invalid type: integer `1`, expected a string",
        ),
        (
            "tools = [",
            "visitor_variables = { a = { length = 1 } }\ntools = [",
            "line 14: assistants[0].visitor_variables.a.length: unknown field `length`, expected `default` or",
        ),
        ("\"GET\"", "\"get\"", "line 31: tools[1].method: \"get\" is none of: GET"),
        ("\"GET\"", "\"GET\"\nform = true", "line 32: tools[1].form: a GET has no body"),
        (
            "\"GET\"",
            "\"GET\"\ntimeout = \"31s\"",
            "line 32: tools[1].timeout: \"31s\" is not 1 to 30 seconds",
        ),
        (
            "calendar = \"demos\"",
            "calendar = \"demos\"\nurl = \"x\"",
            "line 25: tools[0].url: a tool of kind",
        ),
        (
            "{ type = \"object\",",
            "{ type = \"array\",",
            "line 34: tools[1].parameters: a JSON Schema with type",
        ),
        (
            "{ type = \"string\" }",
            "{ allOf = [{ \"$ref\" = \"#/properties/order_id\" }] }",
            "line 34: tools[1].parameters: a `$ref` leads back to itself",
        ),
        ("{ type = \"string\" }", "{ type = \"text\" }", "line 34: tools[1].parameters: not a JSON Schema"),
        (
            "orders/{order_id}",
            "{{shop}}/orders/{order}",
            "line 32: tools[1].url: {order} is no argument: parameters has no property \"order\"",
        ),
        ("\"application/json\"", "\"{kind}\"", "line 33: tools[1].headers.accept: {kind} is no argument"),
        (
            "\"GET\"",
            "\"POST\"\nbody = '{\"id\": {order_id}, \"note\": \"{note}\"}'",
            "line 32: tools[1].body: {note} is no argument",
        ),
        ("authorization =", "\"Content-Length\" =", "line 33: tools[1].headers.Content-Length: set by"),
        (
            "Europe/Berlin",
            "Europe/Bonn",
            "line 18: calendars[0].time_zone: \"Europe/Bonn\" is not a time zone",
        ),
        ("\"09:00-17:00\"", "\"17:00-09:00\"", "line 19: calendars[0].hours.mon[0]: "),
        ("type = \"widget\"", "type = \"api\"", "line 39: conversations[0].type: expected"),
    ] {
        let error = error(from, to);
        assert!(error.starts_with(text), "{error}");
    }
}
