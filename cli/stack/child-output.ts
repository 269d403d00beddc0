import { z } from 'zod';

const longestTerminalLine = 300;

const severities = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;
const severityNames = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
const failure = z
  .union([
    z.string(),
    z.object({ message: z.string() }).transform((error) => error.message),
    // An error that was logged as a plain object has lost its message.
    z.object({ code: z.string() }).transform((error) => error.code),
  ])
  .optional()
  .catch(undefined);
const word = z
  .union([z.string(), z.number().transform(String)])
  .optional()
  .catch(undefined);

/** A line of pino's log; the level is written as a word by our programs and as a number by pino's default. */
const logLine = z.object({
  level: z
    .union([z.number(), z.enum(severityNames).transform((name) => severities[name])])
    .catch(severities.info),
  msg: z.string().catch(''),
  err: failure,
  cause: failure,
  error: failure,
  reason: failure,
  failure,
  message: failure,
  activityType: word,
  workflowId: word,
  runId: word,
  attempt: word,
});

/** Cuts a stream of text into lines; the rest without a line end waits for the next piece. */
export function lineSplitter(onLine: (line: string) => void): (piece: string) => void {
  let rest = '';
  return (piece) => {
    const lines = (rest + piece).split('\n');
    rest = (lines.pop() ?? '').slice(0, 1_000_000);
    for (const line of lines) if (line.trim() !== '') onLine(line);
  };
}

/** Whether a line is a program's word that it is ready (`{"msg":"ready",…}`). */
export function isReadyLine(line: string): boolean {
  return parseLogLine(line)?.msg === 'ready';
}

/** What of a line of one of our own programs belongs on the terminal: warnings and errors of its JSON log, and what is
 * no JSON at all (a crash), without the stack below it. Undefined: only the log file. */
export function ownProgramNotice(line: string): string | undefined {
  const parsed = parseLogLine(line);
  if (parsed === undefined) return /^\s+at /.test(line) ? undefined : shorten(line);
  if (parsed.level < severities.warn) return undefined;
  const level = parsed.level >= severities.error ? 'ERROR' : 'WARN';
  const { activityType, workflowId, runId, attempt } = parsed;
  const what = [activityType, workflowId ?? runId, attempt === undefined ? undefined : `attempt ${attempt}`]
    .filter((part) => part !== undefined)
    .join(', ');
  const why = parsed.err ?? parsed.cause ?? parsed.error ?? parsed.reason ?? parsed.failure ?? parsed.message;
  return shorten(
    `${level} ${parsed.msg}${what === '' ? '' : ` (${what})`}${why === undefined ? '' : `: ${why}`}`,
  );
}

/** As {@link ownProgramNotice} for Postgres: only what ends a connection or the server. */
export function postgresNotice(line: string): string | undefined {
  const notice = /\b(FATAL|PANIC):\s+(.*)$/.exec(line);
  return notice === null ? undefined : shorten(`${notice[1]} ${notice[2]}`);
}

/** As {@link ownProgramNotice} for the Temporal server, whose warnings are noise while it starts and stops. */
export function temporalNotice(line: string): string | undefined {
  const structured = /\blevel=(\w+) msg="((?:[^"\\]|\\.)*)"(.*)$/.exec(line);
  if (structured !== null) {
    if (structured[1] !== 'ERROR') return undefined;
    const cause = /\berror="((?:[^"\\]|\\.)*)"/.exec(structured[3] ?? '');
    return shorten(`ERROR ${structured[2]}${cause === null ? '' : `: ${cause[1]}`}`);
  }
  return /^(Error|panic|fatal)/i.test(line) ? shorten(line) : undefined;
}

function parseLogLine(line: string): z.infer<typeof logLine> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return logLine.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length <= longestTerminalLine ? line : `${line.slice(0, longestTerminalLine - 1)}…`;
}
