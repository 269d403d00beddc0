import type { RotationReason } from '../../contract/streams.js';

/** Frames as they go over the wire, made once for all readers of the same thing, and where the reader is behind them. */
export interface StreamStep {
  /** Whole frames, each ended by its empty line; may be several. Empty: nothing was new. */
  readonly bytes: Uint8Array;
  /** Nothing follows: the last frame of `bytes` is `stream-end` or `error`, and the connection is closed. */
  readonly ended: boolean;
}

/** What one connection reads: it keeps its own cursor. Where the bytes go, keepalives, caps and rotation are not its business (serve-stream.ts). */
export interface StreamSource {
  /**
   * The next frames: at once while the reader is behind, else as soon as there is something. Never more than about a megabyte at a time, except a single
   * event that is larger. Resolves with an empty step when `signal` is aborted; is called again only after it has resolved.
   */
  next(signal: AbortSignal): Promise<StreamStep>;
  /** Lets go of what it holds; called once on every path. */
  close(): void;
}

/** What a stream route answers; of what was asked only the form has been looked at when this is made. */
export interface StreamAnswer {
  /** What the cap per run counts by: `run/<id>`, `session/<id>`; null: nothing. */
  readonly cappedBy: string | null;
  /**
   * Called once the stream is counted, so that one refused for its caps reads nothing.
   *
   * @throws AgentRunError `not-found`, `cursor-ahead`.
   */
  open(): Promise<StreamSource>;
}

/** How many connections there may be, how long they live and how much may wait for one (decisions.md, "Stream frames"). */
export interface StreamLimits {
  readonly perProcess: number;
  readonly perRun: number;
  readonly perToken: number;
  readonly perTenant: number;
  /** A connection is rotated at this age, in milliseconds, up to a tenth earlier so that not all come back at once. */
  readonly maxAgeMs: number;
  readonly keepaliveMs: number;
  /** What may wait in the socket of one reader. */
  readonly bufferBytes: number;
  /** A reader whose socket takes nothing for so long is cut off, with `rotated {slow}`. */
  readonly slowMs: number;
}

/** Writes one frame; events have an id, the others a name. Data is JSON, which has no line breaks. */
export function frame(head: { readonly id: string } | { readonly name: string }, data: unknown): string {
  const first = 'id' in head ? `id: ${head.id}` : `event: ${head.name}`;
  return `${first}\ndata: ${JSON.stringify(data)}\n\n`;
}

export const rotated = (reason: RotationReason): string => frame({ name: 'rotated' }, { reason });
