//! Visitors who are logged in at the site.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Guest, human, script_tag_from};
use crate::support::browser::Browser;
use crate::support::gateway::{Gateway, Passage};
use crate::support::identity::sign;
use crate::support::wait::wait_for;

/// A page that records the widget's failures and warnings, and identifies its visitor by the token in its address.
const PAGE: &str = "<script>
    window.failures = [];
    window.warnings = [];
    console.warn = (...words) => window.warnings.push(words.join(' '));
    window.RejoinderQueue = [['on', 'error', (failure) => failures.push(failure)]];
    const token = new URLSearchParams(location.search).get('token');
    if (token) RejoinderQueue.push(['identify', { token }]);
</script>";

/// The names of what the browser has stored of identified visitors.
const STORED: &str =
    "Object.keys(localStorage).filter((key) => key.startsWith('rejoinder:') && !key.includes('::'))";

/// A site with an assistant that was created through the API, and the secret of its identities.
struct Site {
    guest: Guest,
    gateway: Gateway,
    assistant: String,
    secret: String,
}

impl Site {
    async fn start() -> Self {
        let guest = Guest::start().await;
        let post = async |path: &str, body: Value| {
            let made =
                guest.server.request("POST", path).bearer(&guest.server.keys.full).json(&body).send().await;
            assert_eq!(made.status, 200, "{}", made.text());
            made.json()["data"].clone()
        };
        let assistant = json!({
            "slug": "mine", "name": "Mine", "system_prompt": "You help.", "first_message": "Welcome!",
        });
        let assistant =
            post("/v1/assistants", assistant).await["assistant"]["id"].as_str().unwrap().to_owned();
        let secret = post(&format!("/v1/assistants/{assistant}/identity_secrets"), json!({})).await;
        let secret = secret["secret"].as_str().unwrap().to_owned();
        let gateway = Gateway::start(&guest.server.url()).await;
        let tag = script_tag_from(&gateway.url(), &assistant, "");
        guest.serve("/", "", &format!("{PAGE}{tag}"));
        Self { guest, gateway, assistant, secret }
    }

    /// A token that names a visitor until so many seconds from now.
    fn token(&self, subject: &str, seconds: i64) -> String {
        let expires = Timestamp::now().as_second() + seconds;
        let claims = json!({ "sub": subject, "aud": self.assistant, "exp": expires });
        sign(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, &self.secret)
    }

    /// Shows the page to the visitor with this token.
    async fn visit(&self, token: &str) {
        // A chat that was open opens by itself.
        self.guest.browser.set_viewport(1024, 768).await;
        self.guest.visit_path(&format!("/?token={token}")).await;
        self.guest.wait_until("Boolean(window.Rejoinder)").await;
    }

