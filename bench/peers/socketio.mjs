// Socket.IO: a room for each channel, WebSocket only. A client names its channel as it connects: `40{"channel":"NAME"}`.

import { Server } from 'socket.io';
import { listen, serve } from './channels.mjs';

const server = serve(
  (name, message) => io.to(name).emit('message', JSON.parse(message)),
  (_request, response) => response.writeHead(404).end(),
);
const io = new Server(server, { transports: ['websocket'], serveClient: false });
// What Socket.IO's page on memory advises: the request of the handshake is not kept.
io.engine.on('connection', (socket) => {
  socket.request = null;
});
io.on('connection', (socket) => socket.join(socket.handshake.auth.channel));
listen(server);
