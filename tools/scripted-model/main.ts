import { parseArgs } from 'node:util';
import { createScriptedModelServer } from './server.js';

const usage = `usage: scripted-model [--port N] [--host ADDRESS] [--scenarios DIR]... [--record FILE]

A stand-in for a model provider: speaks the OpenAI Responses API and plays scenario files. There is no model behind it.`;

/** Starts the server, prints one line when it is ready and ends on SIGTERM or SIGINT. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '0' },
      host: { type: 'string', default: '127.0.0.1' },
      scenarios: { type: 'string', multiple: true, default: [] },
      record: { type: 'string' },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error(`--port ${values.port} is not a port`);
  const server = await createScriptedModelServer({
    port,
    host: values.host,
    scenarioDirs: values.scenarios,
    ...(values.record === undefined ? {} : { recordFile: values.record }),
  });
  process.stdout.write(`${JSON.stringify({ msg: 'ready', url: server.url })}\n`);
  const stop = () => {
    server.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}\n`);
  process.exitCode = 2;
});
