// Sums the JSON reports of vitest and prints `N passed, N failed` as its last line.
//
// Usage: node tools/count-tests.mjs FOLDER [EXIT_STATUS]
// EXIT_STATUS is that of the run that wrote the reports: when it failed and no report holds a failed test (a lint
// error, a crash before the first test), that counts as one failure. Ends with 1 when anything failed.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, exitStatus = '0'] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: node tools/count-tests.mjs FOLDER [EXIT_STATUS]');
  process.exit(2);
}

/** Passed and failed tests of one report; a file that failed without a failed test (it could not be loaded) is one. */
function countReport(report) {
  let passed = 0;
  let failed = 0;
  for (const file of report.testResults) {
    const states = file.assertionResults.map((test) => test.status);
    const failures = states.filter((state) => state === 'failed').length;
    passed += states.filter((state) => state === 'passed').length;
    failed += failures === 0 && file.status === 'failed' ? 1 : failures;
  }
  return { passed, failed };
}

function reportsIn(directory) {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.json'))
      .sort();
  } catch {
    return [];
  }
}

let passed = 0;
let failed = 0;
for (const name of reportsIn(folder)) {
  const counted = countReport(JSON.parse(readFileSync(join(folder, name), 'utf8')));
  console.log(`${name}: ${counted.passed} passed, ${counted.failed} failed`);
  passed += counted.passed;
  failed += counted.failed;
}
if (exitStatus !== '0' && failed === 0) failed = 1;
if (passed + failed === 0) failed = 1; // No test at all is no success.
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
