import { z } from 'zod';

/** A non-blank string, trimmed. */
export const textSchema = z.string().trim().min(1, 'expected a non-blank string');

/** UTF-8 bytes of the longest prompt: 256 KiB (decisions.md, limits). */
const longestPromptBytes = 262_144;

/** What a person says to an agent. */
export const promptSchema = z
  .string()
  .max(longestPromptBytes)
  .refine((text) => new TextEncoder().encode(text).length <= longestPromptBytes, {
    message: `expected at most ${longestPromptBytes} bytes of UTF-8`,
  });

/** A relative folder below the agent's home; no `..`, not absolute (contract.md oddity 19). */
export const subdirectorySchema = z
  .string()
  .min(1)
  .max(200)
  .regex(/^(?!\/)(?!.*(^|\/)\.\.(\/|$))[A-Za-z0-9_./-]+$/, 'expected a relative path without ".."');

/**
 * A time with its offset, as text in UTC. Postgres knows neither the year 0 nor every offset that ISO 8601 allows.
 */
export const timeSchema = z.iso
  .datetime({ offset: true, abort: true })
  .overwrite((text) => {
    const time = new Date(text);
    return Number.isNaN(time.getTime()) ? text : time.toISOString();
  })
  .refine((text) => /^(?!0000)\d{4}-/.test(text), 'expected a year from 0001 to 9999');

/** Postgres takes neither U+0000 nor half a surrogate pair; agents print both, and choose ids. Each becomes U+FFFD, so the length stays. */
export const storableText = (text: string): string => text.replace(/\0|\p{Surrogate}/gu, '\u{fffd}');
