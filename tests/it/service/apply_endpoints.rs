//! The webhook endpoints of a workspace file, applied.

use std::sync::Arc;

use rejoinder::domain::audit::Actor;
use rejoinder::domain::event::EventType;
use rejoinder::domain::ids::{EndpointId, WorkspaceId};
use rejoinder::domain::seal::{SealedSecret, SecretContext};
use rejoinder::domain::signature::SigningSecret;
use rejoinder::domain::webhook_endpoint::{DisabledReason, Endpoint, EndpointPatch, NewEndpoint, Switch};
use rejoinder::service::apply_workspace::Mode;
use rejoinder::store::{Conn, Tenant, webhook_endpoints, workspaces};
use rejoinder::writer::{Decision, DisableEndpoint, EndpointAction, WriteEndpoint, decide_inline};
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::operator::{Operator, change_summaries};
use crate::support::db::both_backends;
use crate::support::store;

const FILE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"

[[webhook_endpoints]]
slug = "crm"
url = "https://crm.example/hooks"
types = ["message.created"]
secret = { env = "CRM_SECRET" }

[[webhook_endpoints]]
slug = "log"
url = "https://log.example/"
"#;

const NONE: &str = "[workspace]\nslug = \"shop\"\nname = \"Shop\"\n";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn operator(db: &crate::support::db::TestDb) -> Operator {
    let operator = Operator::of(store::open(db).await);
    operator.set("CRM_SECRET", SECRET);
    operator
}

async fn workspace(operator: &Operator) -> WorkspaceId {
    let mut read = operator.db.acquire_read().await.unwrap();
    workspaces::find_by_slug(read.conn(), "shop").await.unwrap().unwrap().id
}

/// All endpoints, in order of their slugs.
async fn endpoints(operator: &Operator) -> Vec<Endpoint> {
    let workspace = workspace(operator).await;
    let mut read = operator.db.acquire_read().await.unwrap();
    let mut all = webhook_endpoints::list_by_workspaces(read.conn(), &[workspace].into()).await.unwrap();
    all.sort_by(|one, other| one.slug.cmp(&other.slug));
    all
}

fn opened(operator: &Operator, endpoint: &Endpoint, sealed: &SealedSecret) -> String {
    let context = SecretContext::of_endpoint(endpoint.workspace, endpoint.id);
    operator.seal.as_ref().unwrap().open(&context, sealed).unwrap().expose_secret().to_owned()
}

async fn write(operator: &Operator, endpoint: EndpointId, action: EndpointAction) {
    let workspace = workspace(operator).await;
    execute(operator, &WriteEndpoint { workspace, endpoint, action, actor: Arc::new(Actor::server()) }).await;
}

async fn execute<C: Decision>(operator: &Operator, command: &C) {
    let decide = async |conn: Conn<'_>| decide_inline(conn, &operator.clock, &operator.ids, command).await;
    operator.db.write(Tenant::Process, decide).await.unwrap().unwrap();
}

both_backends!(
    async fn endpoints_are_created_and_a_generated_secret_is_shown_once(db: TestDb) {
        let operator = operator(&db).await;

        let dry = operator.try_apply(FILE, Mode::DryRun).await.unwrap();
        let applied = operator.try_apply(FILE, Mode::Apply).await.unwrap();
        let again = operator.try_apply(FILE, Mode::Apply).await.unwrap();

        let expected = ["workspace shop: made", "webhook endpoint crm: made", "webhook endpoint log: made"];
        assert_eq!(
            (change_summaries(&dry), change_summaries(&applied)),
            (expected.map(Into::into).into(), expected.map(Into::into).into())
        );
        assert_eq!((change_summaries(&again), again.secrets.len()), (Vec::new(), 0));
        let [reported] = &applied.secrets[..] else { panic!("{:?}", applied.secrets) };
        let [crm, log] = &endpoints(&operator).await[..] else { panic!("two endpoints") };
        assert_eq!(
            (reported.endpoint.as_str(), opened(&operator, log, &log.secret)),
            ("log", reported.secret.expose_secret().to_owned())
        );
        assert_eq!(
            (crm.types.as_slice(), opened(&operator, crm, &crm.secret)),
            (&[EventType::MessageCreated][..], SECRET.to_owned())
        );
        assert!(crm.from_file && crm.is_active() && log.is_active());
    }
);

