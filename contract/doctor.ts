import { z } from 'zod';

/**
 * One line of what `--check` of a program prints, and `agentrun doctor --json`. `ok: false` with severity `error` means that the program cannot do its
 * work as it is set up. `variable` is the setting to look at.
 */
export const checkResultSchema = z.object({
  program: z.enum(['api', 'worker', 'command']),
  name: z.string(),
  ok: z.boolean(),
  severity: z.enum(['error', 'warning']),
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
      readonly severity?: CheckResult['severity'];
      readonly message: string;
      readonly cure: string;
      readonly variable?: string;
    };

/** A check of a program's surroundings. `cure` and `variable` are for when it fails without a finding of its own. */
export interface Check {
  readonly name: string;
  readonly variable: string;
  readonly cure: string;
  readonly look: (signal: AbortSignal) => Promise<CheckFinding>;
}
