// Builds the applications of docs/chat-*.md as their readers would, and tries the chat in them with Chromium: it is mounted, answers, goes with its
// page and leaves nothing behind. `scripts/peers frameworks` runs it.

import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { startServer } from "../server.mjs";

const { values: options } = parseArgs({
  options: { program: { type: "string" }, packages: { type: "string" }, only: { type: "string" } },
});
const here = fileURLToPath(new URL(".", import.meta.url));
const docs = join(here, "../../../docs");
const { default: puppeteer } = await import(createRequire(join(options.packages, "package.json")).resolve("puppeteer-core"));

/** The rounds of mount and destroy after which nothing more may be there than before. */
const ROUNDS = 100;
const PATIENCE_MS = 20_000;

// Beside the packages, where the builds look for them.
const work = mkdtempSync(join(options.packages, "applications-"));
const children = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(work, { recursive: true, force: true, maxRetries: 5 });
});

/** Runs a program of the packages to its end. */
function run(folder, name, ...parameters) {
  const child = spawn(join(options.packages, "node_modules", ".bin", name), parameters, {
    cwd: folder,
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" },
    stdio: ["ignore", "inherit", "inherit"],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`${name} ended with ${code}`))));
  });
}

/** Writes the files that a page shows, each of which begins with its name in a comment. */
function writePage(page, folder, server) {
  const text = readFileSync(join(docs, page), "utf8").replaceAll("https://chat.example.com", server);
  for (const [, block] of text.matchAll(/^```\w+\n(.*?)^```$/gms)) {
    const name = block.match(/^(?:\/\/|<!--) (\S+\.\w+)/)?.[1];
    if (!name) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), block);
  }
}

/** A new application: the files of a page, those beside this program, and the types from the server. */
async function application(name, page, types, server) {
  const folder = join(work, name);
  cpSync(join(here, name), folder, { recursive: true });
  writePage(page, folder, server);
  writeFileSync(join(folder, types), await (await fetch(`${server}/widget.d.ts`)).text());
  return folder;
}

/** Serves a folder; the address. */
function serve(folder) {
  const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
  const server = createServer((request, response) => {
    const path = request.url === "/" ? "/index.html" : request.url.split("?")[0];
    try {
      const body = readFileSync(join(folder, path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`)));
}

async function vite(name, page, server) {
  const folder = await application(name, page, "src/rejoinder.d.ts", server);
  if (name === "react") await run(folder, "tsc", "--project", ".");
  await run(folder, "vite", "build", "--logLevel", "warn");
  return serve(join(folder, "dist"));
}

async function next(server) {
  const folder = await application("nextjs", "chat-nextjs.md", "app/rejoinder.d.ts", server);
  await run(folder, "next", "build");
  const port = await freePort();
  const child = spawn(join(options.packages, "node_modules", ".bin", "next"), ["start", "--port", port, "--hostname", "127.0.0.1"], {
    cwd: folder,
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  children.push(child);
  const address = `http://127.0.0.1:${port}`;
  await until("the Next.js server", async () => (await fetch(address).catch(() => null))?.ok);
  return address;
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

/** The page of docs/chat-html.md, as its blocks are pasted into a document. */
async function html(server) {
  const text = readFileSync(join(docs, "chat-html.md"), "utf8").replaceAll("https://chat.example.com", server);
  const blocks = [...text.matchAll(/^```html\n(.*?)^```$/gms)].map(([, block]) => block);
  const folder = join(work, "html");
  mkdirSync(folder);
  const head = "<!doctype html><html lang=en><meta charset=utf-8><title>Shop</title><link rel=icon href=data:,><h1>home</h1>";
  writeFileSync(join(folder, "index.html"), `${head}${blocks[1]}${blocks[0]}${readFileSync(join(here, "html/buttons.html"), "utf8")}`);
  return serve(folder);
}

/** Waits until a condition holds. */
async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const WIDGETS = "document.querySelectorAll('rejoinder-chat').length";
const TEXT = "document.querySelector('rejoinder-chat')?.shadowRoot.querySelector('[role=log]')?.textContent ?? ''";

/** Clicks the button with this name, of the page. */
const press = (page, name) => page.locator(`::-p-aria([name="${name}"][role="button"])`).click();

async function tryPage(browser, address) {
  const page = await browser.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && problems.push(message.text()));
  await page.goto(address);
  await until("the chat", async () => (await page.evaluate(WIDGETS)) === 1);
  await press(page, "Ask us");
  const field = await page.waitForSelector("rejoinder-chat >>> textarea", { visible: true });
  await field.type("Hello");
  await field.press("Enter");
  await until("a reply", async () => (await page.evaluate(TEXT)).includes("This answer is short."));
  const leave = async () => {
    await press(page, "Checkout");
    await until("the end of the chat", async () => (await page.evaluate(WIDGETS)) === 0);
  };
  const enter = async () => {
    await press(page, "Home");
    await until("the chat", async () => (await page.evaluate(WIDGETS)) === 1);
  };
  await leave();
  await enter();
  await until("the conversation", async () => (await page.evaluate(TEXT)).includes("This answer is short."));
  await leave();
  const before = await count(page);
  for (let round = 0; round < ROUNDS; round += 1) {
    await enter();
    await leave();
  }
  const after = await count(page);
  for (const name of ["Nodes", "JSEventListeners"]) {
    if (after[name] > before[name]) problems.push(`${name}: ${before[name]}, after ${ROUNDS} rounds ${after[name]}`);
  }
  await page.close();
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return `${ROUNDS} rounds: ${before.Nodes} nodes and ${before.JSEventListeners} listeners before, ${after.Nodes} and ${after.JSEventListeners} after`;
}

/** The nodes and listeners that are left after the garbage was collected. */
async function count(page) {
  const client = await page.createCDPSession();
  for (let pass = 0; pass < 3; pass += 1) await client.send("HeapProfiler.collectGarbage");
  const metrics = await page.metrics();
  await client.detach();
  return metrics;
}

const folder = join(work, "server");
mkdirSync(folder);
const { address: server } = await startServer(folder, options.program);
const frameworks = {
  html: () => html(server),
  react: () => vite("react", "chat-react.md", server),
  vue: () => vite("vue", "chat-vue.md", server),
  nextjs: () => next(server),
};
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic"],
  userDataDir: join(work, "profile"),
});
const failed = [];
for (const [name, start] of Object.entries(frameworks).filter(([name]) => !options.only || options.only === name)) {
  console.log(`\n== ${name}`);
  try {
    console.log(await tryPage(browser, await start()));
  } catch (error) {
    failed.push(`${name}: ${error.message}`);
  }
}
await browser.close();
for (const failure of failed) console.error(`peers: ${failure}`);
process.exit(failed.length > 0 ? 1 : 0);
