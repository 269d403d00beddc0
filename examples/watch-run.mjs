// Watches a run until its end: what was there, then what comes, over cut connections and restarts of the API.
//
//   AGENTRUN_MGR_URL=http://127.0.0.1:8080 AGENTRUN_API_TOKEN=... node examples/watch-run.mjs RUN_ID
//
// Exit codes: 0 the run has completed, 1 it ended otherwise or cannot be watched, 2 no run is named.
import { createApiClient, watchStream } from 'agentrun/client';
import { routes } from 'agentrun/contract';

const runId = process.argv[2]?.trim();
if (!runId) {
  console.error('usage: node examples/watch-run.mjs RUN_ID');
  console.error('  AGENTRUN_MGR_URL    address of the API, default http://127.0.0.1:8080');
  console.error('  AGENTRUN_API_TOKEN  a token with the scope read');
  process.exit(2);
}

const client = createApiClient({
  // Blank is as unset.
  baseUrl: process.env.AGENTRUN_MGR_URL?.trim() || 'http://127.0.0.1:8080',
  token: () => process.env.AGENTRUN_API_TOKEN?.trim() ?? '',
});
const show = (frames) => {
  for (const { frame, data } of frames) {
    if (frame === 'event') console.log(data.seq, data.type, data.payload.text ?? data.payload.command ?? '');
    if (frame === 'gap') console.log(`events ${data.from} to ${data.to} are not kept any more`);
  }
};
watchStream(client, routes.streamRun, { params: { runId } }).subscribe({
  onSnapshot: show,
  onFrames: show,
  onState: (state) => {
    if (state.kind === 'failed') console.error(String(state.error));
    if (state.kind === 'ended') console.log(state.end.status);
    process.exitCode = state.kind === 'ended' && state.end.status === 'completed' ? 0 : 1;
  },
});
