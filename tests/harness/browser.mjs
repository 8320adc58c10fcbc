// Chromium, driven by playwright-core.

import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { DEADLINE_MS, Inbox } from './inbox.mjs';

const SCREENSHOTS = process.env.PLAINWIRE_SCREENSHOTS ?? fileURLToPath(new URL('../../target/screenshots', import.meta.url));
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'];

/** Starts Chromium for one test, and ends it with the test. `args` come beside those that every test needs. */
export async function startBrowser(t, { args = [] } = {}) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, headless: true, args: [...ARGUMENTS, ...args] });
  t.after(() => browser.close());
  return browser;
}

/** Opens a page; what goes wrong in it is in `page.faults`. */
export async function openPage(browser, url, { viewport } = {}) {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(DEADLINE_MS);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  await page.goto(url);
  return page;
}

/** A page of the server's origin that does nothing by itself, and an inbox that its `push(value)` fills. */
export async function blankPage(browser, server) {
  const page = await browser.newPage();
  const inbox = new Inbox('the page');
  await page.exposeFunction('push', inbox.push);
  await page.goto(server.url('/_/health'));
  return { page, inbox };
}

/** Writes a screenshot of the whole page below target/screenshots. */
export async function screenshot(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage: true });
}
