//! What a server says of several resources at once (RFC 4918, section 13).

use std::collections::HashSet;

use roxmltree::{Document, Node};

use super::error::CaldavError;

const DAV: &str = "DAV:";
const CALDAV: &str = "urn:ietf:params:xml:ns:caldav";
/// How many prefixes of namespaces an answer may have. Servers have less than ten, some declare them again and again.
const MAX_PREFIXES: usize = 64;
/// How many attributes one element may have.
const MAX_ATTRIBUTES: usize = 2_000;

/// An event's resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub href: String,
    /// Its iCalendar text.
    pub text: String,
}

/// The resources that a `calendar-query` has found. An answer that leaves any out is an error: what is not
/// known to be free is not free.
pub(super) fn read_resources(body: &[u8]) -> Result<Vec<Resource>, CaldavError> {
    let text = text_of(body)?;
    let document = parse(text)?;
    let mut resources = Vec::new();
    for response in children(root(&document)?, DAV, "response") {
        let href = children(response, DAV, "href").next().map(text_content).unwrap_or_default();
        match children(response, DAV, "status").next().map(status) {
            // Removed while the server was reading.
            Some(404 | 410) => continue,
            Some(_) => return Err(CaldavError::Unreadable("it is not complete")),
            None => {}
        }
        let good = children(response, DAV, "propstat").filter(|propstat| {
            children(*propstat, DAV, "status").all(|node| (200..300).contains(&status(node)))
        });
        let mut properties = good.flat_map(|propstat| children(propstat, DAV, "prop"));
        let data = properties.find_map(|property| children(property, CALDAV, "calendar-data").next());
        match data {
            Some(data) => resources.push(Resource { href, text: text_content(data) }),
            // Some servers name the calendar itself, too.
            None if href.ends_with('/') => {}
            None => return Err(CaldavError::Unreadable("an event is there without its data")),
        }
    }
    Ok(resources)
}

/// What a calendar says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Collection {
    pub is_calendar: bool,
    /// The reference of the `current-user-principal` (RFC 5397), as the server has written it.
    pub principal: Option<String>,
}

/// The answer to a `PROPFIND` for `resourcetype` and `current-user-principal`.
pub(super) fn read_collection(body: &[u8]) -> Result<Collection, CaldavError> {
    let text = text_of(body)?;
    let document = parse(text)?;
    let root = root(&document)?;
    let types = descendants(root, DAV, "resourcetype");
    let is_calendar = types.flat_map(|kind| children(kind, CALDAV, "calendar")).next().is_some();
    let mut principals = descendants(root, DAV, "current-user-principal");
    let principal =
        principals.find_map(|principal| children(principal, DAV, "href").next()).map(text_content);
    Ok(Collection { is_calendar, principal })
}

/// The `calendar-user-address-set` (RFC 6638, 2.4.1) in the answer of a principal.
pub(super) fn read_user_addresses(body: &[u8]) -> Result<Vec<String>, CaldavError> {
    let text = text_of(body)?;
    let document = parse(text)?;
    let sets = descendants(root(&document)?, CALDAV, "calendar-user-address-set");
    Ok(sets.flat_map(|set| children(set, DAV, "href")).map(text_content).collect())
}

fn text_of(body: &[u8]) -> Result<&str, CaldavError> {
    let text = std::str::from_utf8(body).map_err(|_| CaldavError::Unreadable("it is not UTF-8"))?;
    Ok(text.trim_start_matches('\u{feff}'))
}

/// A document type is refused, so no entity can be defined.
fn parse(text: &str) -> Result<Document<'_>, CaldavError> {
    check_declarations(text)?;
    Document::parse(text).map_err(|_| CaldavError::Unreadable("it is not XML"))
}

/// The parser gives each element that declares a namespace a copy of all those around it, and compares each
/// attribute of an element to all others: few short lines would take all memory, or minutes.
fn check_declarations(text: &str) -> Result<(), CaldavError> {
    let mut prefixes = HashSet::new();
    for (offset, _) in text.match_indices("xmlns:") {
        let rest = text.get(offset + "xmlns:".len()..).unwrap_or_default();
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        prefixes.insert(rest.get(..end).unwrap_or_default());
        if prefixes.len() > MAX_PREFIXES {
            return Err(CaldavError::Unreadable("it has too many namespaces"));
        }
    }
    if text.split('<').any(|tag| quoted_values(tag) > MAX_ATTRIBUTES) {
        return Err(CaldavError::Unreadable("it has too many attributes"));
    }
    Ok(())
}

/// How many attributes a tag has, from behind its `<` on: each has a value in quotes.
fn quoted_values(tag: &str) -> usize {
    let (mut values, mut open) = (0, None);
    for byte in tag.bytes() {
        match (open, byte) {
            (None, b'>') => break,
            (None, b'"' | b'\'') => (values, open) = (values + 1, Some(byte)),
            (Some(quote), byte) if quote == byte => open = None,
            _ => {}
        }
    }
    values
}

fn root<'d, 'i>(document: &'d Document<'i>) -> Result<Node<'d, 'i>, CaldavError> {
    let root = document.root_element();
    if root.has_tag_name((DAV, "multistatus")) {
        return Ok(root);
    }
    Err(CaldavError::Unreadable("it is no multistatus"))
}

