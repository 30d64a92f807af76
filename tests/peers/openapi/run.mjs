// Tries what other projects make of the OpenAPI document against the server: clients in two languages, a linter, and a fuzzer.
// `scripts/peers openapi` runs it.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { startServer } from "../server.mjs";

const ASSISTANT = "550e8400-e29b-41d4-a716-446655440000";
const here = fileURLToPath(new URL(".", import.meta.url));

const { values: options } = parseArgs({
  options: {
    program: { type: "string" },
    packages: { type: "string" },
    python: { type: "string" },
    only: { type: "string" },
    // The cases of Schemathesis for each operation and phase.
    examples: { type: "string", default: "50" },
  },
});

const parts = { redocly, typescript, python, schemathesis };
const work = mkdtempSync(join(tmpdir(), "openapi-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));
const document = join(work, "openapi.json");

/** Runs a program, and shows its output. This process meanwhile answers as the server's model. */
function run(program, parameters, folder, env = {}) {
  const child = spawn(program, parameters, { cwd: folder, env: { ...process.env, ...env }, stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}`))));
  });
}

const npm = (name) => join(options.packages, "node_modules", ".bin", name);
const pip = (name) => join(options.python, "bin", name);

async function redocly() {
  await run(npm("redocly"), ["lint", "--config", join(here, "redocly.yaml"), document], work);
}

async function typescript(server) {
  copyFileSync(join(here, "client.ts"), join(options.packages, "client.ts"));
  copyFileSync(join(here, "tsconfig.json"), join(options.packages, "tsconfig.json"));
  await run(npm("openapi-typescript"), [document, "--output", "api.d.ts"], options.packages);
  await run(npm("tsc"), ["--project", "."], options.packages);
  const env = { SERVER: server.address, KEY: server.key, ASSISTANT };
  await run(process.execPath, ["out/client.js"], options.packages, env);
}

async function python(server) {
  const folder = join(work, "python");
  mkdirSync(folder);
  const config = join(here, "python-client.yaml");
  const made = ["generate", "--path", document, "--config", config, "--meta", "none", "--output-path", "rejoinder_client"];
  // It formats what it makes with `ruff`, and warns if there is none.
  const env = { PATH: `${join(options.python, "bin")}${delimiter}${process.env.PATH}` };
  await run(pip("openapi-python-client"), [...made, "--fail-on-warning"], folder, env);
  copyFileSync(join(here, "client.py"), join(folder, "client.py"));
  await run(pip("mypy"), ["--config-file", join(here, "mypy.ini"), "client.py"], folder);
  await run(pip("python"), ["client.py"], folder, { SERVER: server.address, KEY: server.key, ASSISTANT });
}

/** The streams of events never end, so Schemathesis would wait in vain for the response of one that begins. */
const ENDLESS = {
  streamEvents: "/v1/events/stream",
  streamWidgetEvents: "/api/conversations/{uuid}/events",
};

/** All phases and all checks, over all APIs. Each operation has to succeed at least once. */
async function schemathesis(server) {
  const folder = join(work, "schemathesis");
  mkdirSync(folder);
  for (const name of ["hooks.py", "mending.py", "resources.py"]) copyFileSync(join(here, name), join(folder, name));
  const request = async (key, path, body) => {
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const method = body ? "POST" : "GET";
    const response = await fetch(`${server.address}${path}`, { method, headers, body: body && JSON.stringify(body) });
    assert(response.ok, `${method} ${path}: ${response.status}`);
    return (await response.json()).data;
  };
  const me = await request(server.key, "/v1/me");
  const base = await request(server.key, "/v1/knowledge_bases", { slug: "help" });
  const credit = { amount: "100000.00", reference: "peers" };
  await request(server.operatorKey, `/operator/v1/workspaces/${me.workspace.id}/credit`, credit);
  // Another workspace, because only its file may change that of the run.
  const workspace = await request(server.operatorKey, "/operator/v1/workspaces", { slug: "other", name: "Other" });
  const keys = `/operator/v1/workspaces/${workspace.id}/keys`;
  const other = await request(server.operatorKey, keys, { name: "other", scopes: ["config"] });
  const { assistant } = await request(other.secret, "/v1/assistants", { name: "Other", system_prompt: "You help." });
  const own = [me.key.id, me.workspace.id, base.id, workspace.id].join(" ");
  const answers = join(folder, "answers.json");
  const env = {
    SERVER: server.address,
    TOOL_SERVER: server.tools,
    KEY: server.key,
    OPERATOR_KEY: server.operatorKey,
    OTHER_KEY: other.secret,
    OTHER_ASSISTANT: assistant.id,
    OWN: own,
    ANSWERS: answers,
  };
  const failures = [];
  await run(
    pip("schemathesis"),
    [
      ...["--config-file", join(here, "schemathesis.toml"), "run", document, "--url", server.address],
      ...["--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"],
      ...["--exclude-operation-id", "streamEvents"],
      ...["--request-timeout", "90", "--max-examples", options.examples, "--seed", "1"],
      ...["--continue-on-failure", "--report", "junit"],
    ],
    folder,
    { ...env, SCHEMATHESIS_HOOKS: "hooks", PYTHONPATH: folder },
  ).catch((error) => failures.push(error.message));
  const succeeded = succeededOperations(JSON.parse(readFileSync(answers, "utf8")));
  const conversation = await request(server.key, "/v1/conversations", { type: "widget" });
  for (const [name, path] of Object.entries(ENDLESS)) {
    await openStream(server, path.replace("{uuid}", conversation.widget_uuid));
    succeeded.add(name);
  }
  const all = operationIds();
  const others = all.filter((name) => !succeeded.has(name));
  console.log(`${all.length - others.length} of ${all.length} operations have succeeded`);
  if (others.length > 0) failures.push(`no case of these operations succeeded: ${others.join(", ")}`);
  if (failures.length > 0) throw new Error(failures.join("; "));
}

/** The operations with a 2xx among their answers. */
function succeededOperations(answers) {
  const entries = Object.entries(answers);
  return new Set(entries.filter(([, counts]) => Object.keys(counts).some((status) => status.startsWith("2"))).map(([name]) => name));
}

function operationIds() {
  const { paths } = JSON.parse(readFileSync(document, "utf8"));
  return Object.values(paths).flatMap((path) => Object.values(path).map((operation) => operation.operationId));
}

/** Reads the beginning of a stream. */
async function openStream(server, path) {
  const headers = path.startsWith("/v1") ? { authorization: `Bearer ${server.key}` } : {};
  const response = await fetch(`${server.address}${path}`, { headers });
  assert(response.ok, `${path}: ${response.status}`);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  for await (const chunk of response.body) {
    assert(chunk.length > 0);
    break;
  }
}

const folder = join(work, "server");
mkdirSync(folder);
writeFileSync(document, execFileSync(options.program, ["openapi"], { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 }));
const server = await startServer(folder, options.program);
const failed = [];
for (const [name, part] of Object.entries(parts).filter(([name]) => !options.only || options.only === name)) {
  console.log(`\n== ${name}`);
  try {
    await part(server);
  } catch (error) {
    failed.push(`${name}: ${error.message}`);
  }
}
for (const failure of failed) console.error(`peers: ${failure}`);
process.exit(failed.length > 0 ? 1 : 0);
