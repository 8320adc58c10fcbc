// What both Node.js servers share: who listens to which channel, and how a message is published.
//
// `POST /publish/NAME`: the body is one message. 204 once it was handed to every subscriber's socket. The server listens on the port of
// the loopback interface that its one argument names.

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

/** An HTTP server whose `POST /publish/NAME` calls `publish(name, message)`; `other` answers everything else. */
export function serve(publish, other) {
  const server = createServer(async (request, response) => {
    if (request.method !== 'POST' || !request.url.startsWith('/publish/')) return other(request, response);
    const parts = [];
    for await (const part of request) parts.push(part);
    publish(request.url.slice('/publish/'.length), Buffer.concat(parts).toString());
    response.writeHead(204).end();
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server;
}

/** Listens on the port that the first argument names. */
export function listen(server) {
  server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: BACKLOG });
}
