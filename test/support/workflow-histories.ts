import { z } from 'zod';
import type { LocalStack } from './local-stack.js';

const listSchema = z.object({
  executions: z
    .array(z.object({ execution: z.object({ workflowId: z.string(), runId: z.string() }) }))
    .default([]),
  nextPageToken: z.string().nullish(),
});

/** All pages of the histories of all workflows, as the JSON of Temporal's HTTP API. */
export async function allHistories(stack: LocalStack): Promise<string[]> {
  const base = `${stack.stack.temporalUiUrl}/api/v1/namespaces/default/workflows`;
  const executions: { workflowId: string; runId: string }[] = [];
  for (let token = ''; ; ) {
    const response = await fetch(`${base}?next_page_token=${encodeURIComponent(token)}`);
    const page = listSchema.parse(await response.json());
    executions.push(...page.executions.map(({ execution }) => execution));
    token = page.nextPageToken ?? '';
    if (token === '') break;
  }
  const histories: string[] = [];
  for (const { workflowId, runId } of executions) {
    for (let token = ''; ; ) {
      const query = new URLSearchParams({ 'execution.runId': runId, nextPageToken: token });
      const response = await fetch(`${base}/${encodeURIComponent(workflowId)}/history?${query.toString()}`);
      if (response.status !== 200) throw new Error(`the history of ${workflowId}: ${response.status}`);
      const text = await response.text();
      histories.push(text);
      token = z.object({ nextPageToken: z.string().nullish() }).parse(JSON.parse(text)).nextPageToken ?? '';
      if (token === '') break;
    }
  }
  return histories;
}
