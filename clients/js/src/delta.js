// States by what changes of them (RFC 7396), put together again: less is sent, and whoever watches sees whole states.

import { PlainwireError } from './errors.js';

const DELTA = 'merge-patch';

/**
 * The same transport, but of states it asks for their changes. Pages have none, so long polls bring whole states as ever.
 *
 * `states` has the state of each channel that has one, and the cursor as of which it is so. Where that is not where a watch stands, the
 * channel begins again with its whole state.
 */
export const merging = (states) => (transport) =>
  transport.name === 'poll'
    ? transport
    : {
        name: transport.name,
        async *open(wire) {
          const { http, places } = wire;
          wire.asks = { delta: DELTA };
          wire.places = () => places().map(([channel, cursor]) => [channel, (states.get(channel)?.cursor ?? cursor) === cursor ? cursor : '*']);
          const open = (target, ...more) => http.open(`${target}&delta=${DELTA}`, ...more);
          // Where something is left out, what comes next stands for all of it: it is told as the whole.
          const jumps = new Set();
          for await (let { event, ...frame } of transport.open(transport.name === 'websocket' ? wire : { ...wire, http: { open } })) {
            const { channel, cursor } = frame;
            const known = states.get(channel);
            if (event === '@skipped' && !cursor) jumps.add(channel);
            if (event === '@patch') {
              if (!known?.cursor) {
                // Whoever gave the watch its cursor may have had the state; here it begins with it.
                states.set(channel, { cursor: '' });
                throw new PlainwireError('a state is needed first', { reason: 'state' });
              }
              known.data = frame.data = merged(known.data, frame.data);
              event = jumps.has(channel) ? '@state' : undefined;
            }
            if (cursor) jumps.delete(channel);
            if (event === '@state') states.set(channel, frame);
            else if (known && cursor) known.cursor = cursor;
            yield event ? { event, ...frame } : frame;
          }
        },
      };

/** Neither value is changed. Members are defined, not set: one that is called `__proto__` is one like any other. */
export function merged(value, patch) {
  if (!isObject(patch)) return patch;
  const members = new Map(isObject(value) ? Object.entries(value) : []);
  for (const [name, change] of Object.entries(patch)) {
    if (change === null) members.delete(name);
    else members.set(name, merged(members.get(name), change));
  }
  return Object.fromEntries(members);
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
