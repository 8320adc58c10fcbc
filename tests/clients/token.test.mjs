// The tokens of docs/security.md, made as it says there, with each client that carries one.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { deadline } from '../harness/inbox.mjs';
import { startServer, temporaryFolder } from '../harness/server.mjs';

const SECRET = 'a secret of the tests, 32 bytes or more';
const CONFIG = `
[server]
origins = ["https://app.example"]
[auth]
secret = "${SECRET}"
audience = "live.example"
[channel."chat/*"]
`;
const PAGE = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');

/** The first example of the page in a language, with a last line that prints the token. */
function example(language, call) {
  const block = new RegExp('```' + language + '\\n([^]*?)```').exec(PAGE);
  assert.ok(block, `docs/security.md has an example in ${language}`);
  return `${block[1]}\n${call}\n`;
}

function run(command, args) {
  const ended = spawnSync(command, args, { env: { ...process.env, PLAINWIRE_AUTH_SECRET: SECRET }, encoding: 'utf8' });
  assert.equal(ended.status, 0, ended.stderr);
  return ended.stdout.trim();
}

async function start(t) {
  const folder = temporaryFolder(t);
  const config = path.join(folder, 'plainwire.toml');
  writeFileSync(config, CONFIG);
  const server = await startServer(t, { args: ['serve', '--config', config] });
  const made = (name, text, command) => {
    const file = path.join(folder, name);
    writeFileSync(file, text);
    return run(command, [file]);
  };
  const grants = `{ 'watch': ['chat/*'], 'post': ['chat/*'] }`;
  const tokens = {
    node: made('token.mjs', example('js', `console.log(token('alice', ${grants}))`), process.execPath),
    python: made('token.py', example('python', `print(token('alice', ${grants}))`), 'python3'),
  };
  return { server, tokens };
}

test('a token of each example is taken, in each way that a token comes', async (t) => {
  const { server, tokens } = await start(t);
  const url = server.url('/chat/general');
  assert.equal((await fetch(url)).status, 401);
  for (const [made, token] of Object.entries(tokens)) {
    const posted = await fetch(url, { method: 'POST', body: '1', headers: { authorization: `Bearer ${token}` } });
    assert.equal(posted.status, 201, `${made}: ${await posted.text()}`);
    assert.equal((await fetch(`${url}?access_token=${token}`)).status, 200);
    assert.equal((await fetch(url, { headers: { cookie: `plainwire=${token}` } })).status, 200);
    const socket = new WebSocket(url.replace('http', 'ws'), ['plainwire', `bearer.${token}`]);
    const opened = new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
    await deadline(opened, 'the WebSocket did not open');
    assert.equal(socket.protocol, 'plainwire');
    socket.terminate();
  }
});

test('a cookie is of use to no other site', async (t) => {
  const { server, tokens } = await start(t);
  const url = server.url('/chat/general');
  const status = async (origin, method) => {
    const headers = { cookie: `plainwire=${tokens.node}`, ...(origin && { origin }) };
    return (await fetch(url, { method, body: method === 'POST' ? '1' : undefined, headers })).status;
  };
  assert.equal(await status('https://app.example', 'POST'), 201);
  assert.equal(await status('https://evil.example', 'POST'), 403);
  const upgrade = (origin) =>
    new Promise((resolve) => {
      const socket = new WebSocket(url.replace('http', 'ws'), 'plainwire', {
        headers: { cookie: `plainwire=${tokens.node}` },
        origin,
      });
      socket.on('open', () => (socket.terminate(), resolve(101)));
      socket.on('unexpected-response', (request, response) => (request.destroy(), resolve(response.statusCode)));
      socket.on('error', () => {});
    });
  assert.equal(await deadline(upgrade('https://app.example'), 'no answer'), 101);
  assert.equal(await deadline(upgrade('https://evil.example'), 'no answer'), 403);
});
