// A process of its own that holds Postgres and Temporal, for a test to kill: `tsx stack-program.ts DATA_FOLDER`.
// Prints one line, `up`, and then waits to be killed.
import { startStack } from '../../cli/stack/start-stack.js';

const dataDir = process.argv[2];
if (dataDir === undefined) throw new Error('usage: stack-program.ts DATA_FOLDER');
await startStack({ dataDir, parts: [], ports: 'any', log: (line) => console.error(line) });
console.log('up');
setInterval(() => undefined, 60_000);
