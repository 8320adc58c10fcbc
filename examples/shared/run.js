// Which run a page shows: what follows the # in its URL. So a reload, and a second window, show the same one.

const listeners = new Set();
addEventListener('hashchange', () => listeners.forEach((tell) => tell(shown())));

export const shown = () => location.hash.slice(1);

/** Calls back with each run that is to be shown, and with the one that is. */
export function onRun(tell) {
  listeners.add(tell);
  if (shown()) tell(shown());
}

/** A new one. */
export function begin() {
  location.hash = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return shown();
}
