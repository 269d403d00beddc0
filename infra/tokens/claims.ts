import { z } from 'zod';

/** Audiences of runner tokens; a token of one is refused where another is asked for (decisions.md, Auth). */
export const tokenAudiences = { launch: 'claim', runner: 'runner', run: 'runner-run' } as const;

/** Launch token: good for `register` and `claim` of one attempt by the first runner instance that uses it. */
export const launchClaimsSchema = z.object({
  run: z.string(),
  epoch: z.number().int(),
  job: z.string(),
  jobId: z.string(),
});
export type LaunchClaims = z.infer<typeof launchClaimsSchema>;

/** Runner token: a runner instance between turns. `sub` is the runner id too. */
export const runnerClaimsSchema = z.object({ runner: z.string(), job: z.string(), session: z.string() });
export type RunnerClaims = z.infer<typeof runnerClaimsSchema>;

/** Run token: the runner instance `sub` while it serves one attempt of one run. */
export const runClaimsSchema = z.object({
  sub: z.string(),
  run: z.string(),
  epoch: z.number().int(),
  job: z.string(),
});
export type RunClaims = z.infer<typeof runClaimsSchema>;
