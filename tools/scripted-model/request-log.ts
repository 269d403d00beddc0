import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';

/** How a request ended; `pending` while it is answered. */
export type Outcome = 'pending' | 'completed' | 'failed' | 'cut' | 'refused' | 'clientGone';

/** One model request as it came in, and what answered it. Times are Unix milliseconds. */
export interface RecordedRequest {
  readonly seq: number;
  readonly receivedAtMs: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The key is never recorded, only whether there was one and the start of its SHA-256 (hex). */
  readonly authorization: { readonly present: boolean; readonly sha256Prefix: string | null };
  readonly body: unknown;
  threadKey: string | null;
  turnId: string | null;
  requestKind: string | null;
  scenario: string | null;
  step: number | null;
  repetition: number | null;
  failure: string | null;
  status: number | null;
  outcome: Outcome;
  endedAtMs: number | null;
}

/** So many requests stay in memory; each can be some 100 KB. */
const keptInMemory = 500;

/**
 * Remembers the requests, and writes them to a file when there is one: a line `{"record":"request",...}` when it
 * arrives and a line `{"record":"outcome",...}` without headers and body when it ends.
 */
export class RequestLog {
  private readonly kept: RecordedRequest[] = [];
  private readonly file: string | undefined;
  private nextSeq = 1;

  constructor(file: string | undefined) {
    this.file = file;
  }

  add(path: string, headers: IncomingHttpHeaders, body: unknown): RecordedRequest {
    const { authorization, ...others } = headers;
    const request: RecordedRequest = {
      seq: this.nextSeq++,
      receivedAtMs: Date.now(),
      path,
      headers: Object.fromEntries(Object.entries(others).map(([name, value]) => [name, String(value)])),
      authorization: { present: authorization !== undefined, sha256Prefix: keyFingerprint(authorization) },
      body,
      threadKey: null,
      turnId: null,
      requestKind: null,
      scenario: null,
      step: null,
      repetition: null,
      failure: null,
      status: null,
      outcome: 'pending',
      endedAtMs: null,
    };
    this.kept.push(request);
    if (this.kept.length > keptInMemory) this.kept.shift();
    this.write({ record: 'request', ...request });
    return request;
  }

  end(request: RecordedRequest, outcome: Outcome, status: number | null): void {
    request.outcome = outcome;
    request.status = status;
    request.endedAtMs = Date.now();
    const { headers: _headers, body: _body, ...rest } = request;
    this.write({ record: 'outcome', ...rest });
  }

  all(): readonly RecordedRequest[] {
    return [...this.kept];
  }

  private write(line: unknown): void {
    if (this.file !== undefined) appendFileSync(this.file, `${JSON.stringify(line)}\n`, { mode: 0o600 });
  }
}

function keyFingerprint(authorization: string | undefined): string | null {
  if (authorization === undefined) return null;
  const key = authorization.replace(/^Bearer\s+/i, '');
  return createHash('sha256').update(key).digest('hex').slice(0, 12);
}
