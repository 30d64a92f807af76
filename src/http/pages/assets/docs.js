// The API reference: loads /openapi.json of this server, and nothing else, and renders it.
import { copyButton, el } from "./widget/dom.js";
import { markdown } from "./widget/markdown.js";
import { UUID, apiDocument, exampleOf, field, fieldsOf, openDocument, resolveRef, resolveSchema, typesOf } from "./docs_schema.js";

const $ = (id) => document.getElementById(id);
const METHODS = ["get", "post", "put", "patch", "delete"];

async function start() {
  try {
    const response = await fetch("openapi.json", { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`The server returned status ${response.status}.`);
    openDocument(await response.json());
  } catch (error) {
    const again = el("button", { type: "button", class: "outline", onclick: () => void start() }, "Try again");
    $("content").replaceChildren(el("div", { class: "intro", role: "alert" }, el("h1", {}, "The reference could not be loaded."), el("p", { class: "busy" }, `${error.message} `), again));
    return;
  }
  show();
}

function show() {
  const groups = byTag();
  const { info = {} } = apiDocument;
  $("content").replaceChildren(introduction(info), ...groups.map(tagSection));
  $("index").replaceChildren(...groups.map(indexGroup));
  $("filter").addEventListener("input", filter);
  watch();
  // The element that the URL's fragment names has only just been created.
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named) named.scrollIntoView();
}

/** `[{ tag, description, operations }]`, in the order of the document. */
function byTag() {
  const groups = new Map((apiDocument.tags ?? []).map(({ name, description }) => [name, { tag: name, description, operations: [] }]));
  for (const [path, item] of Object.entries(apiDocument.paths ?? {})) {
    for (const method of METHODS.filter((method) => item[method])) {
      const operation = item[method];
      const tag = operation.tags?.[0] ?? "Other";
      if (!groups.has(tag)) groups.set(tag, { tag, operations: [] });
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) => resolveRef(parameter));
      const id = operation.operationId ?? `${method}${path.replaceAll(/[^a-z0-9]+/gi, "-")}`;
      groups.get(tag).operations.push({ ...operation, id, method, path, parameters });
    }
  }
  return [...groups.values()].filter((group) => group.operations.length > 0);
}

const titleOf = (operation) => operation.summary?.replace(/\.$/, "") ?? `${operation.method.toUpperCase()} ${operation.path}`;

function introduction(info) {
  return el(
    "header",
    { class: "intro" },
    el("h1", {}, info.title ? `${info.title} API` : "API reference"),
    info.description ? markdown(info.description) : null,
    el("div", { class: "facts" }, el("span", {}, "Base URL ", el("code", {}, baseUrl())), el("span", {}, `Version ${info.version ?? "unknown"}`), el("a", { href: "openapi.json" }, "OpenAPI document")),
    el(
      "p",
      { class: "needs" },
      "The examples read the key and ids from variables of your shell: ",
      el("code", {}, "export KEY=$(cat data/demo.key)"),
      " is the demo's key, ",
      el("code", {}, `export WIDGET_UUID=${UUID}`),
      " its conversation in the widget API, ",
      el("code", {}, "export CONVERSATION=con_…"),
      " an id from an earlier response of the platform API.",
    ),
  );
}

function tagSection({ tag, description, operations }) {
  return el("section", { class: "tag" }, el("h2", {}, tag), description ? markdown(description) : null, operations.map(operationArticle));
}

