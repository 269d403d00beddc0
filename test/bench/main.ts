import { benchFanout } from './fanout-bench.js';
import { benchHistory } from './history-bench.js';
import { benchIngest } from './ingest-bench.js';
import { benchPod } from './pod-bench.js';
import { benchRecovery } from './recovery-bench.js';
import { benchSteer } from './steer-bench.js';
import { benchTurn } from './turn-bench.js';

// npm run bench -- NAME: a table on stderr-free stdout, and as the last line one JSON object with the figures.
const benches: Record<string, () => Promise<Record<string, unknown>>> = {
  turn: benchTurn,
  history: benchHistory,
  recovery: benchRecovery,
  pod: benchPod,
  ingest: benchIngest,
  fanout: benchFanout,
  steer: benchSteer,
};

const name = process.argv[2] ?? '';
const bench = benches[name];
if (bench === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(benches).join(' | ')}`);
  process.exit(2);
}
console.log(JSON.stringify(await bench()));
