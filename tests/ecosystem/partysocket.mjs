// Follows a channel with partysocket's WebSocket. Its URL is a function, so that each connection goes on from the last cursor.

import PartyWebSocket from 'partysocket/ws';
import { WebSocket } from 'ws';

const [url] = process.argv.slice(2);
let cursor = '0';

const socket = new PartyWebSocket(() => `${url.replace(/^http/, 'ws')}?since=${cursor}`, ['plainwire'], {
  WebSocket,
  minReconnectionDelay: 100,
  maxReconnectionDelay: 2000,
});
socket.addEventListener('message', ({ data }) => {
  const envelope = JSON.parse(data);
  cursor = envelope.cursor ?? cursor;
  if (!envelope.event?.startsWith('@')) console.log(JSON.stringify({ cursor, data: envelope.data }));
});