function operationArticle(operation) {
  const { id, method, path, description, parameters } = operation;
  // Its last sentence names the scope, which has a line of its own here.
  const about = description?.replace(/\s*[^.\n]*\b[Ss]cope: `[^`]+`\.$/, "");
  const route = path.split(/(\{[^}]+\})/).map((part) => (part.startsWith("{") ? el("b", {}, part) : part));
  const groups = [["path", "Path"], ["query", "Query"], ["header", "Headers"]];
  return el(
    "article",
    { class: "operation", id },
    el(
      "div",
      {},
      el("h3", {}, titleOf(operation)),
      el("div", { class: "route" }, methodName(method), el("code", {}, route)),
      about ? markdown(about) : null,
      keyNote(operation),
      groups.map(([place, title]) => parameterList(title, parameters.filter((parameter) => parameter.in === place))),
      bodyFields(operation),
      el("h4", {}, "Responses"),
      el("ul", { class: "answers" }, Object.entries(operation.responses ?? {}).map(responseItem)),
    ),
    el("div", { class: "code" }, requestPanel(operation), responsePanel(operation)),
  );
}

function methodName(method) {
  return el("span", { class: `method ${method}` }, method.toUpperCase());
}

function parameterList(title, parameters) {
  if (parameters.length === 0) return null;
  const items = parameters.map((parameter) => {
    const schema = resolveSchema(parameter.schema);
    // The schema of an optional parameter allows null, which only means that it may be absent.
    const plain = { ...schema, type: typesOf(schema), description: parameter.description };
    return field(parameter.name, plain, parameter.required, 9);
  });
  return [el("h4", {}, title), el("ul", { class: "fields" }, items)];
}

function jsonOf(content = {}) {
  return content["application/json"] ?? Object.values(content)[0];
}

function bodyFields({ requestBody }) {
  const body = resolveRef(requestBody);
  const fields = body.content && fieldsOf(jsonOf(body.content)?.schema);
  return fields ? [el("h4", {}, "Body"), body.description ? markdown(body.description) : null, fields].filter(Boolean) : null;
}

function responseItem([status, response]) {
  const { description, content } = resolveRef(response);
  const fields = content && fieldsOf(jsonOf(content)?.schema);
  const head = [el("span", { class: `status s${status[0]}` }, status), markdown(description ?? "")];
  if (!fields) return el("li", {}, el("div", { class: "plain" }, head));
  return el("li", {}, el("details", {}, el("summary", {}, head), fields));
}

function needsKey(operation) {
  const requirements = operation.security ?? apiDocument.security ?? [];
  return requirements.length > 0 && requirements.every((requirement) => Object.keys(requirement).length > 0);
}

/** The variable of the key that the operation needs. */
function keyOf(operation) {
  const isOperators = (operation.security ?? []).some((requirement) => "operator" in requirement);
  return isOperators ? "$OPERATOR_KEY" : "$KEY";
}

/** The scopes that the key needs. */
function scopesOf(operation) {
  return (operation.security ?? []).flatMap((requirement) => Object.values(requirement).flat());
}

function keyNote(operation) {
  const scopes = scopesOf(operation).map((scope) => el("code", {}, scope));
  const needs = needsKey(operation) ? "Needs a bearer key." : scopes.length ? "Needs no key. If one is sent:" : "Needs no key.";
  return el("p", { class: "needs" }, needs, scopes.length ? [" Scope: ", ...scopes] : null);
}

function baseUrl() {
  // The document names the root of its server, which a proxy may serve below a path.
  return new URL("./", location.href).href.replace(/\/$/, "");
}

function requestPanel(operation) {
  const text = curl(operation);
  return panel("curl", () => text, el("code", {}, text));
}

/** A command for a shell. The key and ids that the document has no example of are variables: `$KEY`,
 * `$OPERATOR_KEY`, `$CONVERSATION`, `$WIDGET_UUID`. */
function curl(operation) {
  const { method, parameters } = operation;
  const lines = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "${baseUrl()}${samplePath(operation)}${sampleQuery(parameters)}"`];
  if (needsKey(operation)) lines.push(`-H "Authorization: Bearer ${keyOf(operation)}"`);
  const [type, content] = bodyOf(resolveRef(operation.requestBody).content);
  if (content) {
    const example = examplesOf(content)[0]?.value ?? exampleOf(content.schema);
    const body = type === "application/json" ? JSON.stringify(example, null, 2) : SAMPLE_TEXT;
    lines.push(`-H "Content-Type: ${type}"`, `-d '${body.replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}

const SAMPLE_TEXT = "# Refunds\n\nWithin 14 days.";

/** JSON if the body can be JSON, else text. */
function bodyOf(content = {}) {
  const type = ["application/json", "text/markdown", ...Object.keys(content)].find((type) => content[type]);
  return [type, content[type]];
}

function samplePath({ path, parameters }) {
  return path.replaceAll(/\{([^}]+)\}/g, (_, name) => {
    const parameter = parameters.find((parameter) => parameter.name === name) ?? {};
    return parameter.example ?? `$${variableOf(path, name)}`;
  });
}

/** The variable of an id, named after its resource: `/v1/webhook_endpoints/{id}` has `WEBHOOK_ENDPOINT`. A conversation's id
 * in the widget API, which `useChat` calls a chat, has the name of the field in which the platform API returns it. */
function variableOf(path, name) {
  if (name === "uuid" || path.startsWith("/api/chat/")) return "WIDGET_UUID";
  const parts = path.split("/");
  const resource = parts[parts.indexOf(`{${name}}`) - 1] ?? name;
  // `KEY` is the key of the request.
  if (resource === "keys") return name === "id" ? "KEY_ID" : "WORKSPACE_KEY_ID";
  return resource.replace(/ies$/, "y").replace(/s$/, "").toUpperCase();
}

function sampleQuery(parameters) {
  const required = parameters.filter((parameter) => parameter.in === "query" && parameter.required);
  const pairs = required.map((parameter) => [parameter.name, String(parameter.example ?? exampleOf(parameter.schema))]);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

/** `[{ name, value }]` of a media type. */
function examplesOf(content) {
  if (content?.examples) {
    return Object.entries(content.examples).map(([name, example]) => ({ name: resolveRef(example).summary ?? name, value: resolveRef(example).value }));
  }
  return content?.example === undefined ? [] : [{ name: "", value: content.example }];
}

function responsePanel({ responses = {} }) {
  const examples = Object.entries(responses).flatMap(([status, response]) => {
    const content = jsonOf(resolveRef(response).content);
    if (!content) return [];
    const given = examplesOf(content);
    const all = given.length ? given : [{ name: "", value: exampleOf(content.schema) }];
    return all.map(({ name, value }) => ({ name: name ? `${status} ${name}` : status, value }));
  });
  if (examples.length === 0) return null;
  const code = el("code");
  const select = el("select", { "aria-label": "Response", onchange: () => draw() }, examples.map(({ name }, at) => el("option", { value: at }, name)));
  const chosen = () => JSON.stringify(examples[Number(select.value)].value, null, 2);
  const draw = () => code.replaceChildren(...highlight(chosen()));
  draw();
  return panel(select, chosen, code);
}

function panel(title, text, code) {
  return el("section", { class: "panel" }, el("div", { class: "panel-head" }, el("span", {}, title), copyButton(text)), el("pre", { tabindex: "0" }, code));
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null|-?\d+(?:\.\d+)?)\b/g;

/** JSON text with highlighted strings and keywords. */
function highlight(json) {
  const nodes = [];
  let from = 0;
  for (const token of json.matchAll(TOKEN)) {
    const [whole, text, colon] = token;
    nodes.push(json.slice(from, token.index));
    nodes.push(el("span", { class: colon ? "j-key" : text ? "j-text" : "j-word" }, text ?? whole), colon ?? "");
    from = token.index + whole.length;
  }
  return [...nodes, json.slice(from)];
}

function indexGroup({ tag, operations }) {
  const links = operations.map((operation) =>
    el("li", { "data-words": `${titleOf(operation)} ${operation.path} ${operation.method} ${tag}`.toLowerCase() }, el("a", { href: `#${operation.id}` }, el("span", {}, titleOf(operation)), methodName(operation.method))),
  );
  return el("div", { class: "group" }, el("h2", {}, tag), el("ul", {}, links));
}

function filter() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const group of $("index").querySelectorAll(".group")) {
    const items = [...group.querySelectorAll("li")];
    for (const item of items) item.hidden = !words.every((word) => item.dataset.words.includes(word));
    group.hidden = items.every((item) => item.hidden);
  }
  const found = $("index").querySelector(".group:not([hidden])");
  $("index").querySelector(".none")?.remove();
  if (!found) $("index").append(el("p", { class: "none" }, "No operation matches."));
}

/** Highlights the visible operation in the index. */
function watch() {
  const links = new Map([...$("index").querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const observer = new IntersectionObserver(
    (entries) => {
      const entered = entries.find((entry) => entry.isIntersecting);
      if (!entered) return;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entered.target.id);
      link?.setAttribute("aria-current", "location");
      const side = document.querySelector(".side");
      const isVisible = link && link.offsetTop > side.scrollTop && link.offsetTop + 40 < side.scrollTop + side.clientHeight;
      if (link && !isVisible) side.scrollTop = link.offsetTop - side.clientHeight / 2;
    },
    { rootMargin: "-10% 0px -80% 0px" },
  );
  for (const article of document.querySelectorAll(".operation")) observer.observe(article);
}

void start();
