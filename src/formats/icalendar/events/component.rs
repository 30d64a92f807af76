//! The components and properties of an iCalendar text (RFC 5545, 3.1 and 3.6), as far as they bear on times.
//!
//! Read here and not by the `icalendar` crate: its parser goes down by recursion, lets a quoted value run on
//! over line ends, and takes quadratic time for some texts. A stranger's text must not end the process.

/// How deep components may lie in one another: a calendar, an event, an alarm.
const MAX_DEPTH: usize = 8;
/// A text in which one of these cannot be read as a property is refused.
const REQUIRED_PROPERTIES: [&str; 12] = [
    "DTSTART",
    "DTEND",
    "DURATION",
    "RRULE",
    "RDATE",
    "EXDATE",
    "RECURRENCE-ID",
    "UID",
    "STATUS",
    "TRANSP",
    "TZID",
    "X-LIC-LOCATION",
];
/// Without these an event counts as busy, for longer where its zone is then unknown. All others are passed over.
const OPTIONAL_PROPERTIES: [&str; 5] =
    ["ATTENDEE", "TZOFFSETFROM", "TZOFFSETTO", "X-MICROSOFT-CDO-BUSYSTATUS", "X-WR-TIMEZONE"];

/// A `BEGIN` to its `END`. Names are in upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Component {
    name: String,
    properties: Vec<Property>,
    components: Vec<Component>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Property {
    pub name: String,
    pub value: String,
    parameters: Vec<(String, String)>,
}

impl Property {
    /// `NAME;PARAMETER=value;OTHER="value":value`; none where it is no such line.
    fn read(line: &str) -> Option<Self> {
        let (mut head, mut value) = split_outside_quotes(line, ':')?;
        if let Some(at) = unquoted_zone_end(head, value) {
            (head, value) = (line.get(..head.len() + 1 + at)?, value.get(at + 1..)?);
        }
        let mut parts = Vec::new();
        let mut rest = head;
        while let Some((part, more)) = split_outside_quotes(rest, ';') {
            parts.push(part);
            rest = more;
        }
        parts.push(rest);
        let mut parts = parts.into_iter();
        let name = parts.next()?.trim().to_ascii_uppercase();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        let parameters = parts.filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_uppercase(), value.trim().trim_matches('"').to_owned()))
        });
        Some(Self { name, value: value.trim().to_owned(), parameters: parameters.collect() })
    }

    /// A parameter's text, without quotes.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

impl Component {
    /// Those of this name.
    pub(super) fn children<'c>(&'c self, name: &'static str) -> impl Iterator<Item = &'c Component> {
        self.components.iter().filter(move |component| component.name == name)
    }

    /// All of this name.
    pub(super) fn properties<'c>(&'c self, name: &'static str) -> impl Iterator<Item = &'c Property> {
        self.properties.iter().filter(move |property| property.name == name)
    }

    /// The first of this name.
    pub(super) fn property(&self, name: &'static str) -> Option<&Property> {
        self.properties(name).next()
    }

    pub(super) fn value(&self, name: &'static str) -> Option<&str> {
        self.property(name).map(|property| property.value.as_str())
    }
}

