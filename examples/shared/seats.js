// What the examples have around them: several clients in one page, each in a frame that shows how it is connected, and that can be
// cut off to see what happens then. An application needs none of this.

/** Short waits, so that whoever tries things out sees them happen. */
const BACKOFF = { base: 250, cap: 2_000 };

/**
 * Puts a copy of `<template id="seat">` into `#seats` for each name. Each has `root`, `name`, the `options` for its client, and
 * `follow(client)`, which shows its state and gives it back.
 */
export const seats = (...names) => names.map(seat);

// A second window shows the same as this one.
const second = document.querySelector('nav a[target]');
const showSame = () => (second.hash = location.hash);
addEventListener('hashchange', showSame);
showSame();

function seat(name) {
  const line = new Line();
  const root = Object.assign(document.createElement('section'), { className: 'seat' });
  root.dataset.seat = name;
  root.setAttribute('aria-label', name);
  root.innerHTML = `<header><h2></h2><p class="badge" role="status"><span class="dot" aria-hidden="true"></span><span data-says>Starting</span></p>
    <button type="button" class="small" data-cut aria-pressed="false" aria-label="Cut the line">Cut</button></header><div class="body"></div>`;
  root.querySelector('h2').textContent = name;
  root.querySelector('.body').append(document.getElementById('seat').content.cloneNode(true));
  document.getElementById('seats').append(root);

  const button = root.querySelector('[data-cut]');
  button.addEventListener('click', () => {
    line.isCut = !line.isCut;
    button.setAttribute('aria-pressed', line.isCut);
    button.textContent = line.isCut ? 'Mend' : 'Cut';
  });
  const follow = (client) => {
    let state = { state: client.state };
    const show = () => {
      root.dataset.state = state.state;
      root.dataset.pending = client.pending;
      root.querySelector('[data-says]').textContent = says(state) + (client.pending ? ` · ${client.pending} to send` : '');
    };
    client.onState((now) => {
      state = now;
      show();
    });
    // How many writes wait is a number, not an event.
    setInterval(() => root.dataset.pending !== String(client.pending) && show(), 100);
    show();
    return client;
  };
  return { name, root, options: { backoff: BACKOFF, ...line.options }, follow };
}

const says = ({ state, transport }) =>
  ({ live: `Live · ${transport}`, connecting: 'Connecting', idle: 'Idle' })[state] ?? 'Reconnecting';

/** A network that can be cut, as the client sees it. */
class Line {
  #sockets = new Set();
  #requests = new Set();
  #isCut = false;

  get options() {
    const line = this;
    return {
      fetch: (url, init = {}) => line.#fetch(url, init),
      WebSocket: function (...all) {
        return line.#isCut ? new DeadSocket() : line.#track(new WebSocket(...all));
      },
    };
  }

  get isCut() {
    return this.#isCut;
  }

  set isCut(isCut) {
    this.#isCut = isCut;
    if (!isCut) return void dispatchEvent(new Event('online'));
    for (const socket of this.#sockets) socket.close();
    for (const request of this.#requests) request.abort(new TypeError('the line is cut'));
  }

  #track(socket) {
    this.#sockets.add(socket);
    socket.addEventListener('close', () => this.#sockets.delete(socket));
    return socket;
  }

  async #fetch(url, init) {
    if (this.#isCut) throw new TypeError('the line is cut');
    const request = new AbortController();
    this.#requests.add(request);
    const signal = AbortSignal.any([request.signal, init.signal].filter(Boolean));
    try {
      return await fetch(url, { ...init, signal });
    } finally {
      // What is read goes on after the answer's head.
      if (init.method) this.#requests.delete(request);
    }
  }
}

/** A socket that never opens. */
class DeadSocket {
  readyState = 3;

  constructor() {
    setTimeout(() => this.onclose?.({ code: 1006, reason: '' }));
  }

  close() {}
}
