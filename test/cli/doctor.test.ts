import { describe, expect, it } from 'vitest';
import { parseResults } from '../../cli/doctor/program-checks.js';
import { hasErrors, reportLines } from '../../cli/doctor/report.js';
import type { CheckResult } from '../../contract/doctor.js';

const fine: CheckResult = {
  program: 'api',
  name: 'postgres',
  ok: true,
  severity: null,
  message: 'is reachable',
  cure: null,
  variable: null,
};
const wrong: CheckResult = {
  ...fine,
  program: 'worker',
  name: 'URL for runners',
  ok: false,
  severity: 'error',
  message: 'nobody answers at http://api:8000',
  cure: 'start the API',
  variable: 'AGENTRUN_INTERNAL_MGR_URL',
};
const skipped: CheckResult = { ...wrong, name: 'task queues', severity: 'skipped', message: 'not looked at' };
const warning: CheckResult = { ...wrong, severity: 'warning', variable: null };

describe('the report of doctor', () => {
  it('shows a line for each check, and below a wrong one the setting and the cure', () => {
    expect(reportLines([fine, wrong, warning])).toEqual([
      'ok     api      postgres         is reachable',
      'WRONG  worker   URL for runners  nobody answers at http://api:8000',
      '                                 AGENTRUN_INTERNAL_MGR_URL → start the API',
      'warn   worker   URL for runners  nobody answers at http://api:8000',
      '                                 start the API',
      '',
      '3 checks: 1 wrong, 1 warning.',
    ]);
    expect(reportLines([fine]).at(-1)).toBe('All 1 checks are well.');
    // The cure stands at what comes first.
    expect(reportLines([wrong, skipped]).slice(2)).toEqual([
      'skip   worker   task queues      not looked at',
      '',
      '2 checks: 1 wrong, 0 warnings, 1 not looked at.',
    ]);
  });

  it('counts errors, not warnings', () => {
    expect(hasErrors([fine, warning, skipped])).toBe(false);
    expect(hasErrors([fine, wrong])).toBe(true);
  });

  it('takes the results out of what a program prints', () => {
    const stdout = [
      '(node:1) Warning: x',
      JSON.stringify(fine),
      '{"level":"info"}',
      '',
      JSON.stringify(wrong),
    ];
    expect(parseResults(stdout.join('\n'))).toEqual([fine, wrong]);
  });
});
