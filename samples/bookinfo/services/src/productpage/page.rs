//! The HTML of productpage: pure functions from what the upstreams said to text. Called by productpage only.
//!
//! Invariant: whatever comes from an upstream or a user is escaped.

use std::fmt::Write as _;

use serde_json::Value;

use super::Answered;
use crate::upstream::CallError;

/// The one book.
pub(super) const TITLE: &str = "The Comedy of Errors";
/// About it, in HTML.
pub(super) const DESCRIPTION: &str = "<a href=\"https://en.wikipedia.org/wiki/The_Comedy_of_Errors\">Wikipedia Summary</a>: The Comedy of Errors is one of <b>William Shakespeare's</b> early plays. It is his shortest and one of his most farcical comedies, with a major part of the humour coming from slapstick and mistaken identity, in addition to puns and word play.";

const STYLE: &str = include_str!("page.css");

/// Everything that the page shows.
pub(super) struct View<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) pod: &'a str,
    pub(super) details: Answered,
    pub(super) reviews: Answered,
}

/// The page of the book.
pub(super) fn productpage(view: &View<'_>) -> String {
    let body = format!(
        "<section class=\"hero\"><h1>{TITLE}</h1><p>{DESCRIPTION}</p></section>\
         <div class=\"columns\"><section class=\"card\" id=\"details\">{}</section>\
         <section class=\"card\" id=\"reviews\">{}</section></div>\
         <footer>Page by <code>{}</code></footer>",
        details(&view.details.result),
        reviews(&view.reviews.result),
        escape(view.pod),
    );
    document(TITLE, &login(view.user), &body)
}

/// The page at `/`.
pub(super) fn index() -> String {
    let body = "<section class=\"hero\"><h1>Hello! This is a simple bookstore</h1>\
        <p>One page, made by four services: productpage, details, reviews in three versions, and ratings. \
        Which version of reviews answers is for the mesh to say.</p>\
        <p><a class=\"button\" href=\"/productpage\">See the book</a></p></section>";
    document("Simple Bookstore App", "", body)
}

fn document(title: &str, corner: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\
         <body><header><a class=\"brand\" href=\"/\">BookInfo Sample</a>{corner}</header><main>{body}</main></body></html>\n"
    )
}

fn login(user: Option<&str>) -> String {
    match user {
        Some(user) => format!(
            "<div class=\"session\"><span>Signed in as <b>{}</b></span> <a href=\"/logout\">Sign out</a></div>",
            escape(user)
        ),
        None => "<form class=\"session\" method=\"post\" action=\"/login\">\
            <label for=\"username\">User</label><input id=\"username\" name=\"username\" required \
            pattern=\"[A-Za-z0-9._@\\-]+\" maxlength=\"64\" autocomplete=\"username\" placeholder=\"jason\">\
            <button type=\"submit\">Sign in</button></form>"
            .to_owned(),
    }
}

fn details(details: &Result<Value, CallError>) -> String {
    let book = match details {
        Ok(book) => book,
        Err(error) => return trouble("details", error),
    };
    let mut rows = String::new();
    let fields = [
        ("Type", "type"),
        ("Pages", "pages"),
        ("Publisher", "publisher"),
        ("Language", "language"),
        ("Author", "author"),
        ("Year", "year"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    ];
    for (label, field) in fields {
        let _infallible = write!(rows, "<dt>{label}</dt><dd>{}</dd>", plain(&book[field]));
    }
    format!("<h2>Book Details</h2><dl>{rows}</dl>")
}

fn reviews(reviews: &Result<Value, CallError>) -> String {
    let found = match reviews {
        Ok(found) => found,
        Err(error) => return trouble("reviews", error),
    };
    let mut out = String::from("<h2>Book Reviews</h2>");
    for review in found["reviews"].as_array().into_iter().flatten() {
        let _infallible = write!(
            out,
            "<blockquote>{}<p>“{}”</p><cite>— {}</cite></blockquote>",
            stars(&review["rating"]),
            plain(&review["text"]),
            plain(&review["reviewer"]),
        );
    }
    let _infallible = write!(
        out,
        "<p class=\"served\">Reviews served by <code id=\"reviews-pod\">{}</code>, version \
         <code id=\"reviews-version\">{}</code></p>",
        plain(&found["podname"]),
        plain(&found["version"]),
    );
    out
}

fn stars(rating: &Value) -> String {
    if rating.is_null() {
        return String::new();
    }
    let (Some(count), Some(color)) = (rating["stars"].as_u64(), rating["color"].as_str()) else {
        return "<p class=\"trouble\">Ratings service is currently unavailable</p>".to_owned();
    };
    let class = if color == "red" { "red" } else { "black" };
    let full = usize::try_from(count.min(5)).unwrap_or(5);
    format!(
        "<p class=\"stars {class}\" role=\"img\" aria-label=\"{full} of 5 stars, {class}\" data-color=\"{class}\">{}\
         <span class=\"empty\">{}</span></p>",
        "★".repeat(full),
        "★".repeat(5 - full),
    )
}

fn trouble(what: &str, error: &CallError) -> String {
    format!(
        "<h2>Error fetching product {what}!</h2><p class=\"trouble\">Sorry, product {what} are currently unavailable \
         for this book. <small>({error})</small></p>"
    )
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        Value::Null => "unknown".to_owned(),
        other => escape(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(reviews: Result<Value, CallError>) -> String {
        let details = Answered { result: Ok(json!({ "author": "<W. S.>" })) };
        productpage(&View {
            user: None,
            pod: "productpage-v1",
            details,
            reviews: Answered { result: reviews },
        })
    }

    #[test]
    fn stars_have_the_colour_of_the_version() {
        let with = |rating: Value| json!({ "reviews": [{ "reviewer": "a", "text": "t", "rating": rating }] });
        assert!(page(Ok(with(json!({ "stars": 4, "color": "red" })))).contains("data-color=\"red\">★★★★<"));
        assert!(
            page(Ok(with(json!({ "stars": 5, "color": "black" })))).contains("data-color=\"black\">★★★★★<")
        );
        assert!(!page(Ok(with(Value::Null))).contains("data-color"));
    }

    #[test]
    fn trouble_is_visible_and_strangers_are_escaped() {
        let page = page(Err(CallError::Timeout));
        assert!(page.contains("Error fetching product reviews!"));
        assert!(page.contains("&lt;W. S.&gt;"));
    }
}
