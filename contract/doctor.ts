import { z } from 'zod';

/**
 * One line of what `--check` of a program prints, and `agentrun doctor --json`. `ok: false` with severity `error` means that the program cannot do its
 * work as it is set up; `skipped`: it could not be looked at, because what it needs is wrong itself. `variable` is the setting to look at.
 */
export const checkResultSchema = z.object({
  program: z.enum(['api', 'worker', 'command']),
  name: z.string(),
  ok: z.boolean(),
  /** Null when all is well. */
  severity: z.enum(['error', 'warning', 'skipped']).nullable(),
  message: z.string(),
  /** What to do about it; null when all is well. */
  cure: z.string().nullable(),
  variable: z.string().nullable(),
});
export type CheckResult = z.infer<typeof checkResultSchema>;

/** What a check found: nothing wrong, or what is. Severity default: error. */
export type CheckFinding =
  | { readonly ok: true; readonly message: string }
  | {
      readonly ok: false;
      readonly severity?: NonNullable<CheckResult['severity']>;
      readonly message: string;
      readonly cure: string;
      readonly variable?: string;
    };

/**
 * A check of a program's surroundings. `cure` and `variable` are for when it fails without a finding of its own. `needs`: the name of the check
 * without which this one would only say the same again, with a cure that does not help.
 */
export interface Check {
  readonly name: string;
  readonly variable: string;
  readonly cure: string;
  readonly needs?: string;
  /** Default: the 3 s of every check. */
  readonly limitMs?: number;
  readonly look: (signal: AbortSignal) => Promise<CheckFinding>;
}
