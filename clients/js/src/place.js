// Where a watch stands in its channel.

/** How far a message at `cursor` is ahead of what was reached: 1 is next, less is known already, and whatever else is a gap. */
export function step(reached = '', cursor) {
  const [epoch, offset] = reached.split('.');
  const [itsEpoch, itsOffset] = cursor.split('.');
  // `0`, `*` and nothing are no positions: whatever comes is next.
  if (!offset) return 1;
  return epoch === itsEpoch ? itsOffset - offset : NaN;
}

/** The position before a message's. */
export const before = (cursor) => cursor.replace(/\d+$/, (offset) => offset - 1);

/** What an answer without a body says, that of channels which have all ended. */
export const ends = ({ headers }, cursors) =>
  cursors.map(([channel, cursor], index) => ({ channel, cursor, event: '@end', data: { reason: headers.get('plainwire-ended').split(', ')[index] } }));

/** A channel's name as others write it: with or without the first slash. */
export const named = (channel) => channel.replace(/^\//, '');

/** A target, `NAME` or `NAME:command`, as a path. */
export const path = (target) => '/' + named(target).split('/').map((part) => encodeURIComponent(part).replace(/%3A|%40/g, decodeURIComponent)).join('/');
