// Talks to AgentRun as a client of the old manager would: plain fetch, the old routes, fields and envelope, and no other knowledge of AgentRun.
//
//   AGENTRUN_MGR_URL=http://127.0.0.1:8080 AGENTRUN_API_TOKEN=... node examples/old-client.mjs [converse] [cancel] [serve] [launch]
//
// Without names it plays all four. Each step prints a line and checks what it got. Exit codes: 0 all is as an old client expects, 1 something is not,
// 2 wrong settings. The `[[scenario:...]]` in the prompts speaks to the scripted model of a local stack; a real model may ignore it.

const base = process.env.AGENTRUN_MGR_URL?.trim().replace(/\/+$/, '');
const token = process.env.AGENTRUN_API_TOKEN?.trim();
const owner = { tenantId: 'old-client', projectId: 'example' };

/** How long one request, and the wait for one thing, may take, in milliseconds. */
const requestLimitMs = 20_000;
const waitLimitMs = 90_000;
const pollEveryMs = 200;
/** Pages of an event log that are read at most. */
const pageLimit = 200;

const terminal = ['completed', 'failed', 'blocked', 'cancelled'];
const quick = 'Answer in one line. [[scenario:echo]]';
const slow = 'Run the command "sleep 5", then say what I told you. [[scenario:sleep seconds=5]]';
const verySlow = 'Run the command "sleep 60". [[scenario:sleep seconds=60]]';

/** Sends one request and answers the envelope's data; a failure is an error with its words. */
async function call(method, path, body) {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(requestLimitMs),
  });
  const envelope = await response.json();
  if (envelope.ok === true && response.status === 200 && typeof envelope.traceId === 'string')
    return envelope.data;
  throw new Error(
    `${method} ${path}: ${response.status} ${envelope.failureKind}: ${envelope.message} (${envelope.traceId})`,
  );
}

function check(what, holds, seen) {
  if (holds) return;
  throw new Error(`expected ${what}; got ${JSON.stringify(seen)?.slice(0, 500)}`);
}

