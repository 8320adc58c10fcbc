// A dashboard: one channel for each metric, all of them over one connection.

import { connect } from '/_/client/plainwire.js';
import { seats } from '../shared/seats.js';
import { METRICS } from './metrics.js';
import { produceMetrics } from './producer.js';

/** How many values a chart has. */
const VALUES = 60;

for (const seat of seats('This page')) {
  dashboard(seat.root.querySelector('.tiles'), seat.follow(connect('/', seat.options)));
  produceMetrics(seat.root.querySelector('.feed'), connect('/', seat.options));
}

function dashboard(root, pw) {
  for (const { name, title, unit, high } of METRICS) {
    const tile = root.appendChild(document.createElement('section'));
    tile.className = 'tile';
    tile.dataset.metric = name;
    tile.innerHTML = `<h3>${title}</h3><p><output>–</output><span class="unit">${unit}</span></p>
      <svg viewBox="0 0 ${VALUES - 1} 100" preserveAspectRatio="none" aria-hidden="true"><path class="area"/><path class="line"/></svg>`;

    const values = [];
    // The newest minute first, then live; after a lost connection what was missed comes first.
    pw.watch(`/metrics/${name}`, { last: VALUES }).on('message', ({ data }) => {
      values.push(data.value);
      if (values.length > VALUES) values.shift();
      draw(tile, values, high);
    });
  }
}

function draw(tile, values, high) {
  const value = values.at(-1);
  tile.querySelector('output').textContent = value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
  tile.classList.toggle('high', value > high);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const points = values.map((one, index) => {
    const y = 94 - ((one - least) / (most - least || 1)) * 88;
    return `${VALUES - values.length + index},${y.toFixed(1)}`;
  });
  tile.querySelector('.line').setAttribute('d', `M${points.join('L')}`);
  tile.querySelector('.area').setAttribute('d', `M${VALUES - values.length},100L${points.join('L')}L${VALUES - 1},100Z`);
}
