//! The states of the chat as axe-core judges them, with its best practices, in light and dark, from right to left, wide and narrow.

use std::fs::read_to_string;

use serde_json::{Value, json};

use super::scene::Scene;
use super::{REPLY, script_tag};
use crate::support::browser::Browser;
use crate::support::installed;
use crate::support::server::{ASSISTANT, Setup};

/// Colour scheme and direction of writing.
const LOOKS: [(&str, &str); 3] = [("light", "ltr"), ("dark", "ltr"), ("light", "rtl")];
const SIZES: [(u32, u32); 2] = [(1280, 800), (320, 640)];

/// Judges the states of one browser.
struct Judge<'s> {
    scene: &'s Scene,
    axe: String,
    findings: Vec<String>,
}

impl<'s> Judge<'s> {
    fn new(scene: &'s Scene) -> Self {
        let axe = read_to_string(installed("node/node_modules/axe-core/axe.min.js")).unwrap();
        Self { scene, axe, findings: Vec::new() }
    }

    fn browser(&self) -> &Browser {
        &self.scene.guest.browser
    }

    /// Judges what is shown in every look and size.
    async fn look_at(&mut self, state: &str) {
        for (scheme, direction) in LOOKS {
            for (width, height) in SIZES {
                self.show(scheme, direction, (width, height)).await;
                let place = format!("{state}, {scheme}, {direction}, {width} px");
                self.judge(&place).await;
            }
        }
        let (scheme, direction) = LOOKS[0];
        self.show(scheme, direction, SIZES[0]).await;
    }

    async fn show(&self, scheme: &str, direction: &str, (width, height): (u32, u32)) {
        let browser = self.browser();
        browser.set_viewport(width, height).await;
        // Text that fades in has no contrast yet.
        browser
            .emulate_media(&[("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")])
            .await;
        browser.evaluate(&format!("document.documentElement.dir = '{direction}';")).await;
        let is_modal = "(!panel?.open || panel.matches(':modal') === matchMedia(
            '(max-width: 639.98px), (max-height: 479.98px)').matches)";
        self.scene
            .wait_for_probe(&format!("innerWidth === {width} && {is_modal} && animations() === 0"))
            .await;
    }

    async fn judge(&mut self, place: &str) {
        let Inspection { violations, passed } = self.inspect().await;
        self.findings.extend(violations.iter().map(|violation| format!("{place}: {violation}")));
        // axe-core reports nothing where it does not look.
        let is_open = self.scene.probe("panel !== null && panel.checkVisibility()").await == true;
        let expected: &[&str] = if is_open { &["button-name", "color-contrast"] } else { &["button-name"] };
        for rule in expected {
            assert!(
                passed.iter().any(|passed| passed == rule),
                "{place}: {rule} was not checked in the chat: {passed:?}"
            );
        }
        if is_open {
            let layout = self.scene.probe("[smallTargets(), cutOff()]").await;
            if layout != json!([[], []]) {
                self.findings.push(format!("{place}: too small, beyond the sides: {layout}"));
            }
        }
    }

    async fn inspect(&self) -> Inspection {
        if self.browser().evaluate("return typeof axe;").await == "undefined" {
            self.browser().evaluate(&self.axe).await;
        }
        let found = self.scene.probe("inspect()").await;
        let texts = |list: &Value| serde_json::from_value(list.clone()).unwrap();
        Inspection { violations: texts(&found["violations"]), passed: texts(&found["passed"]) }
    }

    fn assert_nothing_was_found(&self) {
        assert!(self.findings.is_empty(), "{}", self.findings.join("\n"));
    }
}

struct Inspection {
    violations: Vec<String>,
    /// The rules that something in the shadow root satisfies.
    passed: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_accessible_from_the_closed_chat_to_its_end() {
    let scene = Scene::start().await;
    let mut judge = Judge::new(&scene);

    scene.guest.visit().await;
    judge.look_at("closed").await;
    scene.guest.open().await;
    judge.look_at("greeting and suggestions").await;
    scene.ask_for_prices().await;
    judge.look_at("streaming").await;
    scene.finish().await;
    judge.look_at("Markdown").await;
    scene.ask_for_order().await;
    judge.look_at("call of a tool in words").await;
    scene.guest.click(&format!("{REPLY} [data-rating=up]")).await;
    scene.guest.browser.find("[data-rating=up][aria-pressed=true]").await;
    judge.look_at("rated").await;
    scene.fail().await;
    judge.look_at("failed").await;
    scene.guest.click("[data-action=conversations]").await;
    scene.guest.browser.find("[data-conversation]").await;
    judge.look_at("list of conversations").await;
    scene.guest.click("[data-action=back]").await;
    scene.hand_over().await;
    judge.look_at("AI off").await;
    scene.write_as_person().await;
    judge.look_at("a person is typing").await;
    scene.end_conversation().await;
    judge.look_at("ended").await;

    judge.assert_nothing_was_found();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_chat_asks_and_refuses_is_accessible() {
    // One message is paid for, the second is not, and the third is one too many.
    let setup = Setup::default()
        .balance("0.01")
        .with_limits()
        .env("REJOINDER_LIMITS__PER_CONVERSATION", "2/hour")
        .env("REJOINDER_LIMITS__PER_ADDRESS", "10000/min");
    let scene = Scene::start_with(setup).await;
    let guest = &scene.guest;
    let mut judge = Judge::new(&scene);

    guest.visit_path("/form").await;
    scene.guest.click(".launcher").await;
    guest.browser.find(".form").await;
    judge.look_at("form").await;
    scene.guest.click(".form [type=submit]").await;
    guest.browser.find("[aria-invalid=true]").await;
    judge.look_at("form with a mistake").await;

    guest.serve("/details", "", &script_tag(&guest.server, "data-tools=\"details\""));
    guest.visit_path("/details").await;
    guest.open().await;
    scene.ask_for_order().await;
    scene.guest.click(".call summary").await;
    judge.look_at("details of a call").await;
    guest.say("Hello").await;
    guest.browser.find("[data-code=no_credit]").await;
    judge.look_at("insufficient balance").await;
    guest.say("Hello").await;
    guest.browser.find("[data-code=limit]").await;
    judge.look_at("limit reached").await;
    scene.guest.click("[data-action=new]").await;
    guest.browser.find(".screen[data-code=no_credit]").await;
    judge.look_at("no conversation").await;

    judge.assert_nothing_was_found();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_its_own_is_accessible_and_a_mistake_in_it_would_be_found() {
    let scene = Scene::start().await;
    let guest = &scene.guest;
    let mut judge = Judge::new(&scene);

    guest.browser.visit(&format!("{}/chat/{ASSISTANT}", guest.server.url())).await;
    guest.browser.find(".log").await;
    guest.wait_until_idle().await;
    judge.look_at("greeting").await;
    scene.ask_for_prices().await;
    judge.look_at("streaming").await;
    scene.finish().await;
    judge.look_at("Markdown").await;
    scene.fail().await;
    judge.look_at("failed").await;
    judge.assert_nothing_was_found();

    let mistakes = "(root.querySelector('.log').append(document.createElement('button')), \
                    document.body.append(document.createElement('img')))";
    scene.probe(mistakes).await;
    let found = judge.inspect().await.violations.join("\n");
    assert!(found.contains("button-name: ") && found.contains("rejoinder-chat >>> .log > button"), "{found}");
    assert!(found.contains("image-alt: "), "{found}");
}
