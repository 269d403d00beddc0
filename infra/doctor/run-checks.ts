import type { Check, CheckFinding, CheckResult } from '../../contract/doctor.js';
import type { ConfigurationProblem } from '../config/read-env.js';
import { type StartWarning, startWarnings } from '../config/start-warnings.js';
import { describeError } from '../telemetry/logger.js';
import type { Redactor } from '../telemetry/redaction.js';

/** No check takes longer that does not say so; they run side by side. */
const usualLimitMs = 3_000;

/**
 * Runs checks side by side, each bounded, in their order. A check that throws or does not end has failed; one that needs another waits for it, and is
 * skipped when that has failed.
 */
export function runChecks(
  program: CheckResult['program'],
  checks: readonly Check[],
  redactor: Redactor,
): Promise<CheckResult[]> {
  const findings = new Map<string, Promise<CheckFinding>>();
  const findingOf = (check: Check): Promise<CheckFinding> => {
    const begun = findings.get(check.name);
    if (begun !== undefined) return begun;
    const needed = checks.find(({ name }) => name === check.needs);
    const finding =
      needed === undefined
        ? bounded(check)
        : findingOf(needed).then((found) => (found.ok ? bounded(check) : skipped(needed, found)));
    findings.set(check.name, finding);
    return finding;
  };
  return Promise.all(
    checks.map(async (check) => {
      const found = await findingOf(check);
      return found.ok
        ? { ...fine(program, check.name), message: redactor.text(found.message) }
        : {
            program,
            name: check.name,
            ok: false,
            severity: found.severity ?? 'error',
            message: redactor.text(found.message),
            cure: found.cure,
            variable: found.variable ?? check.variable,
          };
    }),
  );
}

const skipped = (needed: Check, found: CheckFinding & { readonly ok: false }): CheckFinding => ({
  ok: false,
  severity: 'skipped',
  message: `not looked at: ${needed.name} comes first`,
  cure: found.cure,
  variable: found.variable ?? needed.variable,
});

/** The lines about settings that cannot be read. */
export function wrongSettings(
  program: CheckResult['program'],
  problems: readonly ConfigurationProblem[],
): CheckResult[] {
  return problems.map(({ variable, expected }) => ({
    program,
    name: 'settings',
    ok: false,
    severity: 'error',
    message: `${variable}: ${expected}`,
    cure: `${expected.startsWith('is not set') ? 'set' : 'correct'} ${variable}`,
    variable,
  }));
}

/** The lines about settings that could be read: all well, or what has no effect. */
export function settingsLines(
  program: CheckResult['program'],
  warnings: readonly StartWarning[] = startWarnings(),
): CheckResult[] {
  if (warnings.length === 0) return [{ ...fine(program, 'settings'), message: 'can be read' }];
  return warnings.map(({ variable, message }) => ({
    program,
    name: 'settings',
    ok: false,
    severity: 'warning',
    message: `${variable}: ${message}`,
    cure: `correct or remove ${variable}`,
    variable,
  }));
}

/** Prints results as JSON lines on stdout and answers the exit code: 1 when something is wrong that is no mere warning. */
export function printResults(results: readonly CheckResult[]): number {
  for (const result of results) process.stdout.write(`${JSON.stringify(result)}\n`);
  return results.some(({ ok, severity }) => !ok && severity === 'error') ? 1 : 0;
}

const fine = (program: CheckResult['program'], name: string) => ({
  program,
  name,
  ok: true,
  severity: null,
  cure: null,
  variable: null,
});

async function bounded(check: Check): Promise<CheckFinding> {
  const limit = new AbortController();
  const failed = (message: string): CheckFinding => ({ ok: false, message, cure: check.cure });
  const limitMs = check.limitMs ?? usualLimitMs;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<CheckFinding>((resolve) => {
    timer = setTimeout(() => {
      limit.abort();
      resolve(failed(`no answer within ${limitMs} ms`));
    }, limitMs);
  });
  const looked = Promise.resolve()
    .then(() => check.look(limit.signal))
    .catch((error: unknown) => failed(describeError(error)));
  try {
    return await Promise.race([looked, late]);
  } finally {
    clearTimeout(timer);
  }
}
