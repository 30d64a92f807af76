//! The variables of a conversation: who may set which, and whose value counts. The assistant's `variables` come first, then those
//! of an API key, then those of a visitor, then the defaults of `visitor_variables`.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::assistant::AssistantVersion;
use super::error::Error;
use super::from_object::from_object;
use super::ignored_names::{IgnoredNames, NameSource, encode_name};
use super::invalid_field::InvalidField;
use super::json_number;
use super::template::is_variable;

/// The most variables that an assistant declares for visitors.
pub const MAX_DECLARED: usize = 32;
/// The longest name of one, in characters.
const MAX_NAME: usize = 64;
/// The largest `max_length`, in characters.
const MAX_LENGTH: usize = 4_096;

/// A variable that visitors may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct VisitorVariable {
    /// The value if none is set.
    #[serde(default)]
    pub default: String,
    /// The longest value of a visitor, in characters.
    #[serde(default = "default_max_length", deserialize_with = "json_number::deserialize_size")]
    #[schema(minimum = 1, maximum = 4096)]
    pub max_length: usize,
}

from_object!(VisitorVariable, "{ default = \"TEXT\", max_length = NUMBER }");

fn default_max_length() -> usize {
    200
}

impl VisitorVariable {
    fn check_declaration(&self, name: &str) -> Result<(), InvalidField> {
        if name.chars().count() > MAX_NAME || !is_variable(name) {
            let problem =
                format!("not a name of a variable: 1 to {MAX_NAME} letters, digits, `_`, `-` and `.`");
            return Err(InvalidField::new(name, problem));
        }
        let max = self.max_length;
        if !(1..=MAX_LENGTH).contains(&max) {
            let problem = format!("{max} is not between 1 and {MAX_LENGTH}");
            return Err(InvalidField::new(format_args!("{name}.max_length"), problem));
        }
        if self.default.chars().count() > max {
            let problem = format!("longer than its max_length of {max} characters");
            return Err(InvalidField::new(format_args!("{name}.default"), problem));
        }
        Ok(())
    }

    /// Checks a visitor's value. The error completes a sentence whose subject is the variable.
    fn check(&self, value: &Value) -> Result<(), String> {
        let length = match value {
            Value::String(text) => text.chars().count(),
            Value::Number(_) | Value::Bool(_) => value.to_string().len(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err("must be a string, a number or a boolean".to_owned());
            }
        };
        if length > self.max_length {
            return Err(format!("must not be greater than {} characters", self.max_length));
        }
        Ok(())
    }
}

/// The variables with which a conversation is created.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcceptedVariables {
    pub variables: Map<String, Value>,
    /// Those that were sent besides.
    pub ignored: IgnoredNames,
}

/// The values that count, by their origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationVariables {
    /// Of the assistant or an API key. Only these are for tools.
    pub trusted: Map<String, Value>,
    /// Of the visitor. None has the name of a trusted one.
    pub visitor: Map<String, Value>,
    /// The defaults of all variables that visitors may set.
    defaults: Map<String, Value>,
}

impl ConversationVariables {
    /// All values, without a mark on those of the visitor: for texts that only the visitor reads.
    #[must_use]
    pub fn all(&self) -> Map<String, Value> {
        let mut all = self.defaults.clone();
        all.extend(self.visitor.clone());
        all.extend(self.trusted.clone());
        all
    }

    /// The values if the visitor had set none.
    #[must_use]
    pub fn without_visitor(&self) -> Map<String, Value> {
        let mut values = self.defaults.clone();
        values.extend(self.trusted.clone());
        values
    }
}

impl<T> AssistantVersion<T> {
    /// Checks the declaration of the variables that visitors may set.
    pub fn check_visitor_variables(&self) -> Result<(), InvalidField> {
        if self.visitor_variables.len() > MAX_DECLARED {
            let problem = format_args!("more than {MAX_DECLARED} variables");
            return Err(InvalidField::new("visitor_variables", problem));
        }
        for (name, variable) in &self.visitor_variables {
            variable.check_declaration(name).map_err(|error| error.within("visitor_variables"))?;
            if self.variables.contains_key(name) {
                let field = format!("visitor_variables.{name}");
                return Err(InvalidField::new(field, "also in `variables`, which no visitor can override"));
            }
        }
        Ok(())
    }

    /// The variables that a key has sent for a new conversation, without those of the assistant.
    #[must_use]
    pub fn accept_key_variables(&self, mut sent: Map<String, Value>) -> AcceptedVariables {
        let overridden = sent.keys().filter(|name| self.variables.contains_key(*name));
        let ignored = IgnoredNames::of(NameSource::Variables, overridden);
        sent.retain(|name, _| !self.variables.contains_key(name));
        AcceptedVariables { variables: sent, ignored }
    }

    /// The variables that a visitor has sent for a new conversation: none if the assistant declares none.
    ///
    /// # Errors
    ///
    /// A variable is not declared, or its value is invalid: in the wording of the widget API, the only one for visitors.
    pub fn accept_visitor_variables(&self, sent: Map<String, Value>) -> Result<AcceptedVariables, Error> {
        if self.visitor_variables.is_empty() {
            let ignored = IgnoredNames::of(NameSource::Variables, sent.keys());
            return Ok(AcceptedVariables { variables: Map::new(), ignored });
        }
        for (name, value) in &sent {
            let checked = match self.visitor_variables.get(name) {
                Some(variable) => variable.check(value),
                None => Err("is not declared by the assistant".to_owned()),
            };
            checked.map_err(|problem| {
                let text = format!("The variables.{} field {problem}.", encode_name(name));
                Error::invalid("variables", text)
            })?;
        }
        Ok(AcceptedVariables { variables: sent, ignored: IgnoredNames::default() })
    }

    /// The values that count in a conversation whose variables were set by a key and by a visitor. What a visitor has set is checked
    /// again, because the assistant may have changed since.
    #[must_use]
    pub fn rank_variables(
        &self,
        key: Map<String, Value>,
        mut visitor: Map<String, Value>,
    ) -> ConversationVariables {
        let mut trusted = key;
        trusted.extend(self.variables.clone());
        let is_allowed = |name: &String, value: &Value| {
            let declared = self.visitor_variables.get(name);
            declared.is_some_and(|variable| variable.check(value).is_ok())
        };
        visitor.retain(|name, value| !trusted.contains_key(name) && is_allowed(name, value));
        let default_of = |(name, variable): (&String, &VisitorVariable)| {
            (name.clone(), Value::from(variable.default.clone()))
        };
        let defaults = self.visitor_variables.iter().map(default_of).collect();
        ConversationVariables { trusted, visitor, defaults }
    }
}
