// Noughts and crosses. The page shows the state and sends moves; who may move where is decided by the server's rules alone.

import { connect } from '/_/client/plainwire.js';
import { seats } from '../shared/seats.js';

const LINES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
/** Which game: `/_/examples/board/#ours` is another one. */
const GAME = `/game/${location.hash.slice(1) || 'first'}`;

for (const seat of seats('Crosses', 'Noughts')) board(seat.root, seat.name === 'Crosses' ? 'X' : 'O', seat.follow(connect('/', seat.options)));

function board(root, mark, pw) {
  const said = root.querySelector('.answer');
  const squares = Array.from({ length: 9 }, (_, cell) => {
    const square = Object.assign(document.createElement('button'), { type: 'button' });
    square.addEventListener('click', () => send('place', { cell, mark }));
    return square;
  });
  root.querySelector('.grid').append(...squares);
  root.querySelector('.again').addEventListener('click', () => send('restart', {}));

  const watch = pw.watch(GAME);
  watch.on('@state', ({ data }) => show(data));
  watch.on('message', ({ data }) => show(data));

  function show({ cells, turn }) {
    const won = LINES.find(([a, b, c]) => cells[a] && cells[a] === cells[b] && cells[a] === cells[c]);
    squares.forEach((square, cell) => {
      square.textContent = square.dataset.mark = cells[cell];
      square.classList.toggle('won', won?.includes(cell) ?? false);
      square.setAttribute('aria-label', `Row ${Math.floor(cell / 3) + 1}, column ${(cell % 3) + 1}: ${cells[cell] || 'free'}`);
    });
    const whose = turn === mark ? 'Your turn' : 'The other one’s turn';
    root.querySelector('.turn').textContent = won ? (cells[won[0]] === mark ? 'You won' : 'You lost') : cells.includes('') ? whose : 'A draw';
  }

  async function send(command, body) {
    said.textContent = 'On its way';
    said.dataset.ok = '';
    try {
      const answer = await pw.post(`${GAME}:${command}`, body);
      said.dataset.ok = answer.ok;
      said.textContent = answer.ok ? 'Done.' : `Refused: ${answer.problem.detail}`;
    } catch (error) {
      said.dataset.ok = false;
      said.textContent = `No answer: ${error.message}`;
    }
  }
}
