// The page at `/`: five panes that watch one counter. Its hooks are described in console/app.js.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openPage, screenshot, startBrowser } from '../harness/browser.mjs';
import { post } from '../harness/http.mjs';
import { startServer } from '../harness/server.mjs';

const PANES = ['ws', 'sse', 'ndjson', 'longpoll', 'poll'];
/** A page reconnects with growing pauses, of up to some seconds. In milliseconds. */
const RECONNECTED_MS = 30_000;

/** The attributes of every pane, by its key. */
const panes = (page) =>
  page.evaluate(() => Object.fromEntries([...document.querySelectorAll('[data-pane]')].map(({ dataset }) => [dataset.pane, { ...dataset }])));

/** Waits until every pane has what `wanted` says, attribute by attribute. */
async function allPanes(page, wanted, { keys = PANES, timeout = RECONNECTED_MS } = {}) {
  const isSo = ([keys, wanted]) =>
    keys.every((key) => {
      const pane = document.querySelector(`[data-pane=${key}]`);
      return pane && Object.entries(wanted).every(([name, value]) => pane.dataset[name] === String(value));
    });
  try {
    await page.waitForFunction(isSo, [keys, wanted], { timeout });
  } catch {
    assert.fail(`not every pane of ${keys} became ${JSON.stringify(wanted)}: ${JSON.stringify(await panes(page), null, 1)}`);
  }
}

async function noFaults(page) {
  const faults = await page.evaluate(() => Object.entries(window.plainwireDemo.panes).map(([key, pane]) => [key, pane.faults]));
  assert.deepEqual(faults, PANES.map((key) => [key, 0]));
  assert.deepEqual(page.faults, []);
}

const click = (page, action, pane) => page.click(`${pane ? `[data-pane=${pane}] ` : ''}[data-action=${action}]`);

async function openDemo(t, options) {
  const server = await startServer(t);
  const page = await openPage(await startBrowser(t), server.url('/'), options);
  await allPanes(page, { state: 'live', count: 0 });
  return { server, page };
}

test('five panes go live, and every increment shows in all of them', async (t) => {
  const { server, page } = await openDemo(t, { viewport: { width: 1280, height: 900 } });
  await page.fill('#amount', '5');
  await click(page, 'increment');
  await allPanes(page, { count: 5, state: 'live' });
  const { cursor } = await post(server.url('/counter:increment'), { value: 2 });
  await allPanes(page, { count: 7, cursor });
  await click(page, 'burst');
  await allPanes(page, { count: 107, state: 'live' });
  await noFaults(page);
  await screenshot(page, 'page');
});

test('the refused command moves nothing and shows its message', async (t) => {
  const { server, page } = await openDemo(t);
  const { cursor } = await post(server.url('/counter:increment'), { value: 5 });
  await allPanes(page, { count: 5, cursor });
  const before = await panes(page);
  await click(page, 'reject');
  await page.waitForSelector('#answer[data-status="400"]');
  assert.match(await page.textContent('#answer'), /count cannot be negative/);
  // What comes next is the very next offset, so nothing was sent in between.
  await click(page, 'increment');
  await allPanes(page, { count: 10, state: 'live' });
  const after = await panes(page);
  for (const key of ['ws', 'sse', 'ndjson', 'longpoll']) {
    assert.equal(Number(after[key].received), Number(before[key].received) + 1, key);
  }
  await noFaults(page);
  await screenshot(page, 'page-refused');
});

test('a pane that is cut resumes, and misses nothing', async (t) => {
  const { server, page } = await openDemo(t);
  for (const key of PANES) await click(page, 'cut', key);
  for (let n = 1; n <= 20; n++) await post(server.url('/counter:increment'), { value: 1 });
  await allPanes(page, { count: 20, state: 'live' });
  await noFaults(page);
});

test('a pane that changes its transport goes on from its cursor', async (t) => {
  const { server, page } = await openDemo(t);
  let count = 0;
  for (let turn = 1; turn <= PANES.length; turn++) {
    for (const key of PANES) await click(page, 'switch', key);
    for (let n = 0; n < 10; n++) await post(server.url('/counter:increment'), { value: 1 });
    count += 10;
    await allPanes(page, { count, state: 'live' });
  }
  const transports = await panes(page);
  for (const key of PANES) assert.equal(transports[key].transport, key, 'once around');
  await noFaults(page);
});

test('a gap turns a pane red', async (t) => {
  const { server, page } = await openDemo(t);
  const { cursor } = await post(server.url('/counter:increment'), { value: 1 });
  await allPanes(page, { count: 1, cursor });
  await page.evaluate((cursor) => {
    const [epoch, offset] = cursor.split('.');
    window.plainwireDemo.panes.sse.receive({ cursor: `${epoch}.${Number(offset) + 2}`, data: { count: 3 } });
  }, cursor);
  await allPanes(page, { state: 'error' }, { keys: ['sse'] });
  await allPanes(page, { state: 'live' }, { keys: PANES.filter((key) => key !== 'sse') });
  await screenshot(page, 'page-gap');
});

test('the server is killed, and every pane resumes', async (t) => {
  const { server, page } = await openDemo(t);
  await post(server.url('/counter:increment'), { value: 5 });
  await allPanes(page, { count: 5, state: 'live' });
  await server.kill();
  await page.waitForSelector('[data-pane=ws]:not([data-state=live])');
  await screenshot(page, 'page-killed');
  await server.start();
  for (let n = 0; n < 10; n++) await post(server.url('/counter:increment'), { value: 1 });
  await allPanes(page, { count: 15, state: 'live' });
  await noFaults(page);
});

test('on a phone, and in the dark', async (t) => {
  const { page } = await openDemo(t, { viewport: { width: 390, height: 844 } });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0, 'nothing sticks out to the right');
  await screenshot(page, 'page-phone');
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize({ width: 1280, height: 900 });
  await screenshot(page, 'page-dark');
});

test('the page needs no other host', async (t) => {
  const server = await startServer(t);
  const browser = await startBrowser(t);
  const page = await browser.newPage();
  const elsewhere = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (!['data:', 'blob:'].includes(url.protocol) && url.host !== new URL(server.origin).host) elsewhere.push(request.url());
  });
  await page.goto(server.url('/'));
  await allPanes(page, { state: 'live' });
  assert.deepEqual(elsewhere, []);
});
