//! The knowledge bases of a workspace file, applied.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rejoinder::domain::clock::Micros;
use rejoinder::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use rejoinder::domain::knowledge::{Format, KnowledgeBase, Language, PreparedDocument, SearchMode};
use rejoinder::service::apply_workspace::Mode;
use rejoinder::store::knowledge::documents::{self, DocumentWrite};
use rejoinder::store::knowledge::knowledge_bases;
use rejoinder::store::{Conn, Tenant, workspaces};
use rejoinder::tools::Searcher;
use uuid::Uuid;

use super::operator::Operator;
use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

const FILE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"

[[assistants]]
slug = "desk"
name = "Desk"
system_prompt = "You help."
tools = ["help"]

[[knowledge_bases]]
slug = "help"
documents = [
    { slug = "shipping", title = "Shipping", text = "We ship within two days." },
    { title = "Returns & Refunds", path = "help/returns.md", url = "https://shop.example/returns" },
    { title = "Page", path = "help/page.HTML" },
]

[[tools]]
slug = "help"
kind = "knowledge"
knowledge_base = "help"
"#;

/// With a folder that has the file's documents.
async fn operator(db: &TestDb) -> (Operator, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("help")).unwrap();
    write(&folder, "help/returns.md", "# Refunds\nReturned items are refunded.");
    write(&folder, "help/page.HTML", "<h1>Opening</h1><p>We open at nine.</p><script>no()</script>");
    let mut operator = Operator::of(store::open(db).await);
    operator.folder = Some(folder.path().to_owned());
    (operator, folder)
}

