// Runs one of the suites that are too long for `npm test`, and leaves its report where tools/count-tests.mjs finds it:
//   tsx long-suite-program.ts faults|races|cluster [--all | --sample N] [--seed S] [--only NAME]
// Without --all a sample is drawn; the seed is printed, and the same seed draws the same sample.
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { type LongSuite, longSuiteVariable } from './long-suite.js';

const samples: Readonly<Record<string, number>> = { faults: 20, races: 60, cluster: 5 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    sample: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
  },
});
const suite = positionals[0] ?? '';
const sample = Number(values.sample ?? samples[suite]);
const seed = Number(values.seed ?? randomInt(1_000_000));
if (samples[suite] === undefined || !(sample > 0) || !Number.isInteger(seed)) {
  console.error(
    'usage: long-suite-program faults|races|cluster [--all | --sample N] [--seed S] [--only NAME]',
  );
  process.exit(2);
}
const wanted: LongSuite = {
  all: values.all,
  sample,
  seed,
  ...(values.only === undefined ? {} : { only: values.only }),
};
console.log(`${suite}: ${values.all ? 'all' : (values.only ?? `a sample of ${sample}`)}, seed ${seed}`);
const vitest = spawn(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    suite,
    '--reporter=verbose',
    '--reporter=json',
    `--outputFile.json=.reports/${suite}.json`,
  ],
  { stdio: 'inherit', env: { ...process.env, [longSuiteVariable]: JSON.stringify(wanted) } },
);
vitest.once('exit', (code) => process.exit(code ?? 1));
