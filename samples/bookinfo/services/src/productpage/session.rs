//! Who is logged in: a name in a cookie, without a password, as in Istio's sample. Used by productpage only.
//!
//! Invariant: a name holds only letters, digits and `. _ - @`, so it is safe in a cookie, a header and on the page.

use http::{HeaderMap, header};

/// The cookie that ends a session.
pub(super) const END: &str = "session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax";

/// The user of the request's session cookie.
pub(super) fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';'));
    let user = pairs.find_map(|pair| pair.trim().strip_prefix("session="))?;
    valid(user).then(|| user.to_owned())
}

/// The user name in a posted login form (`username=jason&passwd=`).
pub(super) fn from_form(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let user = body.split('&').find_map(|pair| pair.strip_prefix("username="))?;
    let user = user.replace("%40", "@");
    valid(&user).then_some(user)
}

/// The cookie that starts a session.
pub(super) fn cookie(user: &str) -> String {
    format!("session={user}; Path=/; HttpOnly; SameSite=Lax")
}

fn valid(user: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    (1..=64).contains(&user.len()) && user.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_comes_back_from_its_cookie() {
        let user_name = from_form(b"username=jason&passwd=").expect("valid form");
        let mut headers = HeaderMap::new();
        let pair = cookie(&user_name).split(';').next().expect("pair").to_owned();
        headers.insert(header::COOKIE, format!("a=b; {pair}").parse().expect("value"));
        assert_eq!(user(&headers).as_deref(), Some("jason"));
    }

    #[test]
    fn a_name_that_could_be_markup_is_nobody() {
        assert_eq!(from_form(b"username=<b>&passwd="), None);
        assert_eq!(from_form(b"username=&passwd="), None);
    }
}
