// The command line: `plainwire dev`, `serve`, `check`, `post` and `watch`.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { post, request } from '../harness/http.mjs';
import { plainwire, startServer, temporaryFolder } from '../harness/server.mjs';

const CONFIG = `[channel.door]
allow = true
state = { open = false }

[channel.door.command.set]
args = { open = { type = "boolean" } }
set = "{'open': args.open}"

[[channel.door.rule]]
rule = "next.open != old.open"
message = "it is so already"
reason = "no_change"
`;

function config(t, text) {
  const file = path.join(temporaryFolder(t), 'plainwire.toml');
  writeFileSync(file, text);
  return file;
}

test('help names every command', async (t) => {
  const { code, stdout } = await plainwire(t, ['--help']).ended;
  assert.equal(code, 0);
  for (const command of ['dev', 'serve', 'check', 'post', 'watch']) assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
});

test('a config is checked, and served', async (t) => {
  const file = config(t, CONFIG.replace('next.open != old.open', 'next.open in [true, false]'));
  const checked = await plainwire(t, ['check', file]).ended;
  assert.equal(checked.code, 0, checked.stderr);
  assert.match(checked.stdout, /door/);
  const server = await startServer(t, { args: ['serve', '--config', file] });
  assert.deepEqual((await post(server.url('/door:set'), { open: true })).json, { open: true });
  assert.equal((await request(server.url('/counter'))).status, 404, 'the samples are for dev mode');
});

const FAULTS = [
  ['an unknown key', CONFIG.replace('message =', 'massage ='), /:11:1: .*massage/],
  ['an expression that does not compile', CONFIG.replace('args.open}', 'args.open'), /:7:\d+: /],
  ['a rule that the first state breaks', CONFIG.replace('next.open != old.open', 'next.open'), /:10:\d+: /],
  ['an argument that no schema allows', CONFIG.replace('"boolean"', '"bool"'), /:6:\d+: /],
  ['what is not TOML', CONFIG.replace('[[channel', '[[channel['), /:9:\d+: /],
];
for (const [name, text, fault] of FAULTS) {
  test(`a config with ${name} is refused, with the line`, async (t) => {
    const file = config(t, text);
    const checked = await plainwire(t, ['check', file]).ended;
    assert.equal(checked.code, 1, checked.stdout);
    assert.match(checked.stderr, fault);
    const served = await plainwire(t, ['serve', '--config', file, '--listen', '127.0.0.1:0', '--data', temporaryFolder(t)]).ended;
    assert.equal(served.code, 1);
    assert.match(served.stderr, fault);
  });
}

test('dev mode listens on this machine only', async (t) => {
  const refused = await plainwire(t, ['dev', '--listen', '0.0.0.0:0', '--data', temporaryFolder(t)]).ended;
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /--allow-remote/);
});

test('a data directory that is in use is refused', async (t) => {
  const server = await startServer(t);
  const second = await plainwire(t, ['dev', '--listen', '127.0.0.1:0', '--data', server.data]).ended;
  assert.equal(second.code, 1);
  assert.match(second.stderr, /in use/);
  assert.ok(second.stderr.includes(server.data), second.stderr);
  assert.equal((await request(server.url('/_/health'))).status, 200);
});

test('post says whether it happened', async (t) => {
  const server = await startServer(t);
  const up = await plainwire(t, ['post', server.url('/counter:increment'), '{"value":5}']).ended;
  assert.equal(up.code, 0, up.stderr);
  assert.deepEqual(JSON.parse(up.stdout), { count: 5 });
  const down = await plainwire(t, ['post', server.url('/counter:decrement'), '{"value":6}']).ended;
  assert.equal(down.code, 1);
  assert.match(down.stderr, /count cannot be negative/);
  assert.deepEqual((await request(server.url('/counter'))).json, { count: 5 });
});

for (const over of ['sse', 'ndjson', 'websocket', 'longpoll']) {
  test(`watch --over ${over} goes on when the server is killed`, async (t) => {
    const server = await startServer(t);
    await post(server.url('/chat/a'), 1);
    const watching = plainwire(t, ['watch', server.url('/chat/a'), '--over', over, '--from-start', '--json', '--count', '4']);
    await watching.out.find((line) => JSON.parse(line).data === 1, 'the first');
    await post(server.url('/chat/a'), 2);
    await watching.out.find((line) => JSON.parse(line).data === 2, 'the second');
    await server.crash();
    await post(server.url('/chat/a'), 3);
    await post(server.url('/chat/a'), 4);
    const { code, stderr } = await watching.ended;
    assert.equal(code, 0, stderr);
    const messages = watching.out.all.map((line) => JSON.parse(line)).filter(({ event }) => !event?.startsWith('@'));
    assert.deepEqual(messages.map(({ data }) => data), [1, 2, 3, 4]);
  });
}
