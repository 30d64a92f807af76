//! The widget's modules one by one, in a browser that loads their sources as they are.

use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::router_server::RouterServer;

/// Serves the sources, and evaluates the body of a function in a page of theirs.
pub(super) async fn evaluate(script: &str) -> Value {
    evaluate_from(get(source), script).await
}

async fn evaluate_from(sources: MethodRouter, script: &str) -> Value {
    let routes = axum::Router::new()
        .route("/", get(async || Html("<!doctype html><title>Modules</title>")))
        .route("/{file}", sources);
    let server = RouterServer::start(routes).await;
    let browser = Browser::open().await;
    browser.visit(&server.url()).await;
    browser.evaluate(&format!("return (async () => {{ {script} }})();")).await
}

async fn source(Path(file): Path<String>) -> impl IntoResponse {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/pages/assets/widget");
    let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
    ([(CONTENT_TYPE, "text/javascript")], text)
}

/// Serves `extras.js` only at its third address, which ends in `??`.
async fn source_that_fails_twice(path: Path<String>, uri: Uri) -> Response {
    if path.as_str() == "extras.js" && uri.query() != Some("?") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    source(path).await.into_response()
}

/// The line of a call while it runs and when it has ended.
const CALL: &str = "
    const { callsElement } = await import('/view_calls.js');
    const { textsFor } = await import('/texts.js');
    const tool_labels = { check_calendar_availability: { kind: 'calendar_availability' } };
    const frame = { texts: textsFor('en'), chat: { state: { settings: { tool_labels } } }, later() {} };
    const call = { kind: 'call', id: 'c', name: 'check_calendar_availability', arguments: { start_date: '2030-01-07' } };
    const line = (more) => {
        const calls = callsElement(frame, 'details', [{ ...call, ...more }], new Set(['c']));
        return [calls.querySelector('summary').textContent, calls.querySelector('details').open];
    };
    return [
        line({ result: null, isRunning: true }),
        line({ result: { available_slots: ['2030-01-07 10:00'] }, isRunning: false }),
    ];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_shown_when_it_starts_and_its_result_when_it_arrives() {
    let shown = evaluate(CALL).await;

    let name = "check_calendar_availability";
    let running = format!("Looking for free times {name}running");
    let done = format!("Looked for free times {name}1 found");
    assert_eq!(shown, json!([[running, true], [done, true]]));
}

/// Reads a stream in chunks of each size. Returns the different results, and the error of a stream that is silent.
const READ: &str = r"
    const { readEvents } = await import('/sse.js');
    const text = '\uFEFF: hi\r\ndata: grüße 🎉\r\n\r\nevent: x\nid: 3\ndata:a\ndata: b\n\n:\n\nretry: 5\r\rdata: c\r\rdata\n\ndata: cut';
    const bytes = new TextEncoder().encode(text);
    async function read(size) {
        let at = 0;
        const pull = (to) => (at < bytes.length ? to.enqueue(bytes.slice(at, (at += size))) : to.close());
        const found = [];
        for await (const { event, data, id } of readEvents(new ReadableStream({ pull }), 20000)) found.push([event, data, id]);
        return JSON.stringify(found);
    }
    async function readSilence() {
        try {
            await readEvents(new ReadableStream(), 10).next();
        } catch (error) {
            return error.name;
        }
    }
    const found = new Set();
    for (let size = 1; size <= bytes.length; size += 1) found.add(await read(size));
    return [...found, await readSilence()];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_read_however_their_bytes_are_cut() {
    let read = evaluate(READ).await;

    let events = json!([
        ["message", "grüße 🎉", null],
        ["x", "a\nb", "3"],
        ["message", "c", "3"],
        ["message", "", "3"],
    ]);
    assert_eq!(read, json!([events.to_string(), "TimeoutError"]));
}

/// Renders texts piece by piece, in pieces of each size. Returns those that do not look like the whole text, and a marked text that is not
/// complete.
const RENDER: &str = r"
    const { markdown, markdownWriter } = await import('/markdown.js');
    const texts = [
        '# H\n\npara *it* **bo\nld** x\n- a\n- b `c` \n-\n- d\n1. x\n2) y\n```js\n**x** `y`\n\n\nz\n```\nend [l](https://e.com/a_b) ok\r\n\r\nlast\rline',
        '**', '* a\n* b\n\n\n# t', 'a\n-\n- b\n`x', '', '\n\n', 'x [a](https://e.c/', '**a** *b*\n**c', '```\nopen',
        '- a\n  - b\n    1. c\n- d\n\n> q\n> - r\n\n| a | b |\n|:--|--:|\n| 1 | `2` |\n\n---\n~~x~~',
    ];
    const different = [];
    for (const text of texts) {
        for (let size = 1; size <= 7; size += 1) {
            const writer = markdownWriter();
            for (let at = 0; at < text.length; at += size) {
                writer.append(text.slice(at, at + size));
                writer.render(false);
            }
            writer.render(true);
            if (!writer.prose.isEqualNode(markdown(text))) different.push([text, size]);
        }
    }
    const writer = markdownWriter();
    writer.append('a\n\nsome **bol');
    writer.render(false);
    const first = writer.prose.firstChild;
    writer.append('d** and *it');
    writer.render(false);
    return [different, writer.prose.innerHTML, writer.prose.firstChild === first];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_grows_looks_like_the_whole_text() {
    let rendered = evaluate(RENDER).await;

    let partial = "<p>a</p><p>some <strong>bold</strong> and *it</p>";
    assert_eq!(rendered, json!([[], partial, true]));
}

