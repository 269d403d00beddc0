/** The 62 method and path pairs of the old manager (contract.md 0.5). */
export const contractPairs = `
get /health
get /health/live
get /health/readiness
get /api/v1/backends
get /api/v1/tool-credentials
get /api/v1/tool-credentials/:name
put /api/v1/tool-credentials/github-ssh/credential
get /api/v1/aipod-specs
post /api/v1/aipod-specs
get /api/v1/aipod-specs/:name
put /api/v1/aipod-specs/:name
delete /api/v1/aipod-specs/:name
post /api/v1/aipod-specs/:name/render
get /api/v1/provider-profiles
get /api/v1/provider-profiles/:profile
delete /api/v1/provider-profiles/:profile
get /api/v1/provider-profiles/:profile/config
put /api/v1/provider-profiles/:profile/config
put /api/v1/provider-profiles/:profile/credential
post /api/v1/provider-profiles/:profile/validate
get /api/v1/provider-profiles/:profile/validations/:validationId
get /api/v1/sessions
post /api/v1/sessions
get /api/v1/sessions/:sessionId
get /api/v1/sessions/:sessionId/trace
get /api/v1/sessions/:sessionId/output
post /api/v1/sessions/:sessionId/send
post /api/v1/sessions/:sessionId/read
post /api/v1/sessions/:sessionId/control
get /api/v1/sessions/:sessionId/storage
delete /api/v1/sessions/:sessionId/storage
post /api/v1/sessions/:sessionId/storage/refresh
post /api/v1/sessions/storage/gc
post /api/v1/queue/tasks
get /api/v1/queue/tasks
get /api/v1/queue/tasks/:taskId
post /api/v1/queue/tasks/:taskId/dispatch
post /api/v1/queue/tasks/:taskId/refresh
post /api/v1/queue/tasks/:taskId/cancel
post /api/v1/queue/tasks/:taskId/read
get /api/v1/queue/stats
get /api/v1/queue/commander
post /api/v1/runs
get /api/v1/runs/:runId
get /api/v1/runs/:runId/events
post /api/v1/runs/:runId/events
get /api/v1/runs/:runId/result
post /api/v1/runs/:runId/cancel
post /api/v1/runs/:runId/commands
get /api/v1/runs/:runId/commands
get /api/v1/runs/:runId/commands/:commandId
get /api/v1/runs/:runId/commands/:commandId/result
post /api/v1/runs/:runId/runner-jobs
get /api/v1/runs/:runId/runner-jobs
get /api/v1/runs/:runId/runner-jobs/:runnerJobId
post /api/v1/runs/:runId/claim
patch /api/v1/runs/:runId/lease
patch /api/v1/runs/:runId/status
post /api/v1/runners/register
post /api/v1/commands/:commandId/ack
patch /api/v1/commands/:commandId/status
post /api/v1/commands/:commandId/cancel
`
  .trim()
  .split('\n');

const missingPaths = [
  /\/tool-credentials/,
  /\/aipod-specs/,
  /\/provider-profiles/,
  /^get \/api\/v1\/queue\/tasks$/,
  /\/queue\/tasks\/:taskId\/(refresh|read)$/,
  /\/queue\/(stats|commander)$/,
];

/** Those that are still missing: aipod specs, provider profiles, tool credentials, and the reading side of the queue. */
export const missingPairs = contractPairs.filter((pair) => missingPaths.some((path) => path.test(pair)));
