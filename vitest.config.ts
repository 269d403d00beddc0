import { defineConfig } from 'vitest/config';

const service = ['test/{store,api,activities,worker}/**/*.test.ts', 'test/**/*.service.test.ts'];
const workflow = ['test/workflows/**/*.test.ts'];
const e2e = ['test/e2e/**/*.test.ts'];
const faults = ['test/faults/faults.test.ts'];
const races = ['test/races/races.test.ts'];
const cluster = ['test/kubernetes/**/*.test.ts'];
const temporal = ['test/support/temporal-setup.ts'];

// The projects of style.md 3.7. `unit` is whatever is not one of the others, so no test file can be forgotten. `faults`, `races` and `cluster` are the
// long suites: `npm test` leaves them out, test/support/long-suite-program.ts runs them.
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    reporters: ['default', 'json'],
    // The long suites name another file.
    outputFile: { json: '.reports/vitest.json' },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...service, ...workflow, ...e2e, ...faults, ...races, ...cluster],
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'workflow',
          include: workflow,
          globalSetup: temporal,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'service',
          include: service,
          exclude: [...workflow, ...e2e],
          globalSetup: temporal,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: e2e,
          globalSetup: temporal,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          // Each brings up whole stacks; two at once on two cores measure the machine, not the program.
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'faults',
          include: faults,
          globalSetup: temporal,
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'races',
          include: races,
          globalSetup: temporal,
          testTimeout: 1_200_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'cluster',
          include: cluster,
          globalSetup: temporal,
          testTimeout: 300_000,
          // The first file may have to start the cluster.
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
