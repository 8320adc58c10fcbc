// One WebSocket for all channels.

import { PlainwireError, refused } from './errors.js';
import { path } from './place.js';

/** Close codes that stand for a status. */
const STATUSES = { 3000: 401, 3003: 403 };

export const websocket = {
  name: 'websocket',
  async *open(wire) {
    const { http, places, version, signal, heard, WebSocket = globalThis.WebSocket } = wire;
    if (!WebSocket) throw new PlainwireError('there are no WebSockets here', { reason: 'transport' });
    const token = await http.token.get();
    const socket = new WebSocket(`${http.base.replace(/^http/, 'ws')}/_/live`, ['plainwire']);
    const said = [];
    const watched = new Map();
    // Watches that were asked for and not answered yet: until then a push is of the watch before it.
    const asked = new Map();
    let wake, ended;
    const send = (request) => socket.send(JSON.stringify(request));
    const update = () => {
      if (socket.readyState !== 1) return;
      const wanted = new Map(places());
      for (const channel of watched.keys()) {
        if (wanted.has(channel)) continue;
        watched.delete(channel);
        send({ id: `-${channel}`, unwatch: path(channel) });
      }
      for (const [channel, cursor] of wanted) {
        if (watched.get(channel) === version(channel)) continue;
        watched.set(channel, version(channel));
        asked.set(channel, (asked.get(channel) ?? 0) + 1);
        const since = cursor && cursor !== '*' ? { since: cursor } : {};
        send({ id: `+${channel}`, watch: path(channel), ...since, ...wire.asks });
      }
    };
    socket.onopen = () => {
      if (token) send({ id: 'auth', auth: token });
      update();
    };
    socket.onmessage = ({ data }) => {
      heard();
      said.push(data);
      wake?.();
    };
    // Its end says more.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      const status = STATUSES[code];
      ended = status ? refused(status, { detail: reason || 'the credential is over' }) : new PlainwireError(`the WebSocket was closed (${code}${reason && `: ${reason}`})`);
      if (code === 1000 || code === 1012) ended = undefined;
      said.push(undefined);
      wake?.();
    };
    const close = () => socket.close();
    signal.addEventListener('abort', close, { once: true });
    // Pings are answered by the browser and never seen here: to hear something, something is asked.
    wire.beat = () => {
      const [[channel]] = places();
      if (socket.readyState === 1) send({ id: '?', get: path(channel), limit: 1 });
    };
    wire.renewed = (newer) => send({ id: 'auth', auth: newer });
    wire.changed = update;
    try {
      for (;;) {
        if (!said.length) await new Promise((resolve) => (wake = resolve));
        for (const data of said.splice(0)) {
          if (data === undefined) {
            if (ended) throw ended;
            return;
          }
          const frame = JSON.parse(data);
          if ('id' in frame) {
            const channel = typeof frame.id === 'string' && frame.id[0] === '+' && frame.id.slice(1);
            if (channel) asked.set(channel, asked.get(channel) - 1);
            yield* reply(frame, channel);
          } else if (!asked.get(frame.channel)) yield frame;
        }
      }
    } finally {
      signal.removeEventListener('abort', close);
      socket.onclose = socket.onmessage = null;
      socket.close();
    }
  },
};

/** What a reply says of a watch: where it begins, or why it does not. */
function* reply({ id, status, cursor, body, retry_after }, channel) {
  if (id === 'auth' && status >= 400) throw refused(status, body ?? {});
  if (!channel) return;
  if (status < 400) yield { event: '@begun', channel, cursor };
  else if (status === 429 || status >= 500) throw refused(status, body ?? {}, (retry_after ?? 0) * 1000);
  else yield { event: '@refused', channel, data: refused(status, body ?? {}) };
}
