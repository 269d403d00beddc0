import type { CheckResult } from '../../contract/doctor.js';

const marks = { error: 'WRONG', warning: 'warn', skipped: 'skip' } as const;
const mark = ({ ok, severity }: CheckResult) => (ok ? 'ok' : marks[severity ?? 'error']);

/** The table for a person: a line for each check, and below a wrong one which setting to look at and what to do. */
export function reportLines(results: readonly CheckResult[]): string[] {
  const nameWidth = Math.max(0, ...results.map(({ name }) => name.length));
  const lines = results.flatMap((result) => {
    const { program, name, message, cure, variable } = result;
    const line = `${mark(result).padEnd(6)} ${program.padEnd(8)} ${name.padEnd(nameWidth)}  ${message}`;
    // The cure of what was skipped stands at what it needs.
    if (result.ok || cure === null || result.severity === 'skipped') return [line];
    const indent = ' '.repeat(17 + nameWidth);
    return [line, `${indent} ${variable === null ? '' : `${variable} → `}${cure}`];
  });
  return [...lines, '', summary(results)];
}

/** Whether something is wrong that is no mere warning. */
export function hasErrors(results: readonly CheckResult[]): boolean {
  return results.some(({ ok, severity }) => !ok && severity === 'error');
}

function summary(results: readonly CheckResult[]): string {
  const wrong = results.filter((result) => !result.ok);
  if (wrong.length === 0) return `All ${results.length} checks are well.`;
  const count = (severity: CheckResult['severity']) =>
    wrong.filter((result) => result.severity === severity).length;
  const warnings = count('warning');
  const skipped = count('skipped');
  return [
    `${results.length} checks: ${count('error')} wrong`,
    `${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`,
    ...(skipped === 0 ? [] : [`${skipped} not looked at`]),
  ]
    .join(', ')
    .concat('.');
}
