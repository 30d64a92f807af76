//! The chat without its looks, with a server that the page plays.

use serde_json::json;

use super::modules::evaluate;

/// `newChat(answer, more)` makes a chat whose requests `answer(method, path)` answers: with the JSON of a success, a status, or a promise that
/// never ends (null). `more` are fields of its environment. `requests` has all requests, as `GET conversations/u?after=m1`.
const PLAY: &str = r"
    const { Chat } = await import('/chat.js');
    const requests = [];
    const until = async (found) => {
        while (!found()) await new Promise((done) => setTimeout(done, 10));
    };
    const storeOf = (values = {}) => {
        const named = Object.entries(values).map(([name, value]) => [`rejoinder:s:a::${name}`, JSON.stringify(value)]);
        const kept = new Map(named);
        return {
            getItem: (key) => kept.get(key) ?? null,
            setItem: (key, text) => void kept.set(key, text),
            removeItem: (key) => void kept.delete(key),
        };
    };
    const settings = { assistant: { form: [], quick_replies: [] } };
    const message = (id, sender_type, content = id) => ({ id, sender_type, content, created_at: '2030-01-01T00:00:00Z' });
    const page = (...history) => ({ history, ai_enabled: true });
    const newChat = (answer, more = {}) => {
        const fetch = async (url, { method }) => {
            const path = url.slice('s/api/'.length);
            requests.push(`${method} ${path}`);
            const given = path.startsWith('assistants/') ? settings : await answer(method, path);
            if (given === null) return new Promise(() => {});
            if (given instanceof Response) return given;
            return new Response(given === 204 ? null : JSON.stringify(given), { status: typeof given === 'number' ? given : 200 });
        };
        const environment = {
            fetch, localStorage: storeOf(), locks: null, BroadcastChannel: null, window: new EventTarget(),
            isHidden: () => false, now: () => Date.now(), random: () => 0, ...more,
        };
        return new Chat({ server: 's', assistant: 'a', environment });
    };
    const textsOf = (chat) => chat.state.items.map(({ parts }) => parts.at(-1).text);
";

/// Reads messages that the log does not take: of an unknown kind, and one that may be the awaited reply.
const READ: &str = "
    const localStorage = storeOf({ conversation: 'u' });
    const chat = newChat((method, path) => {
        if (method === 'POST') return null;
        if (path.endsWith('/stream')) return 204;
        const after = path.split('after=')[1];
        const pages = { m1: page(message('m2', 'machine')), m2: page(message('m3', 'assistant')), m3: page() };
        return pages[after] ?? page(message('m1', 'user'));
    }, { localStorage });
    await chat.open();
    chat.send('Hello');
    requests.length = 0;
    await chat.refresh();
    return requests;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_of_news_is_read_once_whatever_the_log_takes_of_it() {
    let requests = evaluate(&format!("{PLAY}{READ}")).await;

    let pages = ["m1", "m2", "m3"].map(|after| format!("GET conversations/u?after={after}"));
    assert_eq!(requests, json!(pages));
}

/// Has failures of the server on the way, and messages that nobody has seen.
const MISS: &str = "
    let isBusy = false;
    let history = page(message('m1', 'user'), message('m2', 'agent'));
    const localStorage = storeOf({ conversation: 'u' });
    const chat = newChat((method, path) => {
        if (path.endsWith('/stream')) return 204;
        if (isBusy) {
            isBusy = false;
            return 503;
        }
        return history;
    }, { localStorage });
    const connections = [];
    chat.subscribe(() => connections.at(-1) !== chat.state.connection && connections.push(chat.state.connection));
    await chat.open(false);
    const unread = [chat.state.unread];
    isBusy = true;
    history = page(message('m3', 'agent'));
    const reading = chat.refresh();
    await until(() => chat.state.items.length === 3);
    unread.push(chat.state.unread);
    history = page(message('m1', 'user'), message('m2', 'agent'), message('m3', 'agent'), message('m4', 'agent'));
    await chat.refresh(true);
    unread.push(chat.state.unread);
    chat.setVisible(true);
    return [connections, unread, textsOf(chat), chat.state.unread, chat.storage.read('seen')];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_are_read_again_after_a_failure_and_counted_however_they_come() {
    let found = evaluate(&format!("{PLAY}{MISS}")).await;

    let connections = ["online", "reconnecting", "online"];
    assert_eq!(found, json!([connections, [1, 2, 3], ["m1", "m2", "m3", "m4"], 0, "m4"]));
}

