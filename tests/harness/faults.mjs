// Servers that are none, and a proxy that stands in the way.

import { once } from 'node:events';
import http from 'node:http';

/** A server that answers as `answer(response, request)` does; `asked` says when, in milliseconds, and for what. */
export async function impostor(t, answer) {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push({ at: performance.now(), url: request.url, headers: request.headers, method: request.method });
    answer(response, request);
  });
  return { ...(await listening(t, server)), asked, server };
}

/** Passes requests on to a server, whole answer by whole answer: a stream, which has no end, never comes. No upgrades. `touch(response, request)` may take one. */
export async function bufferingProxy(t, target, touch = () => false) {
  const passed = [];
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const ahead = http.request(target.origin + request.url, { method: request.method, headers: request.headers, agent: false });
    response.on('close', () => ahead.destroy());
    ahead.on('error', () => response.destroy());
    ahead.on('response', async (answered) => {
      const body = [];
      try {
        for await (const part of answered) body.push(part);
      } catch {
        return response.destroy();
      }
      passed.push(request.url);
      if (touch(response, request)) return undefined;
      return response.writeHead(answered.statusCode, answered.headers).end(Buffer.concat(body));
    });
    ahead.end(Buffer.concat(parts));
  });
  server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'));
  return { ...(await listening(t, server)), passed };
}

async function listening(t, server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${server.address().port}` };
}
