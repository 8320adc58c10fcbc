// `plainwire/react` with React in Chromium.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { openPage, startBrowser } from '../harness/browser.mjs';
import { post } from '../harness/http.mjs';
import { startServer } from '../harness/server.mjs';

const CLIENT = fileURLToPath(new URL('../../clients/js', import.meta.url));

/** A page's script with React, made from a module. */
async function bundle(contents) {
  const { build } = createRequire(`${CLIENT}/package.json`)('esbuild');
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: `${CLIENT}/src`, loader: 'jsx' },
    bundle: true,
    format: 'iife',
    write: false,
    define: { 'process.env.NODE_ENV': '"development"' },
    jsx: 'automatic',
  });
  return outputFiles[0].text;
}

const APP = `
import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { connect } from './index.js';
import { useWatch } from './react.js';

window.pw = connect(location.origin, { backoff: { base: 20, cap: 200 } });

function Room({ channel }) {
  const { data, messages, error } = useWatch(pw, channel, { last: 10, keep: 3 });
  return <p>{error ? error.reason : messages.map((message) => message.data).join() + '|' + JSON.stringify(data)}</p>;
}

function App() {
  const [channel, show] = useState('/chat/a');
  window.show = show;
  return channel && <Room channel={channel} />;
}

window.root = createRoot(document.body);
root.render(<StrictMode><App /></StrictMode>);
`;

test('a component shows a channel: what was there, what comes, a state, a refusal, and nothing once it is gone', async (t) => {
  const server = await startServer(t);
  for (const n of [1, 2, 3, 4]) await post(server.url('/chat/a'), n);
  const page = await openPage(await startBrowser(t), server.url('/_/health'));
  await page.addScriptTag({ content: await bundle(APP) });
  const shows = (text) => page.waitForFunction((wanted) => document.body.textContent === wanted, text);
  await shows('2,3,4|4');
  await post(server.url('/chat/a'), 5);
  await shows('3,4,5|5');
  await server.crash();
  await post(server.url('/chat/a'), 6);
  await shows('4,5,6|6');
  await page.evaluate(() => show('/counter'));
  await shows('|{"count":0}');
  await page.evaluate(() => show('/no/such'));
  await shows('no_such_channel');
  await page.evaluate(() => show(''));
  await shows('');
  await page.waitForFunction(() => pw.state === 'idle');
  assert.deepEqual(page.faults, []);
});