function step(scenario, text) {
  process.stdout.write(`${scenario}: ${text}\n`);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks again and again until `look` answers something, within the limit. */
async function until(what, look) {
  for (const deadline = Date.now() + waitLimitMs; ; await pause(pollEveryMs)) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not within ${waitLimitMs} ms: ${what}`);
  }
}

const resultOf = (runId) =>
  until(`the end of ${runId}`, async () => {
    const result = await call('GET', `/api/v1/runs/${runId}/result`);
    return result.terminalStatus === null ? undefined : result;
  });

const acknowledged = (runId, commandId) =>
  until(`the acknowledgement of ${commandId}`, async () => {
    const command = await call('GET', `/api/v1/runs/${runId}/commands/${commandId}`);
    check('a command that goes on', !terminal.includes(command.state), command);
    return command.state === 'acknowledged' ? command : undefined;
  });

/** Everything after `afterSeq`, page by page, in order and without a gap. */
async function pages(path, afterSeq = 0) {
  const events = [];
  for (let page = 0; page < pageLimit; page += 1) {
    const { items } = await call('GET', `${path}afterSeq=${events.at(-1)?.seq ?? afterSeq}&limit=5`);
    if (items.length === 0) return events;
    for (const event of items) {
      check(
        'rising seq, a type and a payload',
        event.seq > (events.at(-1)?.seq ?? afterSeq) &&
          typeof event.type === 'string' &&
          typeof event.payload === 'object',
        event,
      );
      events.push(event);
    }
  }
  throw new Error(`${path}: more than ${pageLimit} pages`);
}

async function newSession() {
  const created = await call('POST', '/api/v1/sessions', { ...owner, metadata: { from: 'old-client' } });
  check('session-created', created.action === 'session-created' && created.valuesPrinted === false, created);
  const { sessionId } = created.session;
  const again = await call('POST', '/api/v1/sessions', { ...owner, sessionId });
  check('session-exists at the repeat', again.action === 'session-exists', again);
  return sessionId;
}

/** A session, a message, its trace and output, a steer, the result. */
async function converse() {
  const say = (text) => step('converse', text);
  const sessionId = await newSession();
  say(`session ${sessionId}`);
  const path = `/api/v1/sessions/${sessionId}`;

  const plan = await call('POST', `${path}/send`, { prompt: slow, run: owner, dryRun: true });
  check(
    'a plan for a turn',
    plan.dryRun === true && plan.mutation === false && plan.decision === 'turn',
    plan,
  );
  const message = { prompt: slow, run: owner, idempotencyKey: `converse-${sessionId}` };
  const sent = await call('POST', `${path}/send`, message);
  check(
    'a turn',
    sent.action === 'session-send' && sent.decision === 'turn' && sent.activeBefore === null,
    sent,
  );
  check('a runner job', typeof sent.runnerJob?.jobName === 'string', sent.runnerJob);
  check('five poll actions', sent.pollActions.length === 5, sent.pollActions);
  const repeated = await call('POST', `${path}/send`, message);
  check('the same turn at the repeat', repeated.command.id === sent.command.id, repeated.command);
  const { id: runId } = sent.run;
  say(`turn ${runId}`);

  await acknowledged(runId, sent.command.id);
  const steer = await call('POST', `${path}/send`, { prompt: 'and mention the word PLUM' });
  check('a steer of the same run', steer.decision === 'steer' && steer.run.id === runId, steer.decision);
  check('no second job', steer.runnerJob === null && steer.activeBefore.runId === runId, steer.activeBefore);
  say(`steered by ${steer.command.id}`);

  const result = await resultOf(runId);
  check('a completed run', result.status === 'completed' && result.failureKind === null, result);
  const trace = await pages(`${path}/trace?runId=${runId}&`);
  check('terminal_status as the last event', trace.at(-1)?.type === 'terminal_status', trace.at(-1));
  check('the lastSeq of the result', trace.at(-1)?.seq === result.lastSeq, result.lastSeq);
  const rest = await pages(`${path}/trace?runId=${runId}&`, trace[1].seq);
  check('the rest of the trace by afterSeq', rest.length === trace.length - 2, rest.length);
  const output = await pages(`${path}/output?runId=${runId}&`);
  check(
    'an answer in the output',
    output.some(({ type }) => type === 'agent_message'),
    output.map(({ type }) => type),
  );
  say(`completed after ${trace.length} events`);

  const summary = await call('GET', `${path}?readerId=cli`);
  check('an idle session', summary.active === false && summary.lastRunId === runId, summary.executionState);
  check(
    'a supervisor',
    summary.supervisor.terminalClassification.category === 'completed',
    summary.supervisor,
  );
  await call('POST', `${path}/read`, {});
  const listed = await call('GET', '/api/v1/sessions?limit=50');
  check(
    'the session in the list',
    listed.items.some((one) => one.sessionId === sessionId),
    listed.items.length,
  );
}

/** A turn that is cancelled while it runs, and a cancel that comes too late. */
async function cancel() {
  const say = (text) => step('cancel', text);
  const sessionId = await newSession();
  const sent = await call('POST', `/api/v1/sessions/${sessionId}/send`, { prompt: verySlow, run: owner });
  await acknowledged(sent.run.id, sent.command.id);
  say(`turn ${sent.run.id} runs`);
  const control = `/api/v1/sessions/${sessionId}/control`;
  const cancelled = await call('POST', control, { action: 'cancel', reason: 'the example ends it' });
  check('the command', cancelled.id === sent.command.id, cancelled);
  const result = await resultOf(sent.run.id);
  check('a cancelled run', result.terminalStatus === 'cancelled', result);
  check('cancelled-by-request', result.terminalClassification.category === 'cancelled-by-request', result);
  const late = await call('POST', control, { action: 'cancel' }).then(
    () => 'accepted',
    (error) => error.message,
  );
  check('a conflict: nothing is active', / 409 /.test(late), late);
  say('cancelled');
}

/** The runner's side of a run with the token of a client: register, claim, lease, commands, ack, events, status. */
async function serveRun(say, runId, commandId) {
  const { runnerId } = await call('POST', '/api/v1/runners/register', { name: 'old-runner' });
  check('a runner id', typeof runnerId === 'string' && runnerId !== '', runnerId);
  const run = `/api/v1/runs/${runId}`;
  await call('POST', `${run}/claim`, { runnerId });
  const claimed = await call('GET', run);
  check('claimed', claimed.status === 'claimed' && claimed.claimedBy === runnerId, claimed);
  const lease = await call('PATCH', `${run}/lease`, { runnerId, leaseMs: 30_000 });
  check('a lease ahead', Date.parse(lease.leaseExpiresAt) > Date.now(), lease);
  const { items } = await call('GET', `${run}/commands?afterSeq=0&limit=20`);
  check('the turn as the first command', items[0]?.id === commandId && items[0].type === 'turn', items);
  const after = await call('GET', `${run}/commands?afterSeq=${items.at(-1).seq}`);
  check('no command after the last', after.items.length === 0, after);
  const command = await call('POST', `/api/v1/commands/${commandId}/ack`);
  check('acknowledged', command.state === 'acknowledged', command);
  await call('POST', `/api/v1/commands/${commandId}/ack`);
  const event = await call('POST', `${run}/events`, {
    type: 'backend_status',
    payload: { phase: 'old-runner-at-work', commandId },
  });
  check('a stored event', event.seq > 0 && event.payload.phase === 'old-runner-at-work', event);
  check('running', (await call('GET', run)).status === 'running', run);
  const ended = { terminalStatus: 'completed', failureKind: null, failureMessage: null };
  const finished = await call('PATCH', `/api/v1/commands/${commandId}/status`, ended);
  check('a completed command', finished.state === 'completed', finished);
  await call('PATCH', `${run}/status`, { ...ended, threadId: `thread-of-${runId}` });
  const result = await resultOf(runId);
  check('a completed run', result.terminalStatus === 'completed', result);
  const events = await pages(`${run}/events?`);
  check(
    'our event in the log',
    events.some(({ seq }) => seq === event.seq),
    events,
  );
  const stale = await call('POST', `${run}/events`, { payload: { phase: 'too-late' } }).then(
    () => 'accepted',
    (error) => error.message,
  );
  check('a refusal of writes after the end', / 409 /.test(stale), stale);
  say(`${runId} served by ${runnerId}`);
}

/** Its own runner: run, command, claim; and the same for a send that asks for no job. */
async function serve() {
  const say = (text) => step('serve', text);
  const run = await call('POST', '/api/v1/runs', owner);
  check('a pending run', run.status === 'pending', run);
  const command = await call('POST', `/api/v1/runs/${run.id}/commands`, {
    type: 'turn',
    payload: { prompt: 'served by the example' },
    idempotencyKey: `serve-${run.id}`,
  });
  check('a pending turn', command.type === 'turn' && command.state === 'pending', command);
  await serveRun(say, run.id, command.id);

  const sent = await call('POST', `/api/v1/sessions/${await newSession()}/send`, {
    prompt: 'served by the example, too',
    run: owner,
    createRunnerJob: false,
  });
  check('no job', sent.runnerJob === null, sent.runnerJob);
  await serveRun(say, sent.run.id, sent.command.id);
}

/** Run, command, runner job: the manager starts the runner. */
async function launch() {
  const say = (text) => step('launch', text);
  const run = await call('POST', '/api/v1/runs', owner);
  const path = `/api/v1/runs/${run.id}`;
  const command = await call('POST', `${path}/commands`, { type: 'turn', payload: { prompt: quick } });
  const job = await call('POST', `${path}/runner-jobs`, { commandId: command.id });
  check('a job of the command', typeof job.jobName === 'string' && job.commandId === command.id, job);
  const again = await call('POST', `${path}/runner-jobs`);
  check('the same job at the repeat', again.id === job.id, again);
  say(`${run.id} has ${job.jobName}`);
  const result = await resultOf(run.id);
  check('a completed run', result.terminalStatus === 'completed', result);
  const one = await call('GET', `${path}/runner-jobs/${job.id}`);
  check('a job that succeeded', one.phase === 'succeeded', one);
  const { items, count, lastSeq } = await call('GET', `${path}/runner-jobs?commandId=${command.id}`);
  check('one job in the list', count === 1 && items[0].id === job.id && lastSeq === result.lastSeq, items);
  say('completed');
}

const scenarios = { converse, cancel, serve, launch };

async function main(names) {
  if (!base || !token) {
    process.stderr.write('set AGENTRUN_MGR_URL and AGENTRUN_API_TOKEN\n');
    return 2;
  }
  const unknown = names.find((name) => !Object.hasOwn(scenarios, name));
  if (unknown !== undefined) {
    process.stderr.write(`no scenario ${unknown}: ${Object.keys(scenarios).join(', ')}\n`);
    return 2;
  }
  for (const name of names.length === 0 ? Object.keys(scenarios) : names) {
    try {
      await scenarios[name]();
    } catch (error) {
      process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
      return 1;
    }
  }
  process.stdout.write('all as an old client expects\n');
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
