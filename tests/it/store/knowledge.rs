//! Documents and their search, equal on both databases.

use rejoinder::domain::clock::Micros;
use rejoinder::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use rejoinder::domain::knowledge::{
    Document, Format, Hit, KnowledgeBase, Language, MAX_TITLE_PASSAGES, PreparedDocument, SearchMode,
    searchable_words,
};
use rejoinder::store::knowledge::documents::{self, DocumentWrite};
use rejoinder::store::knowledge::knowledge_bases;
use rejoinder::store::{Conn, Db, Tenant};
use rejoinder::tools::Searcher;
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

/// A knowledge base in a new workspace.
pub(super) async fn base_in(db: &TestDb, store: &Db, language: Language) -> KnowledgeBase {
    base_of(store, seed::workspace(db, 0).await.workspace, "help", language).await
}

pub(super) async fn base_of(
    store: &Db,
    workspace: WorkspaceId,
    slug: &str,
    language: Language,
) -> KnowledgeBase {
    let base = KnowledgeBase {
        workspace,
        id: KnowledgeBaseId(Uuid::new_v4()),
        slug: slug.to_owned(),
        name: None,
        language,
        passages: 0,
        words: 0,
        from_file: false,
        archived_at: None,
        created_at: Micros(1),
        updated_at: Micros(1),
    };
    let insert = async |conn: Conn<'_>| knowledge_bases::insert(conn, &base).await;
    assert!(store.write(Tenant::Process, insert).await.unwrap());
    base
}

pub(super) async fn put(store: &Db, base: &KnowledgeBase, slug: &str, text: &str) -> Document {
    let (slug, title) = (slug.to_owned(), slug.to_owned());
    let ready =
        PreparedDocument::prepare(slug, title, None, Format::Markdown, text.to_owned(), base.language)
            .unwrap();
    let write = async |mut conn: Conn<'_>| {
        let base = knowledge_bases::lock(conn.reborrow(), base.workspace, base.id).await?.unwrap();
        let old = documents::find_by_slug(conn.reborrow(), base.workspace, base.id, &ready.slug).await?;
        let id = old.as_ref().map_or_else(|| DocumentId(Uuid::new_v4()), |old| old.id);
        let written = DocumentWrite { id, prepared: &ready, from_file: false, now: Micros(2) };
        documents::put(conn, &base, old.as_ref(), written).await
    };
    store.write(Tenant::Process, write).await.unwrap()
}

pub(super) async fn remove(store: &Db, base: &KnowledgeBase, document: &Document) {
    let write = async |mut conn: Conn<'_>| {
        let base = knowledge_bases::lock(conn.reborrow(), base.workspace, base.id).await?.unwrap();
        documents::remove(conn, &base, document).await
    };
    store.write(Tenant::Process, write).await.unwrap();
}

async fn now(store: &Db, base: &KnowledgeBase) -> KnowledgeBase {
    let read = async |conn: Conn<'_>| knowledge_bases::find(conn, base.workspace, base.id).await;
    store.read(Tenant::Process, read).await.unwrap().unwrap()
}

async fn find(store: &Db, base: &KnowledgeBase, query: &str) -> Vec<Hit> {
    Searcher::new(store.clone(), None).find(base, query, 5, SearchMode::Both).await.unwrap()
}

async fn search(store: &Db, base: &KnowledgeBase, query: &str) -> Vec<Hit> {
    find(store, &now(store, base).await, query).await
}

async fn found(store: &Db, base: &KnowledgeBase, query: &str) -> Vec<String> {
    search(store, base, query).await.into_iter().map(|hit| hit.passage.document_slug).collect()
}