/// The calendars of a text. A line that is none is passed over, unless it may be one that bears on a time.
pub(super) fn read_components(text: &str) -> Result<Vec<Component>, &'static str> {
    const NOT_ICALENDAR: &str = "it is no iCalendar text";
    let mut done: Vec<Component> = Vec::new();
    let mut open: Vec<Component> = Vec::new();
    for line in unfolded(text.trim_start_matches('\u{feff}')) {
        let Some(property) = Property::read(&line) else {
            let is_relevant =
                |name: &str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
            if REQUIRED_PROPERTIES.into_iter().chain(["BEGIN", "END"]).any(is_relevant) {
                return Err(NOT_ICALENDAR);
            }
            continue;
        };
        match property.name.as_str() {
            "BEGIN" => {
                let name = property.value.to_ascii_uppercase();
                open.push(Component { name, properties: Vec::new(), components: Vec::new() });
                if open.len() > MAX_DEPTH {
                    return Err("its components are nested too deep");
                }
            }
            "END" => {
                let closed = open.pop().filter(|open| open.name.eq_ignore_ascii_case(&property.value));
                let closed = closed.ok_or(NOT_ICALENDAR)?;
                match open.last_mut() {
                    Some(outer) => outer.components.push(closed),
                    None => done.push(closed),
                }
            }
            name if REQUIRED_PROPERTIES.contains(&name) || OPTIONAL_PROPERTIES.contains(&name) => {
                open.last_mut().ok_or(NOT_ICALENDAR)?.properties.push(property);
            }
            _ => {}
        }
    }
    done.retain(|component| component.name == "VCALENDAR");
    if done.is_empty() || !open.is_empty() { Err(NOT_ICALENDAR) } else { Ok(done) }
}

/// A line that begins with a space or a tab is the rest of the one before.
fn unfolded(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        let mut line = lines.next()?.to_owned();
        while let Some(rest) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            line.extend(rest.chars().skip(1));
        }
        Some(line)
    })
}

/// The colon in `value` that ends a `TZID` which contains colons and is not quoted, as in
/// `;TZID=tzone://Microsoft/Custom:20261130T100000`. No time contains a colon.
fn unquoted_zone_end(head: &str, value: &str) -> Option<usize> {
    let is_time = value.len() >= 8 && value.bytes().take(8).all(|byte| byte.is_ascii_digit());
    let (_, parameter) = head.rsplit_once(';')?;
    let is_zone = parameter.to_ascii_uppercase().starts_with("TZID=") && !parameter.contains('"');
    if is_time || !is_zone { None } else { value.rfind(':') }
}

fn split_outside_quotes(text: &str, at: char) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let (position, _) = text.char_indices().find(|(_, c)| {
        is_quoted ^= *c == '"';
        *c == at && !is_quoted
    })?;
    Some((text.get(..position)?, text.get(position + at.len_utf8()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_with_and_without_quotes_over_folds() {
        let line = "dtstart;Value=DATE-TIME;TZID=\"A;B:C\";X:2026:x ";
        let read = Property::read(line).unwrap();
        assert_eq!((read.name.as_str(), read.value.as_str()), ("DTSTART", "2026:x"));
        assert_eq!((read.parameter("TZID"), read.parameter("VALUE")), (Some("A;B:C"), Some("DATE-TIME")));
        let read = Property::read("DTSTART;TZID=tzone://Microsoft/Custom:20261130T100000").unwrap();
        assert_eq!(
            (read.parameter("TZID"), read.value.as_str()),
            (Some("tzone://Microsoft/Custom"), "20261130T100000")
        );
        for line in ["no line", "", ":x", "A B:x", "X;P=\":x"] {
            assert!(Property::read(line).is_none(), "{line}");
        }
        let lines: Vec<String> = unfolded("A:1\r\n 2\n\t 3\r\n\r\nB:4").collect();
        assert_eq!(lines, ["A:12 3", "", "B:4"]);
    }

    #[test]
    fn a_quote_does_not_run_over_the_end_of_its_line() {
        let hidden = "BEGIN:A\nX;P=\"\nEND:A\n\":v\n".repeat(150_000);
        assert!(read_components(&format!("BEGIN:VCALENDAR\n{hidden}")).is_err());
    }

    #[test]
    fn much_text_takes_no_long_time_whatever_ends_its_lines() {
        for end in ["\n", "\r\n"] {
            let filler = format!("X-A;B=\"c\":d{end}").repeat(200_000);
            let read = read_components(&format!("BEGIN:VCALENDAR{end}{filler}END:VCALENDAR{end}"));
            assert_eq!(read.unwrap().len(), 1);
        }
    }
}
