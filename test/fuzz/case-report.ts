import { writeFileSync } from 'node:fs';
import { z } from 'zod';

/** One request that was sent and checked. */
export interface FuzzCase {
  /** Method and path, phase and id: enough for `schemathesis replay`. */
  readonly title: string;
  readonly phase: string;
  /** Names of the checks that it did not pass. */
  readonly failedChecks: readonly string[];
}

const scenarioSchema = z.object({
  phase: z.string(),
  recorder: z.object({
    label: z.string(),
    checks: z.record(z.string(), z.array(z.object({ name: z.string(), status: z.string() }))).default({}),
  }),
});
const eventSchema = z.union([
  z.object({ ScenarioFinished: scenarioSchema }),
  // What stopped the test of an operation: an error of schemathesis itself, or an answer that never came.
  z.object({
    NonFatalError: z.object({
      label: z.string(),
      phase: z.string(),
      value: z.object({ type: z.string(), message: z.string() }),
    }),
  }),
  z.object({}),
]);

/** The cases of a report in schemathesis' NDJSON; an error beside the cases counts as one that failed. */
export function readCases(ndjson: string): FuzzCase[] {
  return ndjson
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      const event = eventSchema.parse(JSON.parse(line));
      if ('NonFatalError' in event) {
        const { label, phase, value } = event.NonFatalError;
        return [{ title: `${label} ${phase}`, phase, failedChecks: [`${value.type}: ${value.message}`] }];
      }
      if (!('ScenarioFinished' in event)) return [];
      const { phase, recorder } = event.ScenarioFinished;
      return Object.entries(recorder.checks).map(([id, checks]) => ({
        title: `${recorder.label} ${phase} ${id}`,
        phase,
        failedChecks: checks.filter(({ status }) => status === 'failure').map(({ name }) => name),
      }));
    });
}

/** Writes the cases in the shape of vitest's JSON report, for tools/count-tests.mjs. */
export function writeReport(file: string, cases: readonly FuzzCase[]): void {
  const assertionResults = cases.map(({ title, failedChecks }) => ({
    title,
    status: failedChecks.length === 0 ? 'passed' : 'failed',
    failureMessages: failedChecks,
  }));
  const status = cases.some(({ failedChecks }) => failedChecks.length > 0) ? 'failed' : 'passed';
  writeFileSync(file, JSON.stringify({ testResults: [{ name: 'test/fuzz', status, assertionResults }] }));
}