fn write(folder: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

async fn workspace(operator: &Operator) -> WorkspaceId {
    let find = async |conn: Conn<'_>| workspaces::find_by_slug(conn, "shop").await;
    operator.db.read(Tenant::Process, find).await.unwrap().unwrap().id
}

async fn base(operator: &Operator) -> KnowledgeBase {
    let workspace = workspace(operator).await;
    let list = async |conn: Conn<'_>| knowledge_bases::lock_all(conn, workspace).await;
    operator.db.write(Tenant::Process, list).await.unwrap().remove(0)
}

async fn found(operator: &Operator, query: &str) -> Vec<String> {
    let base = base(operator).await;
    let searcher = Searcher::new(operator.db.clone(), None);
    let hits = searcher.find(&base, query, 5, SearchMode::Both).await.unwrap();
    hits.into_iter().map(|hit| hit.passage.document_slug).collect()
}

both_backends!(
    async fn documents_are_added_changed_and_removed_as_the_file_says(db: TestDb) {
        let (operator, folder) = operator(&db).await;

        let changes = operator.apply(FILE).await;

        assert_eq!(
            changes,
            [
                "workspace shop: made",
                "knowledge base help: made",
                "document help/shipping: made",
                "document help/returns-refunds: made",
                "document help/page: made",
                "tool help: made",
                "assistant desk: made",
            ]
        );
        assert_eq!(found(&operator, "refund").await, ["returns-refunds"]);
        assert_eq!(found(&operator, "opening").await, ["page"]);
        assert_eq!(operator.apply(FILE).await, [""; 0]);

        write(&folder, "help/returns.md", "All sales are final.");
        assert_eq!(operator.apply(FILE).await, ["document help/returns-refunds: changed text"]);
        assert_eq!(found(&operator, "refunded").await, ["returns-refunds"], "its title says so still");
        assert_eq!(found(&operator, "items").await, [""; 0]);

        let titled = FILE.replace("Returns & Refunds\",", "Refunds\", slug = \"returns-refunds\",");
        assert_eq!(operator.apply(&titled).await, ["document help/returns-refunds: changed title"]);
        let moved = titled.replace("shop.example/returns", "shop.example/r");
        assert_eq!(operator.apply(&moved).await, ["document help/returns-refunds: changed url"]);
        write(&folder, "help/returns.md", "No sale is final.");
        let both = operator.apply(&titled).await;
        assert_eq!(both, ["document help/returns-refunds: changed url, text"]);
        write(&folder, "help/returns.md", "All sales are final.");
        assert_eq!(operator.apply(FILE).await, ["document help/returns-refunds: changed title, text"]);

        let fewer = FILE.replace("    { title = \"Page\", path = \"help/page.HTML\" },\n", "");
        assert_eq!(operator.apply(&fewer).await, ["document help/page: removed"]);
        assert_eq!(found(&operator, "opening").await, [""; 0]);
    }
);

both_backends!(
    async fn another_language_reindexes_the_documents(db: TestDb) {
        let (operator, _folder) = operator(&db).await;
        operator.apply(FILE).await;
        assert_eq!(found(&operator, "shipped").await, ["shipping"]);

        let german =
            FILE.replace("slug = \"help\"\ndocuments", "slug = \"help\"\nlanguage = \"german\"\ndocuments");
        let changes = operator.apply(&german).await;

        assert_eq!(changes[0], "knowledge base help: changed language");
        assert_eq!(
            changes[1..],
            ["shipping", "returns-refunds", "page"]
                .map(|slug| format!("document help/{slug}: changed language"))
        );
        assert_eq!(found(&operator, "shipped").await, [""; 0]);
        assert_eq!(found(&operator, "Ship").await, ["shipping"]);
    }
);

both_backends!(
    async fn a_base_with_documents_of_the_api_keeps_its_language(db: TestDb) {
        let (operator, _folder) = operator(&db).await;
        operator.apply(FILE).await;
        let base = base(&operator).await;
        let (slug, title, text) = ("own".to_owned(), "Own".to_owned(), "Parking.".to_owned());
        let ready =
            PreparedDocument::prepare(slug, title, None, Format::Markdown, text, base.language).unwrap();
        let written = DocumentWrite {
            id: DocumentId(Uuid::new_v4()),
            prepared: &ready,
            from_file: false,
            now: Micros(2),
        };
        let write = async |conn: Conn<'_>| documents::put(conn, &base, None, written).await;
        let own = operator.db.write(Tenant::Process, write).await.unwrap();
        let german =
            FILE.replace("slug = \"help\"\ndocuments", "slug = \"help\"\nlanguage = \"german\"\ndocuments");

        let refusal = operator.refusal(&german).await;

        assert!(
            refusal.starts_with(
                "the language of knowledge base \"help\" cannot be changed, for it has documents (1) that were \
                 added through the API"
            ),
            "{refusal}"
        );
        assert_eq!(found(&operator, "shipped parking").await.len(), 2);
        let remove = async |conn: Conn<'_>| documents::remove(conn, &base, &own).await;
        operator.db.write(Tenant::Process, remove).await.unwrap();
        assert_eq!(operator.apply(&german).await[0], "knowledge base help: changed language");
    }
);

both_backends!(
    async fn a_tool_may_search_a_base_that_the_api_made(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        let file = r#"
[workspace]
slug = "shop"
name = "Shop"

[[assistants]]
slug = "desk"
name = "Desk"
system_prompt = "You help."
tools = ["help"]

[[tools]]
slug = "help"
kind = "knowledge"
knowledge_base = "of-api"
"#;
        let unknown = "tool \"help\": there is no knowledge base \"of-api\", neither in this file nor made through the API";
        assert_eq!(operator.refusal(file).await, unknown);
        operator.apply("[workspace]\nslug = \"shop\"\nname = \"Shop\"\n").await;
        assert_eq!(operator.refusal(file).await, unknown);
        let api_base = KnowledgeBase {
            workspace: workspace(&operator).await,
            id: KnowledgeBaseId(Uuid::new_v4()),
            slug: "of-api".to_owned(),
            name: None,
            language: Language::English,
            passages: 0,
            words: 0,
            from_file: false,
            archived_at: None,
            created_at: Micros(1),
            updated_at: Micros(1),
        };
        assert!(
            operator
                .db
                .write(Tenant::Process, async |conn| knowledge_bases::insert(conn, &api_base).await)
                .await
                .unwrap()
        );

        assert_eq!(operator.apply(file).await, ["tool help: made", "assistant desk: made"]);
        assert_eq!(operator.apply(file).await, [""; 0]);
        let definitions = seed::query_texts(&db, "select definition from tools").await;
        assert!(definitions[0].contains(&api_base.id.to_string()), "{definitions:?}");

        let deleted = KnowledgeBase { archived_at: Some(Micros(3)), ..api_base };
        let update = async |conn: Conn<'_>| knowledge_bases::update(conn, &deleted).await;
        operator.db.write(Tenant::Process, update).await.unwrap();
        assert_eq!(operator.refusal(file).await, unknown);
    }
);

both_backends!(
    async fn a_removed_base_is_archived_and_can_be_restored(db: TestDb) {
        let (operator, _folder) = operator(&db).await;
        operator.apply(FILE).await;
        let id = base(&operator).await.id;
        let none = "[workspace]\nslug = \"shop\"\nname = \"Shop\"\n";

        let changes = operator.apply(none).await;
        assert!(changes.contains(&"knowledge base help: archived".to_owned()), "{changes:?}");
        assert!(base(&operator).await.archived_at.is_some());
        assert_eq!(found(&operator, "refund").await, ["returns-refunds"], "older versions go on with it");

        let changes = operator.apply(FILE).await;
        assert!(changes.contains(&"knowledge base help: restored".to_owned()), "{changes:?}");
        assert_eq!((base(&operator).await.id, base(&operator).await.archived_at), (id, None));
    }
);

both_backends!(
    async fn an_unreadable_document_is_reported_with_its_line_and_nothing_is_applied(db: TestDb) {
        let (mut operator, folder) = operator(&db).await;
        write(&folder, "help/empty.txt", " \n");
        write(&folder, "help/bad.md", b"caf\xe9");
        write(&folder, "help/broken.pdf", "%PDF-1.7 no more");

        let refusal = async |name: &str| operator.refusal(&FILE.replace("help/returns.md", name)).await;
        let missing = refusal("help/none.md").await;
        assert!(
            missing.starts_with("line 16: knowledge_bases[0].documents[1]: help/none.md cannot be read: "),
            "{missing}"
        );
        let at = "line 16: knowledge_bases[0].documents[1]:";
        assert_eq!(refusal("help/empty.txt").await, format!("{at} the document has no text in it"));
        let bad = refusal("help/bad.md").await;
        assert!(bad.starts_with(&format!("{at} the document is not UTF-8 text; convert it, or ")), "{bad}");
        assert!(
            refusal("help/broken.pdf")
                .await
                .starts_with(&format!("{at} the document is a PDF that cannot be read"))
        );
        assert!(refusal("help").await.contains("does not end in one of"));
        operator.folder = None;
        assert!(
            operator.refusal(FILE).await.contains("help/returns.md cannot be read: this file has no folder")
        );
        assert_eq!(seed::query_number(&db, "select count(*) from workspaces").await, 0);
    }
);

both_backends!(
    async fn a_document_outside_of_the_folder_of_the_file_is_refused(db: TestDb) {
        let (operator, folder) = operator(&db).await;
        let outside = tempfile::tempdir().unwrap();
        write(&outside, "private.md", "Not for visitors.");
        let link = |target: &Path, name: &str| symlink(target, folder.path().join(name)).unwrap();
        link(&outside.path().join("private.md"), "help/link.md");
        link(outside.path(), "help/others");
        std::fs::create_dir(folder.path().join("help/folder.md")).unwrap();
        let pipe = folder.path().join("help/pipe.md");
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());

        let absolute = outside.path().join("private.md");
        let (absolute, at) = (absolute.to_str().unwrap(), "line 16: knowledge_bases[0].documents[1]");
        for path in [absolute, "../private.md", "help/../../private.md"] {
            let refusal = operator.refusal(&FILE.replace("help/returns.md", path)).await;
            assert!(
                refusal.starts_with(&format!("{at}.path: must lead to a file in the folder ")),
                "{refusal}"
            );
        }
        for (path, problem) in [
            ("help/link.md", "leads out of the folder of this file"),
            ("help/others/private.md", "leads out of the folder of this file"),
            ("help/folder.md", "is not a regular file"),
            ("help/pipe.md", "is not a regular file"),
        ] {
            let refusal = operator.refusal(&FILE.replace("help/returns.md", path)).await;
            assert_eq!(refusal, format!("{at}: {path} {problem}"));
        }
        assert_eq!(seed::query_number(&db, "select count(*) from documents").await, 0);
    }
);

