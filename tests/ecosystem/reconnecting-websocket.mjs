// Follows a channel with reconnecting-websocket. Its URL is a function, so that each connection goes on from the last cursor.

import ReconnectingWebSocket from 'reconnecting-websocket';
import { WebSocket } from 'ws';

const [url] = process.argv.slice(2);
let cursor = '0';

const socket = new ReconnectingWebSocket(() => `${url.replace(/^http/, 'ws')}?since=${cursor}`, ['plainwire'], {
  WebSocket,
  minReconnectionDelay: 100,
  maxReconnectionDelay: 2000,
});
socket.addEventListener('message', ({ data }) => {
  const envelope = JSON.parse(data);
  cursor = envelope.cursor ?? cursor;
  if (!envelope.event?.startsWith('@')) console.log(JSON.stringify({ cursor, data: envelope.data }));
});
