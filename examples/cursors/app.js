// Other people's pointers: each move is a message that nobody keeps, and of each pointer only the newest place is sent on.

import { connect } from '/_/client/plainwire.js';
import { seats } from '../shared/seats.js';

/** As often as the server passes places on, in milliseconds. */
const EVERY = 50;
/** How long a pointer that does not move is shown, in milliseconds. */
const QUIET = 5_000;
/** Which of all Anns this window's is. */
const WINDOW = Math.random().toString(36).slice(2, 6);

for (const seat of seats('Ann', 'Bob')) {
  const pw = seat.follow(connect('/', seat.options));
  const stage = seat.root.querySelector('.stage');
  const user = `${seat.name}-${WINDOW}`;
  follow(stage, pw, user);
  send(stage, pw, { user, name: seat.name });
}

function follow(stage, pw, me) {
  const pointers = new Map();
  pw.watch('/cursors/main').on('message', ({ data: { user, name, x, y } }) => {
    if (user === me) return;
    if (!pointers.has(user)) pointers.set(user, pointer(stage, name));
    const { shown, quiet } = pointers.get(user);
    clearTimeout(quiet);
    shown.style.transform = `translate(${x * stage.clientWidth}px, ${y * stage.clientHeight}px)`;
    shown.classList.remove('quiet');
    pointers.get(user).quiet = setTimeout(() => {
      shown.remove();
      pointers.delete(user);
    }, QUIET);
  });
}

function send(stage, pw, who) {
  let next, isSending;
  let [x, y] = [0.5, 0.5];
  const move = async (toX, toY) => {
    [x, y] = next = [toX, toY].map((one) => Number(Math.min(Math.max(one, 0), 1).toFixed(4)));
    if (isSending) return;
    isSending = true;
    while (next) {
      const [x, y] = next;
      next = undefined;
      // Where it was a second ago is of no use.
      await Promise.allSettled([pw.post('/cursors/main', { ...who, x, y }, { deadline: 1_000 }), new Promise((resolve) => setTimeout(resolve, EVERY))]);
    }
    isSending = false;
  };
  stage.addEventListener('pointermove', ({ offsetX, offsetY }) => void move(offsetX / stage.clientWidth, offsetY / stage.clientHeight));
  stage.addEventListener('keydown', (press) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[press.key];
    if (!step) return;
    press.preventDefault();
    void move(x + step[0] * 0.04, y + step[1] * 0.04);
  });
}

function pointer(stage, name) {
  const shown = document.createElement('div');
  shown.className = 'pointer';
  shown.dataset.name = name;
  shown.innerHTML = '<svg viewBox="0 0 16 20" aria-hidden="true"><path d="M1 1l4 17 4-6 6-1z"/></svg><span><b></b></span>';
  shown.querySelector('b').textContent = name;
  stage.append(shown);
  return { shown };
}
