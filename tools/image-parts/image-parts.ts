/** What one image holds beside the base: the packages that its programs import, and folders and files of ours. */
export interface ImageParts {
  /** Programs that the image is for, below its root. */
  readonly programs: readonly string[];
  /** Names of packages in node_modules; what these need comes with them. */
  readonly packages: readonly string[];
  /** Folders and files of the built project, by their path there and in the image. */
  readonly files: readonly string[];
}

const migrations = {
  program: 'dist/store/migrate-main.js',
  packages: ['node-pg-migrate', 'pg'],
  files: ['dist/store', 'store/migrations'],
} as const;

/** Of infra/telemetry and infra/config, which every program of ours reads. */
const packagesOfAll = [
  '@opentelemetry/api',
  '@opentelemetry/core',
  '@opentelemetry/exporter-trace-otlp-proto',
  '@opentelemetry/resources',
  '@opentelemetry/sdk-trace-node',
  'pino',
  'zod',
] as const;

const packagesOfServers = [
  ...packagesOfAll,
  ...migrations.packages,
  '@temporalio/client',
  '@temporalio/common',
  '@temporalio/interceptors-opentelemetry-v2',
  '@temporalio/workflow',
  'ipaddr.js',
  'jose',
  'prom-client',
  'uuid',
] as const;

/**
 * The images (deploy/images/Dockerfile), each with what its programs need and nothing else: no image has a development dependency, only the runner's has
 * codex, and none has a Postgres. test/tools/image-parts.test.ts holds the lists against the imports of the sources.
 */
export const imageParts: Readonly<Record<'api' | 'worker' | 'runner', ImageParts>> = {
  api: {
    programs: ['dist/api/main.js', migrations.program],
    packages: [
      ...packagesOfServers,
      'cors',
      'express',
      'express-rate-limit',
      'helmet',
      'swagger-ui-dist',
      'zod-openapi',
    ],
    files: [
      ...migrations.files,
      'dist/api',
      'dist/contract',
      'dist/domain',
      'dist/infra',
      'dist/workflows/messages.js',
      'docs/errors.md',
    ],
  },
  worker: {
    programs: ['dist/worker/main.js', migrations.program],
    packages: [...packagesOfServers, '@kubernetes/client-node', '@temporalio/activity', '@temporalio/worker'],
    files: [
      ...migrations.files,
      'dist/activities',
      'dist/contract',
      'dist/domain',
      'dist/infra',
      'dist/worker',
      'dist/workflow-bundle.js',
      'dist/workflows',
    ],
  },
  runner: {
    programs: [
      'dist/runner/agent-host/main.js',
      'dist/runner/prepare/main.js',
      'dist/runner/supervisor/main.js',
    ],
    packages: [
      ...packagesOfAll,
      // The program itself: the package of the plain name is a Node program around it.
      `@openai/codex-${process.platform}-${process.arch}`,
      'eventsource-parser',
      'uuid',
    ],
    files: ['dist/client', 'dist/contract', 'dist/domain', 'dist/infra', 'dist/runner'],
  },
};
