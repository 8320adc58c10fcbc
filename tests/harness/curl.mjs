// curl as a child process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { deadline, Inbox, lines } from './inbox.mjs';

/** Runs curl to its end. Returns `{status, version, headers, text, json, cursor}` of the last answer. */
export async function curl(...args) {
  const child = spawn('curl', ['--silent', '--show-error', '--include', '--max-time', '20', ...args]);
  const [out, err] = [gather(child.stdout), gather(child.stderr)];
  const [code] = await deadline(once(child, 'close'), `curl ${args.join(' ')} did not end`, 30_000);
  assert.equal(code, 0, `curl ${args.join(' ')}: exit ${code}: ${err()}`);
  return parse(out());
}

/** Runs curl -N. Its lines arrive in the inbox as they come; the test's end kills it. */
export function stream(t, ...args) {
  const child = spawn('curl', ['--silent', '--show-error', '--no-buffer', '--include', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  t.after(() => (child.kill('SIGKILL'), ended));
  return lines(child.stdout, new Inbox(`curl -N ${args.join(' ')}`));
}

function gather(pipe) {
  const parts = [];
  pipe.on('data', (part) => parts.push(part));
  return () => Buffer.concat(parts).toString('utf8');
}

function parse(output) {
  const at = output.indexOf('\r\n\r\n');
  const [first, ...fields] = output.slice(0, at).split('\r\n');
  const [, version, status] = /^HTTP\/(\S+) (\d+)/.exec(first) ?? [];
  assert.ok(status, `not an HTTP answer: ${output.slice(0, 200)}`);
  const text = output.slice(at + 4);
  if (status === '100' || /^HTTP\/\S+ \d+ /.test(text)) return parse(text);
  const headers = new Headers(fields.map((field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 1).trim()]));
  const json = /json/.test(headers.get('content-type') ?? '') && text ? JSON.parse(text) : undefined;
  return { status: Number(status), version, headers, text, json, cursor: headers.get('plainwire-cursor') };
}
