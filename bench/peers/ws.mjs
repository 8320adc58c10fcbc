// Node.js with `ws` for WebSockets and its own `http` for Server-Sent Events, as the documentation of each shows a broadcast.
//
// `GET /ws/NAME` with `Upgrade: websocket`; `GET /sse/NAME`. The message is encoded once for everyone; `send` frames it for each client,
// as there is no public way to frame it once.

import { WebSocketServer } from 'ws';
import { Channels, listen, serve } from './channels.mjs';

const sockets = new Channels();
const streams = new Channels();

function publish(name, message) {
  const text = Buffer.from(message);
  for (const socket of sockets.of(name)) socket.send(text, { binary: false });
  const event = Buffer.from(`data: ${message}\n\n`);
  for (const response of streams.of(name)) response.write(event);
}

function stream(request, response) {
  if (!request.url.startsWith('/sse/')) return response.writeHead(404).end();
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  const leave = streams.join(request.url.slice('/sse/'.length), response);
  response.on('close', leave);
  response.flushHeaders();
}

const server = serve(publish, stream);
new WebSocketServer({ server }).on('connection', (socket, request) => {
  const leave = sockets.join(request.url.slice('/ws/'.length), socket);
  socket.on('close', leave);
  socket.on('error', leave);
});
listen(server);
