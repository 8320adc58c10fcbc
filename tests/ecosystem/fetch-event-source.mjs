// Follows a channel with @microsoft/fetch-event-source: Server-Sent Events over fetch, with headers of your own. It sends the last id when it comes back.

import { fetchEventSource } from '@microsoft/fetch-event-source';

const [url] = process.argv.slice(2);

// It is made for browsers; in Node.js it finds its timers here.
globalThis.window ??= globalThis;

await fetchEventSource(`${url}?last_event_id=0`, {
  headers: process.env.TOKEN ? { authorization: `Bearer ${process.env.TOKEN}` } : {},
  openWhenHidden: true,
  async onopen(response) {
    // 4xx will not get better; everything else is worth another attempt.
    if (response.status >= 400 && response.status < 500 && response.status !== 429) process.exit(1);
  },
  onmessage({ id, event, data }) {
    // It also calls back for heartbeats and `retry:`, without data; and for what the server itself has to say.
    if (data && !event.startsWith('@')) console.log(JSON.stringify({ cursor: id, data: JSON.parse(data) }));
  },
  // A stream ends after an hour, and when the server goes: that is no reason to stop.
  onclose() {
    throw new Error('the stream ended');
  },
  onerror: () => 300,
});
