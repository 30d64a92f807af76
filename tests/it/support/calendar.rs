//! Calendar helpers of [`TestServer`]: bookings by a visitor, and reads of the platform API.

use serde_json::{Value, json};

use super::fake_model::{Reply, ToolCall};
use super::http::Response;
use super::server::{TestServer, WIDGET};

impl TestServer {
    /// The path of the workspace's only calendar.
    pub async fn calendar(&self) -> String {
        let listed = self.get("/v1/calendars").await.json();
        format!("/v1/calendars/{}", listed["data"]["items"][0]["id"].as_str().expect("a calendar"))
    }

    /// The result of a booking with these arguments, in the contract's conversation.
    pub async fn book_with(&self, arguments: &Value) -> Value {
        let call = ToolCall::new("book_appointment", arguments);
        self.model.script().queue([Reply::tool_calls([call]), Reply::text("Done.")]);
        let response = self.post_message(WIDGET, "Book it, please").send().await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["function_calls"][0]["result"].clone()
    }

    /// Books a slot, and returns the booking's id.
    pub async fn book(&self, start: &str, title: &str) -> String {
        let result = self.book_with(&json!({ "start": start, "title": title })).await;
        assert_eq!(result["success"], true, "{result}");
        result["booking_id"].as_str().expect("an id").to_owned()
    }

    /// The bookings that a query lists.
    pub async fn bookings(&self, query: &str) -> Vec<Value> {
        let path = format!("{}/bookings?{query}", self.calendar().await);
        let listed = self.get(&path).await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        listed.json()["data"]["items"].as_array().expect("a list").clone()
    }

    /// Sends a request of the platform API with the workspace's key and no body.
    pub async fn send_request(&self, method: &str, path: &str) -> Response {
        self.request(method, path).bearer(&self.keys.full).send().await
    }

    /// Creates a new feed address of the calendar, and returns its path on this server.
    pub async fn calendar_link(&self) -> String {
        let created = self.send_request("POST", &format!("{}/ics_link", self.calendar().await)).await;
        assert_eq!(created.status, 200, "{}", created.text());
        let url = created.json()["data"]["ics_url"].as_str().expect("an address").to_owned();
        url.strip_prefix(&self.url()).expect("it is on this server").to_owned()
    }
}
