// Starts the program with doubles of its model and its tools.

import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { listen, model, tool } from "./doubles.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));

/** Starts the program on an empty database with the workspace of the integration tests; returns its address, a key, a key of the operator, and the
 * address of its tools. */
export async function startServer(folder, program) {
  const [models, tools] = [await listen(model), await listen(tool)];
  const ids = {
    "@ASSISTANT@": "550e8400-e29b-41d4-a716-446655440000",
    "@RESTRICTED@": "550e8400-e29b-41d4-a716-4466554400aa",
    "@WIDGET@": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "@TEST@": "0b5f4c1e-9d3a-4e57-8f21-6a7c2d9e1b40",
    "@TOOL@": `http://${tools}`,
  };
  let workspace = readFileSync(join(here, "../it/support/workspace.toml"), "utf8");
  for (const [name, value] of Object.entries(ids)) workspace = workspace.replaceAll(name, value);
  writeFileSync(join(folder, "workspace.toml"), workspace);
  const env = {
    PATH: process.env.PATH,
    REJOINDER_LISTEN: "127.0.0.1:0",
    REJOINDER_DEMO: "false",
    REJOINDER_DATA_DIR: "data",
    REJOINDER_LIMITS__ENABLED: "false",
    REJOINDER_TURN__MAX_ATTEMPTS: "1",
    REJOINDER_OUTBOUND__ALLOW_HOSTS: tools,
    OPENAI_BASE_URL: `http://${models}/v1`,
    OPENAI_MODEL: "fake",
    RUST_LOG: "error",
  };
  const run = (...parts) => execFileSync(program, parts, { cwd: folder, env, encoding: "utf8" });
  run("migrate");
  run("apply", "workspace.toml");
  const scopes = "messages:write,billing:read,read,config,keys,export,erase";
  const { secret: key } = JSON.parse(run("keys", "create", "--workspace", "demo", "--name", "peers", "--scopes", scopes, "--json"));
  const { secret: operatorKey } = JSON.parse(run("operator", "keys", "create", "--name", "peers", "--json"));
  const server = spawn(program, [], { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => server.kill("SIGKILL"));
  const lines = createInterface({ input: server.stdout });
  const [banner] = await new Promise((resolve, reject) => {
    lines.once("line", (line) => resolve([line]));
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { address: banner.split(" ").at(-1), key, operatorKey, tools: `http://${tools}` };
}
