import { type DestinationStream, type Logger as PinoLogger, pino, stdSerializers } from 'pino';
import { createRedactor, type Redactor, redacted } from './redaction.js';
import { blankSecretFields } from './secret-fields.js';
import { activeTraceId } from './trace-context.js';
import { withoutUrlSecrets } from './url-secrets.js';

export type Logger = PinoLogger;

const boundSecrets = [
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
].flatMap((field) => [field, `*.${field}`]);

/**
 * The logger of a process: JSON lines on stdout (or `destination`), with `name`, level as a word and ISO time.
 * A line that is written inside a span carries its `traceId`. Fields with the names of secrets are blanked, however deep;
 * every line then passes `redactor`, which blanks the values it knows wherever they stand (architecture.md 7), and loses
 * the credentials in URLs.
 */
export function createLogger(options: {
  readonly name: string;
  readonly level?: string | undefined;
  readonly redactor?: Redactor;
  readonly destination?: DestinationStream;
}): Logger {
  const redactor = options.redactor ?? createRedactor();
  const target = options.destination ?? pino.destination({ fd: 1, sync: true });
  const redacting: DestinationStream = {
    write: (line) => target.write(withoutUrlSecrets(redactor.text(line))),
  };
  return pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => blankedFields(fields),
      },
      mixin: () => {
        const traceId = activeTraceId();
        return traceId === undefined ? {} : { traceId };
      },
      // Bindings of child loggers pass no formatter.
      redact: { paths: boundSecrets, censor: redacted },
    },
    redacting,
  );
}

/** `err` keeps its stack, `cause` and every other error is told in a line. */
function blankedFields(fields: object): Record<string, unknown> {
  const shown = Object.entries(fields).map(([name, value]: [string, unknown]): [string, unknown] => {
    if (name === 'cause') return [name, describeError(value)];
    const isWhole = name === 'err' && value instanceof Error && !holdsValue(value);
    return [name, isWhole ? { ...stdSerializers.err(value) } : value];
  });
  return blankSecretFields(Object.fromEntries(shown), describeError);
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
    parts.push(`${current.name}: ${holdsValue(current) ? 'a value is refused' : current.message}${code}`);
    current = current.cause;
  }
  return parts.join(' < ');
}

/** An error of Postgres about a value (SQLSTATE class 22): its message quotes what a caller sent. */
function holdsValue(error: Error): boolean {
  return 'code' in error && typeof error.code === 'string' && /^22[0-9A-Z]{3}$/.test(error.code);
}
