// Stands for your servers: posts numbers that look alive.

import { produce } from '../shared/producer.js';
import { METRICS } from './metrics.js';

export function produceMetrics(form, pw) {
  const values = new Map(METRICS.map(({ name, around }) => [name, around]));
  produce(form, 'metrics', () =>
    Promise.allSettled(
      METRICS.map(({ name, around }) => {
        const value = wander(values.get(name), around);
        values.set(name, value);
        // A number of this moment is worth nothing later.
        return pw.post(`/metrics/${name}`, { value: Number(value.toPrecision(4)) }, { deadline: 2_000 });
      }),
    ),
  );
}

/** Any number near the last one, drawn back to where it belongs, with a spike now and then. */
function wander(value, around) {
  const spike = Math.random() < 0.015 ? around * 0.8 : 0;
  return Math.max(value + (around - value) * 0.12 + (Math.random() - 0.5) * around * 0.16 + spike, around * 0.05);
}
