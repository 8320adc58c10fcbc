// Random numbers that can be had again.

/** The seed of this run: PLAINWIRE_SEED, or one of its own. */
export const SEED = Number(process.env.PLAINWIRE_SEED ?? Math.floor(Math.random() * 2 ** 32));

/** Numbers from 0 up to `below`, the same for the same seed (mulberry32). */
export function random(seed = SEED) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Runs `body` and says the seed if it fails. */
export async function seeded(body) {
  try {
    await body(random());
  } catch (error) {
    error.message += `\nagain with PLAINWIRE_SEED=${SEED}`;
    throw error;
  }
}
