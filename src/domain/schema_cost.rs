//! Reads the JSON Schema of a tool: the properties that it declares, and the cost of validating against it, which is limited
//! before the validation starts. The validator follows every occurrence of a `$ref`, so a schema of a few kilobytes could
//! require an exponential number of visits: `a0` refers to `a1` twice, `a1` to `a2` twice, and so on.

use std::collections::{BTreeSet, HashMap};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// The maximum number of schemas that apply to one value, with all `$ref`s followed.
const MAX_SCHEMAS_PER_VALUE: usize = 10_000;
/// The maximum number of visits for the arguments of one call.
const MAX_VISITS: usize = 100_000;
/// The maximum nesting of schemas, with all `$ref`s followed once.
const MAX_DEPTH: usize = 200;

/// The part of a value that a subschema applies to.
enum Location<'s> {
    Same,
    Property(&'s str),
    /// All properties except these.
    Properties(Option<&'s Map<String, Value>>),
    PropertyNames,
    Items,
}

type Subschemas<'s> = Vec<(Location<'s>, &'s Value)>;

/// Checks that a schema can be compiled and used. The error describes the reason.
pub fn check_schema(root: &Value) -> Result<(), String> {
    let mut analyzer = CostAnalyzer { root, computed: HashMap::new(), stack: Vec::new() };
    analyzer.analyze(root, false).map(drop)
}

/// Whether these arguments can be validated within the limit, against a schema that passed [`check_schema`].
pub fn is_within_budget(root: &Value, arguments: &Value) -> bool {
    let mut budget = MAX_VISITS;
    visit(root, root, arguments, 0, &mut budget).is_some()
}

/// The properties that a schema declares for the arguments of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeclaredProperties<'s> {
    pub names: BTreeSet<&'s str>,
    /// Regular expressions that declare the names that they match.
    pub patterns: BTreeSet<&'s str>,
    /// Whether it accepts others on purpose: it says `additionalProperties` or `unevaluatedProperties`, and not `false`.
    pub accepts_others: bool,
}

/// The properties that a schema declares, in its root and in the subschemas that apply to the same value. The schema passed
/// [`check_schema`], so their number is limited and none contains itself.
pub fn declared_properties(root: &Value) -> DeclaredProperties<'_> {
    let mut declared = DeclaredProperties::default();
    collect_declared(root, root, &mut declared);
    declared
}

fn collect_declared<'s>(root: &'s Value, schema: &'s Value, declared: &mut DeclaredProperties<'s>) {
    let names = |keyword: &str| schema.get(keyword).into_iter().flat_map(fields).map(|(name, _)| name);
    declared.names.extend(names("properties"));
    declared.patterns.extend(names("patternProperties"));
    // A call without it would be refused, so it is declared even if its type is not.
    let required = schema.get("required").into_iter().flat_map(items);
    declared.names.extend(required.filter_map(Value::as_str));
    let says = |keyword: &str| schema.get(keyword).is_some_and(|others| *others != Value::Bool(false));
    declared.accepts_others |= says("additionalProperties") || says("unevaluatedProperties");
    for (location, subschema) in subschemas(root, schema).unwrap_or_default() {
        if matches!(location, Location::Same) {
            collect_declared(root, subschema, declared);
        }
    }
}

fn visit(root: &Value, schema: &Value, value: &Value, depth: usize, budget: &mut usize) -> Option<()> {
    *budget = budget.checked_sub(1)?;
    if depth > 2 * MAX_DEPTH {
        return None;
    }
    let passes = passes(schema);
    for (location, subschema) in subschemas(root, schema).ok()? {
        let mut each =
            |value: &Value| (0..passes).try_for_each(|_| visit(root, subschema, value, depth + 1, budget));
        match (location, value) {
            (Location::Same, value) => each(value)?,
            (Location::Property(name), Value::Object(fields)) => fields.get(name).map_or(Some(()), each)?,
            (Location::Properties(excluded), Value::Object(fields)) => fields
                .iter()
                .filter(|(name, _)| !excluded.is_some_and(|excluded| excluded.contains_key(*name)))
                .try_for_each(|(_, value)| each(value))?,
            (Location::PropertyNames, Value::Object(fields)) => {
                fields.iter().try_for_each(|_| each(&Value::Null))?;
            }
            (Location::Items, Value::Array(items)) => items.iter().try_for_each(each)?,
            (
                Location::Property(_) | Location::Properties(_) | Location::PropertyNames | Location::Items,
                _,
            ) => {}
        }
    }
    Some(())
}

/// The cost of a schema: its nesting, and the number of schemas that apply to one value.
#[derive(Clone, Copy, Default)]
struct Cost {
    height: usize,
    per_value: usize,
}

struct CostAnalyzer<'s> {
    root: &'s Value,
    /// The known costs, by the address of the schema.
    computed: HashMap<*const Value, Cost>,
    /// The schemas being analyzed, from the root down, and whether each applies to the same value as its parent.
    stack: Vec<(*const Value, bool)>,
}

