// What a person sees, in Chromium. `node check.mjs FOLDER` inside a network that has a manager (tests/page.rs): a line on stdout
// that begins with "> " asks for another one, and is answered by a line on stdin. Pictures go to FOLDER.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { MANAGER, Machine } from "./machines.mjs";

const BASE = `http://${MANAGER.host}:${MANAGER.port}/`;
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const folder = process.argv[2];
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function manager(what) {
  console.log(`> ${what}`);
  const { value } = await answers.next();
  assert.equal(value, "done");
}

// A page in a context of its own; what must never happen is written down.
const bad = [];
async function open(more = {}) {
  const context = await browser.newContext({ viewport: DESK, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.on("dialog", (dialog) => (bad.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  page.on("pageerror", (error) => bad.push(`error: ${error}`));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && bad.push(`console: ${message.text()}`));
  page.on("request", (request) => {
    const url = request.url();
    if (request.method() !== "GET" || !(url.startsWith(BASE) || url.startsWith("data:image/svg+xml")))
      bad.push(`${request.method()} ${url}`);
  });
  const answer = await page.goto(BASE);
  assert.match(answer.headers()["content-security-policy"], /^default-src 'none'; style-src 'self'; script-src 'self';/);
  return page;
}

async function step(what, work) {
  const begin = performance.now();
  await work();
  assert.deepEqual(bad, [], what);
  console.log(`${what}: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
}

const says = (place, text) => place.filter({ hasText: text }).first().waitFor();
const row = (page, machine) => page.locator(`#m-${machine.id}`);
const picture = (page, name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: !name.startsWith("busy") });
const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

const first = new Machine(1);
const profile = mkdtempSync(join(tmpdir(), "ramboot-page-"));
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", `--disk-cache-dir=${profile}`],
});
// Whatever hangs.
setTimeout(() => (console.error("120 s are over"), process.exit(1)), 120_000).unref();
const tour = [nothing, boots, keyboard, streams, hostile, lost, failing, busy];
try {
  for (const one of tour) await step(one.name, one);
} finally {
  await browser.close();
  rmSync(profile, { recursive: true });
  process.stdin.destroy();
}

async function nothing() {
  const page = await open();
  await says(page.locator("#images code"), "ramboot publish");
  await says(page.locator("#machines"), "No machine was seen yet");
  await picture(page, "empty");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "empty-dark");
  await manager("publish");
  // Nobody reloads.
  await says(page.locator("#images tbody th"), "default");
  await page.context().close();
}

// One machine, from its firmware's first question on; the page is never loaded again.
async function boots() {
  const page = await open();
  await page.evaluate(() => (window.same = true));
  const machine = first;
  const state = row(page, machine).locator(".state");
  await machine.discover();
  await says(state, "asks for an address");
  await machine.load();
  await says(state, "loads its boot loader");
  let read;
  machine.slow = new Promise((resolve) => (read = resolve));
  const kernel = machine.load("kernel");
  await says(state, "loads the kernel");
  read();
  await kernel;
  await machine.load("initrd");
  await says(state, "starts Linux");
  await machine.stages("modules");
  await says(state, "waits for a cable");
  await machine.stages("chunks");
  await says(state, "fetches the image: 0 of");
  const size = 32 << 20;
  await machine.get(`/images/${machine.image}/image.sqfs`, { Range: `bytes=0-${size - 1}` });
  await says(state, "fetches the image: 33 of 67 MB");
  const share = await state.locator("progress").evaluate((bar) => bar.value / bar.max);
  assert.ok(share > 0.45 && share < 0.6, `${share}`);
  await machine.report("fetch");
  await says(state, "mounts the image");
  await machine.report("mount");
  await machine.report("handover", { waterfall: [{ what: "early", begin_ms: 0, end_ms: 20 }, { what: "fetch", begin_ms: 20, end_ms: 900 }] });
  await machine.beat();
  await says(row(page, machine), "node-1");
  assert.match(await row(page, machine).innerText(), /up\b[^]*1 h 0 min[^]*51 GB of 64 GB free/);
  assert.equal(await page.evaluate(() => window.same), true);
  assert.match(await page.title(), /^1 up/);
  await page.context().close();
}

// Tab reaches everything, Enter opens, and an update takes nothing away from who reads.
async function keyboard() {
  const page = await open();
  const second = new Machine(2);
  const reached = [];
  for (let at = "", tabs = 0; at !== "BODY" && tabs < 40; tabs++) {
    await page.keyboard.press("Tab");
    at = await page.evaluate(() => {
      const { nodeName, innerText, ariaLabel } = document.activeElement;
      return nodeName === "BODY" ? nodeName : ariaLabel ?? innerText;
    });
    reached.push(at);
  }
  const want = ["To the machines", `Boot of node-1, `, "nodes.json", "metrics", "BODY"];
  assert.deepEqual(reached.map((text) => text.replace(/[\d.]+ s$/, "")), want);
  const summary = row(page, first).locator("summary");
  const more = page.locator(`#d-${first.id}`);
  await summary.focus();
  assert.notEqual(await summary.evaluate((it) => getComputedStyle(it).outlineStyle), "none");
  assert.equal(await more.isVisible(), false);
  await page.keyboard.press("Enter");
  await says(more, "initramfs");
  await page.evaluate((id) => {
    window.node = document.activeElement;
    getSelection().selectAllChildren(document.querySelector(`#d-${id} tbody th`));
  }, first.id);
  // Another one goes in before it, and its own row changes.
  await second.discover();
  await first.beat({ hostname: "renamed-1" });
  await says(row(page, second), "asks for an address");
  await says(row(page, first), "renamed-1");
  assert.ok(await page.evaluate(() => document.activeElement === window.node && window.node.isConnected), "focus");
  assert.equal(await page.evaluate(() => getSelection().toString()), "dhcp");
  assert.equal(await more.isVisible(), true);
  await page.keyboard.press("Enter");
  await more.waitFor({ state: "hidden" });
  await page.context().close();
}

// The same machine boots once more, and runs before its image is there.
async function streams() {
  const page = await open();
  await page.evaluate(() => (window.same = true));
  const state = row(page, first).locator(".state");
  await first.stages("chunks");
  await first.report("fetch", { facts: [["gate", "hot"], ["resident", "9%"]] });
  await first.report("mount");
  await first.report("handover", { waterfall: [["early", 0, 20], ["fetch", 20, 300], ["mount", 300, 320]].map(([what, begin_ms, end_ms]) => ({ what, begin_ms, end_ms })) });
  await says(state, "running, 9 % resident");
  const filling = { resident: 25_000_000, size: 64 << 20, per_second: 3_500_000, blocked_ms: 0 };
  await first.beat({ up_s: 3660, filling });
  await says(state, /^running, 37 % resident, 1\d s to independence$/);
  assert.equal(await state.locator("progress").evaluate((bar) => bar.value / bar.max), 0.37);
  await row(page, first).locator("summary").click();
  await says(page.locator(`#d-${first.id} th`), "untethered");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await picture(page, `streams-${colorScheme}`);
  }
  await first.beat({ up_s: 3662, filling: { ...filling, per_second: 0, blocked_ms: 12_000 } });
  await says(page.locator("#trouble"), "a program of this machine has waited 12 s for a part of the image");
  await says(state, "running, 37 % resident, waits for the manager");
  await picture(page, "streams-waits");
  await first.report("untethered", { ms: 9000 });
  await says(state, /^up$/);
  assert.equal(await state.locator("progress").count(), 0);
  assert.equal(await page.locator("#trouble").count(), 0);
  assert.match(await page.locator(`#d-${first.id}`).innerText(), /untethered[^]*9\s000 ms/);
  assert.equal(await page.evaluate(() => window.same), true);
  await row(page, first).locator("summary").click();
  await page.context().close();
}

