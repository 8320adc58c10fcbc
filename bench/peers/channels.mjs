// What both Node.js servers share: who listens to which channel, and how a message is published.
//
// `POST /publish/NAME`: the body is one message, or with `?lines` each of its lines is one. 204 once all of them were handed to every
// subscriber's socket. The server says on its first line of output where it listens.

import { createServer } from 'node:http';

/** Connections that wait to be accepted: the benchmark opens thousands at once. */
const BACKLOG = 4096;
/** A publisher that is quiet between two scenarios keeps its connection. */
const KEEP_ALIVE_MS = 600_000;

/** Subscribers by channel. */
export class Channels {
  #members = new Map();

  /** Adds a subscriber; the function that comes back takes it out again. */
  join(name, subscriber) {
    const members = this.#members.get(name) ?? new Set();
    this.#members.set(name, members.add(subscriber));
    return () => {
      members.delete(subscriber);
      if (members.size === 0 && this.#members.get(name) === members) this.#members.delete(name);
    };
  }

  /** The subscribers of a channel, as something to walk over. */
  of(name) {
    return this.#members.get(name) ?? [];
  }
}

/** An HTTP server whose `POST /publish/NAME` calls `publish(name, body)` for each message; `other` answers everything else. */
export function serve(publish, other) {
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    if (request.method !== 'POST' || !pathname.startsWith('/publish/')) return other(request, response, pathname);
    const name = pathname.slice('/publish/'.length);
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts).toString();
    const messages = searchParams.has('lines') ? body.split('\n').filter(Boolean) : [body];
    for (const message of messages) publish(name, message);
    response.writeHead(204).end();
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server;
}

/** Listens on a free port of the loopback interface, and says on which. */
export function listen(server) {
  server.listen({ host: '127.0.0.1', port: 0, backlog: BACKLOG }, () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`);
  });
}
