// Schemas of an OpenAPI 3.1 document: resolves and names them, lists their fields, and generates examples.
import { el } from "./widget/dom.js";
import { markdown } from "./widget/markdown.js";

/** The document that is shown. */
export let apiDocument = {};

export function openDocument(opened) {
  apiDocument = opened;
}

/** The UUID of the demo's conversation in the widget API. */
export const UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/** Resolves a `$ref` within the document; its sibling keywords override the target's. */
export function resolveRef(schema, depth = 0) {
  if (!schema || typeof schema !== "object" || !schema.$ref || depth > 12) return schema ?? {};
  const { $ref: reference, ...beside } = schema;
  const keys = reference.replace(/^#\//, "").split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  const target = keys.reduce((at, key) => at?.[key], apiDocument);
  return { ...resolveRef(target, depth + 1), ...beside };
}

/** Merges `allOf`, and replaces a choice between one schema and null with that schema. */
export function resolveSchema(schema) {
  let whole = resolveRef(schema);
  for (const part of whole.allOf ?? []) {
    const { properties, required, ...rest } = resolveSchema(part);
    whole = { ...rest, ...whole, properties: { ...properties, ...whole.properties }, required: [...(required ?? []), ...(whole.required ?? [])] };
  }
  const choices = variantsOf(whole);
  return choices.length === 1 ? { ...resolveSchema(choices[0]), description: whole.description ?? resolveSchema(choices[0]).description } : whole;
}

function variantsOf(schema) {
  return (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => resolveRef(choice).type !== "null");
}

export function typesOf(schema) {
  return [schema.type ?? []].flat().filter((type) => type !== "null");
}

/** Type, format and limits in one line. */
function kindOf(schema) {
  const types = typesOf(schema);
  const is = (type) => types.includes(type);
  const parts = [];
  if (schema.const !== undefined) parts.push(`always ${JSON.stringify(schema.const)}`);
  else if (schema.enum) parts.push(schema.enum.filter((value) => value !== null).map((value) => JSON.stringify(value)).join(" or "));
  else if (is("array")) parts.push(`list of ${kindOf(resolveSchema(schema.items)) || "anything"}`);
  else if (types.length) parts.push(types.join(" or ") + (schema.format ? ` (${schema.format})` : ""));
  else if (variantsOf(schema).length) parts.push("one of these");
  if (schema.minLength || schema.maxLength) parts.push(bounds(schema.minLength, schema.maxLength, "characters"));
  if (schema.minimum !== undefined || schema.maximum !== undefined) parts.push(bounds(schema.minimum, schema.maximum, ""));
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${JSON.stringify(schema.default)}`);
  if ([schema.type].flat().includes("null")) parts.push("may be null");
  return parts.join(", ");
}

function bounds(least, most, unit) {
  if (least !== undefined && most !== undefined) return `${least} to ${most} ${unit}`.trim();
  return `${most === undefined ? `at least ${least}` : `at most ${most}`} ${unit}`.trim();
}

/** A schema's fields as a list, or nothing if it has none. */
export function fieldsOf(schema, depth = 0) {
  const whole = resolveSchema(schema);
  if (depth > 6) return null;
  if (typesOf(whole).includes("array")) return fieldsOf(whole.items, depth + 1);
  const variants = variantsOf(whole);
  if (variants.length > 1) {
    const items = variants.map((variant) => el("li", {}, variantHead(variant), fieldsOf(variant, depth + 1)));
    return el("ul", { class: "variants" }, items);
  }
  const entries = Object.entries(whole.properties ?? {});
  if (entries.length === 0) return null;
  return el("ul", { class: "fields" }, entries.map(([name, inner]) => field(name, resolveSchema(inner), whole.required?.includes(name), depth)));
}

function variantHead(variant) {
  const { title, description } = resolveSchema(variant);
  const name = title ?? variant.$ref?.split("/").at(-1);
  return [name ? el("div", { class: "kind" }, name) : null, description ? markdown(description) : null].filter(Boolean);
}

export function field(name, schema, required, depth) {
  return el(
    "li",
    {},
    el("div", { class: "name" }, el("code", {}, name), el("span", { class: "kind" }, kindOf(schema)), required ? el("span", { class: "must" }, "required") : null),
    schema.description ? markdown(schema.description) : null,
    fieldsOf(schema, depth + 1),
  );
}

function givenExample(schema) {
  return schema.example ?? schema.examples?.[0];
}

/** An example of a schema: its own if it has one, otherwise one derived from its type. An object has the fields that are
 * required or have an example: others are often absent, or exclude each other. A text is the name of its field. */
export function exampleOf(schema, name = "text", depth = 0) {
  const whole = resolveSchema(schema);
  const given = givenExample(whole) ?? whole.const ?? whole.default ?? whole.enum?.[0];
  if (given !== undefined) return given;
  const variants = variantsOf(whole);
  if (variants.length) return exampleOf(variants[0], name, depth + 1);
  const [type] = typesOf(whole);
  if (type === "array") return depth > 6 ? [] : [exampleOf(whole.items, name, depth + 1)];
  if (type === "object" || whole.properties) {
    if (depth > 6) return {};
    const isIncluded = ([name, inner]) => whole.required?.includes(name) || givenExample(resolveSchema(inner)) !== undefined;
    const entries = Object.entries(whole.properties ?? {}).filter(isIncluded);
    return Object.fromEntries(entries.map(([name, inner]) => [name, exampleOf(inner, name, depth + 1)]));
  }
  if ([whole.type].flat().includes("null")) return null;
  if (type === "string") return { uuid: UUID, "date-time": "2026-03-15T14:22:11Z", date: "2026-03-15" }[whole.format] ?? name.replaceAll("_", " ");
  return { integer: whole.minimum ?? 1, number: 1, boolean: true }[type] ?? null;
}
