// What an app does with calls, as its author's compiler sees it.

import { connect } from './index.js';
import { join, type Peer } from './call.js';

export function calls(stream: MediaStream) {
  const client = connect('https://example.org', { token: () => 'a token' });
  const call = join(client, '/call/x', { member: 'ann', stream, channels: { data: {}, files: { ordered: false } } });
  const off: () => void = call.on('open', ({ peer, channel }) => console.log(peer.send('hello'), channel.label));
  call.on('message', ({ data }) => console.log(typeof data === 'string' ? data.length : data.byteLength));
  call.on('track', ({ streams, track }) => console.log(streams[0]?.id, track.kind));
  call.on('gone', (peer: Peer) => console.log(peer.member, peer.state));
  call.on('end', (error) => console.log(error?.message));
  for (const [id, { since, info }] of call.members) console.log(id, since, info);
  const reached: number = call.send(new Uint8Array(3), 'files');
  off();
  call.leave();

  // @ts-expect-error a member has a name
  join(client, '/call/x', {});
  // @ts-expect-error no such event
  call.on('arrived', () => {});
  // @ts-expect-error a track is sent, not a stream
  call.addTrack(stream);
  return reached;
}
