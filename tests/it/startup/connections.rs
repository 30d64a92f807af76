//! PostgreSQL databases that cannot be reached: each error names host, port, database and user, the cause, and what to
//! do; never the password.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rejoinder::store::{Conn, Db, Tenant};

use crate::support::db::TestDb;
use crate::support::store;

async fn error_of(url: &str) -> String {
    let error = Db::postgres(url, 1, 1).await.expect_err("no connection").to_string();
    assert!(!error.contains("hunter2"), "{error}");
    error
}

/// A server that refuses TLS and then every login, with an error of this SQLSTATE.
fn refusing_server(code: &'static str, message: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 1024];
            // The request for TLS has 8 bytes, the startup message more.
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if length == 8 {
                    stream.write_all(b"N").unwrap();
                    continue;
                }
                let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
                let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                stream.write_all(&[b"E", &length[..], fields.as_bytes()].concat()).unwrap();
                break;
            }
        }
    });
    port
}

#[tokio::test]
async fn a_login_that_the_server_refuses_is_explained() {
    for (code, message, advice) in [
        (
            "28P01",
            "password authentication failed for user \"u\"",
            "check the user and the password in DATABASE_URL",
        ),
        ("28000", "no pg_hba.conf entry for host", "pg_hba.conf"),
        ("3D000", "database \"d\" does not exist", "CREATE DATABASE d OWNER u"),
        ("53300", "sorry, too many clients already", "raise max_connections"),
        ("57P03", "the database system is starting up", "try again in a few seconds"),
    ] {
        let port = refusing_server(code, message);

        let error = error_of(&format!("postgres://u:hunter2@127.0.0.1:{port}/d")).await;

        let start = format!("no connection to 127.0.0.1:{port} (database d, user u): {message}; ");
        assert!(error.starts_with(&start) && error.contains(advice), "{error}");
    }
}

#[tokio::test]
async fn a_parameter_that_would_be_ignored_is_refused() {
    let error = error_of("postgres://u:hunter2@127.0.0.1:1/d?sslmod=require").await;

    assert!(
        error.starts_with("DATABASE_URL has the unknown parameter `sslmod`; known are: sslmode, "),
        "{error}"
    );
}

#[tokio::test]
async fn a_statement_cache_of_none_is_refused() {
    let error = error_of("postgres://u:hunter2@127.0.0.1:1/d?statement-cache-capacity=0").await;

    assert!(error.contains("`statement-cache-capacity` of DATABASE_URL is 0: expected 1 or more"), "{error}");
}

/// As HAProxy does with no server up.
#[tokio::test]
async fn a_proxy_that_closes_each_connection_is_explained() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));

    let error = error_of(&format!("postgres://u:hunter2@127.0.0.1:{port}/d")).await;

    assert!(error.contains("closed by the server, or by a proxy that has no server up; check"), "{error}");
}

#[tokio::test]
async fn a_statement_cache_of_the_url_is_used() {
    let db = store::postgres().await;
    let cached = async |url: &str| {
        let store = Db::postgres(url, 1, 1).await.unwrap();
        let read = async |conn: Conn<'_>| {
            let Conn::Postgres(conn) = conn else { panic!("a PostgreSQL") };
            for text in ["select 1", "select 2", "select 3"] {
                sqlx::query(text).execute(&mut *conn).await?;
            }
            Ok(sqlx::Connection::cached_statements_size(&*conn))
        };
        store.read(Tenant::Process, read).await.unwrap()
    };

    assert_eq!(cached(&db.url()).await, 3);
    assert_eq!(cached(&format!("{}?statement-cache-capacity=2", db.url())).await, 2);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_explained() {
    let port = refusing_server("57P03", "starting");

    let unknown = error_of("postgres://u:hunter2@no-such-host.invalid/d").await;
    let closed = error_of("postgres://u:hunter2@127.0.0.1:1/d").await;
    let plain = error_of(&format!("postgres://u:hunter2@127.0.0.1:{port}/d?sslmode=require")).await;

    assert!(
        unknown.starts_with("no connection to no-such-host.invalid:5432 (database d, user u): "),
        "{unknown}"
    );
    assert!(unknown.contains("the host name does not resolve"), "{unknown}");
    assert!(closed.contains("Connection refused") && closed.contains("no server listens there"), "{closed}");
    assert!(plain.contains("TLS") && plain.contains("sslmode"), "{plain}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named_with_the_statement_that_creates_it() {
    let db = store::postgres().await;
    let TestDb::Postgres(_) = &db else { panic!("a PostgreSQL") };
    let url = format!("{}_missing", db.url());

    let error = error_of(&url).await;

    assert!(error.contains("does not exist; create it as an administrator: CREATE DATABASE t_"), "{error}");
}

#[tokio::test]
async fn a_user_without_rights_on_a_table_is_told_the_grant() {
    let db = store::postgres().await;
    let role = format!("r_{}", uuid::Uuid::new_v4().simple());
    let owner = store::open(&db).await;
    let execute = async |statement: String| {
        let mut tx = owner.begin().await.unwrap();
        let Conn::Postgres(conn) = tx.conn() else { panic!("a PostgreSQL") };
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(conn).await.unwrap();
        tx.commit().await.unwrap();
    };
    let all = "select, insert, update, delete on all tables in schema public";
    execute(format!(
        "create role {role} login; grant {all} to {role}; revoke insert on messages from {role}"
    ))
    .await;
    let mut url = url::Url::parse(&db.url()).unwrap();
    url.set_username(&role).unwrap();

    let user = Db::postgres(url.as_str(), 1, 1).await.unwrap();
    let refused = user.check_schema().await.unwrap_err().to_string();
    execute(format!("grant {all} to {role}")).await;
    let granted = user.check_schema().await;
    user.close().await;

    execute(format!("drop owned by {role}; drop role {role}")).await;
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}");
    assert!(
        refused.starts_with("permission denied for table messages; ") && refused.ends_with(&grant),
        "{refused}"
    );
    granted.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_create_tables_is_told_which_right_is_missing() {
    let db = TestDb::copy_of(&super::EMPTY, crate::support::db::Backend::Postgres).await;
    let role = format!("r_{}", uuid::Uuid::new_v4().simple());
    let admin = store::open(&db).await;
    let mut tx = admin.begin().await.unwrap();
    let Conn::Postgres(conn) = tx.conn() else { panic!("a PostgreSQL") };
    let statement = format!("create role {role} login; revoke create on schema public from public");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(conn).await.unwrap();
    tx.commit().await.unwrap();
    let mut url = url::Url::parse(&db.url()).unwrap();
    url.set_username(&role).unwrap();

    let user = Db::postgres(url.as_str(), 1, 1).await.unwrap();
    let error = user.migrate().await.unwrap_err().to_string();
    user.close().await;

    let mut tx = admin.begin().await.unwrap();
    let Conn::Postgres(conn) = tx.conn() else { panic!("a PostgreSQL") };
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop role {role}"))).execute(conn).await.unwrap();
    tx.commit().await.unwrap();
    admin.close().await;
    assert!(error.contains(&format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}")), "{error}");
}
