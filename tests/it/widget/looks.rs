//! How a site makes the chat its own: direction, colours, variables and texts.

use serde_json::{Value, json};

use super::scene::{ASKING, Scene};
use super::script_tag;
use crate::support::server::ASSISTANT;

const ENGLISH: &str = include_str!("../../../src/http/pages/assets/widget/texts_en.js");
const GERMAN: &str = include_str!("../../../src/http/pages/assets/widget/texts_de.js");

/// The sides of launcher, panel and the visitor's message, the alignment of the header, and the colour of the panel.
const LOOK: &str = "(() => {
    const side = (css, frame) => (box(css).left + box(css).right < frame.left + frame.right ? 'left' : 'right');
    const page = { left: 0, right: innerWidth };
    const title = box('.title').left - box('.panel').left < 40 ? 'left' : 'right';
    return [side('.launcher', page), side('.panel', page), side('.bubble', box('.panel')), title].join(' ');
})()";

const PAPER: &str = "style('.panel').backgroundColor";
const LIGHT: &str = "rgb(247, 248, 246)";
const DARK: &str = "rgb(21, 25, 23)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_takes_the_direction_and_the_colours_of_page_and_options() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    let calm = ("prefers-reduced-motion", "reduce");
    browser.emulate_media(&[calm, ("prefers-color-scheme", "light")]).await;
    scene.guest.visit().await;
    scene.guest.open().await;
    scene.guest.say("Hello").await;
    scene.guest.wait_for_reply("A short reply.").await;

    assert_eq!(scene.probe(LOOK).await, "right right right left");
    browser.evaluate("document.documentElement.dir = 'rtl';").await;
    assert_eq!(scene.probe(LOOK).await, "left left left right");
    browser.evaluate("Rejoinder.set({ position: 'start' });").await;
    assert_eq!(scene.probe(LOOK).await, "right right left right");
    browser.evaluate("document.documentElement.dir = 'ltr';").await;
    assert_eq!(scene.probe(LOOK).await, "left left right left");
    browser.evaluate("Rejoinder.set({ position: 'end' });").await;

    assert_eq!(scene.probe(PAPER).await, LIGHT);
    browser.emulate_media(&[calm, ("prefers-color-scheme", "dark")]).await;
    assert_eq!(scene.probe(PAPER).await, DARK);
    browser.evaluate("Rejoinder.set({ theme: 'light' });").await;
    assert_eq!(scene.probe(PAPER).await, LIGHT);
    browser.emulate_media(&[calm, ("prefers-color-scheme", "light")]).await;
    browser.evaluate("Rejoinder.set({ theme: 'dark' });").await;
    assert_eq!(scene.probe(PAPER).await, DARK);
    browser.evaluate("Rejoinder.set({ theme: 'auto', accent: '#7c2d12' });").await;
    assert_eq!(
        scene.probe("[style('.launcher').backgroundColor, style('.bubble').backgroundColor]").await,
        json!(["rgb(124, 45, 18)", "rgb(124, 45, 18)"])
    );
}

