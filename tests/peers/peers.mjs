// Tries other people's clients against the server, prints a table, and with --record writes what was sent and received to
// recorded/. scripts/peers runs it.

import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { startServer } from "./server.mjs";

const CLIENTS = { ai5: "ai", ai6: "ai", "assistant-ui": "@assistant-ui/react-ai-sdk" };
const ROUTES = { chat: "/api/chat", widget: "/api/conversations/…/messages", platform: "/v1/messages" };
const here = fileURLToPath(new URL(".", import.meta.url));

const { values: options } = parseArgs({
  options: {
    program: { type: "string" },
    server: { type: "string" },
    key: { type: "string" },
    packages: { type: "string" },
    record: { type: "boolean", default: false },
    client: { type: "string" },
    route: { type: "string" },
    only: { type: "string" },
  },
});

if (options.record && options.only) throw new Error("a recording has all scenarios: --record without --only");

/** Runs the scenarios of one client over one route. */
function runClient(client, route, server) {
  const folder = join(options.packages, client);
  for (const file of ["client.mjs", "doubles.mjs", "plans.json", "recorder.mjs", "scenarios.mjs"]) {
    copyFileSync(join(here, file), join(folder, file));
  }
  const env = { PATH: process.env.PATH, SERVER: server.address, KEY: server.key, CLIENT: client, ROUTE: route };
  if (options.only) env.ONLY = options.only;
  const child = spawn(process.execPath, ["client.mjs"], { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(output.trim().split("\n").at(-1)));
      else reject(new Error(`${client} over ${route} ended with ${code}`));
    });
  });
}

function version(client) {
  const manifest = join(options.packages, client, "node_modules", CLIENTS[client], "package.json");
  const { name, version } = JSON.parse(readFileSync(manifest));
  return `${name}@${version}`;
}

function print(rows) {
  const names = [...new Set(rows.flatMap((row) => row.results.map((result) => result.name)))];
  const heads = ["client", "route", ...names];
  const cells = rows.map(({ client, route, results }) => {
    const verdict = (name) => {
      const found = results.find((result) => result.name === name);
      return found ? (found.failure ? "FAIL" : "pass") : "-";
    };
    return [version(client), ROUTES[route], ...names.map(verdict)];
  });
  const widths = heads.map((head, nth) => Math.max(head.length, ...cells.map((row) => row[nth].length)));
  for (const row of [heads, ...cells]) console.log(row.map((cell, nth) => cell.padEnd(widths[nth])).join("  ").trimEnd());
}

function record(rows) {
  const folder = join(here, "recorded");
  mkdirSync(folder, { recursive: true });
  for (const { client, route, results } of rows) {
    const scenarios = results.map(({ name, exchanges }) => ({ name, exchanges }));
    // One line for each exchange, so that a change can be read.
    const lines = scenarios.map(({ name, exchanges }) => {
      const each = exchanges.map((exchange) => `      ${JSON.stringify(exchange)}`).join(",\n");
      return `    { "name": ${JSON.stringify(name)}, "exchanges": [\n${each}\n    ] }`;
    });
    const head = `  "client": ${JSON.stringify(version(client))},\n  "route": ${JSON.stringify(route)},`;
    writeFileSync(join(folder, `${client}-${route}.json`), `{\n${head}\n  "scenarios": [\n${lines.join(",\n")}\n  ]\n}\n`);
  }
}

const folder = mkdtempSync(join(tmpdir(), "peers-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const server = options.server
  ? { address: options.server, key: options.key }
  : await startServer(folder, options.program);
const rows = [];
for (const client of Object.keys(CLIENTS).filter((name) => !options.client || options.client === name)) {
  const routes = Object.keys(ROUTES).filter((name) => !options.route || options.route === name);
  const all = await Promise.all(routes.map((route) => runClient(client, route, server)));
  rows.push(...routes.map((route, nth) => ({ client, route, results: all[nth] })));
}
const failed = rows.flatMap(({ client, route, results }) =>
  results.filter((result) => result.failure).map((result) => `${client}, ${route}, ${result.name}: ${result.failure}`),
);
for (const failure of failed) console.log(`${failure}\n`);
print(rows);
if (options.record && failed.length > 0) console.log("peers: nothing was recorded, because a scenario failed");
else if (options.record) record(rows);
process.exit(failed.length > 0 ? 1 : 0);
