//! The demo workspace of an empty database.

use rejoinder::config::Config;
use rejoinder::domain::api_key::KeySecret;
use rejoinder::service::demo;
use rejoinder::store::{keys, workspaces};

use super::operator::Operator;
use crate::support::db::both_backends;
use crate::support::store;

fn config(folder: &std::path::Path, demo: &str) -> Config {
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let folder = folder.display().to_string();
    let env = [set("REJOINDER_DATA_DIR", &folder), set("REJOINDER_DEMO", demo)];
    Config::load(None, env.into_iter()).unwrap()
}

both_backends!(
    async fn an_empty_database_gets_the_demo_and_its_key_once(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "true");

        let first = operator
            .with_context(async |context| demo::prepare(context, &config).await)
            .await
            .unwrap()
            .unwrap();
        let second = operator
            .with_context(async |context| demo::prepare(context, &config).await)
            .await
            .unwrap()
            .unwrap();

        let key = KeySecret::parse(std::fs::read_to_string(&first.key_file).unwrap().trim()).unwrap();
        assert_eq!(second.key_file, first.key_file);
        let listed = keys::list(operator.db.acquire_read().await.unwrap().conn(), None).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].0.as_str(), listed[0].1.prefix.clone()), ("demo", key.prefix()));
    }
);

both_backends!(
    async fn the_next_start_completes_a_demo_setup_that_died(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        let folder = tempfile::tempdir().unwrap();
        let left = KeySecret::new([9; 32]);
        std::fs::write(folder.path().join("demo.key"), left.expose()).unwrap();
        let config = config(folder.path(), "true");

        let demo = operator
            .with_context(async |context| demo::prepare(context, &config).await)
            .await
            .unwrap()
            .unwrap();

        assert_eq!(std::fs::read_to_string(&demo.key_file).unwrap().trim(), left.expose());
        let found = keys::find(operator.db.acquire_read().await.unwrap().conn(), left.hash()).await.unwrap();
        assert!(found.is_some());
    }
);

both_backends!(
    async fn no_demo_is_created_if_disabled_or_a_workspace_exists(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        let folder = tempfile::tempdir().unwrap();
        let disabled = config(folder.path(), "false");
        let enabled = config(folder.path(), "true");

        let none =
            operator.with_context(async |context| demo::prepare(context, &disabled).await).await.unwrap();
        operator.apply("[workspace]\nslug = \"shop\"\nname = \"Shop\"\n").await;
        let late =
            operator.with_context(async |context| demo::prepare(context, &enabled).await).await.unwrap();

        assert!(none.is_none() && late.is_none());
        assert_eq!(workspaces::count(operator.db.acquire_read().await.unwrap().conn()).await.unwrap(), 1);
        assert!(!folder.path().join("demo.key").exists());
    }
);
