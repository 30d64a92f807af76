//! What a page may ask of the chat: the queue, the methods, the events and the element.

use serde_json::{Value, json};

use super::Guest;
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::server::ASSISTANT;

/// Records each event in `heard`, from before the script has loaded.
const LISTEN: &str = "<script>
    window.heard = [];
    for (const name of ['ready', 'open', 'close', 'message', 'unread', 'error'])
        (window.RejoinderQueue ||= []).push(['on', name, (detail) => heard.push([name, detail])]);
</script>";

/// The names of the events since the last look.
async fn heard(guest: &Guest) -> Vec<String> {
    let names = guest.evaluate("heard.splice(0).map(([name]) => name)").await;
    serde_json::from_value(names).unwrap()
}

/// Waits until the panel is open, or closed.
async fn wait_for_panel(guest: &Guest, is_open: bool) {
    guest.wait_until(&format!("Boolean(root?.querySelector('dialog[open]')) === {is_open}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_controls_the_chat_before_and_after_it_has_loaded() {
    let guest = Guest::start().await;
    let tag = format!("<script async src=\"{}/widget.js\"></script>", guest.server.url());
    let mount =
        format!("['mount', {{ assistant: '{ASSISTANT}', title: 'Ask us', variables: {{ name: 'Ada' }} }}]");
    let queued = format!("<script>RejoinderQueue.push({mount}, ['send', 'Hello']);</script>");
    guest.serve("/", "", &format!("{LISTEN}{queued}{tag}"));
    let call = async |script: &str| guest.evaluate(script).await;

    // Before: what was queued is done.
    guest.visit().await;
    guest.wait_for_reply("A reply of the fake model.").await;
    guest.browser.wait_for_text(".title", "Ask us").await;
    guest.browser.wait_for_text(".log", "Hello Ada!").await;
    guest.wait_until("heard.some(([name]) => name === 'message')").await;
    let message = call("heard.find(([name]) => name === 'message')[1]").await;
    assert_eq!(
        (&message["sender"], &message["text"]),
        (&json!("assistant"), &json!("A reply of the fake model."))
    );
    assert!(message["id"].as_str().unwrap().starts_with("msg_"), "{message}");
    assert_eq!(heard(&guest).await, ["open", "ready", "message"]);

    // After: opens, closes, hides.
    call("RejoinderQueue.push(['close'])").await;
    wait_for_panel(&guest, false).await;
    call("Rejoinder.open()").await;
    wait_for_panel(&guest, true).await;
    call("Rejoinder.toggle()").await;
    wait_for_panel(&guest, false).await;
    call("Rejoinder.toggle()").await;
    wait_for_panel(&guest, true).await;
    call("Rejoinder.hide()").await;
    wait_for_panel(&guest, false).await;
    assert_eq!(call("root.querySelector('.launcher').checkVisibility()").await, json!(false));
    call("Rejoinder.show()").await;
    guest.wait_until("root.querySelector('.launcher').checkVisibility()").await;
    assert_eq!(heard(&guest).await, ["close", "open", "close", "open", "close"]);

    // Changes options, and sends.
    call("Rejoinder.set({ locale: 'de', title: 'Frag uns', texts: { send: 'Los' } })").await;
    guest.browser.wait_for_text(".title", "").await;
    call("Rejoinder.send('Second')").await;
    wait_for_panel(&guest, true).await;
    guest.browser.wait_for_text(".title", "Frag uns").await;
    guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 3").await;
    guest.wait_until_idle().await;
    assert_eq!(call("root.querySelector('.send').ariaLabel").await, json!("Los"));
    guest.wait_until("root.querySelector('#message').placeholder === 'Nachricht schreiben'").await;
    assert_eq!(heard(&guest).await, ["open", "message"]);

    // A message while a reply is written becomes the draft.
    let gate = Gate::closed();
    guest.server.model.script().queue([Reply::text("One half.\n\nThe other.").paused_by(&gate)]);
    call("Rejoinder.send('Third')").await;
    guest.browser.wait_for_text(".log", "One half.").await;
    call("Rejoinder.send('Fourth')").await;
    guest.wait_until("root.querySelector('#message').value === 'Fourth'").await;
    // A message that is queued while the chat continues that reply is sent after it.
    call(&format!("RejoinderQueue.push({mount}, ['send', 'Fifth'])")).await;
    guest.browser.wait_for_text(".log", "One half.").await;
    gate.open();
    guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 5").await;
    guest.wait_until_idle().await;
    let sent = guest.server.messages(&guest.conversation_id().await).await;
    let sent: Vec<_> =
        sent.iter().filter(|sent| sent["sender_type"] == "user").map(|sent| &sent["text"]).collect();
    assert_eq!(sent, ["Hello", "Second", "Third", "Fifth"]);
    assert_eq!(guest.browser.count("rejoinder-chat").await, 1, "mount replaces the chat");

    // Logs out, and goes.
    heard(&guest).await;
    let no_more = "window.isOff = true; Rejoinder.on('open', () => (window.isOff = false))();";
    guest.browser.evaluate(no_more).await;
    call("Rejoinder.reset()").await;
    wait_for_panel(&guest, false).await;
    let keys = "Object.keys(localStorage).filter((key) => key.startsWith('rejoinder:'))";
    assert_eq!(call(keys).await, json!([]));
    call("Rejoinder.open()").await;
    guest.wait_until_idle().await;
    guest.wait_for_messages(&json!(["Hello Ada!"])).await;
    assert_eq!(heard(&guest).await, ["close", "open", "ready"]);
    assert_eq!(call("isOff").await, json!(true));
    call("Rejoinder.destroy()").await;
    assert_eq!(call("host").await, Value::Null);
    call("[Rejoinder.open(), Rejoinder.close(), Rejoinder.reset(), Rejoinder.send('?'), Rejoinder.set({ open: true })]").await;
    assert_eq!(call("host").await, Value::Null);
    assert_eq!(heard(&guest).await, [""; 0]);
    call(&format!("RejoinderQueue.push({mount}, ['open'])")).await;
    guest.wait_until_idle().await;
    guest.wait_for_messages(&json!(["Hello Ada!"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_has_a_chat_with_the_options_of_its_attributes() {
    let guest = Guest::start().await;
    let tag = format!("<script async src=\"{}/widget.js\"></script>", guest.server.url());
    let element = format!(
        "<style>rejoinder-chat {{ block-size: 400px }}</style>
         <rejoinder-chat assistant=\"{ASSISTANT}\" locale=\"de\" data-title=\"Hilfe\" subtitle=\"Sofort\" class=\"wide\"
             variables='{{\"name\": \"Ada\"}}' quick-replies='[\"Was kostet es?\"]' tools=\"hidden\" theme=\"dark\"></rejoinder-chat>"
    );
    let listen = "<script>
        window.heard = [];
        window.warnings = [];
        console.warn = (...words) => window.warnings.push(words.join(' '));
        for (const name of ['ready', 'open', 'message'])
            document.querySelector('rejoinder-chat').addEventListener(`rejoinder-${name}`, ({ detail }) => heard.push([name, detail]));
    </script>";
    guest.serve("/", "", &format!("{element}{listen}{tag}"));

    guest.browser.visit(&guest.page.url("/")).await;
    guest.browser.wait_for_text(".log", "Hello Ada!").await;
    guest.wait_until_idle().await;
    guest.browser.wait_for_text(".title", "Hilfe").await;
    guest.browser.wait_for_text(".subtitle", "Sofort").await;
    assert_eq!(
        guest.evaluate("[host.dataset.theme, host.dataset.mode, warnings]").await,
        json!(["dark", "inline", []])
    );
    assert_eq!(guest.browser.count(".launcher").await, 0);
    guest.click(".chip").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    assert_eq!(guest.messages().await, json!(["Hello Ada!", "Was kostet es?", "A reply of the fake model."]));
    let names = guest.evaluate("heard.map(([name]) => name)").await;
    assert_eq!(names, json!(["open", "ready", "message"]));

    // Attributes may change, and the element may go and come back.
    guest.evaluate("host.setAttribute('locale', 'en')").await;
    guest.wait_until("root.querySelector('#message').placeholder === 'Write a message'").await;
    guest.browser.evaluate("window.kept = document.querySelector('rejoinder-chat'); kept.remove();").await;
    assert_eq!(guest.evaluate("kept.shadowRoot.childElementCount").await, json!(0));
    guest.evaluate("document.querySelector('main').append(kept)").await;
    guest.browser.wait_for_text(".log", "Was kostet es?").await;
    guest.evaluate("host.setAttribute('assistant', 'ast_none')").await;
    guest.browser.wait_for_text("[part=failure]", "The chat is not available.").await;
}
