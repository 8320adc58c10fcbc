// Sharing the browser's connections among tabs. Over HTTP/1.1 a browser opens at most six per host, in all tabs together;
// a page that holds three would starve a second one. So a hidden tab holds none, and of several visible windows the
// one used last holds them. A pane that lost its connection resumes from its cursor when the tab has its turn again.

import { TRANSPORTS } from './transports.js';

/** Calls `changed(isPaused)` whenever the tab's share changes; `isPaused(pane)` says which panes do without. */
export function shareConnections(changed) {
  const others = new BroadcastChannel(`plainwire ${new URL('.', document.baseURI).pathname}`);
  let isTheirs = false;
  const tell = () => changed((pane) => document.hidden || (isTheirs && TRANSPORTS[pane.transport].held));
  const take = () => {
    if (document.hidden) return;
    isTheirs = false;
    others.postMessage('taken');
    tell();
  };

  others.onmessage = () => {
    isTheirs = true;
    tell();
  };
  document.addEventListener('visibilitychange', () => (document.hidden ? tell() : take()));
  window.addEventListener('focus', take);
  window.addEventListener('pageshow', take);
  take();
}
