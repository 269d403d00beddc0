import { type DestinationStream, type Logger as PinoLogger, pino, stdSerializers } from 'pino';
import { createRedactor, type Redactor } from './redaction.js';

export type Logger = PinoLogger;

/** Fields that never show their value, wherever an object with them is logged (two levels deep). */
const secretFields = [
  'token',
  'runToken',
  'runnerToken',
  'launchToken',
  'apiToken',
  'authorization',
  'password',
  'secret',
  'apiKey',
  'privateKey',
  'databaseUrl',
  'DATABASE_URL',
];

const redactedPaths = secretFields.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]);

/**
 * The logger of a process: JSON lines on stdout (or `destination`), with `name`, level as a word and ISO time.
 * Secret fields are blanked by path; every line then passes `redactor`, which blanks the values it knows wherever they
 * stand (architecture.md 7).
 */
export function createLogger(options: {
  readonly name: string;
  readonly level?: string | undefined;
  readonly redactor?: Redactor;
  readonly destination?: DestinationStream;
}): Logger {
  const redactor = options.redactor ?? createRedactor();
  const target = options.destination ?? pino.destination({ fd: 1, sync: true });
  const redacting: DestinationStream = { write: (line) => target.write(redactor.text(line)) };
  return pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '[redacted]' },
      serializers: { err: stdSerializers.err, cause: describeError },
    },
    redacting,
  );
}

/** Type and message of an error and of its causes, for a log line or a record; no stack. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let current = error, depth = 0; current !== undefined && current !== null && depth < 4; depth += 1) {
    if (!(current instanceof Error)) {
      parts.push(typeof current === 'string' ? current : `a thrown ${typeof current}`);
      break;
    }
    const code = 'code' in current && typeof current.code === 'string' ? ` (${current.code})` : '';
    parts.push(`${current.name}: ${current.message}${code}`);
    current = current.cause;
  }
  return parts.join(' < ');
}