/// The counters of a base must match its passages.
async fn assert_counted(db: &TestDb, store: &Db, base: &KnowledgeBase) {
    let current = now(store, base).await;
    let id = seed::literal(db, base.id.0);
    let passages =
        seed::query_number(db, &format!("select count(*) from passages where base_id = {id}")).await;
    assert_eq!(current.passages, passages);
    let terms = format!("select coalesce(sum(passages), 0) from terms where base_id = {id}");
    let of = |which: &str| {
        format!("select words from passages where base_id = {id} and position {which} {MAX_TITLE_PASSAGES}")
    };
    let (first, late) = (seed::query_texts(db, &of("<")).await, seed::query_texts(db, &of(">=")).await);
    let words = |text: &str| {
        // The word that identifies the base is not counted.
        let words = text.split(' ').filter(|word| !["", "/"].contains(word) && !word.starts_with("base"));
        words.collect::<std::collections::BTreeSet<_>>().len()
    };
    let of_first = first.iter().map(|text| words(text));
    let all: usize =
        of_first.chain(late.iter().map(|text| words(searchable_words(MAX_TITLE_PASSAGES, text)))).sum();
    assert_eq!(seed::query_number(db, &terms).await, i64::try_from(all).unwrap());
    let none = format!("select count(*) from terms where passages <= 0 and base_id = {id}");
    assert_eq!(seed::query_number(db, &none).await, 0);
}

both_backends!(
    async fn a_document_is_found_replaced_and_removed_completely(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let returns = put(&store, &base, "returns", "# Refunds\nReturned items are refunded.").await;
        put(&store, &base, "shipping", "We ship within two days.").await;

        assert_eq!(found(&store, &base, "How do I return an item?").await, ["returns"]);
        assert_eq!(found(&store, &base, "SHIPPED?").await, ["shipping"]);
        assert_eq!(found(&store, &base, "quantum").await, [""; 0]);
        let hit = search(&store, &base, "refund").await.remove(0).passage;
        assert_eq!((hit.heading.as_str(), hit.text.as_str()), ("Refunds", "Returned items are refunded."));
        assert_counted(&db, &store, &base).await;

        let again = put(&store, &base, "returns", "All sales are final.").await;
        assert_eq!(again.id, returns.id);
        assert_eq!(found(&store, &base, "refund").await, [""; 0]);
        assert_eq!(found(&store, &base, "final sale").await, ["returns"]);
        assert_counted(&db, &store, &base).await;

        remove(&store, &base, &again).await;
        assert_eq!(found(&store, &base, "final sale returns").await, [""; 0]);
        assert_counted(&db, &store, &base).await;
        assert_eq!(now(&store, &base).await.passages, 1);
    }
);

both_backends!(
    async fn no_query_is_an_error_or_an_operator(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "fruit", "An apple AND a pear; NOT a \"plum\", title:fig near 3.14 x").await;
        put(&store, &base, "other", "Nothing of the kind").await;

        for query in [
            "",
            " ",
            "\"",
            "'",
            "''",
            "\\",
            "\\'",
            "')) or 1=1 --",
            "\"unclosed",
            "*",
            "a*",
            "^apple",
            "NEAR(",
            "NEAR(apple pear, 2)",
            "AND",
            "OR OR",
            "NOT apple",
            "apple NOT",
            "( apple",
            "apple )",
            "{title}: x",
            "title : fig",
            "tokens:apple",
            "-apple",
            "+apple",
            "apple & | ! <-> pear",
            "apple:*A",
            "%",
            "_",
            "$1",
            "?1",
            ":a",
            "@b",
            "\u{0}",
            "a\u{0}b",
            "\u{202e}apple",
            "🍎",
            "ﬁg",
            "\u{301}",
            "'\u{301}",
            "<script>",
            "{{x}}",
            "a'b''c\"d",
            "rowid",
            "select * from passages; drop table passages",
        ] {
            search(&store, &base, query).await;
        }
        search(&store, &base, &"apple ".repeat(5000)).await;
        search(&store, &base, &(0..2000).map(|n| format!("w{n} ")).collect::<Vec<_>>().concat()).await;
        search(&store, &base, &"a".repeat(100_000)).await;
        search(&store, &base, &"返品".repeat(2000)).await;

        for query in ["NOT apple", "\"apple", "apple*", "-apple", "pear & zebra", "zebra pear", "fig)"] {
            assert_eq!(found(&store, &base, query).await, ["fruit"], "{query}");
        }
        assert_eq!(found(&store, &base, "appl").await, ["fruit"], "a stem finds itself");
        assert_eq!(found(&store, &base, "app*").await, [""; 0], "a star is no operator");
    }
);