/// A chat whose part with the calls and the list does not load twice. Returns what it shows then, and what after another try.
const LOSE: &str = "
    const { callPart, newItem, textPart } = await import('/log.js');
    const { blankState } = await import('/state.js');
    const { ChatView } = await import('/view_panel.js');
    const until = async (found) => {
        while (!found()) await new Promise((done) => setTimeout(done, 10));
    };
    const host = document.createElement('div');
    document.body.append(host);
    const root = host.attachShadow({ mode: 'open' });
    const parts = [callPart('c', 'look', {}, {}), textPart('Found.')];
    const items = [newItem('assistant', { id: 'm', parts })];
    const settings = { tools: 'details', form: [] };
    const state = { ...blankState(), phase: 'ready', items, running: null, settings, conversations: [] };
    const chat = { state, draft: '', subscribe: () => () => {}, setVisible() {}, list() {} };
    const warned = [];
    console.warn = (...words) => warned.push(words);
    const view = new ChatView({ root, host, chat, options: { mode: 'inline', locale: 'en' } });
    view.show();
    const click = (action) => root.querySelector(`[data-action=${action}]`).click();
    await until(() => warned.length === 1);
    const lost = [root.querySelector('.prose').textContent, root.querySelector('.calls')];
    click('conversations');
    await until(() => root.querySelector('[data-action=retry]'));
    click('retry');
    await until(() => root.querySelector('[part=conversations]'));
    click('back');
    await until(() => root.querySelector('.calls'));
    return [...lost, warned.length, root.querySelector('[part=conversations]')];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_goes_without_a_part_that_does_not_load_and_tries_again() {
    let shown = evaluate_from(get(source_that_fails_twice), LOSE).await;

    assert_eq!(shown, json!(["Found.", null, 2, null]));
}

/// The German texts, which take a while, and the English ones for another language.
const SPEAK: &str = "
    const { loadTexts, textsFor } = await import('/texts.js');
    const shown = ({ send, language, locale }) => [send, language, locale];
    const before = shown(textsFor('de-AT'));
    const hasCome = await loadTexts('de-AT');
    const after = shown(textsFor('de-AT', { send: 'Los' }));
    return [before, hasCome, after, textsFor('de').send, loadTexts('de'), loadTexts('fr'), shown(textsFor('fr'))];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn german_texts_are_loaded_when_they_are_wanted() {
    let spoken = evaluate(SPEAK).await;

    let (before, after) = (json!(["Send", "en", "de-AT"]), json!(["Los", "de", "de-AT"]));
    assert_eq!(spoken, json!([before, true, after, "Senden", null, null, ["Send", "en", "fr"]]));
}

/// Renders texts that a pattern could be slow or endless with, whole and with a line that is not complete. Returns those that take much longer
/// than a quarter of them: a pattern that looks at each character again for each character needs 16 times as long, and not 4.
const HOSTILE: &str = r"
    const { markdown, markdownWriter } = await import('/markdown.js');
    const textsOf = (size, repeat = (text) => text.repeat(size / text.length)) => [
        '# a' + repeat(' ') + 'b', repeat('**a '), repeat('__a '), repeat('~~a '), repeat('`') + 'a', repeat('~') + '`',
        '```' + repeat('a') + '`', '[a](' + repeat(' ') + 'x', repeat('[a](') + ' x', 'https://a/' + repeat(')') + 'x)',
        '` ' + repeat('a') + '`', 'a|b\n-' + repeat(' ') + 'x', repeat('a|') + '\n' + repeat('-|') + '\n' + repeat('|\n'),
        repeat('>') , repeat('- ') + 'x', repeat('- '), repeat('> - ') + 'x', repeat('**') + 'a' + repeat('**'), '- - -', '* * *', '- a\n\n- - -',
        Array.from({ length: Math.sqrt(2 * size) }, (_, length) => '`'.repeat(length + 1) + 'a').join(''),
    ];
    const timeOf = (text) => {
        const start = performance.now();
        markdown(text);
        const writer = markdownWriter();
        writer.append(text);
        writer.render(false);
        return performance.now() - start;
    };
    const short = textsOf(7500).map(timeOf);
    return textsOf(30000).filter((text, at) => timeOf(text) > 10 * Math.max(short[at], 100)).map((text) => text.slice(0, 20));";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_takes_long_to_render() {
    assert_eq!(evaluate(HOSTILE).await, json!([]));
}

/// The names of texts, by language, and those that the types do not describe.
const TEXTS: &str = r"
    const { ENGLISH } = await import('/texts_en.js');
    const { GERMAN } = await import('/texts_de.js');
    const isGroup = (text) => typeof text === 'object' && !Array.isArray(text);
    const entries = (texts) => Object.entries(texts).flatMap(([name, text]) => (isGroup(text) ? entries(text) : [[name, text]]));
    const names = (texts) => entries(texts).map(([name]) => name).sort();
    const comment = (text) => [text].flat().filter(Boolean).join(' | ');
    const types = (await (await fetch('/widget.d.ts')).text()).replace(/\s+/g, ' ');
    const isTyped = ([name, text]) => types.includes(`/** ${comment(text)} */ ${name}?:`);
    return [names(ENGLISH).join() === names(GERMAN).join(), entries(ENGLISH).filter((entry) => !isTyped(entry))];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_types_name_every_text_with_the_english_one() {
    assert_eq!(evaluate(TEXTS).await, json!([true, []]));
}
