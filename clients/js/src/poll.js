// Long polling: one page after the other.

import { foreign, refusal } from './errors.js';
import { before, ends, path, step } from './place.js';

/** How long a page may be waited for, in seconds: as long as other transports are without a heartbeat. */
const WAIT = 25;
/** Shortest time between two requests that bring nothing, in milliseconds: a server that ends, or a proxy, may not wait. */
const LEAST = 1_000;

/** Where a channel stands that is watched from now on, and its state if it has one. */
export async function newest({ http, signal, heard }, channel, limit = 1) {
  const response = await http.open(`${path(channel)}?limit=${limit}`, 'application/json', { signal });
  heard();
  const cursor = response.headers.get('plainwire-cursor');
  const body = await response.json();
  // A page says its cursor twice. A state is whatever the application likes, but not that.
  const isPage = Array.isArray(body?.messages) && body.cursor === cursor;
  return isPage ? { cursor, messages: body.messages } : { cursor, state: body };
}

/** Where a channel stands, as its first pages say. */
async function* begun(context, channel, cursors) {
  const { state, cursor, messages } = await newest(context, channel);
  cursors.set(channel, cursor);
  // Who comes after the end is told of it.
  yield* messages?.filter(({ event }) => event === '@end') ?? [];
  if (state !== undefined) yield { channel, cursor, event: '@state', data: state };
}

export const poll = {
  name: 'poll',
  async *open(context) {
    const { http, places, signal, heard } = context;
    const cursors = new Map(places());
    for (const [channel, cursor] of cursors) {
      if (!cursor || cursor === '*') yield* begun(context, channel, cursors);
    }
    const query = [...cursors.keys()].map((name) => `channel=${encodeURIComponent(name)}`).join('&');
    let isLive = false;
    for (;;) {
      const headers = { accept: 'application/json', ...(isLive && { prefer: `wait=${WAIT}` }) };
      const stood = [...cursors.values()].join('~');
      const since = encodeURIComponent(stood);
      const began = performance.now();
      const response = await http.send(`/_/live?${query}&since=${since}`, { signal, headers, cache: 'no-store' });
      heard();
      if (response.status >= 400) {
        const error = await refusal(response);
        if (response.status !== 410) throw error;
        yield* reset(context, cursors, error);
        isLive = false;
        continue;
      }
      const page = response.status === 204 ? undefined : await response.json();
      if (page && !Array.isArray(page.messages)) throw foreign(response);
      for (const message of page?.messages ?? []) {
        const { channel, cursor } = message;
        const count = step(cursors.get(channel), cursor) - 1;
        // A page says that newer messages replaced some, and the cursors where, and how many.
        if (page.skipped && count > 0) yield { channel, cursor: before(cursor), event: '@skipped', data: { count } };
        cursors.set(channel, cursor);
        yield message;
      }
      const reached = (response.headers.get('plainwire-cursor') ?? '').split('~');
      [...cursors.keys()].forEach((channel, index) => cursors.set(channel, reached[index] ?? cursors.get(channel)));
      // Asked again, it would answer at once.
      if (!page?.messages.length && response.headers.has('plainwire-ended')) return yield* ends(response, [...cursors]);
      const rest = LEAST - (performance.now() - began);
      if (isLive && rest > 0 && stood === [...cursors.values()].join('~')) await new Promise((resolve) => setTimeout(resolve, rest));
      if (isLive || page?.messages.length) continue;
      isLive = true;
      for (const [channel, cursor] of cursors) yield { channel, cursor, event: '@live', data: {} };
    }
  },
};

/** A cursor that leads nowhere. Of several channels it is said of one; of a further one the next answer tells. */
async function* reset(context, cursors, error) {
  const { problem, reason } = error;
  const channels = [...cursors.keys()];
  const { channel = channels[0] } = problem ?? {};
  const cursor = problem?.cursor?.split('~')[channels.indexOf(channel)];
  // Whoever asked again at once would ask for ever.
  if (!cursor || cursor === cursors.get(channel)) throw error;
  const now = await newest(context, channel);
  const isState = now.state !== undefined;
  cursors.set(channel, isState ? now.cursor : cursor);
  // Until the state is there, the watch is where it was.
  yield { channel, ...(!isState && { cursor }), event: '@reset', data: { reason } };
  if (isState) yield { channel, cursor: now.cursor, event: '@state', data: now.state };
}
