// The API against its own OpenAPI document, by schemathesis (README.md beside this):
//   tsx fuzz-program.ts [--sample N | --all] [--seed S]
// The whole stack runs, with runners that somebody else starts, so that turns wait for a claim. The seed is printed; the same seed draws the same cases.
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { readStackConfig } from '../../infra/config/stack-config.js';
import { startLocalStack } from '../support/local-stack.js';
import { type FuzzCase, readCases, writeReport } from './case-report.js';
import { prepareRecords } from './fuzz-records.js';
import { schemathesisProgram } from './python-venv.js';
import { schemathesisConfig, switchedOff } from './schemathesis-config.js';

/** Cases of a sample and of the whole suite, at least. */
const sizes = { sample: 1_000, all: 3_000 };
/** Longest time of one run of schemathesis. */
const limitMs = 15 * 60_000;

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    sample: { type: 'string' },
    seed: { type: 'string' },
  },
});
const wanted = values.all ? sizes.all : Number(values.sample ?? sizes.sample);
const seed = Number(values.seed ?? randomInt(1_000_000));
if (!(Number.isInteger(wanted) && wanted > 0 && Number.isInteger(seed))) {
  console.error('usage: fuzz-program [--sample N | --all] [--seed S]');
  process.exit(2);
}
console.log(`fuzz: at least ${wanted} cases, seed ${seed}`);
process.exitCode = await fuzz();

async function fuzz(): Promise<number> {
  const startedAt = Date.now();
  const program = await schemathesisProgram(readStackConfig().cacheDir, (line) => console.log(line));
  const folder = mkdtempSync(join(tmpdir(), 'agentrun-fuzz-'));
  const local = await startLocalStack((line) => console.log(line), undefined, {
    // Turns wait for a claim. One caller sends everything: its rate is no subject here.
    variables: {
      AGENTRUN_LAUNCHER: 'external',
      AGENTRUN_RATE_LIMIT_PER_MINUTE: '0',
      AGENTRUN_UNKNOWN_TOKENS_PER_MINUTE: '0',
      // An answer is looked at when it is whole.
      AGENTRUN_STREAM_MAX_AGE_MS: '200',
    },
  });
  try {
    const records = await prepareRecords(local.client);
    writeFileSync(join(folder, 'records.json'), JSON.stringify(records));
    const config = schemathesisConfig({ seed, token: local.token, whole: values.all, wanted, records });
    writeFileSync(join(folder, 'schemathesis.toml'), config);
    const output = join(packageRoot(), '.reports', 'fuzz-output.txt');
    mkdirSync(join(output, '..'), { recursive: true });
    const code = await runSchemathesis(program, `${local.stack.apiUrl}/openapi.json`, folder, output);
    const cases = readCases(readFileSync(join(folder, 'events.ndjson'), 'utf8'));
    return conclude(cases, { code, output, startedAt });
  } finally {
    await local.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Ends with its exit code: 0 when every check passed, 1 when one failed. Its output, which names every failure, goes to a file. */
async function runSchemathesis(
  program: string,
  document: string,
  folder: string,
  output: string,
): Promise<number> {
  const file = openSync(output, 'w');
  try {
    const child = spawn(
      program,
      [
        '--config-file',
        'schemathesis.toml',
        'run',
        document,
        '--report-ndjson-path',
        'events.ndjson',
        '--no-color',
      ],
      {
        cwd: folder,
        env: childEnvironment({
          SCHEMATHESIS_HOOKS: join(packageRoot(), 'test', 'fuzz', 'hooks.py'),
          AGENTRUN_FUZZ_RECORDS: join(folder, 'records.json'),
          PYTHONDONTWRITEBYTECODE: '1',
        }),
        stdio: ['ignore', file, file],
        timeout: limitMs,
      },
    );
    const [code] = z.tuple([z.number().nullable(), z.string().nullable()]).parse(await once(child, 'exit'));
    if (code === null) throw new Error(`schemathesis did not end within ${limitMs / 1_000} s; see ${output}`);
    return code;
  } finally {
    closeSync(file);
  }
}

/** Prints what came of it and writes the report; answers the exit code. */
function conclude(
  cases: readonly FuzzCase[],
  { code, output, startedAt }: { code: number; output: string; startedAt: number },
): number {
  const tooFew: FuzzCase[] =
    cases.length >= wanted
      ? []
      : [{ title: 'number of cases', phase: '', failedChecks: [`${cases.length} of ${wanted} cases ran`] }];
  const results = [...cases, ...tooFew];
  const failed = results.filter(({ failedChecks }) => failedChecks.length > 0);
  writeReport(join(packageRoot(), '.reports', 'fuzz.json'), results);
  if (failed.length > 0 || code !== 0) console.log(failuresIn(readFileSync(output, 'utf8')));
  for (const { check, operations, reason } of switchedOff) {
    console.log(`off: ${check} of ${operations?.join(', ') ?? 'all operations'}: ${reason}`);
  }
  const phases = [...new Set(cases.map(({ phase }) => phase))].map(
    (phase) => `${phase} ${cases.filter((one) => one.phase === phase).length}`,
  );
  const seconds = Math.round((Date.now() - startedAt) / 1_000);
  console.log(
    `fuzz: seed ${seed}, ${cases.length} cases (${phases.join(', ')}), ${failed.length} failed, ${seconds} s`,
  );
  return failed.length === 0 && code === 0 ? 0 : 1;
}

/** The part of schemathesis' output that says what failed, with a curl command for each. */
function failuresIn(text: string): string {
  const start = /^=+ (ERRORS|FAILURES) =+$/m.exec(text)?.index ?? 0;
  return text.slice(start).slice(0, 60_000);
}