// What a machine says of itself is never more than text.
async function hostile() {
  const page = await open();
  const evil = ['<img src=x onerror="alert(1)">', "</td></table><script>alert(2)</script>", "<svg onload=alert(3)>"];
  const machine = new Machine(3, { model: evil[0] });
  await machine.discover();
  await machine.load();
  await machine.report("early", { facts: [["machine", evil[0]]] });
  const waterfall = [{ what: evil[2], begin_ms: 0, end_ms: 10 }];
  await machine.report("mount", { error: `${evil[1]} \u202egnp.exe`, waterfall });
  await says(page.locator("#trouble"), evil[1]);
  await says(page.locator("#trouble .what"), "\ufffdgnp.exe");
  await says(row(page, machine).locator("th"), evil[0]);
  await row(page, machine).locator("summary").click();
  await says(page.locator(`#d-${machine.id} th`), evil[2]);
  const strange = await page.evaluate(() => document.querySelectorAll("img, iframe, script:not([src^='/page.js']), [onerror], [onload], [style]").length);
  assert.equal(strange, 0);
  assert.equal(await page.locator("#m-" + machine.id + " > *").count(), 7);
  // And if it ever were more, nothing that stands in the page itself is run.
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    return window.ran;
  });
  assert.equal(ran, undefined);
  assert.match(bad.pop(), /Content Security Policy/);
  for (const path of ["/", "/page.js", "/nodes.json"])
    await assert.rejects(machine.ask("POST", path), /405/);
  await page.context().close();
}