both_backends!(
    async fn a_base_is_searched_in_its_own_language(db: TestDb) {
        let store = store::open(&db).await;
        let workspace = seed::workspace(&db, 0).await.workspace;
        for (language, text, queries) in [
            (Language::English, "Orders are delivered within three days.", ["to deliver", "order's"]),
            (Language::German, "Bücher können zurückgeschickt werden.", ["buch", "BÜCHERN"]),
            (Language::French, "Les commandes sont remboursées.", ["remboursement de commande", "COMMANDE"]),
            (Language::Russian, "Товары можно вернуть.", ["товара", "ТОВАРОВ"]),
            (Language::Spanish, "Los envíos tardan tres días.", ["envio", "¿Tarda?"]),
            (Language::Arabic, "يمكن إرجاع المنتجات", ["المنتج", "إرجاع"]),
            (Language::Simple, "商品の返品は三十日以内に限ります。", ["返品できますか", "品"]),
            (Language::Simple, "退货政策：三十天内可以退货。", ["怎么退货？", "三十天"]),
            (Language::Simple, "제품을 환불할 수 있습니다", ["환불", "제품"]),
            (Language::Simple, "สินค้าสามารถคืนได้ภายใน 30 วัน", ["คืนสินค้า", "สินค้า"]),
        ] {
            let slug = format!("{language}-{}", text.len());
            let base = base_of(&store, workspace, &slug, language).await;
            put(&store, &base, "it", text).await;
            for query in queries {
                assert_eq!(found(&store, &base, query).await, ["it"], "{language}: {query}");
            }
            assert_eq!(found(&store, &base, "zebra").await, [""; 0]);
        }
    }
);

both_backends!(
    async fn a_search_is_limited_to_its_base(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let neighbour = base_of(&store, base.workspace, "other", Language::English).await;
        let stranger = base_in(&db, &store, Language::English).await;
        let many = "# A\napple pie\n\n".repeat(300);
        put(&store, &neighbour, "of-neighbour", &many).await;
        put(&store, &stranger, "of-stranger", &many).await;
        let own = put(&store, &base, "own", "apple").await;

        let hits = search(&store, &base, "apple").await;
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].passage.document, own.id);
        let read = async |conn: Conn<'_>| knowledge_bases::find(conn, stranger.workspace, base.id).await;
        let found = store.read(Tenant::Process, read).await.unwrap();
        assert_eq!(found, None, "the base belongs to another workspace");
        let foreign = KnowledgeBase { workspace: stranger.workspace, ..now(&store, &base).await };
        assert_eq!(find(&store, &foreign, "apple").await, []);
    }
);

both_backends!(
    async fn rare_words_are_found_among_many_passages_with_common_words(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "common", &"# Account\nAn account of the bank.\n\n".repeat(600)).await;
        put(&store, &base, "rare", "# Escrow\nAn account for escrow.").await;
        put(&store, &base, "both", "# Bank fees\nThe bank takes fees for an account.").await;

        assert_eq!(found(&store, &base, "what is the escrow of an account").await[0], "rare");
        assert_eq!(found(&store, &base, "bank account fees").await[0], "both");
        assert_eq!(search(&store, &base, "account").await.len(), 5);
        assert_eq!(search(&store, &base, "bank account").await.len(), 5);
    }
);

both_backends!(
    async fn a_search_sees_the_old_document_or_the_new(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        // Every version has three passages with its own mark. A search must never see two marks or fewer passages.
        let text =
            |mark: &str| format!("# One\napple {mark}\n\n# Two\napple {mark}\n\n# Three\napple {mark}");
        put(&store, &base, "it", &text("mark0")).await;
        let searching = async {
            for _ in 0..60 {
                let hits = search(&store, &base, "apple").await;
                let marks: Vec<_> =
                    hits.iter().map(|hit| hit.passage.text.rsplit(' ').next().unwrap().to_owned()).collect();
                assert_eq!(marks.len(), 3, "{marks:?}");
                assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
            }
        };
        let writing = async {
            for number in 1..=30 {
                put(&store, &base, "it", &text(&format!("mark{number}"))).await;
            }
        };

        tokio::join!(searching, writing);

        assert_counted(&db, &store, &base).await;
    }
);