both_backends!(
    async fn changes_are_listed_and_an_old_secret_signs_for_a_day(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(FILE).await;

        let url = operator.apply(&FILE.replace("crm.example/hooks", "crm.example/new")).await;
        operator.set("CRM_SECRET", "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        let rest = FILE
            .replace("[\"message.created\"]", "[]")
            .replace("slug = \"crm\"", "slug = \"crm\"\nenabled = false");
        let rest = operator.apply(&rest).await;

        assert_eq!(url, ["webhook endpoint crm: changed url"]);
        assert_eq!(rest, ["webhook endpoint crm: changed url, types, secret, enabled"]);
        let crm = endpoints(&operator).await.remove(0);
        assert_eq!(opened(&operator, &crm, &crm.previous.as_ref().unwrap().secret), SECRET);
        assert_eq!(crm.disabled_reason, Some(DisabledReason::File));
        assert_eq!(operator.apply(FILE).await, ["webhook endpoint crm: changed types, enabled"]);
    }
);

both_backends!(
    async fn a_failed_endpoint_stays_disabled_until_the_file_enables_it(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(FILE).await;
        let crm = endpoints(&operator).await.remove(0);
        let Endpoint { workspace, id: endpoint, url, .. } = crm;
        let disable = DisableEndpoint { workspace, endpoint, reason: DisabledReason::Gone, url };
        execute(&operator, &disable).await;

        let again = operator.try_apply(FILE, Mode::Apply).await.unwrap();
        let with =
            |enabled: bool| FILE.replace("slug = \"crm\"", &format!("slug = \"crm\"\nenabled = {enabled}"));
        let disabled = operator.try_apply(&with(false), Mode::Apply).await.unwrap();
        let enabled = operator.try_apply(&with(true), Mode::Apply).await.unwrap();

        assert_eq!(change_summaries(&again), Vec::<String>::new());
        let warning = "webhook endpoint crm: it is disabled (it answered 410), and gets no events; `enabled = true` in the file enables it";
        assert_eq!(again.warnings, [warning]);
        assert_eq!(disabled.warnings, Vec::<String>::new());
        assert_eq!(change_summaries(&enabled), ["webhook endpoint crm: changed enabled"]);
        assert_eq!(enabled.warnings, Vec::<String>::new());
        assert!(endpoints(&operator).await[0].is_active());
    }
);

both_backends!(
    async fn an_endpoint_that_the_api_disabled_is_warned_about(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(FILE).await;
        let crm = endpoints(&operator).await.remove(0);
        let off =
            EndpointPatch { switch: Some(Switch::Off(DisabledReason::Api)), ..EndpointPatch::default() };
        write(&operator, crm.id, EndpointAction::Update(off)).await;

        let applied = operator.try_apply(FILE, Mode::Apply).await.unwrap();

        let warning = "webhook endpoint crm: it is disabled (through the API), and gets no events; `enabled = true` in the file enables it";
        assert_eq!(applied.warnings, [warning]);
    }
);

both_backends!(
    async fn removed_endpoints_are_archived_and_those_of_the_api_untouched(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(FILE).await;
        let new = NewEndpoint {
            slug: None,
            description: None,
            url: "https://api.example/".to_owned(),
            types: Vec::new(),
            secret: endpoints(&operator).await[0].secret.clone(),
            disabled: None,
        };
        write(&operator, EndpointId(Uuid::from_u128(1)), EndpointAction::Create(new)).await;
        let before = endpoints(&operator).await;

        let dropped = operator.apply(NONE).await;
        assert_eq!(dropped, ["webhook endpoint crm: archived", "webhook endpoint log: archived"]);
        let [api, crm, log] = &endpoints(&operator).await[..] else { panic!("three endpoints") };
        assert_eq!(*api, before[0]);
        assert!(crm.archived_at.is_some() && log.archived_at.is_some());
        assert_eq!(operator.apply(NONE).await, Vec::<String>::new());

        let restored = operator.apply(FILE).await;
        assert_eq!(restored, ["webhook endpoint crm: restored", "webhook endpoint log: restored"]);
        assert_eq!(endpoints(&operator).await, before);

        write(&operator, crm.id, EndpointAction::Archive { by_file: false }).await;
        assert_eq!(operator.apply(FILE).await, ["webhook endpoint crm: made"]);
    }
);

both_backends!(
    async fn an_unusable_url_or_secret_is_refused(db: TestDb) {
        let mut operator = operator(&db).await;

        let private = operator.refusal(&FILE.replace("crm.example", "10.0.0.7")).await;
        let unknown = operator.refusal(&FILE.replace("message.created", "message.sent")).await;
        operator.set("CRM_SECRET", "s3cret");
        let unsigned = operator.refusal(FILE).await;
        operator.seal = None;
        let bare = FILE.split("[[webhook_endpoints]]\nslug = \"crm\"").next().unwrap();
        let reported =
            format!("{bare}[[webhook_endpoints]]\nslug = \"log\"\nurl = \"https://log.example/\"\n");
        let unsealed = operator.refusal(&reported).await;

        assert_eq!(
            private,
            "line 8: webhook_endpoints[0].url: the URL's host is not a public address; allow it with `allow_hosts` in \
             [workspace], or with outbound.allow_hosts"
        );
        assert_eq!(
            unknown,
            "line 9: webhook_endpoints[0].types[0]: there is no event of type \"message.sent\""
        );
        let text = "line 10: webhook_endpoints[0].secret: { env = \"CRM_SECRET\" } is not usable: a signing secret is `whsec_` and 24 to 64 bytes in base64";
        assert_eq!(unsigned, text);
        assert!(SigningSecret::parse("s3cret").is_err());
        assert!(unsealed.contains("set REJOINDER_SECRET_KEY"), "{unsealed}");
    }
);