/// The variables of `docs/chat.md`: name, value, and where it shows.
const VARIABLES: [(&str, &str, &str); 17] = [
    ("accent", "rgb(1, 0, 1)", "style('.bubble').backgroundColor"),
    ("accent-ink", "rgb(1, 0, 2)", "style('.bubble').color"),
    ("accent-text", "rgb(1, 0, 3)", "style('.prose a').color"),
    ("paper", "rgb(1, 0, 4)", "style('.panel').backgroundColor"),
    ("surface", "rgb(1, 0, 5)", "style('.field').backgroundColor"),
    ("sunken", "rgb(1, 0, 6)", "style('.code').backgroundColor"),
    ("line", "rgb(1, 0, 7)", "style('.head').borderBlockEndColor"),
    ("ink", "rgb(1, 0, 8)", "style('.prose').color"),
    ("soft", "rgb(1, 0, 9)", "style('.subtitle').color"),
    ("font", "cursive", "style('.prose').fontFamily"),
    ("font-size", "15px", "style('.panel').fontSize"),
    ("radius", "4px", "style('.panel').borderRadius"),
    ("width", "350px", "`${box('.panel').width}px`"),
    ("height", "450px", "`${box('.panel').height}px`"),
    ("offset", "40px", "`${innerWidth - box('.launcher').right}px`"),
    ("launcher", "64px", "`${box('.launcher').width}px`"),
    ("z-index", "7", "style('.panel').zIndex"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_parts_and_texts_of_the_site_replace_those_of_the_chat() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    browser.emulate_media(&[("prefers-reduced-motion", "reduce")]).await;
    let guide = include_str!("../../../docs/chat.md");
    let style: Vec<_> =
        VARIABLES.iter().map(|(name, value, _)| format!("--rejoinder-{name}: {value};")).collect();
    let style = format!(
        "<style>rejoinder-chat {{ {} }} rejoinder-chat::part(title) {{ color: rgb(1, 0, 10) }}</style>",
        style.concat()
    );
    scene.gate.open();
    scene.guest.serve("/styled", "", &format!("{style}{}", script_tag(&scene.guest.server, "")));
    scene.guest.visit_path("/styled").await;
    scene.guest.open().await;
    scene.ask_for_prices().await;
    scene.finish().await;

    for (name, value, place) in VARIABLES {
        assert_eq!(scene.probe(place).await, value, "{name}");
        assert!(guide.contains(&format!("`{name}`")), "{name} is not in docs/chat.md");
    }
    assert_eq!(scene.probe("style('.title').color").await, "rgb(1, 0, 10)");

    replace_texts(&scene).await;
}

/// Mounts the chat with marked texts, and checks in its states that nothing else is shown.
async fn replace_texts(scene: &Scene) {
    let browser = &scene.guest.browser;
    let english = texts(ENGLISH, "ENGLISH");
    let mark = format!(
        "const mark = (value) => (typeof value === 'string' ? `§${{value}}` : Array.isArray(value) ? value.map(mark)
            : Object.fromEntries(Object.entries(value).map(([name, text]) => [name, mark(text)])));
         window.marked = mark({english});"
    );
    browser.evaluate(&mark).await;
    let mount = |assistant: &str| {
        let server = scene.guest.server.url();
        format!(
            "localStorage.clear(); Rejoinder.mount({{ assistant: '{assistant}', server: '{server}', texts: marked }});"
        )
    };
    let assert_marked = async |state: &str| {
        let others = scene.probe("ownTexts().filter((text) => !text.includes('§'))").await;
        // These are the assistant's.
        let names = ["Looking up your order", "Your name", "E-mail"];
        let others: Vec<_> = others
            .as_array()
            .unwrap()
            .iter()
            .filter(|text| !names.contains(&text.as_str().unwrap()))
            .collect();
        assert!(others.is_empty(), "{state}: {others:?}");
        assert!(scene.probe("ownTexts().length").await.as_u64().unwrap() >= 2, "{state}");
    };

    browser.evaluate(&mount(ASSISTANT)).await;
    browser.find(".launcher").await;
    assert_marked("closed").await;
    scene.guest.open().await;
    scene.ask_for_order().await;
    scene.ask_for_prices().await;
    scene.finish().await;
    assert_marked("reply").await;
    browser.evaluate("Rejoinder.set({ tools: 'details' });").await;
    browser.find(".call summary").await;
    scene.probe("root.querySelectorAll('details').forEach((details) => (details.open = true))").await;
    assert_marked("details of a call").await;
    scene.fail().await;
    assert_marked("failed").await;
    scene.guest.click("[data-action=conversations]").await;
    browser.find("[data-conversation]").await;
    assert_marked("list").await;
    scene.guest.click("[data-action=back]").await;
    scene.hand_over().await;
    scene.write_as_person().await;
    assert_marked("a person is typing").await;
    scene.end_conversation().await;
    assert_marked("ended").await;
    browser.evaluate(&mount(ASKING)).await;
    scene.guest.click(".launcher").await;
    scene.guest.click(".form [type=submit]").await;
    browser.find("[aria-invalid=true]").await;
    assert_marked("form").await;
    browser.devtools("Network.enable", &json!({})).await;
    browser.devtools("Network.setBlockedURLs", &json!({ "urls": ["*/widget/*"] })).await;
    // Another page, because this one has the module.
    scene.guest.visit().await;
    browser.evaluate(&mark).await;
    browser.evaluate(&mount(ASSISTANT)).await;
    scene.guest.click(".launcher").await;
    browser.wait_for_text("aside [role=status]", "§").await;
    assert_marked("not loaded").await;
}

/// The texts of a module, as the literal of an object.
fn texts<'m>(module: &'m str, name: &str) -> &'m str {
    let (_, literal) =
        module.split_once(&format!("export const {name} = ")).expect("the module exports the texts");
    literal.trim_end().trim_end_matches(';')
}

/// Which texts there are, with their placeholders.
fn shape(literal: &str) -> String {
    format!(
        "((value) => {{
            const shape = (value) => (typeof value === 'string' ? (value.match(/{{\\w+}}/g) ?? []).sort() : Array.isArray(value) ? value.map(shape)
                : Object.entries(value).map(([name, text]) => [name, shape(text)]).sort());
            return shape(value);
        }})({literal})"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_speaks_german_on_a_german_page() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    scene.guest.serve("/de", "lang=\"de\"", &script_tag(&scene.guest.server, ""));

    scene.guest.visit_path("/de").await;
    let closed = scene.probe("ownTexts()").await;
    scene.guest.open().await;
    let opened =
        scene.probe("[panel.lang, shown('.send')[0].ariaLabel, shown('textarea')[0].placeholder]").await;

    assert_eq!(closed, json!(["Chat", "Chat öffnen"]));
    assert_eq!(opened, json!(["de", "Senden", "Nachricht schreiben"]));
    let shapes =
        format!("return [{}, {}];", shape(texts(ENGLISH, "ENGLISH")), shape(texts(GERMAN, "GERMAN")));
    let shapes: [Value; 2] = serde_json::from_value(browser.evaluate(&shapes).await).unwrap();
    assert_eq!(shapes[0], shapes[1]);
}