both_backends!(
    async fn a_search_finds_a_document_by_words_of_before_or_after_its_replacement(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "it", "alpha").await;
        let searching = async {
            for _ in 0..300 {
                assert_eq!(found(&store, &base, "alpha beta").await, ["it"]);
            }
        };
        let writing = async {
            loop {
                put(&store, &base, "it", "beta").await;
                put(&store, &base, "it", "alpha").await;
            }
        };

        tokio::select! {
            () = searching => {}
            () = writing => unreachable!(),
        }
    }
);

both_backends!(
    async fn a_long_documents_title_does_not_hide_others(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let long =
            (0..600).map(|number| format!("# Part{number}\nfiller{number}\n\n")).collect::<Vec<_>>().concat();
        put(&store, &base, "refunds", &long).await;
        put(&store, &base, "policy", "A refund takes a week.").await;
        assert_counted(&db, &store, &base).await;

        let base = now(&store, &base).await;
        let all =
            Searcher::new(store.clone(), None).find(&base, "refund", 50, SearchMode::Words).await.unwrap();
        let found: Vec<_> = all.iter().map(|hit| hit.passage.document_slug.as_str()).collect();
        assert_eq!(found.iter().filter(|slug| **slug == "policy").count(), 1, "{found:?}");
        assert_eq!(found.len(), 21);
        let late = search(&store, &base, "refund filler500").await.remove(0);
        assert_eq!((late.passage.text.as_str(), late.passage.title.as_str()), ("filler500", "refunds"));

        put(&store, &base, "refunds", "short").await;
        assert_counted(&db, &store, &base).await;
    }
);

both_backends!(
    async fn concurrent_writes_to_one_base_are_both_counted(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;

        let write = async |name: &str| {
            for number in 0..10 {
                put(&store, &base, &format!("{name}-{}", number % 3), &format!("apple {name} {number}"))
                    .await;
            }
        };
        tokio::join!(write("one"), write("two"), write("three"));

        assert_counted(&db, &store, &base).await;
        assert_eq!(now(&store, &base).await.passages, 9);
    }
);

both_backends!(
    async fn a_deleted_base_is_removed_document_by_document(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "a", "apple").await;
        put(
            &store,
            &base,
            "b",
            &(0..7000).map(|number| format!("apple w{number} ")).collect::<Vec<_>>().concat(),
        )
        .await;
        assert_eq!(store.read(Tenant::Process, knowledge_bases::list_deleted).await.unwrap(), []);
        let archived = KnowledgeBase { archived_at: Some(Micros(3)), ..now(&store, &base).await };
        let update = async |conn: Conn<'_>| knowledge_bases::update(conn, &archived).await;
        store.write(Tenant::Process, update).await.unwrap();

        let again = base_of(&store, base.workspace, "help", Language::English).await;
        let deleted = store.read(Tenant::Process, knowledge_bases::list_deleted).await.unwrap();
        assert_eq!(deleted.iter().map(|deleted| deleted.base).collect::<Vec<_>>(), [base.id]);
        let remove = async |conn: Conn<'_>| knowledge_bases::remove(conn, deleted[0]).await;
        let mut rounds = 0;
        while store.write(Tenant::Process, remove).await.unwrap() {
            rounds += 1;
        }

        assert_eq!(rounds, 4, "two documents, and the words in two batches");
        let read = async |conn: Conn<'_>| knowledge_bases::find(conn, base.workspace, base.id).await;
        assert_eq!(store.read(Tenant::Process, read).await.unwrap(), None);
        for table in ["passages", "documents", "terms"] {
            assert_eq!(seed::query_number(&db, &format!("select count(*) from {table}")).await, 0, "{table}");
        }
        assert_eq!(found(&store, &again, "apple").await, [""; 0]);
    }
);

both_backends!(
    async fn a_documents_passages_are_listed_in_order(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let text =
            (0..1200).map(|number| format!("# H{number}\ntext {number}\n\n")).collect::<Vec<_>>().concat();

        let document = put(&store, &base, "long", &text).await;

        assert_eq!(document.passages, 1200);
        let listed =
            seed::query_texts(&db, "select heading || ': ' || text from passages order by position").await;
        assert_eq!(listed.len(), 1200);
        assert_eq!(listed[7], "H7: text 7");
        let text_of = async |conn: Conn<'_>| documents::text(conn, base.workspace, document.id).await;
        assert_eq!(store.read(Tenant::Process, text_of).await.unwrap(), Some(text));
    }
);