impl<'s> CostAnalyzer<'s> {
    fn analyze(&mut self, schema: &'s Value, is_same: bool) -> Result<Cost, String> {
        let address = std::ptr::from_ref(schema);
        if let Some(ancestor) = self.stack.iter().position(|(other, _)| *other == address) {
            let between = self.stack.iter().skip(ancestor + 1).all(|(_, is_same)| *is_same);
            // Recursion into a part of the value ends when the value ends.
            return if between && is_same { Err(cyclic_reference()) } else { Ok(Cost::default()) };
        }
        if let Some(computed) = self.computed.get(&address) {
            if self.stack.len() + computed.height > MAX_DEPTH {
                return Err(too_deep());
            }
            return Ok(*computed);
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        if !self.stack.is_empty() && schema.get("$id").is_some() {
            return Err("only the whole schema may have an `$id`".to_owned());
        }
        self.stack.push((address, is_same));
        let mut cost = Cost { height: 1, per_value: 1 };
        for (location, subschema) in subschemas(self.root, schema)? {
            let is_same = matches!(location, Location::Same);
            let subschema_cost = self.analyze(subschema, is_same)?;
            cost.height = cost.height.max(subschema_cost.height + 1);
            if is_same {
                let more = subschema_cost.per_value.saturating_mul(passes(schema));
                cost.per_value = cost.per_value.saturating_add(more);
            }
        }
        self.stack.pop();
        if cost.per_value > MAX_SCHEMAS_PER_VALUE {
            return Err(format!(
                "with its `$ref`s followed, a value would be validated against more than {MAX_SCHEMAS_PER_VALUE} schemas"
            ));
        }
        self.computed.insert(address, cost);
        Ok(cost)
    }
}

fn cyclic_reference() -> String {
    "a `$ref` leads back to itself without an end".to_owned()
}

fn too_deep() -> String {
    format!("with its `$ref`s followed, it is nested deeper than {MAX_DEPTH} schemas")
}

/// How often the validator visits subschemas: `unevaluated…` makes it evaluate the rest of the schema twice.
fn passes(schema: &Value) -> usize {
    let needs_second_pass =
        ["unevaluatedProperties", "unevaluatedItems"].iter().any(|key| schema.get(key).is_some());
    if needs_second_pass { 2 } else { 1 }
}

/// The subschemas of a schema in any draft; a `$ref` has its target as a subschema.
fn subschemas<'s>(root: &'s Value, schema: &'s Value) -> Result<Subschemas<'s>, String> {
    let mut subschemas = Vec::new();
    let Value::Object(keywords) = schema else { return Ok(subschemas) };
    let declared = keywords.get("properties").and_then(Value::as_object);
    for (keyword, subschema) in keywords {
        match keyword.as_str() {
            "$ref" => subschemas.push((Location::Same, resolve_reference(root, subschema)?)),
            "$dynamicRef" | "$recursiveRef" => return Err(format!("`{keyword}` is not supported")),
            "not" | "if" | "then" | "else" => subschemas.push((Location::Same, subschema)),
            "allOf" | "anyOf" | "oneOf" => {
                subschemas.extend(items(subschema).map(|subschema| (Location::Same, subschema)));
            }
            "dependentSchemas" | "dependencies" => {
                subschemas.extend(fields(subschema).map(|(_, subschema)| (Location::Same, subschema)));
            }
            "properties" => subschemas
                .extend(fields(subschema).map(|(name, subschema)| (Location::Property(name), subschema))),
            "patternProperties" => {
                subschemas
                    .extend(fields(subschema).map(|(_, subschema)| (Location::Properties(None), subschema)));
            }
            "additionalProperties" => subschemas.push((Location::Properties(declared), subschema)),
            "unevaluatedProperties" => subschemas.push((Location::Properties(None), subschema)),
            "propertyNames" => subschemas.push((Location::PropertyNames, subschema)),
            "items" | "prefixItems" if subschema.is_array() => {
                subschemas.extend(items(subschema).map(|subschema| (Location::Items, subschema)));
            }
            "items" | "additionalItems" | "unevaluatedItems" | "contains" => {
                subschemas.push((Location::Items, subschema));
            }
            _ => {}
        }
    }
    Ok(subschemas)
}

fn items(subschema: &Value) -> impl Iterator<Item = &Value> {
    subschema.as_array().into_iter().flatten()
}

fn fields(subschema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    subschema.as_object().into_iter().flatten().map(|(name, subschema)| (name.as_str(), subschema))
}

fn resolve_reference<'s>(root: &'s Value, reference: &Value) -> Result<&'s Value, String> {
    let text = reference.as_str().unwrap_or_default();
    let pointer = text.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let pointer = pointer.and_then(|rest| percent_decode_str(rest).decode_utf8().ok());
    let found = pointer.and_then(|pointer| root.pointer(&pointer));
    found.ok_or_else(|| "a `$ref` must be `#`, or `#/…` and name a place in this schema".to_owned())
}