async function lost() {
  const page = await open();
  await says(page.locator("#machines"), "3 machines known");
  await manager("stop");
  const line = page.locator("#lost");
  await line.waitFor();
  assert.match(await line.innerText(), /^The manager does not answer since \d\d:\d\d:\d\d; what is below is old\./);
  assert.match(await page.title(), /^no answer/);
  await says(page.locator("#machines"), "3 machines known");
  await picture(page, "lost");
  // That is what the console is for.
  bad.length = 0;
  await manager("start");
  await line.waitFor({ state: "hidden" });
  await says(page.locator("#machines"), "No machine was seen yet");
  bad.length = 0;
  await page.context().close();
}

async function failing() {
  const error = {
    mount: "mounting the image: squashfs of /dev/loop0: EINVAL (Invalid argument)",
    fetch: "the image has 700 MiB, and 512 MiB of RAM are free",
    net: "no network card was found in 30 s: 8086:15f3 has no driver",
  };
  const steps = { mount: "fetch", fetch: "chunks", net: "modules" };
  await Promise.all(Object.keys(error).flatMap((stage, kind) => [0, 1].map(async (which) => {
    const machine = new Machine(10 + 2 * kind + which, { model: "Supermicro X11DPi" });
    await machine.discover();
    await machine.load("kernel", "initrd");
    await machine.stages(steps[stage]);
    await machine.report(stage, { error: error[stage], facts: which && stage === "fetch" ? [["again", "yes"]] : [] });
  })));
  // An arm64 machine, and there is no image for it.
  const arm = new Machine(20);
  await arm.discover();
  await arm.get(`/ipxe/${arm.id}.aarch64`);
  const up = new Machine(21);
  await up.discover();
  await up.load("kernel", "initrd");
  await up.stages("handover");
  const page = await open();
  await says(page.locator("#trouble"), "squashfs of /dev/loop0");
  for (const stage of Object.keys(error)) await says(page.locator("#trouble"), error[stage]);
  await says(page.locator("#machines .state"), "tries again");
  assert.equal(await page.locator("#trouble .remedy").count(), 4);
  await picture(page, "failing");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "failing-dark");
  await page.context().close();
}

