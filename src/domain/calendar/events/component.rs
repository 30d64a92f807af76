//! The components and properties of an iCalendar text, read by the `icalendar` crate.

use icalendar::parser::{Component as Parsed, Property as ParsedProperty, read_calendar_simple, unfold};

/// How deep components may lie in one another: a calendar, an event, an alarm. The parser goes down by
/// recursion, so a text that nests without end would end the process.
const MAX_DEPTH: usize = 8;

/// A `BEGIN` to its `END`. Names are in upper case.
pub(super) struct Component {
    name: String,
    properties: Vec<Property>,
    components: Vec<Component>,
}

/// A line.
pub(super) struct Property {
    pub name: String,
    pub value: String,
    parameters: Vec<(String, String)>,
}

impl Property {
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

/// The calendars of a text.
pub(super) fn read_components(text: &str) -> Result<Vec<Component>, &'static str> {
    let unfolded = unfold(text.trim_start_matches('\u{feff}'));
    check_depth(&unfolded)?;
    let parsed = read_calendar_simple(&unfolded).map_err(|_| "it is no iCalendar text")?;
    Ok(parsed.iter().map(owned).filter(|component| component.name == "VCALENDAR").collect())
}

fn check_depth(text: &str) -> Result<(), &'static str> {
    let starts =
        |line: &str, word: &str| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let mut depth = 0_usize;
    for line in text.lines().map(str::trim_start) {
        if starts(line, "BEGIN:") {
            depth += 1;
        } else if starts(line, "END:") {
            depth = depth.saturating_sub(1);
        }
        if depth > MAX_DEPTH {
            return Err("its components are nested too deep");
        }
    }
    Ok(())
}

fn owned(parsed: &Parsed<'_>) -> Component {
    Component {
        name: parsed.name.as_str().to_ascii_uppercase(),
        properties: parsed.properties.iter().map(owned_property).collect(),
        components: parsed.components.iter().map(owned).collect(),
    }
}

fn owned_property(parsed: &ParsedProperty<'_>) -> Property {
    let parameters = parsed.params.iter().filter_map(|parameter| {
        let value = parameter.val.as_ref()?.as_str().trim_matches('"');
        Some((parameter.key.as_str().to_ascii_uppercase(), value.to_owned()))
    });
    Property {
        name: parsed.name.as_str().to_ascii_uppercase(),
        value: parsed.val.as_str().trim().to_owned(),
        parameters: parameters.collect(),
    }
}
