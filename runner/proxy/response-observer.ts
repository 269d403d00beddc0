import { StringDecoder } from 'node:string_decoder';
import { createParser, type EventSourceParser } from 'eventsource-parser';
import { z } from 'zod';
import type { ObservedUsage } from './proxy-observation.js';

/** What of a body is looked at: one event of a stream, or a whole body that is no stream. */
const maxBufferedCharacters = 16 * 1024 * 1024;
const maxErrorCharacters = 2_000;

const errorSchema = z.looseObject({
  code: z.union([z.string(), z.number()]).nullish(),
  type: z.string().nullish(),
  message: z.string().nullish(),
  /** Of a usage limit: epoch seconds, or seconds from now. */
  resets_at: z.number().positive().max(4e9).nullish().catch(null),
  resets_in_seconds: z.number().nonnegative().max(4e7).nullish().catch(null),
});
const tokens = z.number().int().nonnegative();
const responseSchema = z.looseObject({
  model: z.string().nullish(),
  usage: z
    .looseObject({
      input_tokens: tokens.default(0),
      input_tokens_details: z.looseObject({ cached_tokens: tokens.default(0) }).nullish(),
      output_tokens: tokens.default(0),
      output_tokens_details: z.looseObject({ reasoning_tokens: tokens.default(0) }).nullish(),
      total_tokens: tokens.optional(),
    })
    .nullish(),
  error: errorSchema.nullish(),
  incomplete_details: z.looseObject({ reason: z.string().nullish() }).nullish(),
});
const streamEventSchema = z.looseObject({
  type: z.string(),
  response: responseSchema.nullish(),
  error: errorSchema.nullish(),
  code: z.string().nullish(),
  message: z.string().nullish(),
});
const errorBodySchema = z.looseObject({
  error: z.union([errorSchema, z.string()]).nullish(),
  message: z.string().nullish(),
});

/** The events that end a stream, or tell why it will. All others pass unparsed. */
const interesting = /"type"\s*:\s*"(response\.(?:completed|failed|incomplete|done)|error)"/;

/**
 * Reads a provider's answer as it passes: usage, model and error, from a Responses stream or from a plain JSON body.
 * It never changes a byte and never throws; what it cannot read stays null.
 */
export class ResponseObserver {
  readonly #decoder = new StringDecoder('utf8');
  readonly #parser: EventSourceParser | undefined;
  #body = '';
  #tooLong = false;
  model: string | null = null;
  usage: ObservedUsage | null = null;
  errorCode: string | null = null;
  errorMessage: string | null = null;
  /** When the error says that its limit is over, in epoch milliseconds. */
  resetAtMs: number | null = null;
  /** A terminal event of the stream was seen: nothing that matters follows. */
  finished = false;

  constructor(contentType: string | undefined) {
    if (contentType?.toLowerCase().startsWith('text/event-stream') !== true) return;
    this.#parser = createParser({
      maxBufferSize: maxBufferedCharacters,
      onEvent: (event) => {
        if (interesting.test(event.data)) this.#readStreamEvent(event.data);
      },
    });
  }

  feed(chunk: Buffer): void {
    const text = this.#decoder.write(chunk);
    if (this.#tooLong) return;
    if (this.#parser === undefined) {
      this.#body += text;
      this.#tooLong = this.#body.length > maxBufferedCharacters;
      return;
    }
    try {
      this.#parser.feed(text);
    } catch {
      // The parser gives up on a line beyond its buffer; the bytes have passed all the same.
      this.#tooLong = true;
    }
  }

  /** To be called when the body is complete. */
  end(status: number): void {
    if (this.#parser !== undefined || this.#tooLong) return;
    const value = parseJson(this.#body);
    if (status >= 400) this.#readErrorBody(value);
    else this.#readResponse(responseSchema.safeParse(value).data);
  }

  #readStreamEvent(data: string): void {
    const event = streamEventSchema.safeParse(parseJson(data)).data;
    if (event === undefined) return;
    if (event.type === 'error') {
      this.#setError(event.error ?? { code: event.code, message: event.message });
      return;
    }
    if (!/^response\.(completed|failed|incomplete|done)$/.test(event.type)) return;
    this.finished = true;
    this.#readResponse(event.response ?? undefined);
    if (event.type === 'response.incomplete' && this.errorCode === null) {
      this.errorCode = `incomplete:${event.response?.incomplete_details?.reason ?? 'unknown'}`;
    }
  }

  #readResponse(response: z.infer<typeof responseSchema> | undefined): void {
    if (response === undefined) return;
    this.model = response.model ?? this.model;
    if (response.error) this.#setError(response.error);
    const usage = response.usage;
    if (!usage) return;
    this.usage = {
      inputTokens: usage.input_tokens,
      cachedInputTokens: usage.input_tokens_details?.cached_tokens ?? 0,
      outputTokens: usage.output_tokens,
      reasoningOutputTokens: usage.output_tokens_details?.reasoning_tokens ?? 0,
      totalTokens: usage.total_tokens ?? usage.input_tokens + usage.output_tokens,
    };
  }

  #readErrorBody(value: unknown): void {
    const body = errorBodySchema.safeParse(value).data;
    if (typeof body?.error === 'string') this.#setError({ message: body.error });
    else if (body?.error) this.#setError(body.error);
    else this.#setError({ message: body?.message ?? this.#body });
  }

  #setError(error: {
    code?: string | number | null | undefined;
    type?: string | null | undefined;
    message?: string | null | undefined;
    resets_at?: number | null | undefined;
    resets_in_seconds?: number | null | undefined;
  }): void {
    const code = error.code ?? error.type;
    this.errorCode = code === undefined || code === null ? this.errorCode : String(code).slice(0, 200);
    this.errorMessage = error.message?.slice(0, maxErrorCharacters) ?? this.errorMessage;
    if (typeof error.resets_at === 'number') this.resetAtMs = Math.ceil(error.resets_at * 1_000);
    else if (typeof error.resets_in_seconds === 'number')
      this.resetAtMs = Date.now() + Math.ceil(error.resets_in_seconds * 1_000);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
