// Streams over HTTP: Server-Sent Events and NDJSON, read with fetch.

import { Lines } from './lines.js';
import { ends } from './place.js';

/** What a stream says of itself, in the form that all transports share. */
const RETRY = '@retry';

/** Reads Server-Sent Events (WHATWG HTML, section 9.2.6): here their data is an envelope. */
export function* events(lines, state) {
  for (const line of lines) {
    if (line === '') {
      if (state.data.length) yield JSON.parse(state.data.join('\n'));
      state.data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (field === 'data') state.data.push(value);
    if (field === 'retry' && /^\d+$/.test(value)) yield { event: RETRY, data: Number(value) };
  }
}

function* envelopes(lines) {
  for (const line of lines) if (line) yield JSON.parse(line);
}

const framed = (name, type, parse) => ({
  name,
  async *open({ http, places, signal, heard }) {
    const channels = [...places()];
    const query = channels.map(([channel]) => `channel=${encodeURIComponent(channel)}`);
    query.push(`since=${encodeURIComponent(channels.map(([, cursor]) => cursor ?? '*').join('~'))}`);
    const response = await http.open(`/_/live?${query.join('&')}`, type, { signal });
    if (response.status === 204) return yield* ends(response, channels);
    const reader = response.body.getReader();
    const lines = new Lines();
    const state = { data: [] };
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        yield* parse(lines.push(value), state);
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  },
});

export const sse = framed('sse', 'text/event-stream', events);
export const ndjson = framed('ndjson', 'application/x-ndjson', envelopes);
