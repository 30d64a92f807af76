// Tries what other projects make of the OpenAPI document against the server: clients in two languages, a linter, and a fuzzer.
// `scripts/peers openapi` runs it.

import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
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

/** All phases and all checks, over all APIs. The endless stream of events has no complete response to check. */
async function schemathesis(server) {
  const folder = join(work, "schemathesis");
  mkdirSync(folder);
  copyFileSync(join(here, "hooks.py"), join(folder, "hooks.py"));
  const headers = { authorization: `Bearer ${server.key}`, "content-type": "application/json" };
  const request = async (path, init) => (await (await fetch(`${server.address}${path}`, { headers, ...init })).json()).data;
  const me = await request("/v1/me");
  const base = await request("/v1/knowledge_bases", { method: "POST", body: JSON.stringify({ slug: "help" }) });
  const own = [me.key.id, me.workspace.id, base.id].join(" ");
  const env = { KEY: server.key, OPERATOR_KEY: server.operatorKey, OWN: own };
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
  );
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