both_backends!(
    async fn a_document_may_be_a_link_to_another_file_of_the_folder(db: TestDb) {
        let (mut operator, folder) = operator(&db).await;
        // As Kubernetes mounts a ConfigMap.
        symlink("help", folder.path().join("..data")).unwrap();
        symlink("..data/returns.md", folder.path().join("returns.md")).unwrap();
        let linked = tempfile::tempdir().unwrap();
        symlink(folder.path(), linked.path().join("mount")).unwrap();
        operator.folder = Some(linked.path().join("mount"));

        operator.apply(&FILE.replace("help/returns.md", "returns.md")).await;

        assert_eq!(found(&operator, "refund").await, ["returns-refunds"]);
    }
);

both_backends!(
    async fn a_dry_run_stores_nothing(db: TestDb) {
        let (operator, _folder) = operator(&db).await;

        operator.try_apply(FILE, Mode::DryRun).await.unwrap();

        for table in ["knowledge_bases", "documents", "passages", "terms"] {
            assert_eq!(seed::query_number(&db, &format!("select count(*) from {table}")).await, 0, "{table}");
        }
        operator.apply(FILE).await;
        let base = base(&operator).await;
        let list = async |conn: Conn<'_>| documents::list(conn, base.workspace, base.id, None, 10).await;
        // Ids of the same millisecond are not ordered.
        let mut listed = operator.db.read(Tenant::Process, list).await.unwrap();
        listed.sort_by(|one, other| one.slug.cmp(&other.slug));
        let sources: Vec<_> =
            listed.iter().map(|document| (document.slug.as_str(), document.format.as_str())).collect();
        assert_eq!(sources, [("page", "html"), ("returns-refunds", "markdown"), ("shipping", "markdown")]);
        assert_eq!(listed[1].url.as_deref(), Some("https://shop.example/returns"));
        assert!(listed.iter().all(|document| document.from_file));
    }
);