fn children<'d, 'i: 'd>(
    of: Node<'d, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'d, 'i>> {
    of.children().filter(move |node| node.has_tag_name((namespace, name)))
}

fn descendants<'d, 'i: 'd>(
    of: Node<'d, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'d, 'i>> {
    of.descendants().filter(move |node| node.has_tag_name((namespace, name)))
}

/// Texts and CDATA sections together.
fn text_content(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

/// Of `HTTP/1.1 200 OK`; 0 where it cannot be read.
fn status(node: Node<'_, '_>) -> u16 {
    text_content(node).split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multistatus(responses: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:cal="urn:ietf:params:xml:ns:caldav">{responses}</d:multistatus>"#
        )
    }

    fn response(href: &str, data: &str) -> String {
        format!(
            "<d:response><d:href>{href}</d:href><d:propstat><d:prop><d:getetag>\"1\"</d:getetag>{data}</d:prop>\
             <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )
    }

    fn read(responses: &str) -> Result<Vec<Resource>, String> {
        read_resources(multistatus(responses).as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn data_is_read_from_texts_and_sections_alike() {
        let plain = response("/a.ics", "<cal:calendar-data>A &amp; B\r\n</cal:calendar-data>");
        let section = response("/b.ics", "<cal:calendar-data><![CDATA[A & ]]>B</cal:calendar-data>");

        let found = read(&[plain, section, response("/", "")].concat()).unwrap();

        let texts: Vec<_> = found.iter().map(|resource| resource.text.trim_end()).collect();
        assert_eq!(texts, ["A & B", "A & B"]);
        assert_eq!(found[1].href, "/b.ics");
    }

    #[test]
    fn what_is_gone_is_left_out_and_what_is_missing_is_an_error() {
        let status = |code| {
            format!("<d:response><d:href>/x</d:href><d:status>HTTP/1.1 {code} X</d:status></d:response>")
        };

        assert_eq!(read(&status(404)), Ok(Vec::new()));
        assert!(read(&status(507)).unwrap_err().contains("not complete"));
        assert!(read(&response("/a.ics", "")).unwrap_err().contains("without its data"));
    }

    #[test]
    fn garbage_entities_and_other_documents_are_refused() {
        for body in [
            &b"<html><body>Sign in</body></html>"[..],
            b"not XML",
            b"",
            b"\xff\xfe",
            br#"<!DOCTYPE x [<!ENTITY a "aaaa">]><multistatus xmlns="DAV:">&a;</multistatus>"#,
        ] {
            assert!(read_resources(body).is_err(), "{}", String::from_utf8_lossy(body));
            assert!(read_collection(body).is_err() && read_user_addresses(body).is_err());
        }
    }

    #[test]
    fn what_would_take_all_memory_or_minutes_is_refused_before_it_is_parsed() {
        let declared = |n: usize| (0..n).map(|n| format!(" xmlns:p{n}=\"u\"")).collect::<Vec<_>>().concat();
        let bomb = format!("<d:x{}>{}</d:x>", declared(20_000), "<d:y xmlns:z=\"u\"/>".repeat(100_000));
        assert!(read(&bomb).unwrap_err().contains("namespaces"));
        let attributes = (0..300_000).map(|n| format!(" a{n}=''")).collect::<Vec<_>>().concat();
        assert!(read(&format!("<d:x{attributes}/>")).unwrap_err().contains("attributes"));
        let html = response(
            "/a.ics",
            &format!("<cal:calendar-data>{}</cal:calendar-data>", "a=\"b\" ".repeat(9_000)),
        );
        assert!(read(&html).is_ok(), "quotes in a text are no attributes");
        // As servers do that declare what they need in each element.
        let again = response(
            "/a.ics",
            "<c:calendar-data xmlns:c=\"urn:ietf:params:xml:ns:caldav\">A</c:calendar-data>",
        );
        assert_eq!(read(&again.repeat(1_000)).unwrap().len(), 1_000);
    }

    #[test]
    fn a_calendar_says_that_it_is_one() {
        let of = |kinds: &str| {
            let kind = response("/c/", &format!("<d:resourcetype><d:collection/>{kinds}</d:resourcetype>"));
            read_collection(multistatus(&kind).as_bytes()).unwrap().is_calendar
        };

        assert!(of("<cal:calendar/>"));
        assert!(!of(""));
        assert!(!of("<calendar xmlns=\"urn:other\"/>"));
    }

    #[test]
    fn a_user_has_a_principal_and_addresses() {
        let principal = "<d:current-user-principal><d:href>/p/me/</d:href></d:current-user-principal>";
        let read = read_collection(multistatus(&response("/c/", principal)).as_bytes()).unwrap();
        assert_eq!(read.principal.as_deref(), Some("/p/me/"));
        let nobody = "<d:current-user-principal><d:unauthenticated/></d:current-user-principal>";
        assert_eq!(
            read_collection(multistatus(&response("/c/", nobody)).as_bytes()).unwrap().principal,
            None
        );
        let set = "<cal:calendar-user-address-set><d:href>mailto:me@shop.example</d:href><d:href>/p/me/</d:href>\
            </cal:calendar-user-address-set>";
        let addresses = read_user_addresses(multistatus(&response("/p/me/", set)).as_bytes()).unwrap();
        assert_eq!(addresses, ["mailto:me@shop.example", "/p/me/"]);
    }
}