    /// The subject of the conversation that is stored, and its UUID.
    async fn conversation(&self) -> (Value, String) {
        let key =
            "Object.keys(localStorage).find((key) => key.endsWith(':conversation') && !key.includes('::'))";
        let uuid = self.guest.evaluate(&format!("JSON.parse(localStorage.getItem({key}))")).await;
        let uuid = uuid.as_str().unwrap().to_owned();
        let con = self.guest.server.conversation_id(&uuid).await;
        let read = self.guest.server.get(&format!("/v1/conversations/{con}")).await.json();
        (read["data"]["identity"].clone(), uuid)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identified_visitor_has_the_same_conversations_in_each_browser_until_they_log_out() {
    let mut site = Site::start().await;
    let ada = site.token("ada", 3600);

    // One browser begins a conversation.
    site.visit(&ada).await;
    site.guest.open().await;
    site.guest.say("Hello from the office").await;
    site.guest.wait_for_reply("A reply of the fake model.").await;
    let (subject, first) = site.conversation().await;
    assert_eq!(subject, "ada");

    // Another continues it, and begins a second.
    let office = std::mem::replace(&mut site.guest.browser, Browser::open().await);
    site.visit(&ada).await;
    site.guest.open().await;
    site.guest.browser.wait_for_text(".log", "Hello from the office").await;
    site.guest.browser.find("[data-action=new]").await.click().await;
    site.guest.wait_until("root.querySelectorAll('.entry').length === 1").await;
    site.guest.say("Hello from home").await;
    site.guest.wait_for_reply("A reply of the fake model.").await;
    let (_, second) = site.conversation().await;
    assert_ne!(first, second);

    // The first sees both, and switches.
    let home = std::mem::replace(&mut site.guest.browser, office);
    let guest = &site.guest;
    guest.browser.find("[data-action=conversations]").await.click().await;
    guest.browser.find(&format!("[data-conversation='{first}'][aria-current=true]")).await;
    guest.browser.find(&format!("[data-conversation='{second}']")).await.click().await;
    guest.browser.wait_for_text(".log", "Hello from home").await;

    // A new token of the same visitor changes nothing but the token.
    guest.browser.find("#message").await.type_text("A draft").await;
    let renewed = site.token("ada", 7200);
    let before = guest.messages().await;
    guest.evaluate(&format!("Rejoinder.identify({{ token: '{renewed}' }})")).await;
    guest.wait_until("root.querySelector('#message').value === 'A draft'").await;
    guest.browser.find(".send").await.click().await;
    guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 3").await;
    guest.wait_until_idle().await;
    let mut expected = before.as_array().unwrap().clone();
    expected.extend([json!("A draft"), json!("A reply of the fake model.")]);
    assert_eq!(guest.messages().await, json!(expected));
    let sent = site.gateway.requests("POST", "/messages").pop().unwrap();
    assert_eq!(sent.headers["rejoinder-identity"].to_str().unwrap(), renewed);

    // Logging out in one tab leaves nothing of the visitor in the browser.
    let tab = guest.browser.tab().await;
    guest.browser.open_tab().await;
    site.visit(&ada).await;
    guest.browser.wait_for_text(".log", "A draft").await;
    guest.evaluate("Rejoinder.reset()").await;
    guest.wait_until("root.querySelector('dialog[open]') === null").await;
    guest.wait_until("!root.textContent.includes('A draft')").await;
    guest.browser.switch_to(&tab).await;
    guest.wait_until("root.querySelector('dialog[open]') === null").await;
    guest.wait_until("!root.textContent.includes('A draft')").await;
    guest.open().await;
    guest.browser.wait_for_text(".log", "Welcome!").await;
    assert_eq!(guest.evaluate(STORED).await, json!([]));
    guest.browser.find("[data-action=conversations]").await.click().await;
    guest.browser.wait_for_text("[part=conversations]", "There are no earlier conversations.").await;

    // The other browser still has them.
    site.guest.browser = home;
    let con = site.guest.server.conversation_id(&second).await;
    human::write(&site.guest.server, &con, "I am Ada's person.").await;
    site.guest.browser.wait_for_text(".log", "I am Ada's person.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_visitor_cannot_read_a_conversation_and_gets_one_of_their_own() {
    let site = Site::start().await;
    let guest = &site.guest;
    site.visit(&site.token("ada", 3600)).await;
    guest.open().await;
    guest.say("My secret").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let (_, secret) = site.conversation().await;
    guest.browser.evaluate("localStorage.clear();").await;

    // Eve has found the UUID.
    site.visit(&site.token("eve", 3600)).await;
    guest.open().await;
    guest.browser.wait_for_text(".log", "Welcome!").await;
    let key = "Object.keys(localStorage).find((key) => key.endsWith(':conversation'))";
    guest.evaluate(&format!("localStorage.setItem({key}, JSON.stringify('{secret}'))")).await;
    guest.browser.reload().await;
    guest.browser.wait_for_text(".note", "The earlier conversation is no longer there").await;
    guest.wait_until_idle().await;
    assert!(!guest.browser.find(".log").await.text().await.contains("My secret"));
    let (subject, uuid) = site.conversation().await;
    assert_eq!(subject, "eve");
    assert_ne!(uuid, secret);

    // So has somebody without a token.
    guest.browser.evaluate("localStorage.clear();").await;
    guest.visit().await;
    guest.open().await;
    guest.evaluate(&format!("localStorage.setItem({key}, JSON.stringify('{secret}'))")).await;
    guest.browser.reload().await;
    guest.browser.wait_for_text(".note", "The earlier conversation is no longer there").await;
    assert!(!guest.browser.find(".log").await.text().await.contains("My secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_valid_is_named_to_the_developer_and_a_valid_one_repairs_the_chat() {
    let site = Site::start().await;
    let guest = &site.guest;
    let valid = site.token("ada", 3600);
    site.visit(&valid).await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let (_, uuid) = site.conversation().await;

    let forged = format!("{}AAAA", &valid[..valid.len() - 4]);
    let expired = site.token("ada", -120);
    for (token, reason) in [
        ("nonsense", "it is not a signed JSON Web Token"),
        ("%C3%A4.%F0%9F%98%80.%0A", "it is not a signed JSON Web Token"),
        (&*forged, "its signature was not made with an identity secret of this assistant"),
        (&*expired, "it has expired (exp)"),
    ] {
        site.visit(token).await;
        guest.wait_until("failures.length > 0").await;
        let failure = guest.evaluate("failures[0]").await;
        let detail = format!("The identity token is invalid: {reason}.");
        assert_eq!(failure, json!({ "code": "identity", "detail": detail }), "{token}");
        let warnings = guest.evaluate("warnings.join('\\n')").await;
        assert!(warnings.as_str().unwrap().contains(&detail), "{warnings}");
        // The visitor reads what they can do about it.
        guest.evaluate("Rejoinder.open()").await;
        guest.browser.wait_for_text("[part=failure]", "You are not signed in any more.").await;
        assert_eq!(
            guest.evaluate("root.querySelector('aside > [role=status]').textContent").await,
            json!("")
        );
    }

    // Nothing was lost.
    guest.evaluate(&format!("Rejoinder.identify({{ token: '{valid}' }})")).await;
    guest.browser.wait_for_text(".log", "A reply of the fake model.").await;
    assert_eq!(site.conversation().await, (json!("ada"), uuid));
    guest.evaluate("[failures.length = 0, Rejoinder.identify({ token: 'nonsense' })]").await;
    guest.wait_until("failures.length === 1").await;
    guest.evaluate(&format!("Rejoinder.identify({{ token: '{valid}' }})")).await;
    guest.browser.wait_for_text(".log", "A reply of the fake model.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_reaches_a_tab_without_a_conversation_and_a_page_without_a_chat() {
    let site = Site::start().await;
    let guest = &site.guest;
    let ada = site.token("ada", 3600);
    site.visit(&ada).await;
    let looked = async || {
        let looked = site.gateway.requests("GET", "/api/conversations").len() == 1;
        (looked && site.gateway.open_requests("GET", "/api/conversations") == 0).then_some(())
    };
    wait_for("the list of the first tab", looked).await;
    let listen = "addEventListener('storage', ({ key }) => (window.isLoggedOut ||= key === 'rejoinder:'));";
    guest.browser.evaluate(listen).await;
    let first = guest.browser.tab().await;
    guest.browser.open_tab().await;
    site.visit(&ada).await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;

    guest.evaluate("Rejoinder.reset()").await;
    guest.browser.switch_to(&first).await;
    guest.wait_until("window.isLoggedOut === true").await;
    let asked = site.gateway.requests("GET", "").len();
    guest.open().await;
    // A chat that is mounted later has no visitor either.
    guest.evaluate("Rejoinder.destroy()").await;
    let mount = format!(
        "Rejoinder.mount({{ assistant: '{}', server: '{}', open: true }})",
        site.assistant,
        site.gateway.url()
    );
    guest.evaluate(&mount).await;
    guest.wait_until_idle().await;
    let later = site.gateway.requests("GET", "").split_off(asked);
    let named = |request: &&Passage| request.headers.contains_key("rejoinder-identity");
    assert_eq!(later.iter().filter(named).count(), 0, "{later:?}");

    // Without a chat, what it has stored goes.
    guest.evaluate("[Rejoinder.destroy(), Rejoinder.reset()]").await;
    let keys = "Object.keys(localStorage).filter((key) => key.startsWith('rejoinder:'))";
    assert_eq!(guest.evaluate(keys).await, json!([]));
}