/// Sends two messages at once, in one tab, and one in each of two tabs.
const SEND: &str = "
    const sent = [];
    let release;
    const held = new Promise((done) => (release = done));
    const reply = { message: 'Yes.', status: true };
    const answer = async (method, path) => {
        if (path.endsWith('/stream')) return 204;
        if (path.endsWith('/messages')) return held.then(() => reply);
        return method === 'POST' ? { conversation_id: 'u', history: [] } : page();
    };
    const localStorage = storeOf();
    const chat = newChat(answer, { localStorage });
    chat.send('One');
    chat.send('Two');
    await until(() => chat.state.running);
    const draft = chat.draft;
    const other = newChat(answer, { localStorage });
    await other.open();
    const mine = { ...chat.storage.read('pending'), key: 'other', text: 'Three' };
    other.storage.write('pending', mine);
    release();
    await until(() => !chat.state.running);
    return [textsOf(chat), draft, chat.storage.read('pending')?.text];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_to_another_that_is_sent_at_the_same_time() {
    let found = evaluate(&format!("{PLAY}{SEND}")).await;

    assert_eq!(found, json!([["One", "Yes."], "Two", "Three"]));
}

/// Opens a second tab whose history is older than the stream of the first.
const FOLLOW: &str = "
    let reads = 0;
    const answer = (method, path) => {
        if (path.endsWith('/stream')) return 204;
        if (path.endsWith('/events')) return new Response(new ReadableStream(), { headers: { 'Content-Type': 'text/event-stream' } });
        reads += 1;
        return path.includes('after=m1') ? page(message('m2', 'agent')) : path.includes('after=') ? page() : page(message('m1', 'user'));
    };
    const { locks } = navigator;
    const tab = () => newChat(answer, { localStorage: storeOf({ conversation: 'u' }), locks, BroadcastChannel });
    const first = tab();
    await first.open();
    await until(() => requests.some((request) => request.endsWith('/events')));
    const second = tab();
    await second.open();
    await until(() => second.state.items.length === 2);
    return [textsOf(first), textsOf(second), requests.filter((request) => request.endsWith('/events')).length];";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tab_that_joins_reads_what_has_come_since_its_history() {
    let found = evaluate(&format!("{PLAY}{FOLLOW}")).await;

    assert_eq!(found, json!([["m1"], ["m1", "m2"], 1]));
}

/// Shows a failed message with its countdown, changes other things, and reads a reply aloud.
const SHOW: &str = r"
    const { newItem, textPart } = await import('/log.js');
    const { Failure } = await import('/failures.js');
    const { createEntry, messageMarkdown } = await import('/view_entry.js');
    const { textsFor } = await import('/texts.js');
    const texts = textsFor('en');
    const later = [];
    const chat = { state: { items: [], settings: {} } };
    const frame = { texts, chat, later: (action) => later.push(action), extras: () => null, markdown: messageMarkdown(texts, 'h3') };
    const failure = new Failure('limit', 'same', { after: 60 });
    const item = newItem('visitor', { parts: [textPart('Hello')], failure, progress: 'failed' });
    const entry = createEntry(frame, item);
    const button = entry.element.querySelector('[data-action=retry]');
    entry.update({ ...item });
    const isSame = button === entry.element.querySelector('[data-action=retry]');
    failure.until -= 4000;
    const again = createEntry(frame, item).element.querySelector('[data-action=retry]').textContent;
    const text = 'One.\n\n- Two\n- Three\n\n```\ncode\n```\n\n| a | b |\n|---|---|\n| c | d |\n\nEnd';
    const reply = createEntry(frame, newItem('assistant', { id: 'm', parts: [textPart(text), textPart('More')] }));
    const shown = [isSame, later.length, again, reply.shownText];

    const { ChatView } = await import('/view_panel.js');
    const host = document.createElement('div');
    document.body.append(host);
    const root = host.attachShadow({ mode: 'open' });
    const following = newChat(() => page(), { localStorage: storeOf({ conversation: 'u' }) });
    const view = new ChatView({ root, host, chat: following, options: { mode: 'inline', locale: 'en' } });
    view.show();
    following.take([message('One', 'agent')]);
    following.take([message('Two', 'agent')]);
    await until(() => root.querySelector('[role=status]').textContent === 'One\nTwo');
    return shown;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_keeps_its_box_and_deadline_and_replies_are_read_aloud_line_by_line_and_all() {
    let shown = evaluate(&format!("{PLAY}{SHOW}")).await;

    let spoken = "One.\nTwo\nThree\ncode\na\nb\nc\nd\nEnd\nMore";
    assert_eq!(shown, json!([true, 2, "Try again in 56 s", spoken]));
}