// Forty machines in a real mix.
async function busy() {
  await manager("stop");
  await manager("start");
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const models = ["Dell Inc. PowerEdge R640", "Supermicro X11DPi", "HP ProLiant DL360 Gen10"];
  const bars = (fetch) => {
    const took = [["early", 30], ["modules", 310], ["net", 90], ["dhcp", 40], ["files", 20], ["chunks", 50], ["fetch", fetch], ["mount", 40], ["handover", 10]];
    let at = 0;
    return took.map(([what, ms]) => ({ what, begin_ms: at, end_ms: (at += ms) }));
  };
  // Each at its own pace: firmware, kernel, Linux's start, /init; some stay where they are.
  await Promise.all(Array.from({ length: 40 }, async (_, number) => {
    const pi = number % 8 === 3;
    const machine = new Machine(101 + number, { pi, model: pi ? undefined : models[number % 3] });
    const slow = (ms) => pause(ms * (0.8 + ((number * 7) % 10) / 20));
    await slow(100);
    await machine.discover();
    if (number === 39) return;
    await slow(500);
    await machine.load();
    if (number === 38) return;
    await slow(200);
    machine.slow = pause(300 + number * 5);
    await machine.load("kernel");
    machine.slow = pause(600 - number * 5);
    await machine.load("initrd");
    await slow(900);
    if (number === 37) return;
    await slow(500 + (number % 4) * 150);
    if (number === 36) return machine.stages("early");
    if (number >= 31) {
      await machine.stages("chunks");
      if (number === 35) {
        await machine.report("fetch", { error: "chunk 17 from 10.98.0.1: the digest is another one: a wire that changes bits?" });
        return;
      }
      const end = ((number - 30) << 23) - 1;
      await machine.get(`/images/${machine.image}/image.sqfs`, { Range: `bytes=0-${end}` });
      return;
    }
    // Three booted before the last publish.
    if (number >= 28) machine.image = "41".repeat(32);
    await machine.stages("handover", bars(400 + (number % 4) * 150 + (number % 5) * 80));
    await machine.beat({
      hostname: `${pi ? "pi" : "node"}-${number + 1}`, up_s: 3600 + number * 5000, memory: pi ? 4096e6 : 64e9,
      available: (pi ? 3.1e9 : 51e9) - number * 3e7, load_percent: (number * 37) % 800,
    });
  }));
  writeFileSync(join(folder, "metrics.txt"), await new Machine(150).get("/metrics"));
  const page = await open();
  await says(page.locator("#machines"), "40 machines known");
  await says(page.locator("#images"), "3 machines would change on reboot");
  const count = (id) => page.locator(`#n-${id} dd`).innerText();
  assert.deepEqual(await Promise.all(["trouble", "booting", "up"].map(count)), ["1", "8", "31"]);
  await page.locator("summary").nth(4).click();
  await page.setViewportSize({ ...DESK, height: 1160 });
  await picture(page, "busy");
  const light = await ground(page);
  assert.equal(await sideways(page), 0);
  await page.context().close();

  const dark = await open({ colorScheme: "dark" });
  await picture(dark, "busy-dark");
  assert.notEqual(await ground(dark), light);
  await dark.context().close();

  for (const width of [320, 390]) {
    const phone = await open({ viewport: { ...PHONE, width } });
    if (width === 390) await picture(phone, "busy-phone");
    await phone.locator("summary").nth(4).click();
    assert.equal(await sideways(phone), 0, `${width} pixels`);
    if (width === 390) {
      await phone.locator("#h-machines").evaluate((head) => head.scrollIntoView());
      await picture(phone, "busy-phone-machines");
    }
    await phone.context().close();
  }

  // No script: the same table, details open, and a word on how to see changes.
  const plain = await open({ javaScriptEnabled: false });
  assert.equal(await plain.locator("table.machines > tbody > tr:not(.more)").count(), 40);
  await says(plain.locator("noscript p"), "reload to see what has changed");
  await plain.locator("summary").first().click();
  assert.equal(await plain.locator("tr:has(details[open]) + .more").isVisible(), true);
  await picture(plain, "whole");
  await plain.context().close();
}
