import { z } from 'zod';

/** A non-blank string, trimmed. */
export const textSchema = z.string().trim().min(1, 'expected a non-blank string');

/** A relative folder below the agent's home; no `..`, not absolute (contract.md oddity 19). */
export const subdirectorySchema = z
  .string()
  .min(1)
  .max(200)
  .regex(/^(?!\/)(?!.*(^|\/)\.\.(\/|$))[A-Za-z0-9_./-]+$/, 'expected a relative path without ".."');
