import { watchSession } from '../../cli/watch-session.js';
import { type LocalStack, send } from '../support/local-stack.js';

/** Sends a prompt and waits until a watcher sees the end of its turn. The time is the one a user waits. */
export async function timedTurn(
  local: LocalStack,
  sessionId: string,
  prompt: string,
  limitMs = 60_000,
): Promise<{ runId: string; elapsedMs: number }> {
  const startedAt = performance.now();
  const answer = await send(local, sessionId, prompt);
  let elapsedMs: number | undefined;
  const { status } = await watchSession({
    client: local.client,
    sessionId,
    from: { runId: answer.run.id, seq: 0 },
    follow: false,
    signal: AbortSignal.timeout(limitMs),
    onFrames: ([frame]) => {
      if (frame?.frame === 'event' && frame.data.type === 'terminal_status')
        elapsedMs = performance.now() - startedAt;
    },
  });
  if (status !== 'completed' || elapsedMs === undefined)
    throw new Error(`the turn ended ${status ?? 'too late'}`);
  return { runId: answer.run.id, elapsedMs };
}
