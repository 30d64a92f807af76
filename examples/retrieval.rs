//! Measures the search quality of a server: every paragraph of a question set becomes a document, and every question is a
//! query. A result is correct if it is the paragraph that the question was written about. Searches by words, by vectors, and by
//! both. `scripts/retrieval` starts a server and runs this; docs/knowledge.md has the figures.
//!
//! The set is a file in the format of `SQuAD`: `XQuAD` (<https://github.com/google-deepmind/xquad>, CC BY-SA 4.0) has the same 1,190
//! questions in twelve languages.

#![expect(clippy::print_stdout, reason = "a command line tool")]
#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "shares for a reader, nothing is accounted for"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

/// The number of passages of a search; several may belong to one document.
const PASSAGES: usize = 20;
/// The number of documents that count.
const RANKS: usize = 10;
/// Concurrent searches.
const AT_ONCE: usize = 2;
/// The time for all documents to be embedded.
const EMBEDDED_WITHIN: Duration = Duration::from_hours(1);

#[derive(Parser)]
struct Arguments {
    /// The server's address: `http://127.0.0.1:8080`.
    #[arg(long)]
    server: String,
    /// A key of the workspace for the documents.
    #[arg(long)]
    key: String,
    /// A folder with `xquad.en.json` and the files of other languages.
    #[arg(long)]
    data: PathBuf,
    /// The languages to measure, as in the file names.
    #[arg(long, value_delimiter = ',', default_value = "en,de,es,ru,zh")]
    languages: Vec<String>,
    /// The search modes: `words`, `vectors` or `both`. The latter two wait until all documents are embedded.
    #[arg(long, value_delimiter = ',', default_value = "words")]
    by: Vec<String>,
}

/// A file in the format of `SQuAD`.
#[derive(Deserialize)]
struct QuestionSet {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    question: String,
}

/// A knowledge base on the server, filled with one set.
struct Filled {
    base: String,
    /// Each question, and the slug of the document that answers it.
    questions: Vec<(String, String)>,
}

/// Sums over all questions.
#[derive(Default)]
struct Figures {
    questions: usize,
    first: usize,
    among_five: usize,
    reciprocal: f64,
    slowest: Duration,
    spent: Duration,
}

struct Client {
    http: reqwest::Client,
    server: String,
    key: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let server = arguments.server.trim_end_matches('/').to_owned();
    let client = Client { http, server, key: arguments.key };
    println!(
        "{:<4}{:<9}{:>10}{:>10}{:>10}{:>10}{:>12}{:>12}",
        "", "by", "questions", "recall@1", "recall@5", "MRR@10", "mean ms", "slowest ms"
    );
    for language in &arguments.languages {
        let filled = client.fill(&arguments.data, language).await?;
        for by in &arguments.by {
            if by != "words" {
                client.wait_until_embedded(&filled.base).await?;
            }
            let figures = client.measure(&filled, by).await?;
            figures.print(language, by);
        }
    }
    Ok(())
}

impl Client {
    /// Creates a base, and a document for each paragraph, with a meaningless title, so that only the text is found.
    async fn fill(&self, folder: &Path, language: &str) -> anyhow::Result<Filled> {
        let path = folder.join(format!("xquad.{language}.json"));
        let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let set: QuestionSet = serde_json::from_slice(&text)?;
        let body = json!({ "slug": format!("xquad-{language}"), "language": stemmed_as(language) });
        let made = self.post("/v1/knowledge_bases", &body).await?;
        let base = made["data"]["id"].as_str().context("the base has an id")?.to_owned();
        let mut questions = Vec::new();
        let paragraphs = set.data.into_iter().flat_map(|article| article.paragraphs);
        for (number, paragraph) in paragraphs.enumerate() {
            let slug = format!("p{number}");
            let body = json!({ "title": number.to_string(), "slug": slug, "format": "text", "text": paragraph.context });
            self.post(&format!("/v1/knowledge_bases/{base}/documents"), &body).await?;
            questions.extend(paragraph.qas.into_iter().map(|asked| (asked.question, slug.clone())));
        }
        Ok(Filled { base, questions })
    }

    async fn measure(&self, filled: &Filled, by: &str) -> anyhow::Result<Figures> {
        let asked = stream::iter(&filled.questions).map(|(question, own)| async move {
            let begun = Instant::now();
            let rank = self.rank_of(&filled.base, question, own, by).await?;
            anyhow::Ok((rank, begun.elapsed()))
        });
        let mut figures = Figures::default();
        let mut answered = asked.buffer_unordered(AT_ONCE);
        while let Some((rank, took)) = answered.try_next().await? {
            figures.add(rank, took);
        }
        Ok(figures)
    }

    /// The rank, from 1, of the question's own paragraph among the documents that were found.
    async fn rank_of(
        &self,
        base: &str,
        question: &str,
        own: &str,
        by: &str,
    ) -> anyhow::Result<Option<usize>> {
        let body = json!({ "query": question, "limit": PASSAGES, "by": by });
        let answer = self.post(&format!("/v1/knowledge_bases/{base}/search"), &body).await?;
        let hits = answer["data"]["items"].as_array().context("a list of passages")?;
        let mut documents: Vec<&str> = Vec::new();
        for hit in hits {
            let document = hit["document_slug"].as_str().context("a passage names its document")?;
            if !documents.contains(&document) {
                documents.push(document);
            }
        }
        Ok(documents.iter().take(RANKS).position(|document| *document == own).map(|place| place + 1))
    }

    async fn wait_until_embedded(&self, base: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let shown = self.send(self.http.get(self.url(&format!("/v1/knowledge_bases/{base}")))).await?;
            let data = &shown["data"];
            let embedded = data["embedded_passages"].as_i64().context("the server has no embeddings")?;
            if data["passages"].as_i64() == Some(embedded) {
                return Ok(());
            }
            ensure!(begun.elapsed() < EMBEDDED_WITHIN, "{embedded} passages are embedded: {data}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.url(path)).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.bearer_auth(&self.key).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

impl Figures {
    fn add(&mut self, rank: Option<usize>, took: Duration) {
        self.questions += 1;
        self.spent += took;
        self.slowest = self.slowest.max(took);
        let Some(rank) = rank else { return };
        self.first += usize::from(rank == 1);
        self.among_five += usize::from(rank <= 5);
        self.reciprocal += 1.0 / rank as f64;
    }

    fn print(&self, language: &str, by: &str) {
        let all = self.questions as f64;
        println!(
            "{language:<4}{by:<9}{:>10}{:>10.3}{:>10.3}{:>10.3}{:>12.1}{:>12.1}",
            self.questions,
            self.first as f64 / all,
            self.among_five as f64 / all,
            self.reciprocal / all,
            self.spent.as_secs_f64() * 1000.0 / all,
            self.slowest.as_secs_f64() * 1000.0,
        );
    }
}

/// The language of the base for the language code of a file.
fn stemmed_as(language: &str) -> &'static str {
    match language {
        "ar" => "arabic",
        "de" => "german",
        "el" => "greek",
        "en" => "english",
        "es" => "spanish",
        "ro" => "romanian",
        "ru" => "russian",
        "tr" => "turkish",
        _ => "simple",
    }
}
