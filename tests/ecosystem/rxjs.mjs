// Follows a channel as an observable, with RxJS. Each subscription goes on from the last cursor, so `retry` and `repeat` are all it takes to come back.

import { defer, filter, repeat, retry, tap } from 'rxjs';
import { webSocket } from 'rxjs/webSocket';
import { WebSocket } from 'ws';

const [url] = process.argv.slice(2);
let cursor = '0';

const messages = defer(() => webSocket({ url: `${url.replace(/^http/, 'ws')}?since=${cursor}`, protocol: 'plainwire', WebSocketCtor: WebSocket })).pipe(
  tap((envelope) => (cursor = envelope.cursor ?? cursor)),
  filter(({ event }) => !event?.startsWith('@')),
  retry({ delay: 300 }),
  repeat({ delay: 300 }),
);
messages.subscribe(({ cursor, data }) => console.log(JSON.stringify({ cursor, data })));
