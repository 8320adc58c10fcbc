// What the dashboard shows: each is the channel `/metrics/NAME`. Above `high` it is a warning.

export const METRICS = [
  { name: 'requests', title: 'Requests', unit: '/s', around: 420, high: 640 },
  { name: 'errors', title: 'Errors', unit: '/s', around: 2.4, high: 5 },
  { name: 'latency-p50', title: 'Latency, median', unit: 'ms', around: 18, high: 32 },
  { name: 'latency-p99', title: 'Latency, p99', unit: 'ms', around: 140, high: 230 },
  { name: 'cpu', title: 'CPU', unit: '%', around: 47, high: 80 },
  { name: 'memory', title: 'Memory', unit: 'GiB', around: 5.2, high: 8 },
  { name: 'disk', title: 'Disk writes', unit: 'MB/s', around: 31, high: 60 },
  { name: 'network', title: 'Network', unit: 'Mbit/s', around: 240, high: 400 },
  { name: 'sessions', title: 'Sessions', unit: '', around: 1830, high: 2600 },
  { name: 'queue', title: 'Jobs waiting', unit: '', around: 12, high: 26 },
  { name: 'cache', title: 'Cache hits', unit: '/s', around: 910, high: 1500 },
  { name: 'signups', title: 'Sign-ups', unit: '/h', around: 37, high: 80 },
];
