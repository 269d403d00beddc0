import { once } from 'node:events';
import { get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import { adminToken } from './api.js';

const dataSchema = z.record(z.string(), z.json());

/** A frame as it came: its name, `event` for the ordinary one; its id, null if it had none; its data. */
export interface ReceivedFrame {
  readonly frame: string;
  readonly id: string | null;
  readonly data: z.infer<typeof dataSchema>;
}

/** One connection to a stream. What comes is read at once, unless it is paused. */
export interface StreamReader {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: IncomingHttpHeaders;
  /** All frames so far. */
  readonly frames: readonly ReceivedFrame[];
  /** Ids of the events so far. */
  ids(): string[];
  /** Resolves with the frames so far when one of this name has come. @throws Error when none comes in time, or the connection ends before. */
  until(frame: string, timeoutMs?: number): Promise<readonly ReceivedFrame[]>;
  /** As {@link until}, for any condition. */
  untilTrue(isTrue: (frames: readonly ReceivedFrame[]) => boolean, timeoutMs?: number): Promise<void>;
  resume(): void;
  /** Resolves when the connection is over: true if the server ended it as HTTP says, false if it broke off. */
  readonly over: Promise<boolean>;
  /** Leaves, and waits until the connection is over. */
  close(): Promise<void>;
}

export interface StreamAsked {
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** Reads nothing of the body until `resume` is called. */
  readonly paused?: boolean;
}

const longestMs = 10_000;

/** Opens a stream. An answer that is no stream has no frames. */
export async function openStream(url: string, path: string, asked: StreamAsked = {}): Promise<StreamReader> {
  const { token = adminToken, headers = {}, paused = false } = asked;
  const request = get(`${url}${path}`, {
    agent: false,
    headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers },
  });
  const [response]: IncomingMessage[] = await once(request, 'response');
  if (response === undefined) throw new Error('no answer');
  const frames: ReceivedFrame[] = [];
  const waiting = new Set<() => void>();
  let isOver = false;
  const news = () => {
    for (const wake of waiting) wake();
  };
  const feed = frameReader((frame) => frames.push(frame));
  const isStream = response.headers['content-type']?.startsWith('text/event-stream') === true;
  const resume = () => {
    response.on('data', (chunk: Buffer) => {
      if (isStream) feed(chunk);
      news();
    });
  };
  // Broken off, or left by us: `over` says so.
  response.on('error', () => undefined);
  request.on('error', () => undefined);
  const over = new Promise<boolean>((resolve) => {
    response.once('close', () => {
      isOver = true;
      news();
      resolve(response.complete);
    });
  });
  if (!paused) resume();
  const untilTrue: StreamReader['untilTrue'] = (isTrue, timeoutMs = longestMs) =>
    new Promise((resolve, reject) => {
      const end = (error?: Error) => {
        clearTimeout(timer);
        waiting.delete(look);
        if (error === undefined) resolve();
        else reject(error);
      };
      const said = () => `${frames.length} frames, last ${JSON.stringify(frames.slice(-3)).slice(0, 1_000)}`;
      const look = () => {
        if (isTrue(frames)) end();
        else if (isOver) end(new Error(`the stream ended before: ${said()}`));
      };
      const timer = setTimeout(() => end(new Error(`not within ${timeoutMs} ms: ${said()}`)), timeoutMs);
      waiting.add(look);
      look();
    });
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    frames,
    ids: () => frames.flatMap(({ id }) => (id === null ? [] : [id])),
    until: async (name, timeoutMs) => {
      await untilTrue((all) => all.some(({ frame }) => frame === name), timeoutMs);
      return frames;
    },
    untilTrue,
    resume,
    over,
    close: async () => {
      response.destroy();
      await over;
    },
  };
}

/** Reads frames out of bytes as they come. */
function frameReader(onFrame: (frame: ReceivedFrame) => void): (chunk: Buffer) => void {
  const text = new TextDecoder();
  const parser = createParser({
    onEvent: ({ id, event, data }) =>
      onFrame({ frame: event ?? 'event', id: id ?? null, data: dataSchema.parse(JSON.parse(data)) }),
  });
  return (chunk) => parser.feed(text.decode(chunk, { stream: true }));
}

/** The frames in the text of a stream. */
export function framesIn(text: string): ReceivedFrame[] {
  const frames: ReceivedFrame[] = [];
  frameReader((frame) => frames.push(frame))(Buffer.from(text));
  return frames;
}
